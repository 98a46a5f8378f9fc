"""A text classification task: labelled texts, checked, dealt into folds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from transformers import PreTrainedConfig, PreTrainedTokenizerBase
from transformers.utils import logging

from nlp_transfer.emails.reading import read_labelled_texts, read_labels_and_texts
from staged_training.experiment.dealing import check_folds, deal_folds, given_parts
from staged_training.experiment.splits import Indices, given_folds, near_duplicate_groups
from staged_training.experiment.target import (
    SingleLabel,
    Target,
    positive_number,
    target_of,
)
from staged_training.experiment.task import LabelledTask
from staged_training.runtime.errors import InputError, given_path
from staged_training.tables.labels import LabelFormat
from staged_training.tables.parts import parts_of

if TYPE_CHECKING:
    from datasets import Dataset


_logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class LabelledTexts:
    """Texts and the values of their labels, see `Labels`."""

    texts: list[str]
    labels: list[Any]

    def __add__(self, other: "LabelledTexts") -> "LabelledTexts":
        return LabelledTexts(self.texts + other.texts, self.labels + other.labels)

    def select(self, rows: Iterable[int]) -> "LabelledTexts":
        """Return the texts of some rows."""
        rows = list(rows)
        return LabelledTexts([self.texts[i] for i in rows], [self.labels[i] for i in rows])

    def without(self, share: float, seed: int) -> tuple["LabelledTexts", "LabelledTexts"]:
        """Split off a random share of each label, and return the rest and that share."""
        kept, out = train_test_split(
            np.arange(len(self.labels)), test_size=share, stratify=self.labels, random_state=seed
        )
        return self.select(np.sort(kept)), self.select(np.sort(out))

    def tokenized(
        self, tokenizer: PreTrainedTokenizerBase, longest: int | None = None
    ) -> "Dataset":
        """Return the texts as rows of `input_ids`, `attention_mask` and `labels`.

        Args:
            tokenizer: The tokenizer.
            longest: After how many tokens a text is cut; by default as the tokenizer says.
        """
        from datasets import Dataset  # takes a second

        columns = dict(tokenizer(self.texts, truncation=True, max_length=longest))
        return Dataset.from_dict(columns | {"labels": self.labels})


def token_counts(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return how many tokens each text has, uncut."""
    return [len(ids) for ids in tokenizer(list(texts), truncation=False)["input_ids"]]


@dataclass(frozen=True, kw_only=True)
class TextTask(LabelledTask):
    """What a text classifier learns from and is measured on.

    Attributes:
        inputs: The name of each text, such as `messages.parquet#3`.
        all: The texts and the values of their labels.
        columns: The names of the further columns of the texts.
        text_columns: The columns of a table that the texts were joined from; none for mail.
    """

    inputs: list[str]
    all: LabelledTexts
    columns: list[str]
    text_columns: Sequence[str] = ()

    @property
    def values(self) -> NDArray[Any]:
        """What is true of each text."""
        return np.asarray(self.all.labels)

    @property
    def contents(self) -> list[Any]:
        """What a run depends on: texts, labels and folds."""
        return [self.all, self.names, self.folds]

    def store_columns(self, config: PreTrainedConfig) -> None:
        """Store the columns of a table, if it is one, for the model to read of other tables."""
        if self.text_columns:
            config.text_columns = list(self.text_columns)

    def parts(self, fold: int) -> tuple[LabelledTexts, LabelledTexts, LabelledTexts]:
        """Return the parts to train on, to validate on and to test on, see `split`."""
        train, validation, test = (self.all.select(rows) for rows in self.split(fold))
        return train, validation, test

    def training_rows(self, fold: int, size: int | None, seed: int) -> list[int]:
        """Return the training rows of a fold, or a stratified sample of them.

        Args:
            fold: The fold to test on.
            size: How many rows, fewer than the part has; `None` for all.
            seed: Of the draw.
        """
        rows = list(map(int, self.split(fold).train))
        if size is None:
            return rows
        labels = [self.all.labels[row] for row in rows]
        alike = labels if isinstance(self.target, SingleLabel) else None
        few, _ = train_test_split(rows, train_size=size, stratify=alike, random_state=seed)
        return sorted(few)


