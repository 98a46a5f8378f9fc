"""The examples that can be labelled: texts of a table, mails, photos; and the labels they have."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlp_transfer.emails import Email
from nlp_transfer.emails.reading import read_emails, read_text_table
from staged_training.experiment.splits import Indices, near_duplicate_groups
from staged_training.heads.linear_probe import FeatureScale, scale_of
from staged_training.runtime.errors import InputError
from staged_training.runtime.files import existing_path
from staged_training.runtime.printable import one_line
from staged_training.tables.labelled_images import is_file_name, table_in
from staged_training.tables.labels import tidy_labels
from staged_training.tables.reading import check_columns, is_table, read_table, text_column
from transfer_app.features import features_of_images, features_of_texts
from transfer_app.kinds import are_images

BACKBONE = "efficientnet-lite0"
"""The model of images by default."""


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Examples to label.

    Attributes:
        source: Where they come from.
        kind: `text` or `image`.
        names: What each is called, each by another name.
        contents: The texts, or the files of the images.
        rows: Their columns, for a recipe to read; of images `file_name` is the whole path.
        text_columns: Those that texts are joined from.
        label_column: The column of labels, which `rows` may have.
        labels: The label of each, None where it has none yet.
        base: What computes their features.
    """

    source: Path
    kind: str
    names: list[str]
    contents: Sequence[Any]
    rows: pa.Table
    text_columns: list[str]
    label_column: str
    labels: list[str | None]
    base: str | None

    @property
    def features(self) -> NDArray[np.float32]:
        """Those of a frozen base, `[examples, width]`, see `comparable`."""
        return self._comparable[0]

    @property
    def scale(self) -> FeatureScale:
        """How the features of the base became comparable."""
        return self._comparable[1]

    @cached_property
    def _comparable(self) -> tuple[NDArray[np.float32], FeatureScale]:
        if self.kind == "text":
            features = features_of_texts(self.contents, self.base)
        else:
            features = features_of_images(self.contents, self.base or BACKBONE)
        scale = scale_of(features)
        return scale(features), scale

    @cached_property
    def groups(self) -> Indices:
        """The group of each example; near-duplicates share one."""
        if self.kind == "text":
            return near_duplicate_groups(self.contents)
        from vision_transfer.image_task import content, group_numbers

        return np.array(group_numbers(map(content, self.contents)))

    @property
    def is_mail(self) -> bool:
        """Whether they are mails, and no rows of a table."""
        return self.kind == "text" and not is_table(self.source)

    @property
    def kinds(self) -> str:
        """What several of them are called."""
        return f"{self.kind}s"

    @property
    def recipe(self) -> str:
        """The recipe that learns from them."""
        return f"{self.kind}-classifier"

    def table(self, rows: Sequence[int], file: Path) -> pa.Table:
        """Return the columns of some examples for a file, from whose folder images are named."""
        table = self.rows.take(np.asarray(rows, dtype=np.int64))
        if self.kind == "image":
            names = [_path_from(file.parent, self.contents[row]) for row in rows]
            index = table.column_names.index("file_name")
            table = table.set_column(index, "file_name", pa.array(names, pa.string()))
        return table


def _path_from(folder: Path, file: Path) -> str:
    """Return the path of a file from a folder; it may itself be a link to elsewhere."""
    return os.path.relpath(file.parent.resolve() / file.name, folder.resolve())


def read_pool(
    source: str, text_columns: Sequence[str] | None, label_column: str, base: str | None
) -> Pool:
    """Read examples, of which some may have labels; their features are computed when asked for.

    Args:
        source: Mail, a table of texts, a folder of photos or a table with a column `file_name`.
        text_columns: See `choose_text_columns`.
        label_column: The column of labels, if there is one.
        base: The encoder of texts or the model of images; None for that by default.

    Raises:
        InputError: They cannot be read, or there is none.
    """
    path = existing_path(source)
    if are_images(path):
        pool = _read_photos(path, label_column, base)
    else:
        pool = _read_texts(path, text_columns, label_column, base)
    if len({*pool.names}) < len(pool.names):
        double = next(name for name in pool.names if pool.names.count(name) > 1)
        raise InputError(f"{path}: {double} is there twice. Leave one out.")
    return pool


