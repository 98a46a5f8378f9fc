"""Labels that can be learnt from: one for each example, any number of them, or numbers."""

import logging
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import pstdev
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from staged_training.runtime.errors import InputError
from staged_training.tables.reading import text_column

logger = logging.getLogger(__name__)

_SEPARATORS = (";", "|", ",")
_MANY = 20  # different labels, most of them seen once: no labels, but dates or free text
_FEWEST = 10  # numbers to learn from
_LARGEST = 1e9  # of numbers, which models hold in single precision
_OFFSET = 1e4  # deviations from 0, beyond which the digits are spent on what numbers share


ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
"""As in a `PreTrainedConfig`."""

DECIDED = 0.5
"""The probability from which on one of several labels is predicted."""


class LabelFormat(NamedTuple):
    """How the labels of a table are written.

    Attributes:
        column: The column that holds them.
        separator: What parts the labels of a cell, where an example has any number of them.
        task: Whether they are names or numbers.
    """

    column: str = "label"
    separator: str | None = None
    task: Literal["classification", "regression"] = "classification"


ONE_LABEL = LabelFormat()
"""One label for each example, in the column `label`."""


class Labels(NamedTuple):
    """The labels of examples.

    Attributes:
        problem_type: Which kind of labels they are.
        names: Their names in order; of numbers, the name of the column.
        values: For each example the number of its label; or for each label 1 if it applies, else 0;
            or a number.
    """

    problem_type: ProblemType
    names: list[str]
    values: list[Any]


def label_cells(table: pa.Table, source: Path, column: str) -> list[Any]:
    """Return the cells of an existing column of labels: texts, or lists of texts.

    Raises:
        InputError: They hold something else.
    """
    kind = table.schema.field(column).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = table[column].to_pylist()
        return [
            cells if cells is None else ["" if cell is None else str(cell) for cell in cells]
            for cells in lists
        ]
    return text_column(table, source, column)


def read_labels(
    source: Path, places: Sequence[str], cells: Sequence[Any], written: LabelFormat, kind: str
) -> Labels:
    """Read the labels of examples.

    Args:
        source: The file or folder of the examples, for messages.
        places: Where in it each example stands.
        cells: The label of each example as it is written, or a list of its labels; at least one.
        written: How they are written.
        kind: What an example is, such as `text`.

    Raises:
        InputError: A label is missing or no number, or nothing can be learnt from them.

    Examples:
        >>> cells = ["late", "late;broken", "", "broken"]
        >>> places = [f"tickets.csv#{row}" for row in range(1, 5)]
        >>> read_labels(Path("tickets.csv"), places, cells, LabelFormat("label", ";"), "text")[1:]
        (['broken', 'late'], [[0.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    """
    if written.task == "regression":
        if written.separator:
            raise InputError(
                f"{source}: numbers have no labels to part; leave `label_separator` out.",
                ["label_separator"],
            )
        return Labels("regression", [written.column], _numbers(source, places, cells, written))
    if written.separator or any(isinstance(cell, list) for cell in cells):
        rows = _several(source, places, cells, written)
        _check_counts(source, places, rows, kind)
        names = sorted({label for labels in rows for label in labels})
        values = [[float(name in labels) for name in names] for labels in rows]
        return Labels("multi_label_classification", names, values)
    check_filled(source, places, cells, f"label in '{written.column}'")
    labels = tidy_labels(source, cells)
    check_labels(source, places, labels, kind)
    names = sorted(set(labels))
    numbers = {name: number for number, name in enumerate(names)}
    return Labels("single_label_classification", names, [numbers[label] for label in labels])


def check_filled(
    source: Path, places: Sequence[str], cells: Sequence[str | None], what: str
) -> None:
    """Refuse cells that are empty.

    Args:
        source: The file, for messages.
        places: Where in it each stands.
        cells: The cells.
        what: What they hold.

    Raises:
        InputError: One is empty.
    """
    empty = [place for place, cell in zip(places, cells, strict=True) if not (cell or "").strip()]
    if empty:
        more = f", and {len(empty) - 1} more like it" if len(empty) > 1 else ""
        raise InputError(f"{source}: {empty[0]} has no {what}{more}. Fill it in, or delete it.")


def tidy_labels(source: Path, labels: Iterable[str]) -> list[str]:
    """Strip white space about labels, and compose their accents.

    Those that differ in case alone, or are the same number, stay apart, with a warning.

    Args:
        source: The file or folder of the examples, for messages.
        labels: The label of each example.
    """
    tidy = [_tidy(label) for label in labels]
    alike: dict[str, list[str]] = defaultdict(list)
    for label, count in sorted(Counter(tidy).items()):
        alike[_plain(label)].append(f"'{label}' ({count:,})")
    for variants in alike.values():
        if len(variants) > 1:
            logger.warning(
                "%s: the labels %s are all but the same. Write them alike if they are one.",
                source,
                " and ".join(variants),
            )
    return tidy


def _plain(label: str) -> str:
    """Return a label without what people write in several ways: case, and digits of a number."""
    return f"{float(label):g}" if _is_number(label) else label.casefold()


def _tidy(label: str) -> str:
    return " ".join(unicodedata.normalize("NFC", label).split())


