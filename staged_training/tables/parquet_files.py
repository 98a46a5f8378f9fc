"""Parquet as an Arrow table, its classes by their names."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.unpacking import MOST_GROWTH, most_unpacked

_BATCH_ROWS = 256  # a value that is stored once may stand in each of them
_FEATURES = b"huggingface"  # where `datasets` keeps the names of classes


def read_parquet(source: Path, file: parquet.ParquetFile) -> pa.Table:
    """Read a file; where `datasets` wrote it, a `ClassLabel` becomes the name of the class.

    Args:
        source: Its path.
        file: The same, opened.

    Raises:
        InputError: There is a class that has no name.
        pa.ArrowException: The file is damaged, or unpacks to more than a file may.
    """
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    left = most_unpacked(source) - sum(group.total_byte_size for group in groups)
    batches = []
    for batch in file.iter_batches(_BATCH_ROWS):
        left -= batch.nbytes
        if left < 0:
            raise pa.ArrowInvalid(f"it unpacks to more than {MOST_GROWTH} times its size")
        batches.append(batch)
    table = pa.Table.from_batches(batches, file.schema_arrow)
    table.validate(full=True)  # texts may be no UTF-8; those of the other kinds were decoded
    return _with_class_names(source, table) if _FEATURES in (table.schema.metadata or {}) else table


def _with_class_names(source: Path, table: pa.Table) -> pa.Table:
    import datasets  # takes a second

    try:
        features = datasets.Features.from_arrow_schema(table.schema)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source}: the names of its classes cannot be read ({first_line(error)}). Write the "
            "labels as texts."
        ) from error
    for index, (column, feature) in enumerate(features.items()):
        if "ClassLabel(" in repr(feature):
            try:
                cells = [_named(feature, cell) for cell in table[column].to_pylist()]
            except IndexError as error:
                raise InputError(
                    f"{source}: column '{column}' holds a class that has no name. Write the labels "
                    "as texts."
                ) from error
            table = table.set_column(index, column, pa.array(cells))
    return table


def _named(feature: Any, value: Any) -> Any:
    """Return a value with names in place of class numbers; none for -1, as in `datasets`."""
    if value is None:
        return None
    if isinstance(feature, dict):
        return {name: _named(feature[name], value[name]) for name in feature}
    if hasattr(feature, "feature"):  # of a list
        return [_named(feature.feature, item) for item in value]
    if hasattr(feature, "int2str"):
        return None if value == -1 else feature.names[value]
    return value