def _read_texts(
    path: Path, text_columns: Sequence[str] | None, label_column: str, base: str | None
) -> Pool:
    found = read_text_table(path, text_columns)
    if found is None:
        mails = read_emails(path).dataset
        names, table = list(mails["input"]), mails.data.table.select(["subject", "body"])
        rows = zip(*(mails[name] for name in Email._fields), strict=True)
        columns, texts = table.column_names, [Email(*row).text for row in rows]
    else:
        names, table, columns, texts = found.names, found.table, found.text_columns, found.texts
        if label_column in columns:
            raise InputError(
                f"{path}: '{label_column}' is read as text, and cannot hold the labels. Name "
                "another column by `label_column`.",
                ["label_column"],
            )
    pool = Pool(
        source=path,
        kind="text",
        names=names,
        contents=texts,
        rows=table,
        text_columns=columns,
        label_column=label_column,
        labels=_labels_in(table, path, label_column),
        base=base,
    )
    return _without(pool, [row for row, text in enumerate(texts) if not text.strip()], "no text")


def _read_photos(path: Path, label_column: str, base: str | None) -> Pool:
    from vision_transfer.image_task import Skipped, checked_images, read_photos

    file = table_in(path) if path.is_dir() else path
    folder = path if path.is_dir() else path.parent
    if file is None:
        files, skipped = read_photos(path)
        nameless = [photo for photo in files if one_line(str(photo)) != str(photo)]
        skipped += [Skipped(photo, "has a name that is no text") for photo in nameless]
        files = [photo for photo in files if photo not in nameless]
        names = [str(photo.relative_to(folder)) for photo in files]
        table = pa.table({"file_name": names})
    else:
        table = read_table(file, ["file_name"], typed=False)
        check_columns(file, table.column_names, ["file_name"])
        names = table["file_name"].to_pylist()
        if unnamed := [row for row, name in enumerate(names, 1) if not is_file_name(name)]:
            raise InputError(f"{file}: row {unnamed[0]} has no file name. Fill or delete it.")
        files = [folder / name for name in names]
        skipped, _ = checked_images(files)
    for item in skipped:
        print(one_line(f"Left out: {item}."), file=sys.stderr)
    broken = {item.path for item in skipped}
    pool = Pool(
        source=path,
        kind="image",
        names=names,
        contents=files,
        rows=table,
        text_columns=[],
        label_column=label_column,
        labels=_labels_in(table, file or path, label_column),
        base=base,
    )
    return _without(pool, [row for row, photo in enumerate(files) if photo in broken], "")


def _labels_in(table: pa.Table, path: Path, column: str) -> list[str | None]:
    """Return the labels that a table has, tidy; blank ones are None."""
    if column not in table.column_names:
        return [None] * len(table)
    cells = [(cell or "").strip() for cell in text_column(table, path, column)]
    filled = [row for row, cell in enumerate(cells) if cell]
    tidy = tidy_labels(path, [cells[row] for row in filled])
    labels: list[str | None] = [None] * len(cells)
    for row, label in zip(filled, tidy, strict=True):
        labels[row] = label
    return labels


def _without(pool: Pool, rows: Sequence[int], why: str) -> Pool:
    """Return a pool without some examples.

    Raises:
        InputError: No other is left.
    """
    kept = np.setdiff1d(np.arange(len(pool.names)), rows)
    if not len(kept):
        raise InputError(f"{pool.source}: holds nothing to label.")
    if not len(rows):
        return pool
    if why:
        more = f" and {len(rows) - 1:,} more" if len(rows) > 1 else ""
        print(one_line(f"Left out: {pool.names[rows[0]]}{more}: {why}."), file=sys.stderr)
    return replace(
        pool,
        names=[pool.names[row] for row in kept],
        contents=[pool.contents[row] for row in kept],
        rows=pool.rows.take(kept),
        labels=[pool.labels[row] for row in kept],
    )
