from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from staged_training import InputError
from staged_training.experiment.splits import (
    chosen_folds,
    fold_numbers,
    fold_split,
    given_folds,
    multilabel_folds,
    near_duplicate_groups,
    stratified_folds,
)
from staged_training.tables.parts import parts_of

WORDS = st.sampled_from(
    ["please", "call", "me", "back", "today", "or", "answer", "by", "mail", "no", "hurry"]
)
TEXTS = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=25)


def jaccard(a, b):
    a, b = set(a.split()), set(b.split())
    return len(a & b) / len(a | b) if a | b else 1.0


@settings(max_examples=200)
@given(texts=TEXTS, threshold=st.sampled_from([0.3, 0.5, 0.6, 0.75, 1.0]))
def test_groups_are_the_connected_near_duplicates(texts, threshold):
    groups = near_duplicate_groups(texts, threshold)
    expected = list(range(len(texts)))  # joined pair by pair
    for i, a in enumerate(texts):
        for j, b in enumerate(texts[:i]):
            if jaccard(a, b) >= threshold:
                expected = [expected[j] if g == expected[i] else g for g in expected]
    same = np.equal.outer(expected, expected) if texts else np.ones((0, 0), bool)
    assert np.array_equal(np.equal.outer(groups, groups), same)


def test_case_and_punctuation_do_not_make_a_difference():
    assert near_duplicate_groups(["Call me, NOW!", "call me now", "write me"]).tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("पानी की कमी है", "पैनु के काम हो"),  # the same consonants, other words
        ("מַלְכָּה טוֹבָה", "מֶלֶךְ הַטּוֹב"),
        ("دَرَسَ الوَلَدُ", "دُرِسَ الوِلادَ"),
        ("今天下午三点在北京开会", "明年春天去上海看花"),
        ("ประชุมบ่ายสามโมงวันจันทร์", "ขอบคุณสำหรับของขวัญ"),
    ],
)
def test_texts_of_other_words_are_no_near_duplicates_in_any_script(first, second):
    assert near_duplicate_groups([first, second]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("आज पंप में पानी नहीं है", "आज पंप में पानी नहीं था"),
        ("今天下午三点在北京开会，请准时参加", "今天下午四点在北京开会，请准时参加"),
        ("ประชุมบ่ายสามโมงวันจันทร์", "ประชุมบ่ายสามโมงวันอังคาร"),
        ("İSTANBUL toplantısı", "istanbul toplantısı"),
        ("cafe\u0301 noir", "café noir"),
    ],
)
def test_near_duplicates_are_found_in_any_script(first, second):
    assert near_duplicate_groups([first, second]).tolist() == [0, 0]


@pytest.mark.parametrize("gap", [float("nan"), None])
def test_what_is_no_text_is_told_by_its_number(gap):
    with pytest.raises(InputError, match="texts: number 2 is"):
        near_duplicate_groups(["a", "b", gap])


def test_folds_keep_groups_together_and_labels_spread():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 400, 1000)
    labels = np.where(rng.random(1000) < 0.05, "urgent", "other")
    folds = stratified_folds(labels.tolist(), groups)
    for group in range(400):
        assert len(set(folds[groups == group])) <= 1
    counts = np.array(
        [[np.sum((folds == f) & (labels == x)) for f in range(5)] for x in set(labels)]
    )
    assert (counts.max(axis=1) - counts.min(axis=1) <= 4).all()
    assert np.array_equal(folds, stratified_folds(labels.tolist(), groups))


def test_a_label_with_too_few_different_examples_is_refused():
    labels = ["a"] * 20 + ["b"] * 6
    groups = [*range(20), 20, 20, 20, 21, 21, 22]
    with pytest.raises(InputError, match="'b' reaches 3 of 5 folds: it has 6 examples, and near"):
        stratified_folds(labels, groups)


def test_a_fold_is_tested_the_next_validates_and_the_others_train():
    folds = [0, 1, 2, 3, 4, 0, 4]
    train, validation, test = fold_split(folds, 4)
    assert (train.tolist(), validation.tolist(), test.tolist()) == ([1, 2, 3], [0, 5], [4, 6])


@pytest.mark.parametrize(
    ("folds", "test_fold", "message"),
    [
        ([0, 1, 1], 0, "at least three; found"),
        ([1, 2, 3], 1, "must be numbered 0, 1, 2"),
        ([0, 1, 2], 3, "There is no fold 3; the folds are 0 to 2"),
    ],
)
def test_folds_that_cannot_be_used_are_refused(folds, test_fold, message):
    with pytest.raises(InputError, match=message):
        fold_split(folds, test_fold)


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        (["train", "Valid", "TEST", "training"], [[0, 3], [1], [2]]),
        (["train2017", "instances_val2017", "test"], [[0], [1], [2]]),
        (["restval", "val", "test", "train"], [[0, 3], [1], [2]]),
        (["trainImages", "devImages", "testImages"], [[0], [1], [2]]),
    ],
)
def test_a_split_that_came_with_the_data_is_used_as_it_is(cells, parts):
    folds = given_folds(Path("a.csv"), cells)
    assert fold_numbers(folds) == chosen_folds("all", folds) == [0]
    assert [part.tolist() for part in fold_split(folds, 0)] == parts


@pytest.mark.parametrize("tested", ["valid", "test"])
def test_a_fifth_of_the_training_part_validates_where_no_part_does(tested):
    groups = [row // 2 for row in range(20)] + [20, 21]
    folds = given_folds(Path("a.csv"), ["train"] * 20 + [tested] * 2, groups)
    train, validation, test = fold_split(folds, 0)
    assert (len(train), len(validation), test.tolist()) == (16, 4, [20, 21])
    assert len({groups[row] for row in validation}) == 2  # no group is torn


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["train", "other", "test"], "a.csv: 1 of 3 rows, the first of them row 2, are in no part"),
        (["val", "test"], "the split has no part to train on"),
        (["train", "test"], "the part to train on has one example"),
        ([-2, -1, 0], "a cell is not a whole number from 0 on"),
        (["train", "train"], "a cell is not a whole number"),
    ],
)
def test_a_split_that_cannot_be_used_is_refused(cells, message):
    with pytest.raises(InputError, match=message):
        given_folds(Path("a.csv"), cells)


def test_a_folder_around_all_parts_tells_nothing():
    assert parts_of(["my-test/train/a", "my-test/valid/a"]) == ["train", "validation"]
    assert parts_of(["my-test/a", "my-test/b", "my-test/b"]) == [None] * 3


def test_names_that_only_look_like_parts_tell_of_none():
    assert parts_of(["contest", "VOCdevkit", "intrain", "Testament"]) == [None] * 4
    assert parts_of(["test-bench/1.jpg", "garage/2.jpg"]) == [None] * 2
    assert parts_of(["train/1.jpg", "garage/2.jpg"]) == ["train", None]
    assert parts_of(["train", "restval"]) == [None] * 2  # one part


def test_rows_with_several_labels_are_dealt_with_every_label_spread():
    random = np.random.default_rng(0)
    labels = [set(random.choice(6, random.integers(0, 4), replace=False)) for _ in range(200)]
    labels += [{6}, {6, 0}]  # too rare for every fold
    folds = multilabel_folds(labels, range(len(labels)))
    assert np.ptp(np.bincount(folds)) <= 4
    for label in range(6):
        has = folds[[label in of_row for of_row in labels]]
        assert np.ptp(np.bincount(has, minlength=5)) <= 3
    assert folds[-1] != folds[-2]
    assert np.array_equal(folds, multilabel_folds(labels, range(len(labels))))
