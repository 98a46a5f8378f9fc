"""Simulated lesions: told apart by their margin and nothing else, on real slices."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from vision_transfer.ct.simulated import (
    LABELS,
    SIDE,
    SPACING,
    Shape,
    draw_lesion,
    random_shape,
    simulated_scans,
)


@pytest.fixture(scope="module")
def scans():
    return simulated_scans(600, seed=0)


def test_the_same_seed_gives_the_same_scans_and_another_one_others():
    one, same, other = (simulated_scans(4, seed) for seed in (1, 1, 2))
    assert np.array_equal(one.hounsfield, same.hounsfield)
    assert not np.array_equal(one.hounsfield, other.hounsfield)


def test_labels_are_balanced_and_in_random_order(scans):
    assert np.bincount(scans.labels).tolist() == [300, 300]
    assert 250 < (np.diff(scans.labels) != 0).sum() < 350


def test_scans_look_like_soft_tissue(scans):
    middle = scans.hounsfield[:, 0, 24:40, 24:40]
    assert scans.hounsfield.shape[1:] == (1, SIDE, SIDE)
    assert -60 < np.median(middle) < 120
    assert (np.abs(middle.mean((1, 2)) - 40) < 200).all()


def test_brightness_and_contrast_do_not_give_the_label_away(scans):
    pixels = scans.hounsfield[:, 0].astype(float)
    inner = pixels[:, 16:48, 16:48]
    features = np.stack(
        [pixels.mean((1, 2)), pixels.std((1, 2)), inner.mean((1, 2)), inner.std((1, 2))], 1
    )
    features = (features - features.mean(0)) / features.std(0)
    train, test = slice(0, 300), slice(300, None)
    model = LogisticRegression().fit(features[train], scans.labels[train])
    auc = roc_auc_score(scans.labels[test], model.decision_function(features[test]))
    assert abs(auc - 0.5) < 3 * 0.5 / (3 * 75) ** 0.5  # three standard errors of chance


def test_size_is_alike_and_irregularity_is_not():
    random = np.random.default_rng(0)
    benign, malignant = ([random_shape(bad, random) for _ in range(400)] for bad in (False, True))
    radii = [np.mean([shape.radius for shape in shapes]) for shapes in (benign, malignant)]
    assert abs(radii[0] - radii[1]) < 3 * (4 / 12**0.5) * (2 / 400) ** 0.5
    assert max(shape.spicules for shape in benign) < min(shape.spicules for shape in malignant)


def test_a_smooth_lesion_has_the_area_of_its_radius_and_strands_reach_out():
    smooth = Shape(radius=6.0, lobes=0.0, spicules=0, reach=0.0, mottling=0.0)
    share, mottling = draw_lesion(smooth, np.random.default_rng(0))
    assert share.sum() * SPACING**2 == pytest.approx(np.pi * 6.0**2, rel=0.02)
    assert not mottling.any()
    spiked = Shape(radius=6.0, lobes=0.0, spicules=8, reach=6.0, mottling=0.0)
    reaching, _ = draw_lesion(spiked, np.random.default_rng(0))
    assert reaching.sum() > share.sum()
    assert len(LABELS) == 2
