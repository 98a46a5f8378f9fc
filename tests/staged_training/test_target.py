"""What is predicted: its scores are scikit-learn's, and its decisions the best on validation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn import metrics
from transformers import BertConfig, BertForSequenceClassification

from staged_training import InputError
from staged_training.experiment.dealing import check_folds
from staged_training.experiment.outcome import Decision
from staged_training.experiment.scaling import Scaling
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.heads.decision import move_outputs

RNG = np.random.default_rng(0)


def test_scores_of_one_label_are_those_of_scikit_learn():
    labels, logits = RNG.integers(3, size=60), RNG.normal(size=(60, 3))
    target = SingleLabel(["bill", "order", "technical"])
    found, predicted = target.predictions(logits), logits.argmax(1)
    assert target.scores(labels, found) == {
        "macro_f1": pytest.approx(metrics.f1_score(labels, predicted, average="macro")),
        "accuracy": pytest.approx(metrics.accuracy_score(labels, predicted)),
    }
    assert target.metric == "macro_f1"
    assert SingleLabel(["cat", "dog"]).metric == "accuracy"
    assert SingleLabel(["other", "urgent"], positive=1).metric == "average_precision"


def test_rare_labels_are_decided_for_more_often_where_macro_f1_counts():
    logits = np.log([[0.64, 0.04, 0.32]] * 4)
    names = ["bill", "order", "technical"]
    bias = SingleLabel(names).decision_bias([0, 0, 2, 0], logits)
    assert bias[1] - bias[0] == pytest.approx(0.5 * np.log(0.64 / 0.04))
    assert not SingleLabel(names[:2]).decision_bias([0, 0, 1, 0], logits[:, :2]).any()
    assert np.flatnonzero(SingleLabel(names, 1).decision_bias([0, 0, 1, 0], logits)) == [1]


def test_rare_labels_that_the_loss_made_up_for_are_not_raised_as_well():
    logits = np.log([[0.64, 0.04, 0.32]] * 4)
    names = ["bill", "order", "technical"]
    labels = [0, 0, 1, 0]
    assert not SingleLabel(names).decision_bias(labels, logits, weighted=True).any()
    of_one = SingleLabel(names, 1)  # where the label that matters is decided for is fitted anyway
    expected = of_one.decision_bias(labels, logits)
    np.testing.assert_array_equal(of_one.decision_bias(labels, logits, weighted=True), expected)


def test_scores_of_several_labels_are_those_of_scikit_learn():
    values, logits = RNG.integers(2, size=(60, 4)), RNG.normal(size=(60, 4))
    target = MultiLabel(list("abcd"))
    found = target.predictions(logits)
    assert target.scores(values, found) == {
        "macro_average_precision": pytest.approx(metrics.average_precision_score(values, logits)),
        "macro_f1": pytest.approx(metrics.f1_score(values, logits > 0, average="macro")),
        "micro_f1": pytest.approx(metrics.f1_score(values, logits > 0, average="micro")),
    }


def test_a_label_that_applies_to_no_example_does_not_count_in_means_over_labels():
    values, found = np.array([[1, 0], [0, 0], [1, 0]]), np.array([[0.9, 0.1], [0.2, 0.6], [0.8, 0]])
    scores = MultiLabel(["late", "broken"]).scores(values, found)
    assert scores["macro_average_precision"] == scores["macro_f1"] == 1
    assert scores["micro_f1"] == pytest.approx(4 / 5)
    assert set(MultiLabel(["late", "broken"]).scores(0 * values, found).values()) == {0}
    found[2, 0] = 0.1
    assert MultiLabel(["late", "broken"]).scores(values, found)["macro_f1"] == pytest.approx(2 / 3)


def test_scores_of_numbers_are_those_of_scikit_learn_and_scipy():
    values, predicted = RNG.normal(size=50), RNG.normal(size=(50, 1))
    assert Regression(["price"]).scores(values, predicted) == {
        "r2": pytest.approx(metrics.r2_score(values, predicted)),
        "spearman": pytest.approx(spearmanr(values, predicted[:, 0]).statistic),
        "mae": pytest.approx(metrics.mean_absolute_error(values, predicted)),
    }


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.floats(-5, 5, width=16)), min_size=2, max_size=20))
def test_no_threshold_gives_a_label_of_several_a_better_f1(examples):
    values = np.array([[applies] for applies, _ in examples], float)
    logits = np.array([[logit] for _, logit in examples])
    (bias,) = MultiLabel(["late"]).decision_bias(values, logits)

    def f1(threshold):
        return metrics.f1_score(values[:, 0], logits[:, 0] > threshold, zero_division=0)

    between = np.unique(logits)
    tried = np.concatenate([between - 1e-9, (between[1:] + between[:-1]) / 2, between + 1e-9])
    if values.any():
        assert f1(-bias) == pytest.approx(max(map(f1, tried)))
    else:
        assert bias == 0


def test_labels_of_all_or_no_validation_examples_keep_their_decision():
    values, logits = np.array([[1, 0]] * 3), np.full((3, 2), 9.0)
    assert MultiLabel(["late", "broken"]).decision_bias(values, logits).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (SingleLabel(["a", "b", "c"]), np.arange(100) % 3),
        (MultiLabel(["a", "b"]), np.stack([np.arange(100) % 2, np.arange(100) % 3 == 0], 1)),
        (Regression(["price"]), np.arange(100.0) ** 2),
    ],
)
def test_folds_are_alike_and_keep_groups_together(target, values):
    groups = np.arange(100) // 2
    folds = target.folds(values, groups)
    assert np.array_equal(folds[::2], folds[1::2])
    means = [np.asarray(values, float)[folds == fold].mean() for fold in range(5)]
    assert np.ptp(means) < 0.3 * np.mean(means)
    check_folds("t.csv", target, values, folds)


def test_numbers_that_repeat_are_dealt_too():
    folds = Regression(["stars"]).folds([1.0] * 40 + [5.0] * 10, range(50))
    assert np.bincount(folds).tolist() == [10] * 5


@pytest.mark.parametrize(
    ("target", "values", "message"),
    [
        (SingleLabel(["a", "b"]), [0, 0, 0, 1, 0, 1], "fold 0 has nothing but examples of one"),
        (
            SingleLabel(["a", "b", "c"]),
            [0, 1, 0, 1, 2, 1],
            "label 'a' are in the parts to validate",
        ),
        (SingleLabel(["a", "b"], 1), [0, 0, 0, 1, 0, 1], "fold 0 has no example of the label 'b'"),
        (MultiLabel(["a", "b"]), [[1, 0], [0, 1]] * 2 + [[0, 0], [1, 0]], "label 'b' reaches few"),
        (Regression(["price"]), [2.0, 2.0, 1.0, 2.0, 3.0, 4.0], "nothing but one number"),
    ],
)
def test_folds_on_which_nothing_can_be_measured_are_refused(target, values, message):
    with pytest.raises(InputError, match=message):
        check_folds("t.csv", target, np.array(values), np.array([0, 0, 1, 1, 2, 2]))


def test_the_scale_of_numbers_and_the_decision_go_into_the_head():
    config = BertConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=2, num_labels=1
    )
    model = BertForSequenceClassification(config).eval()
    ids = torch.tensor([[1, 1, 0]])
    before = model(ids).logits
    move_outputs(model, Decision(np.array([0.5]), np.ones(1)), *Scaling(100.0, 20.0))
    assert torch.allclose(model(ids).logits, 20 * before + 100.5)
