"""The scores of detections are those of COCO."""

import numpy as np
import pytest
from transformers import EvalPrediction

from vision_transfer.detection.evaluation import (
    Boxes,
    average_precision,
    best_overlaps,
    detection_metrics,
    mean_box,
)


def boxes(*corners, labels=None, scores=None):
    count = len(corners)
    return Boxes(
        np.array(corners, float).reshape(-1, 4),
        np.array(labels or [0] * count, int),
        np.array(scores or [1.0] * count, float),
    )


def test_perfect_boxes_score_one_and_none_zero():
    true = [boxes([0.1, 0.1, 0.5, 0.5]), boxes([0.2, 0.3, 0.4, 0.9])]
    assert average_precision(true, true) == {"map": 1.0, "map_50": 1.0, "map_75": 1.0}
    assert average_precision(true, [boxes(), boxes()]) == {"map": 0, "map_50": 0, "map_75": 0}


def test_a_box_counts_at_the_thresholds_that_its_overlap_reaches():
    true, found = [boxes([0, 0, 1, 1])], [boxes([0, 0, 1, 0.72])]  # IoU 0.72
    scores = average_precision(true, found)
    assert scores["map_50"] == pytest.approx(1)
    assert scores["map_75"] == pytest.approx(0)
    assert scores["map"] == pytest.approx(0.5)  # of 0.5 to 0.95, five are not above 0.72


def test_a_second_box_on_the_same_object_is_an_error():
    true = [boxes([0.1, 0.1, 0.5, 0.5]), boxes([0.1, 0.1, 0.5, 0.5])]
    twice = boxes([0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.5], scores=[0.9, 0.8])
    once = boxes([0.1, 0.1, 0.5, 0.5], scores=[0.7])
    assert average_precision(true, [twice, once])["map"] < 1


def test_the_score_is_the_mean_over_classes():
    true = [boxes([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], labels=[0, 1])]
    found = [boxes([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1], labels=[0, 0], scores=[0.9, 0.1])]
    assert average_precision(true, found)["map"] == pytest.approx(0.5)


def test_the_metrics_of_a_trainer_are_taken_from_logits_and_centres():
    labels = np.array([[[0, 0.3, 0.3, 0.4, 0.4], [-1, 0, 0, 0, 0]]])
    logits = np.log([[[0.9, 0.1], [1e-8, 1]]])
    found = np.array([[[0.3, 0.3, 0.4, 0.4], [0, 0, 0, 0]]])
    assert detection_metrics(EvalPrediction((logits, found), labels))["map"] == pytest.approx(1)


def test_the_mean_box_is_that_of_the_most_frequent_class():
    train = [boxes([0, 0, 0.2, 0.2], labels=[1]), boxes([0.2, 0.2, 0.4, 0.4], labels=[1]), boxes()]
    always = mean_box(train)
    np.testing.assert_allclose(always.corners, [[0.1, 0.1, 0.3, 0.3]])
    assert always.labels.tolist() == [1]


def test_the_best_scored_box_is_compared_with_the_nearest_true_one():
    true = [boxes([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]), boxes([0, 0, 1, 1])]
    found = [boxes([0.5, 0.5, 1, 0.75], [0, 0, 0.5, 0.5], scores=[0.9, 0.8]), boxes()]
    assert best_overlaps(true, found) == pytest.approx([0.5, 0.0])
