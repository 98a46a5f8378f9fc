"""The labels of a draw are all there is, and every label is among them."""

import numpy as np
import pytest
from labelled_sets import TEXTS, drawn_task, parts
from small_labels import ACCURACY, cost_table, of_kind, score_table


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("size", [20, 50])
def test_a_draw_has_two_of_each_label_and_tests_on_a_fold_of_its_own(size, draw):
    rng = np.random.default_rng(0)
    values = np.concatenate([np.arange(10).repeat(5), rng.integers(0, 3, 250)])
    folds = rng.integers(0, 5, len(values))
    train, validation, test = parts(values, folds, size, draw)
    labelled = np.concatenate([train, validation])
    assert len({*labelled.tolist()}) == size and len(validation) == size // 5
    assert (np.bincount(values[labelled], minlength=10) >= 2).all()
    assert (np.bincount(values[train], minlength=10) >= 1).all()
    assert {*folds[test].tolist()} == {draw} and draw not in folds[labelled]


def test_a_task_of_a_draw_trains_and_validates_on_its_labels_alone():
    task = TEXTS["urgent"]()
    drawn = parts(task.values, np.asarray(task.folds), 500, draw=1)
    own = drawn_task(task, drawn)
    assert own.fold_numbers == [0] and own.train_size == len(drawn.train) == 400
    of_parts = [own.all.select(rows).texts for rows in own.split(0)]
    assert of_parts == [task.all.select(rows).texts for rows in drawn]


def test_more_labels_than_there_are_cannot_be_drawn():
    with pytest.raises(ValueError, match="50 labels: there are 40 in the other folds"):
        parts(np.arange(50) % 2, np.arange(50) % 5, 50, draw=0)


def test_scores_are_told_apart_by_their_kind():
    cells = {"a, 50": {"one": 0.5, f"one{ACCURACY}": 0.6, "one, on validation": 0.7}}
    assert of_kind(cells, "") == {"a, 50": {"one": 0.5}}
    assert of_kind(cells, ACCURACY) == {"a, 50": {"one": 0.6}}


def test_what_was_stopped_is_told_apart_from_what_was_not_tried():
    figures = {"seconds": 2.0, "peak MB": 1000.0}
    table = cost_table({"a, 50": {"one": [figures], "two": []}, "b, 50": {"one": [figures]}})
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert cells == [["one", *["2 s, 1,000 MB"] * 2], ["two", "not done", ""]]


def test_ways_are_ranked_among_those_that_were_measured():
    cells = {"a, 50": {"one": 0.5, "two": 0.7}, "b, 50": {"two": 0.1, "three": 0.9, "one": 0.5}}
    rows = [[cell.strip() for cell in row.split("|")] for row in score_table(cells).splitlines()]
    assert [row[1:3] for row in rows[2:]] == [["three", "0.33"], ["two", "0.75"], ["one", "0.83"]]
