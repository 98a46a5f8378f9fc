"""Rare classes: their scores, and the shift that makes the decision."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score

from staged_training.heads.class_balance import average_precision, best_bias, scores_on, softmax

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
