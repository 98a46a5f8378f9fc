"""More examples, fewer errors; and how many would be needed."""

import numpy as np
import pytest

from staged_training.heads.learning_curve import CurvePoint, examples_needed, learning_curve
from tests.staged_training.test_linear_probe import blobs


def test_accuracy_rises_with_the_number_of_examples():
    labels = [0, 1, 2, 3]
    curve = learning_curve(blobs(labels * 50, 1), blobs(labels * 50, 2), 4)
    assert [point.examples for point in curve] == [25, 50, 100, 200]
    assert curve[0].accuracy < curve[-1].accuracy
    assert curve[0].std > 0 == curve[-1].std
    assert curve == learning_curve(blobs(labels * 50, 1), blobs(labels * 50, 2), 4)


def test_a_rare_label_does_not_leave_a_draw_with_one_label():
    features, labels = blobs([0] * 60 + [1] * 2, 1)
    assert len(learning_curve((features, labels), (features, labels), 2)) == 4


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
def test_what_is_needed_follows_the_power_law_of_the_curve(power):
    curve = [CurvePoint(n, 1 - 0.8 * (n / 50) ** -power, 0.0) for n in (50, 100, 200, 400)]
    error = (1 - curve[-1].accuracy) / 2
    assert examples_needed(curve, error) == pytest.approx(400 * 2 ** (1 / power), abs=1)


def test_a_flat_curve_tells_nothing():
    assert examples_needed([CurvePoint(n, 0.5, 0.0) for n in (50, 100, 200, 400)], 0.1) is None
    assert np.isfinite(examples_needed([CurvePoint(n, 1.0, 0.0) for n in (5, 10)], 0.1) or 0)