def check_labels(source: Path, places: Sequence[str], labels: Sequence[str], kind: str) -> None:
    """Refuse labels that nothing can be learnt from.

    Args:
        source: The file or folder of the examples, for messages.
        places: Where in it each example stands.
        labels: The label of each example, at least one.
        kind: What an example is, such as `text`.

    Raises:
        InputError: There is one label only, one that occurs only once, or they are no labels.
    """
    counts = Counter(labels)
    once = sum(count == 1 for count in counts.values())
    if len(counts) > _MANY and all(map(_is_number, counts)):
        if once or not all(float(label).is_integer() for label in counts):
            raise InputError(
                f"{source}: there are {len(counts):,} different numbers in place of labels. To "
                "predict numbers, choose regression by `task`.",
                ["task"],
            )
    elif len(counts) > _MANY and once > len(counts) / 2:
        many = f"{source}: there are {len(counts):,} different labels, such as "
        many += f"'{next(iter(counts))[:40]}', and most occur only once."
        if separator := _separator_in(counts):
            why = f"Where several apply, give '{separator}' as `label_separator`."
            raise InputError(f"{many} {why}", ["label_separator"])
        why = "Dates and free text are no labels: choose another column by `label_column`."
        raise InputError(f"{many} {why}", ["label_column"])
    if separator := _separator_in(counts):
        told = "%s: each cell is read as one label, though many hold '%s'. Say so if it parts them."
        logger.warning(told, source, separator)
    _check_counts(source, places, [[label] for label in labels], kind)


def _separator_in(labels: Iterable[str]) -> str | None:
    """Return what seems to part labels: they become half as many or fewer by it."""
    names = list(labels)
    for separator in _SEPARATORS:
        parts = {part.strip() for name in names for part in name.split(separator)}
        if len(parts) <= len(names) / 2:
            return separator
    return None


def _check_counts(
    source: Path, places: Sequence[str], rows: Sequence[Iterable[str]], kind: str
) -> None:
    """Refuse labels of which there is one only, or one that occurs only once."""
    counts = Counter(label for labels in rows for label in labels)
    if len(counts) < 2:
        found = f"every {kind} has the label '{next(iter(counts))}'" if counts else "has no labels"
        raise InputError(f"{source}: {found}. Give examples of at least two labels.")
    for place, labels in zip(places, rows, strict=True):
        for label in labels:
            if counts[label] == 1:
                raise InputError(
                    f"{source}: the label '{label}' occurs only once ({place}). Correct it if it "
                    "is a misspelling, else give more examples of it."
                )


def _several(
    source: Path, places: Sequence[str], cells: Sequence[Any], written: LabelFormat
) -> list[list[str]]:
    """Return the labels of each example; an empty cell says that none applies."""
    rows = []
    for place, cell in zip(places, cells, strict=True):
        if isinstance(cell, list):
            parts = cell
        elif written.separator is None:
            raise InputError(
                f"{source}: {place} has no list of labels in '{written.column}'. Write an empty "
                "list where none applies."
            )
        else:
            separator = None if written.separator.isspace() else written.separator
            parts = cell.split(separator) if (cell or "").strip() else []
        labels = [_tidy(part) for part in parts]
        twice = [label for label, count in Counter(labels).items() if count > 1 or not label]
        if twice:
            what = f"the label '{twice[0]}' twice" if twice[0] else "an empty label"
            raise InputError(
                f"{source}: {place} has {what} in '{written.column}': {str(cell)[:80]!r}. Write "
                "each label once, with one separator between two."
            )
        rows.append(labels)
    if written.separator and not any(len(labels) > 1 for labels in rows):
        raise InputError(
            f"{source}: no cell of '{written.column}' holds {written.separator!r}, which "
            "`label_separator` gives. Leave it out, or give the separator that is used.",
            ["label_separator"],
        )
    tidy_labels(source, [label for labels in rows for label in labels])  # warns of upper case
    if empty := sum(not labels for labels in rows):
        logger.warning(
            "%s: %d examples have no label; they count as having none of them.", source, empty
        )
    return rows


def _numbers(
    source: Path, places: Sequence[str], cells: Sequence[Any], written: LabelFormat
) -> list[float]:
    for place, cell in zip(places, cells, strict=True):
        text = cell.strip() if isinstance(cell, str) else ""
        if not text:
            raise InputError(
                f"{source}: {place} has no number in '{written.column}'. Fill or delete it, or "
                "choose another column by `label_column`.",
                ["label_column"],
            )
        if not _is_number(text):
            raise InputError(
                f"{source}: {place} has {text[:40]!r} in '{written.column}', which is no number. "
                "Write numbers like 1234.5, without units or separators of thousands; where they "
                "are names of labels, choose classification by `task`.",
                ["task"],
            )
    values = [float(cell) for cell in cells]
    largest, deviation = max(map(abs, values)), pstdev(values)
    if largest > _LARGEST or largest > _OFFSET * deviation > 0:
        why = f"up to {largest:.4g}, with a deviation of {deviation:.4g}"
        raise InputError(
            f"{source}: '{written.column}' holds numbers {why}, more than the seven digits of a "
            "model can tell apart. Subtract what they have in common, or take a larger unit."
        )
    if len(set(values)) < 2 or len(values) < _FEWEST:
        raise InputError(
            f"{source}: holds {len(values)} numbers, {len(set(values))} of them different. Give at "
            f"least {_FEWEST} that differ."
        )
    return values


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False
