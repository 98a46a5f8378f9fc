"""Labelled texts and images as a review needs them: their features, copies, names and rows."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from nlp_transfer.emails.containers import shown_name
from nlp_transfer.text_task import TextTask, read_task
from staged_training.experiment.dealing import deal_folds
from staged_training.experiment.splits import Indices, near_duplicate_groups
from staged_training.experiment.task import LabelledTask
from staged_training.runtime.printable import one_line
from staged_training.tables.labelled_images import table_in
from staged_training.tables.reading import is_table, read_table
from transfer_app.features import features_of_images, features_of_texts

if TYPE_CHECKING:
    from vision_transfer.image_task import ImageTask


class OwnTable(NamedTuple):
    """The table that examples come from.

    Attributes:
        table: All its rows and columns, as they are written.
        names: What each row is called.
        used: The row of each example, from 0 on.
        problem: What is wrong with the rows that are no examples.
    """

    table: pa.Table
    names: list[str]
    used: Indices
    problem: str

    @property
    def left_out(self) -> Indices:
        """The rows that are no examples."""
        return np.setdiff1d(np.arange(len(self.names)), self.used)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled examples.

    Attributes:
        kind: What they are, `texts` or `images`.
        task: Their labels.
        folds: The fold of each, near-duplicates in the same one; all are tested on.
        features: `[examples, width]`.
        names: What each is called.
        beginnings: What people see of each, where its name is not enough.
        copies: The group of each; those that are the same share one.
        similar: The group of each; near-duplicates share one.
        own: The table that they come from; `None` if it is none.
    """

    kind: str
    task: LabelledTask
    folds: Indices
    features: NDArray[np.float32]
    names: list[str]
    beginnings: list[str]
    copies: Indices
    similar: Indices
    own: OwnTable | None


def read_text_examples(
    data: str,
    text_columns: Sequence[str] | None,
    label_column: str,
    label_separator: str | None,
    base: str | None,
) -> Examples:
    """Read labelled texts, and compute their features by an encoder or, without one, of words.

    Args:
        data: As for `read_task`, and the following three.
        text_columns: Columns of a table to read as text.
        label_column: Column of the labels.
        label_separator: What parts the labels of a text.
        base: As for `chosen_base`.

    Raises:
        InputError: They cannot be read or learnt from, or there is no such encoder.
    """
    task = read_task(data, text_columns, label_column, label_separator=label_separator)
    texts = task.all.texts
    similar = near_duplicate_groups(texts)
    return Examples(
        kind="texts",
        task=task,
        folds=_tested_folds(task, similar),
        features=features_of_texts(texts, base),
        names=task.inputs,
        beginnings=[shorten(text[:1000], 120, placeholder="…") for text in texts],
        copies=_group_numbers([" ".join(text.casefold().split()) for text in texts]),
        similar=similar,
        own=_table_of_texts(task) if is_table(task.source) else None,
    )


def _table_of_texts(task: TextTask) -> OwnTable:
    table = read_table(task.source, (), typed=False)
    name = shown_name(task.source.name)
    names = [f"{name}#{row}" for row in range(1, len(table) + 1)]
    row_of = {name: row for row, name in enumerate(names)}
    used = np.array([row_of[name] for name in task.inputs])
    return OwnTable(table, names, used, f"no text in {' and '.join(task.text_columns)}")


def read_image_examples(
    data: str, label_column: str, label_separator: str | None, backbone: str
) -> Examples:
    """Read labelled images, and compute their features by a pretrained model.

    Args:
        data: As for `read_image_task`, and the following two.
        label_column: Column of the labels.
        label_separator: What parts the labels of an image.
        backbone: As for `load_backbone`.

    Raises:
        InputError: They cannot be read or learnt from, or there is no such model.
    """
    from vision_transfer.image_task import content, group_numbers, read_image_task

    task = read_image_task(data, label_column, label_separator=label_separator)
    for sentence in task.remarks:
        print(one_line(sentence), file=sys.stderr)
    copies = np.array(group_numbers(map(content, task.paths)))
    folder = task.source if task.source.is_dir() else task.source.parent
    names = [
        str(path.relative_to(folder) if path.is_relative_to(folder) else path)
        for path in task.paths
    ]
    return Examples(
        kind="images",
        task=task,
        folds=_tested_folds(task, copies),
        features=features_of_images(task.paths, backbone),
        names=names,
        beginnings=[""] * len(names),
        copies=copies,
        similar=copies,
        own=_table_of_images(task, folder),
    )


def _table_of_images(task: "ImageTask", folder: Path) -> OwnTable | None:
    """Return the table of images, if there is one for all of them."""
    file = table_in(folder) if task.source.is_dir() else task.source
    if file is None or not is_table(file):
        return None
    table = read_table(file, (), typed=False)
    names = list(map(str, table["file_name"].to_pylist()))
    broken = {skipped.path for skipped in task.skipped}
    used = [row for row, name in enumerate(names) if folder / name not in broken]
    return OwnTable(table, names, np.array(used), "cannot be decoded")


def _tested_folds(task: LabelledTask, groups: Indices) -> Indices:
    """Return the folds of a task, or others where not all of its examples are tested on."""
    if task.folds.min() >= 0:
        return task.folds
    return deal_folds(task.source, task.target, task.values, groups)


def _group_numbers(keys: Sequence[str]) -> Indices:
    return np.unique(np.array(keys, dtype=object), return_inverse=True)[1]
