"""Sets of labels hold each label as often as was asked; what cannot be promised is refused."""

import json
import warnings

import numpy as np
import pytest
from safetensors.numpy import save_file

from staged_training.heads.conformal import (
    FILE_NAME,
    calibrated,
    fewest,
    label_sets,
    load_calibration,
)
from staged_training.runtime.errors import InputError

NAMES = ["calm", "urgent"]


def scored(examples, share, seed):
    """Which labels are true of examples, a share of them urgent, and scores that know some of it.

    The urgent ones score low: one threshold for all would leave most of them out.
    """
    numbers = np.random.default_rng(seed)
    urgent = numbers.random(examples) < share
    score = 1 / (1 + np.exp(-numbers.normal(np.where(urgent, -1, -4), 1)))
    return np.stack([~urgent, urgent], axis=1), np.stack([1 - score, score], axis=1)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_each_label_is_in_the_asked_share_of_its_sets(coverage):
    shares = []
    for seed in range(200):
        applies, scores = scored(1000, 0.06, seed)
        sets = scores >= calibrated(NAMES, applies, scores).thresholds(coverage)
        true, found = scored(1000, 0.06, seed + 1000)
        sets = found >= calibrated(NAMES, applies, scores).thresholds(coverage)
        shares.append((sets & true).sum(axis=0) / true.sum(axis=0))
    assert np.mean(shares, axis=0) == pytest.approx([coverage] * 2, abs=0.015)


def test_one_threshold_for_all_would_leave_the_rare_label_out():
    applies, scores = scored(20_000, 0.06, 0)
    least = np.quantile(scores[applies], 0.1)
    assert (scores[applies[:, 1], 1] >= least).mean() < 0.5
    thresholds = calibrated(NAMES, applies, scores).thresholds(0.9)
    assert (scores[applies[:, 1], 1] >= thresholds[1]).mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("coverage", [0.55, 0.8, 0.9])
def test_sets_are_those_of_crepes(coverage):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        crepes = pytest.importorskip("crepes")
    applies, scores = scored(300, 0.2, 0)
    new = scored(500, 0.2, 1)[1]
    thresholds = calibrated(NAMES, applies, scores).thresholds(coverage)
    near = np.abs(new - thresholds) < 5e-4  # in favour of the label
    for label in range(2):
        peer = crepes.ConformalClassifier()
        peer.fit(1 - scores[applies[:, label], label], seed=0)
        wanted = peer.predict_p(1 - new[:, [label]], smoothing=False)[:, 0] > round(1 - coverage, 9)
        found = new[:, label] >= thresholds[label]
        assert (found == wanted)[~near[:, label]].all() and (found >= wanted).all()


def test_a_label_needs_so_many_examples_and_no_more():
    for coverage in (0.5, 0.55, 0.8, 0.88, 0.9, 0.95, 0.99):
        needed = fewest(coverage)
        for count in (needed - 1, needed):
            known = calibrated(["a"], np.ones((count, 1), bool), np.full((count, 1), 0.5))
            assert np.isnan(known.thresholds(coverage)[0]) == (count < needed)


def test_it_is_saved_beside_a_model_and_read_again(model):
    applies, scores = scored(200, 0.2, 0)
    known = calibrated(NAMES, applies, scores)
    known.save(model)
    loaded = load_calibration(model / FILE_NAME)
    assert loaded.names == NAMES
    assert loaded.labels.tolist() == known.labels.tolist() == applies[:, 1].astype(int).tolist()
    assert loaded.scores.tolist() == known.scores.tolist()


def test_an_input_gets_the_labels_that_its_scores_do_not_exclude(model):
    applies, scores = scored(5000, 0.06, 0)
    calibrated(NAMES, applies, scores).save(model)
    sets = label_sets(str(model), 0.9)
    assert sets.of({"calm": 0.99, "urgent": 0.01}) == ["calm"]
    assert sets.of({"calm": 0.1, "urgent": 0.9}) == ["urgent"]
    assert sets.of({"calm": 0.0, "urgent": 0.0}) == []
    assert label_sets(str(model), 0.99).of({"calm": 0.93, "urgent": 0.07}) == NAMES
    with pytest.raises(InputError, match="not those that it was calibrated for"):
        sets.of({"calm": 0.5, "late": 0.5})


def test_a_coverage_for_which_a_label_has_too_few_examples_is_refused(model):
    applies = np.eye(2, dtype=bool)[[0] * 30 + [1] * 18]
    calibrated(["calm", "ur\x1bgent"], applies, np.full((48, 2), 0.5)).save(model)
    assert label_sets(str(model), 0.94)
    with pytest.raises(InputError) as refused:
        label_sets(str(model), 0.95)
    assert str(refused.value).endswith(
        "a coverage of 0.95 takes 19 calibration examples of each label; 'ur\\x1bgent' has 18. "
        "Ask for 0.94 at the most, or train on more examples."
    )


@pytest.mark.parametrize("coverage", [0, 1, -0.5, 90, float("nan")])
def test_a_coverage_that_is_no_share_is_refused(coverage, model):
    with pytest.raises(InputError, match="a share between 0 and 1"):
        label_sets(str(model), coverage)


def test_a_model_without_calibration_is_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"no coverage can be promised, as it has no conformal"):
        label_sets(str(model), 0.9)


DAMAGED = {
    "scores above 1": ({"labels": np.array([0]), "scores": np.float32([1.5])}, NAMES),
    "no number": ({"labels": np.array([0]), "scores": np.float32([np.nan])}, NAMES),
    "a label too many": ({"labels": np.array([2]), "scores": np.float32([0.5])}, NAMES),
    "fewer scores": ({"labels": np.array([0, 1]), "scores": np.float32([0.5])}, NAMES),
    "names": ({"labels": np.array([0]), "scores": np.float32([0.5])}, [1, 2]),
    "no labels": ({"scores": np.float32([0.5])}, NAMES),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_named(case, model):
    tensors, names = DAMAGED[case]
    save_file(tensors, model / FILE_NAME, {"names": json.dumps(names)})
    with pytest.raises(InputError, match=r"conformal.safetensors is damaged"):
        label_sets(str(model), 0.9)
    (model / FILE_NAME).write_bytes(b"half")
    with pytest.raises(InputError, match=r"conformal.safetensors is damaged"):
        label_sets(str(model), 0.9)
