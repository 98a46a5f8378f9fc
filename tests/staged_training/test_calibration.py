"""Scores are as sure as they are right, and no prediction is another for it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from transformers import BertConfig, BertForSequenceClassification

from staged_training.experiment.outcome import Decision, mean_decision, outcome
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.heads.calibration import calibration_error, temperatures
from staged_training.heads.class_balance import softmax
from staged_training.heads.decision import move_outputs
from staged_training.tables.labels import DECIDED

NAMES = ["a", "b", "c"]
TARGETS = [SingleLabel(NAMES), SingleLabel(NAMES, positive=1), MultiLabel(NAMES)]


def drawn(examples, seed=0):
    """Logits, and labels as likely as their softmax says."""
    numbers = np.random.default_rng(seed)
    logits = numbers.normal(size=(examples, 3)) * 2
    shares = softmax(logits).cumsum(axis=1)
    return logits, (numbers.random((examples, 1)) > shares).sum(axis=1)


@pytest.mark.parametrize("factor", [0.2, 1, 5])
def test_the_temperature_makes_up_for_logits_that_are_too_large_or_too_small(factor):
    logits, labels = drawn(20_000)
    found = temperatures(SingleLabel(NAMES), labels, factor * logits)
    assert found == pytest.approx(np.full(3, factor), rel=0.05)


def test_each_of_several_labels_has_a_temperature_of_its_own():
    numbers = np.random.default_rng(0)
    logits = numbers.normal(size=(20_000, 3)) * 2
    values = numbers.random(logits.shape) < 1 / (1 + np.exp(-logits))
    found = temperatures(MultiLabel(NAMES), values, logits * [0.5, 1, 4])
    assert found == pytest.approx([0.5, 1, 4], rel=0.05)


def test_numbers_stay_as_they_are():
    assert temperatures(Regression(["price"]), [1.0, 2.0], [[3.0], [4.0]]).tolist() == [1]


def test_a_model_that_is_always_right_on_validation_is_not_infinitely_sure():
    logits = np.tile(4 * np.eye(3), (30, 1))
    (temperature, *_) = temperatures(SingleLabel(NAMES), logits.argmax(axis=1), logits)
    assert 0.3 < temperature < 1


def test_few_examples_and_scores_that_say_nothing_change_little():
    target = SingleLabel(NAMES)
    assert 0.4 < temperatures(target, [0, 1], np.eye(3)[:2])[0] < 1
    assert temperatures(target, [0, 1, 2], np.zeros((3, 3)))[0] == pytest.approx(1, abs=1e-3)


@pytest.mark.filterwarnings("ignore:No positive class")
@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from(TARGETS))
def test_what_is_predicted_is_the_same_with_the_temperature_and_without(seed, examples, target):
    numbers = np.random.default_rng(seed)
    parts = numbers.normal(size=(2, examples, 3)) * 10 ** numbers.uniform(-2, 2)
    several = isinstance(target, MultiLabel)
    values = numbers.integers(0, 2 if several else 3, size=(2, examples, *[3] * several))
    found = outcome("net", values, parts, target, seconds=0.0)
    moved = parts[1] + found.decision_bias
    probabilities = np.array(found.probabilities)
    if several:
        assert ((probabilities >= DECIDED) == (moved >= 0)).all()
    else:
        assert (probabilities.argmax(axis=1) == moved.argmax(axis=1)).all()


def test_the_head_gives_the_scores_that_were_measured():
    torch.manual_seed(0)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = BertConfig(vocab_size=50, intermediate_size=8, num_labels=3, **sizes)
    model = BertForSequenceClassification(config).eval()
    tokens = torch.randint(50, (30, 5))
    with torch.no_grad():
        logits = 500 * model(tokens).logits.numpy()
        model.classifier.weight *= 500
        labels = np.random.default_rng(0).integers(0, 3, 30)
        found = outcome("net", [labels] * 2, [logits] * 2, TARGETS[1], seconds=0.0)
        move_outputs(model, mean_decision([found]))
        scores = model(tokens).logits.softmax(dim=1).numpy()
    assert found.temperature[0] != pytest.approx(1, abs=0.1)
    assert scores == pytest.approx(np.array(found.probabilities), abs=1e-4)


def test_the_mean_of_decisions_is_that_of_biases_and_of_factors():
    labels = [0, 1, 2, 0]
    found = outcome("net", [labels] * 2, [np.eye(3)[labels]] * 2, TARGETS[0], seconds=0.0)
    found.temperature[:], found.decision_bias[:] = [1.0] * 3, [0.0] * 3
    other = outcome("net", [labels] * 2, [np.eye(3)[labels]] * 2, TARGETS[0], seconds=0.0)
    other.temperature[:], other.decision_bias[:] = [4.0] * 3, [0.0, 1.0, 0.0]
    mean = mean_decision([found, other])
    assert isinstance(mean, Decision)
    assert mean.bias.tolist() == [0, 0.5, 0]
    assert mean.temperature == pytest.approx([2, 2, 2])


def test_the_calibration_error_is_that_of_the_curve_of_scikit_learn():
    numbers = np.random.default_rng(0)
    scores = numbers.random(5000) ** 2
    right = numbers.random(5000) < scores**1.5
    share, mean = calibration_curve(right, scores, n_bins=10)
    counts = np.histogram(scores, bins=10, range=(0, 1))[0]
    wanted = np.abs(share - mean) @ counts / 5000
    assert calibration_error(right, scores) == pytest.approx(wanted)
    assert calibration_error([True, False], [1.0, 0.0]) == 0
