"""Labels of a table: one, several or a number for each example, and what cannot be learnt from."""

from pathlib import Path
from statistics import pstdev

import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from staged_training import InputError
from staged_training.tables.labels import LabelFormat, label_cells, read_labels

SOURCE = Path("t.csv")
NUMBERS = LabelFormat("price", task="regression")
SEVERAL = LabelFormat("tags", separator=";")


def read(cells, written=LabelFormat()):  # noqa: B008
    return read_labels(SOURCE, [f"row {n}" for n in range(1, len(cells) + 1)], cells, written, "x")


def test_one_label_each():
    labels = read(["b", " a", "a", "b "])
    assert labels == ("single_label_classification", ["a", "b"], [1, 0, 0, 1])


def test_several_labels_in_a_cell_and_none():
    labels = read(["x; y", "y", "", None, "x"], SEVERAL)
    assert labels.problem_type == "multi_label_classification"
    assert (labels.names, labels.values) == (["x", "y"], [[1, 1], [0, 1], [0, 0], [0, 0], [1, 0]])


def test_labels_that_spaces_part():
    labels = read(["x  y", "y", "", "x"], LabelFormat("tags", separator=" "))
    assert labels.values == [[1, 1], [0, 1], [0, 0], [1, 0]]


@pytest.mark.parametrize("written", [["1", "1.0", "2"], ["Urgent", "urgent", "calm"]])
def test_labels_that_may_be_one_are_told_and_stay_apart(written, caplog):
    assert len(read(written * 2).names) == 3
    assert f"the labels '{written[0]}' (2) and '{written[1]}' (2) are all but" in caplog.text


def test_numbers_with_fractions_are_no_labels_however_often_each_is_seen():
    with pytest.raises(InputError, match="choose regression by `task`"):
        read([f"{number}.5" for number in range(30)] * 2)
    assert len(read([str(number) for number in range(30)] * 2).names) == 30


def test_a_null_in_a_list_is_an_empty_label():
    table = pa.table({"tags": [["x", None], ["x"]]})
    assert label_cells(table, SOURCE, "tags") == [["x", ""], ["x"]]


def test_a_column_of_lists_needs_no_separator():
    table = pa.table({"tags": [["x", "y"], ["y"], [], ["x"]]})
    labels = read(label_cells(table, SOURCE, "tags"), LabelFormat("tags"))
    assert labels.values == [[1, 1], [0, 1], [0, 0], [1, 0]]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=10, unique=True))
def test_numbers_are_read_as_they_are_written(numbers):
    numbers = [number % 1000 for number in numbers]
    assume(len(set(numbers)) > 1 and pstdev(numbers) > 1)
    labels = read([repr(number) for number in numbers], NUMBERS)
    assert labels == ("regression", ["price"], numbers)


MANY = [str(number) for number in range(100)]
REFUSED = {
    "one label": (["a", "a"], LabelFormat(), "every x has the label 'a'"),
    "a label seen once": (["a", "a", "b"], LabelFormat(), r"'b' occurs only once \(row 3\)"),
    "no label": (["a", None, "b", ""], LabelFormat(), "row 2 has no label in 'label', and 1 more"),
    "dates": ([f"2020-01-{n}" for n in MANY], LabelFormat(), "Dates .* column by `label_column`"),
    "free text": ([f"it is {n}" for n in MANY], LabelFormat(), "Dates and free text"),
    "numbers for labels": (MANY, LabelFormat(), "choose regression by `task`"),
    "several for one": (
        [f"{a};{b};{c}" for a in "xyz" for b in "uvw" for c in "rst"],
        LabelFormat(),
        "give ';' as `label_separator`",
    ),
    "no separator": (["a", "b", "a"], SEVERAL, "no cell of 'tags' holds ';'"),
    "a doubled label": (["a;b", "b;a;b", "a"], SEVERAL, "row 2 has the label 'b' twice in 'tags'"),
    "a blank between": (["a;b", "a;;b"], SEVERAL, "row 2 has an empty label in 'tags'"),
    "one label of several": (["a;b", "a", "a"], SEVERAL, r"'b' occurs only once \(row 1\)"),
    "no list": ([["a"], None], LabelFormat(), "row 2 has no list of labels"),
    "a missing number": (["1", ""] * 9, NUMBERS, "row 2 has no number in 'price'"),
    "a comma": (["1.5", "1,5"] * 9, NUMBERS, "row 2 has '1,5' in 'price', which is no number"),
    "thousands": (["1.5", "1,500"] * 9, NUMBERS, "without units or separators of thousands"),
    "a unit": (["3", "5 EUR"] * 9, NUMBERS, "row 2 has '5 EUR'"),
    "not a number": (["3", "nan"] * 9, NUMBERS, "row 2 has 'nan'"),
    "infinity": (["3", "inf"] * 9, NUMBERS, "row 2 has 'inf'"),
    "one number": (["3"] * 20, NUMBERS, "holds 20 numbers, 1 of them different"),
    "numbers beyond single precision": (
        [f"{1e12 + int(n)}" for n in MANY],
        NUMBERS,
        "seven digits",
    ),
    "numbers far from 0": ([f"{1e8 + int(n)}" for n in MANY], NUMBERS, "Subtract what they have"),
    "a separator of numbers": (MANY, LabelFormat("price", ";", "regression"), "leave `label_sep"),
    "nothing in a list": ([["a", ""], ["a"]], LabelFormat("tags"), "row 1 has an empty label"),
    "names for numbers": (["cat", "dog"] * 9, NUMBERS, "choose classification by `task`"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learnt_from_is_refused_and_the_argument_named_that_mends_it(case):
    cells, written, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        read(cells, written)


def test_labels_that_look_like_several_are_told(caplog):
    read([f"{a}|{b}" for a in "wxyz" for b in "rstu"] * 2)
    assert "many hold '|'" in caplog.text
