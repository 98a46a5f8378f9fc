"""What a transfer has to beat."""

import numpy as np

from nlp_transfer.baselines import baseline_outcomes
from nlp_transfer.text_task import LabelledTexts
from staged_training.experiment.target import SingleLabel


def part(urgent, other):
    return LabelledTexts(urgent + other, [1] * len(urgent) + [0] * len(other))


TRAIN = part(["call me now", "please call today"] * 3, ["see you next year", "nice photo"] * 6)
VALIDATION = part(["call now please"], ["nice year", "see photo", "a nice one"])
TEST = part(["please do call me today"], ["what a nice photo", "next year then", "see you"])


def test_they_are_scored_like_any_model():
    target = SingleLabel(["other", "urgent"], positive=1)
    majority, regression = baseline_outcomes(TRAIN, VALIDATION, TEST, target)
    assert majority.model == "majority class"
    assert majority.metrics["average_precision"] == 0.25  # the share of urgent ones
    assert regression.model == "TF-IDF + logistic regression"
    assert regression.metrics == {"average_precision": 1.0, "macro_f1": 1.0, "accuracy": 1.0}
    assert regression.trainable_parameters > 10
    assert np.argmax(regression.probabilities, axis=1).tolist() == TEST.labels
