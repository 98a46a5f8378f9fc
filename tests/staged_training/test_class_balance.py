"""Rare classes: their scores, and the shift that makes the decision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, f1_score

from staged_training.experiment.target import SingleLabel
from staged_training.heads.class_balance import (
    average_precision,
    best_bias,
    rare_bias,
    scores_on,
    softmax,
)
from staged_training.heads.linear_probe import fit_probe

LABELS = np.array([0] * 9 + [1])


def test_scores_of_a_perfect_and_of_a_blind_model():
    perfect = np.eye(2)[LABELS]
    assert scores_on(LABELS, perfect, positive=1) == {
        "average_precision": 1,
        "macro_f1": 1,
        "accuracy": 1,
    }
    blind = np.tile([0.9, 0.1], (10, 1))
    scores = scores_on(LABELS, blind, positive=1)
    assert scores["average_precision"] == pytest.approx(0.1)
    assert scores["accuracy"] == 0.9
    assert scores["macro_f1"] == pytest.approx(f1_score(LABELS, [0] * 10, average="macro"))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), min_size=1, max_size=20))
def test_average_precision_is_that_of_scikit_learn_also_of_equal_scores(examples):
    applies, scores = map(np.array, zip(*examples, strict=True))
    found = average_precision(applies, scores / 9)
    assert found == pytest.approx(average_precision_score(applies, scores) if any(applies) else 0)


def test_scores_that_are_not_finite_have_no_average_precision():
    with pytest.raises(ValueError, match="infs or NaNs"):
        average_precision([True, False], [np.nan, 0.5])


logits_and_labels = st.lists(
    st.tuples(st.tuples(*[st.floats(-5, 5, width=16)] * 3), st.integers(0, 2)),
    min_size=1,
    max_size=12,
)


@given(logits_and_labels, st.integers(0, 2))
def test_no_shift_decides_better_than_the_best_bias(examples, positive):
    logits = np.array([example for example, _ in examples], dtype=float)
    labels = np.array([label for _, label in examples])

    def macro_f1(shift):
        moved = logits.copy()
        moved[:, positive] += shift
        return f1_score(labels, moved.argmax(1), average="macro", zero_division=0)

    best = macro_f1(best_bias(labels, logits, positive))
    # No such shift makes two logits equal, where the order of the labels would decide.
    shifts = np.linspace(-11, 11, 23) + np.pi / 10_000
    assert best >= max(macro_f1(shift) for shift in shifts) - 1e-9


def test_the_best_bias_lies_in_the_middle_of_the_gap():
    logits = np.array([[0, -4], [0, -3], [0, -1], [0, 2]])
    assert best_bias([0, 0, 1, 1], logits, positive=1) == 2
    assert softmax(logits + np.array([0, 2])).argmax(1).tolist() == [0, 0, 1, 1]


@given(st.lists(st.tuples(*[st.floats(-5, 5)] * 4), min_size=1, max_size=9))
def test_the_rarer_a_class_the_more_its_logit_is_raised(logits):
    order = softmax(logits).mean(axis=0).argsort()
    raised = rare_bias(logits)[order]
    assert (np.diff(raised) <= 0).all()
    assert raised[0] - raised[-1] <= 0.5 * np.log(4 / 0.01)  # also of a class that is never seen


def test_of_classes_as_frequent_none_is_raised():
    assert np.ptp(rare_bias(np.eye(3))) == pytest.approx(0)


def test_digits_of_which_half_are_rare_are_told_apart_better_by_raised_logits():
    pixels, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    own = [rng.permutation(np.flatnonzero(labels == n)) for n in range(10)]
    train = np.concatenate([rows[: 40 if n < 5 else 4] for n, rows in enumerate(own)])
    validation = np.concatenate([rows[40 : 60 if n < 5 else 42] for n, rows in enumerate(own)])
    test = np.concatenate([rows[60 : 160 if n < 5 else 70] for n, rows in enumerate(own)])
    target = SingleLabel([str(n) for n in range(10)])
    examples = (pixels[train], labels[train])
    head = fit_probe(examples, target, C=1e-3)
    bias = target.decision_bias(labels[validation], head.logits(pixels[validation]))
    logits = head.logits(pixels[test])
    plain, raised = (scores_on(labels[test], softmax(x), None) for x in (logits, logits + bias))
    assert raised["macro_f1"] > plain["macro_f1"] + 0.1
    assert raised["accuracy"] > plain["accuracy"]
