"""Parquet as an Arrow table, its classes by their names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from staged_training.runtime.errors import InputError, first_line
from staged_training.runtime.unpacking import MOST_GROWTH, most_unpacked

_BATCH_ROWS = 256  # a value that is stored once may stand in each of them
_FEATURES = b"huggingface"  # where `datasets` keeps the names of classes


def parquet_batches(source: Path, file: parquet.ParquetFile) -> Iterator[pa.Table]:
    """Yield a few rows at a time; where `datasets` wrote the file, a `ClassLabel` is its name.

    The first of them has the columns, and no row.

    Args:
        source: Its path.
        file: The same, opened.

    Raises:
        InputError: There is a class that has no name.
        pa.ArrowException: The file is damaged, or unpacks to more than a file may.
    """
    groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
    left = most_unpacked(source) - sum(group.total_byte_size for group in groups)
    features = _features(source, file.schema_arrow)
    yield _with_class_names(source, file.schema_arrow.empty_table(), features)
    for batch in file.iter_batches(_BATCH_ROWS):
        left -= batch.nbytes
        if left < 0:
            raise pa.ArrowInvalid(f"it unpacks to more than {MOST_GROWTH} times its size")
        table = pa.Table.from_batches([batch], file.schema_arrow)
        table.validate(full=True)  # texts may be no UTF-8; those of the other kinds were decoded
        yield _with_class_names(source, table, features)


def _features(source: Path, schema: pa.Schema) -> dict[str, Any]:
    """Return how `datasets` describes columns, of those that hold classes."""
    if _FEATURES not in (schema.metadata or {}):
        return {}
    import datasets  # takes a second

    try:
        features = datasets.Features.from_arrow_schema(schema)
        return {name: found for name, found in features.items() if "ClassLabel(" in repr(found)}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{source}: the names of its classes cannot be read ({first_line(error)}). Write the "
            "labels as texts."
        ) from error


def _with_class_names(source: Path, table: pa.Table, features: dict[str, Any]) -> pa.Table:
    for column, feature in features.items():
        try:
            cells = [_named(feature, cell) for cell in table[column].to_pylist()]
        except IndexError as error:
            raise InputError(
                f"{source}: column '{column}' holds a class that has no name. Write the labels "
                "as texts."
            ) from error
        index = table.schema.get_field_index(column)
        named = pa.array(cells, _named_type(feature, table[column].type))
        table = table.set_column(index, column, named)
    return table


def _named_type(feature: Any, stored: pa.DataType) -> pa.DataType:
    """Return the type of a column with names in place of class numbers."""
    if isinstance(feature, dict):
        parts = ((name, stored.field(name).type) for name in feature)
        return pa.struct([(name, _named_type(feature[name], kind)) for name, kind in parts])
    if hasattr(feature, "feature"):  # of a list
        return pa.list_(_named_type(feature.feature, stored.value_type))
    return pa.string() if hasattr(feature, "int2str") else stored


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
