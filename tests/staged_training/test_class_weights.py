"""Class weights are those of scikit-learn, and a weighted loss counts an example as often."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from staged_training import InputError
from staged_training.experiment.target import MultiLabel, SingleLabel
from staged_training.heads.class_weights import class_weights, loss_of, read_class_weight

NAMES = ["a", "b", "c"]


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.array([0] * 5 + [1] * 2 + [2])
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert np.allclose(class_weights(labels, NAMES, "balanced"), wanted)
    assert class_weights(labels, NAMES, None) is None
    assert loss_of(labels, SingleLabel(NAMES), None) is None
    assert class_weights(labels[:7], NAMES, "balanced")[2] == 1  # not seen


def test_the_gradient_is_zero_where_a_weighted_logistic_regression_ends():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(80, 4)), rng.integers(3, size=80)
    model = LogisticRegression(C=np.inf, class_weight="balanced", max_iter=5000, tol=1e-10)
    model.fit(features, labels)
    loss = loss_of(labels, SingleLabel(NAMES), "balanced")
    logits = torch.tensor(model.decision_function(features), requires_grad=True)
    loss({"logits": logits}, torch.tensor(labels)).backward()
    assert np.abs(features.T @ logits.grad.numpy()).max() < 1e-5


def test_where_a_label_of_several_applies_counts_as_often_as_where_it_does_not():
    values = np.array([[1.0, 0], [0, 1], [0, 1], [0, 0]])
    weights = class_weights(values, ["x", "y"], "balanced")
    assert weights.tolist() == [3, 1]
    logits = torch.zeros(4, 2, requires_grad=True)
    loss = loss_of(values, MultiLabel(["x", "y"]), "balanced")
    loss({"logits": logits}, torch.tensor(values, dtype=torch.float32)).backward()
    assert torch.allclose(logits.grad.sum(0), torch.zeros(2), atol=1e-7)


def test_weights_are_read_as_they_are_written():
    assert read_class_weight(None, NAMES) is None
    assert read_class_weight(["balanced"], NAMES) == "balanced"
    assert read_class_weight(["a=2", "c=0.5"], NAMES) == {"a": 2, "c": 0.5}
    assert class_weights([0], NAMES, {"a": 2, "c": 0.5}).tolist() == [2, 1, 0.5]


@pytest.mark.parametrize("given", [["even"], ["d=2"], ["a=0"], ["a=x"], ["a=1", "a=9"], ["a=inf"]])
def test_weights_that_are_none_are_refused(given):
    with pytest.raises(InputError, match="The labels are: a, b, c") as error:
        read_class_weight(given, NAMES)
    assert error.value.arguments == ["class_weight"]
