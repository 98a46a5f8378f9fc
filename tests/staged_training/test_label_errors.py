"""Labels that were flipped are found: one label of several, several labels, none where all fit."""

import numpy as np
import pytest

from staged_training.experiment.target import MultiLabel, SingleLabel
from staged_training.labels.agreement import agreement
from staged_training.labels.evidence import contradicting, nearest
from staged_training.labels.label_errors import find_label_errors
from staged_training.labels.out_of_fold import out_of_fold_scores
from staged_training.reporting.classifier_report import label_errors_table

NAMES = ["a", "b", "c"]
FOLDS = np.arange(150) % 5


def blobs():
    """Examples of three labels that can be told apart, and the labels."""
    labels = np.repeat(np.arange(3), 50)
    rng = np.random.default_rng(0)
    return (3 * np.eye(3)[labels] + rng.normal(0, 0.5, (150, 3))).astype(np.float32), labels


def test_flipped_labels_come_first():
    features, labels = blobs()
    flipped = [3, 60, 149]
    given = labels.copy()
    given[flipped] = (given[flipped] + 1) % 3
    scores = out_of_fold_scores(features, given, SingleLabel(NAMES), FOLDS)
    found = find_label_errors(SingleLabel(NAMES), given, scores)
    assert set(found.order[:3]) == set(np.flatnonzero(found.wrong)) == set(flipped)
    assert set(np.flatnonzero(found.doubted)) == set(flipped)
    np.testing.assert_array_equal(found.predicted[flipped], labels[flipped])


def test_one_of_several_labels_that_is_wrong_comes_first():
    features, labels = blobs()
    given = np.eye(3, dtype=np.float32)[labels]
    given[7] = [1, 1, 0]  # one too many
    given[80] = 0  # one too few
    scores = out_of_fold_scores(features, given, MultiLabel(NAMES), FOLDS)
    found = find_label_errors(MultiLabel(NAMES), given, scores)
    assert set(found.order[:2]) == {7, 80}
    assert found.predicted[[7, 80]].tolist() == [[1, 0, 0], [0, 1, 0]]


def test_labels_that_fit_are_not_doubted():
    features, labels = blobs()
    scores = out_of_fold_scores(features, labels, SingleLabel(NAMES), FOLDS)
    found = find_label_errors(SingleLabel(NAMES), labels, scores)
    assert not found.wrong.any() and not found.doubted.any()


def test_no_example_is_scored_by_a_head_that_saw_it():
    features, _ = blobs()
    noise = np.random.default_rng(1).integers(0, 2, 150)
    scores = out_of_fold_scores(features, noise, SingleLabel(NAMES[:2]), FOLDS)
    assert (scores.argmax(axis=1) == noise).mean() < 0.65


def test_labels_that_the_test_part_lacks_are_no_obstacle():
    sure = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.8, 0.2, 0.0]])
    assert find_label_errors(SingleLabel(NAMES), [0, 1, 1], sure).order[0] == 2


def test_without_cleanlab_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr("staged_training.labels.label_errors.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'nlp-transfer\[labels\]'"):
        find_label_errors(SingleLabel(NAMES), [0], np.eye(3)[:1])


def test_copies_that_agree_contradict_nothing():
    assert contradicting([0, 0, 1, 1, 1], ["a", "a", "b", "b", "a"]) == {2: [4], 3: [4], 4: [2, 3]}


def test_neighbours_are_of_other_groups_one_of_each():
    angles = np.array([0.0, 0.0, 0.1, 0.1, 0.3, 1.0])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert nearest(features, [0, 0, 1, 1, 2, 3], np.array([1])) == [[2, 4, 5]]


def test_kappa_of_readers_who_agree_by_chance_is_about_none():
    rng = np.random.default_rng(0)
    first, second = (rng.choice(["a", "b"], 400, p=[0.9, 0.1]).tolist() for _ in range(2))
    found = agreement(first, second)
    assert abs(found.kappa) < 0.1
    assert found.interval[0] < 0 < found.interval[1]


def test_kappa_of_a_single_label_is_refused():
    with pytest.raises(ValueError, match="same label"):
        agreement(["a", "a"], ["a", "a"])


def test_a_report_shows_the_labels_that_are_doubted():
    sure = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    target = SingleLabel(["calm", "a*b"])
    told = label_errors_table(target, np.array([0, 0, 1]), sure, ["one", "two", "three"])
    assert [line.split("|")[4].strip() for line in told.splitlines()[-2:]] == ["two", "three"]
    assert r"a\*b" in told
    none = label_errors_table(target, np.array([0, 1, 0]), sure, ["one", "two", "three"])
    assert none.endswith("There are none.")