def read_task(
    source: str | Path,
    text_columns: Sequence[str] | None = None,
    label_column: str = "label",
    positive_label: str | None = None,
    *,
    label_separator: str | None = None,
    task: Literal["classification", "regression"] = "classification",
) -> TextTask:
    """Read labelled texts.

    A column `fold` says which fold each text belongs to. Without it a column `split` says which
    texts to train on, to validate on and to test on. Without either the texts are dealt into five
    folds with equal shares of each label, near-duplicates in the same one.

    Args:
        source: A table with labels, or a folder with one sub-folder of mails per label.
        text_columns: Columns of a table to read as text.
        label_column: Column of a table that holds the labels. If it holds lists, a text has any
            number of labels.
        positive_label: The label that matters; by default the rarer of two, and of more none.
        label_separator: What parts the labels of a text, where it has any number of them.
        task: Whether labels are names, or numbers to be predicted.

    Raises:
        InputError: The texts cannot be read or learnt from, there is no such label, or the folds
            cannot be used.

    Examples:
        >>> import pandas as pd
        >>> pd.DataFrame({"text": texts, "label": labels}).to_csv("mail.csv", index=False)
        >>> task = read_task("mail.csv", positive_label="1")
        >>> task.names, len(task.all.texts), task.fold_numbers
        (['0', '1'], 24, [0, 1, 2, 3, 4])
    """
    path = given_path(source)
    written = LabelFormat(label_column, label_separator, task)
    dataset, labels, columns = read_labels_and_texts(path, text_columns, written)
    texts, values = list(dataset["text"]), np.asarray(labels.values)
    target = target_of(labels, positive_number(path, labels, positive_label))
    given = _given_folds(path, dataset, target, values)
    if given is None:
        folds = deal_folds(path, target, values, near_duplicate_groups(texts))
    else:
        folds = given
    check_folds(path, target, values, folds)
    return TextTask(
        source=path,
        inputs=list(dataset["input"]),
        all=LabelledTexts(texts, labels.values),
        target=target,
        folds=folds,
        own_folds=given is not None,
        columns=dataset.column_names,
        text_columns=columns,
    )


def _given_folds(
    source: Path, dataset: "Dataset", target: Target, values: NDArray[Any]
) -> Indices | None:
    """Return the folds, or the parts of a split, that came with texts, if they can be used."""
    if "fold" in dataset.column_names:
        return given_folds(source, dataset["fold"])
    cells = list(map(str, dataset["split"])) if "split" in dataset.column_names else []
    if not any(parts_of(cells)):
        return None
    folds, told = given_parts(source, cells, target, values, range(len(cells)), "text")
    _logger.warning(told)
    return folds


@dataclass(frozen=True)
class ProxyTask:
    """A related task: texts of its own, and its labels of the texts of the task proper.

    Attributes:
        source: The file or folder of its own texts.
        names: The names of its labels, in the order of their numbers.
        own: Texts that the task proper does not have.
        shared: The texts of the task proper with the labels of this task; `None` without such.
    """

    source: Path
    names: list[str]
    own: LabelledTexts
    shared: LabelledTexts | None

    @property
    def contents(self) -> list[Any]:
        """What a run depends on: texts and labels."""
        return [self.names, self.own, self.shared]

    def beside(self, rows: Iterable[int]) -> LabelledTexts:
        """Return what may be learnt from where only these rows of the task proper may be seen."""
        return self.own + self.shared.select(rows) if self.shared else self.own


def read_proxy(
    source: str | Path, task: TextTask, text_columns: Sequence[str] | None, proxy_label_column: str
) -> ProxyTask:
    """Read the texts of a related task, see `ProxyTask`.

    Args:
        source: Labelled texts, as for `read_task`.
        task: The task proper; where its table has that column too, those labels are used.
        text_columns: Columns of a table to read as text.
        proxy_label_column: Column of the labels of the related task.

    Raises:
        InputError: The texts cannot be read, or are those of the task proper without a share that
            may be learnt from.
    """
    column = proxy_label_column
    try:
        own = read_labelled_texts(source, text_columns, column).dataset
    except InputError as error:
        raise error.with_argument("label_column", "proxy_label_column") from error
    known = set(task.all.texts)  # whose proxy labels must not be seen while their fold is tested
    rows = [row for row, text in enumerate(own["text"]) if text not in known]
    texts = [own["text"][row] for row in rows]
    labels = [own["label"][row] for row in rows]
    shared_labels: list[str] = []
    if column in task.columns:
        columns = None if task.source.is_dir() else text_columns
        shared_labels = list(read_labelled_texts(task.source, columns, column).dataset["label"])
    names = sorted({*labels, *shared_labels})
    if len(set(labels)) < 2 and not shared_labels:
        raise InputError(
            f"{source}: besides the texts of {task.source} it has no texts of two labels. Give "
            f"other texts, or add the column {column!r} to {task.source}."
        )
    shared = LabelledTexts(task.all.texts, [names.index(label) for label in shared_labels])
    return ProxyTask(
        source=Path(source),
        names=names,
        own=LabelledTexts(texts, [names.index(label) for label in labels]),
        shared=shared if shared_labels else None,
    )
