"""What is measured on a split, and its means over splits."""

import numpy as np
import pytest

from staged_training.experiment.outcome import Outcome, mean_rows, outcome
from staged_training.experiment.target import SingleLabel

VALIDATION = [0, 0, 0, 1]
TEST = [0, 1, 0, 1]
LOGITS = [
    [[3, 0], [3, 0.5], [3, 1], [3, 2.0]],  # the positive class ranks first and never wins
    [[3, 0], [3, 2.5], [3, 1], [3, 1.9]],
]


def test_the_decision_is_moved_to_where_validation_is_best():
    item = outcome("net", (VALIDATION, TEST), LOGITS, SingleLabel(["a", "b"], 1), seconds=2.0)
    assert item.decision_bias[0] == 0 and 1 < item.decision_bias[1] < 2
    assert item.metrics == {"average_precision": 1.0, "macro_f1": 1.0, "accuracy": 1.0}
    assert item.validation == item.metrics
    assert np.argmax(item.probabilities, axis=1).tolist() == TEST
    assert item.seconds == 2.0


def test_rows_are_means_over_folds_of_means_over_seeds():
    def item(model, score, parameters=5):
        validation = {"macro_f1": score / 2}
        return Outcome(model, {"macro_f1": score}, validation, [], [], 3.0, parameters)

    rows = mean_rows([[item("a", 0.2), item("a", 0.4), item("b", 0.9)], [item("a", 0.7)]])
    assert [row.name for row in rows] == ["a", "b"]
    assert rows[0].metrics == pytest.approx({"macro_f1": 0.5, "validation_macro_f1": 0.25})
    assert rows[0].std["macro_f1"] == pytest.approx(np.std([0.3, 0.7], ddof=1))
    assert (rows[0].seconds, rows[0].trainable_parameters) == (3.0, 5)


def test_of_a_single_fold_there_is_no_deviation():
    (row,) = mean_rows([[Outcome("a", {"macro_f1": 0.2}, {}, [], [], 1.0)]])
    assert row.std == {}


def test_where_all_classes_matter_alike_the_largest_logit_decides():
    item = outcome("net", (VALIDATION, TEST), LOGITS, SingleLabel(["a", "b"]), seconds=2.0)
    assert item.decision_bias == [0, 0]
    assert item.metrics == {"macro_f1": pytest.approx(1 / 3), "accuracy": 0.5}
