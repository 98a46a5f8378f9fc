"""The linear probe is the optimum on its features, and becomes the head of a model."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from torch import nn

from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.heads.linear_probe import fit_probe, linear_probe


def blobs(labels, seed):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(4, 6)) * 1.2
    return centers[labels] + rng.normal(size=(len(labels), 6)), np.asarray(labels)


def one_of(count):
    return SingleLabel(list("abcd"[:count]))


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 3]])
def test_its_probabilities_are_those_of_logistic_regression(labels):
    train, validation = blobs(labels * 30, 1), blobs(labels * 20, 2)
    probe = linear_probe(train, validation, one_of(len(labels)))
    model = LogisticRegression(C=probe.C, max_iter=1000).fit(*train)
    logits = torch.from_numpy(probe.logits(validation[0]))
    expected = model.predict_proba(validation[0])
    np.testing.assert_allclose(logits.softmax(-1), expected, atol=1e-4)


def test_the_penalty_is_the_best_on_validation():
    train, validation = blobs([0, 1, 2] * 4, 1), blobs([0, 1, 2] * 60, 2)
    probe = linear_probe(train, validation, one_of(3))
    best = max(probe.grid, key=lambda trial: (trial.score, -trial.loss))
    assert best.settings == {"C": probe.C}
    assert len({trial.loss for trial in probe.grid}) == len(probe.grid)


def test_a_label_without_training_examples_is_never_predicted():
    probe = linear_probe(blobs([0, 3] * 20, 1), blobs([0, 1, 3] * 20, 2), one_of(4))
    assert set(probe.logits(blobs([0, 1, 2, 3] * 20, 3)[0]).argmax(1)) == {0, 3}


def test_more_than_two_labels_are_scored_by_macro_f1():
    train, validation = blobs([0] * 40 + [1, 2] * 3, 1), blobs([0] * 40 + [1, 2] * 9, 2)
    probe = linear_probe(train, validation, one_of(3), Cs=[1.0])
    predicted = probe.logits(validation[0]).argmax(axis=1)
    assert probe.grid[0].score == f1_score(validation[1], predicted, average="macro")


def test_several_labels_are_a_logistic_regression_each():
    features, numbers = blobs([0, 1, 2] * 30, 1)
    values = np.stack([numbers != 0, numbers == 2, numbers < 0], axis=1).astype(np.float32)
    probe = fit_probe((features, values), MultiLabel(["a", "b", "c"]), C=1.0)
    for label in (0, 1):
        model = LogisticRegression(C=1.0, max_iter=1000).fit(features, values[:, label])
        expected = model.decision_function(features)
        np.testing.assert_allclose(probe.logits(features)[:, label], expected, atol=1e-4)
    assert (probe.logits(features)[:, 2] < -10).all()  # no example has it


def test_numbers_are_a_ridge_regression():
    features, numbers = blobs([0, 1, 2, 3] * 20, 1)
    train = features[:60], 1000.0 + 50 * numbers[:60]
    validation = features[60:], 1000.0 + 50 * numbers[60:]
    probe = linear_probe(train, validation, Regression(["price"]))
    model = Ridge(alpha=1 / probe.C).fit(*train)
    np.testing.assert_allclose(probe.logits(features)[:, 0], model.predict(features), rtol=1e-4)
    assert max(trial.score for trial in probe.grid) == pytest.approx(
        model.score(*validation), abs=1e-4
    )


def test_it_becomes_the_head_of_a_model():
    train = blobs([0, 1, 2] * 20, 1)
    probe = fit_probe(train, one_of(3), C=1.0)
    head = nn.Linear(6, 3)
    probe.put_into(head)
    with torch.no_grad():
        logits = head(torch.from_numpy(train[0]).float())
    np.testing.assert_allclose(logits, probe.logits(train[0]), rtol=1e-5, atol=1e-5)
