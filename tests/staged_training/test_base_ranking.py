"""Features that suit labels are told from those that do not, by a probe and by evidence."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits

from staged_training.experiment.splits import stratified_folds
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.heads.base_ranking import log_me, suitability


def most_evidence(features, y):
    """The largest evidence for each example, by the density of a Gaussian and a search."""

    def less(logs):
        alpha, beta = np.exp(logs)
        covariance = features @ features.T / alpha + np.eye(len(y)) / beta
        return -multivariate_normal(cov=covariance).logpdf(y)

    return -minimize(less, [0.0, 0.0], method="Nelder-Mead").fun / len(y)


@pytest.mark.parametrize("width", [3, 40])  # fewer than examples, and more
def test_evidence_is_the_largest_density_of_a_gaussian(width):
    rng = np.random.default_rng(width)
    features = rng.normal(size=(30, width))
    y = features[:, 0] + 0.5 * rng.normal(size=30)
    assert log_me(features, y[:, None]) == pytest.approx(most_evidence(features, y), abs=1e-3)


@pytest.mark.parametrize("kind", ["label", "labels", "number"])
def test_features_that_know_more_are_ahead(kind):
    pixels, digits = load_digits(return_X_y=True)
    pixels, digits = pixels[:400].astype(np.float32), digits[:400]
    target, values = {
        "label": (SingleLabel([str(digit) for digit in range(10)]), digits),
        "labels": (MultiLabel(["even", "large"]), np.stack([digits % 2 == 0, digits > 4], 1) * 1.0),
        "number": (Regression(["digit"]), digits.astype(np.float32)),
    }[kind]
    folds = stratified_folds(digits.tolist(), range(400))
    whole = suitability(pixels, values, target, folds)
    half = suitability(pixels[:, :16], values, target, folds)
    assert whole.scores.mean() > half.scores.mean() + 0.1
    assert whole.log_me > half.log_me
    assert len(whole.scores) == 5
