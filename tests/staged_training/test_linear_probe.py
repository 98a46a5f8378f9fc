"""The linear probe is the optimum on its features, and becomes the head of a model."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from staged_training.heads.linear_probe import fit_probe, linear_probe


def blobs(labels, seed):
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(0).normal(size=(4, 6)) * 1.2
    return centers[labels] + rng.normal(size=(len(labels), 6)), np.asarray(labels)


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2, 3]])
def test_its_probabilities_are_those_of_logistic_regression(labels):
    train, validation = blobs(labels * 30, 1), blobs(labels * 20, 2)
    probe = linear_probe(train, validation, len(labels))
    model = LogisticRegression(C=probe.C, max_iter=1000).fit(*train)
    logits = torch.from_numpy(probe.logits(validation[0]))
    expected = model.predict_proba(validation[0])
    np.testing.assert_allclose(logits.softmax(-1), expected, atol=1e-4)


def test_the_penalty_is_the_best_on_validation():
    train, validation = blobs([0, 1, 2] * 4, 1), blobs([0, 1, 2] * 60, 2)
    probe = linear_probe(train, validation, 3)
    best = max(probe.grid, key=lambda trial: (trial.accuracy, -trial.loss))
    assert best.settings == {"C": probe.C}
    assert len({trial.loss for trial in probe.grid}) == len(probe.grid)


def test_a_label_without_training_examples_is_never_predicted():
    probe = linear_probe(blobs([0, 3] * 20, 1), blobs([0, 1, 3] * 20, 2), 4)
    assert set(probe.logits(blobs([0, 1, 2, 3] * 20, 3)[0]).argmax(1)) == {0, 3}


def test_it_becomes_the_head_of_a_model():
    train = blobs([0, 1, 2] * 20, 1)
    probe = fit_probe(train, 3, C=1.0)
    head = nn.Linear(6, 3)
    probe.put_into(head)
    with torch.no_grad():
        logits = head(torch.from_numpy(train[0]).float())
    np.testing.assert_allclose(logits, probe.logits(train[0]), rtol=1e-5, atol=1e-5)
