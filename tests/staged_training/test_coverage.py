"""What sets of labels are worth is measured on examples that calibrated nothing."""

from dataclasses import dataclass

import numpy as np
import pytest

from staged_training.experiment.coverage import calibration_of, measured_coverage
from staged_training.experiment.cross_validation import CrossValidation
from staged_training.experiment.outcome import outcome
from staged_training.experiment.target import MultiLabel, Regression, SingleLabel
from staged_training.experiment.task import LabelledTask
from staged_training.reporting.trust import describe_trust, measured_reliability
from tests.staged_training.candidates import Net

FOLDS = np.arange(500) % 5
NAMES = ["calm", "urgent"]


@dataclass(frozen=True, kw_only=True)
class Mails(LabelledTask):
    truth: np.ndarray

    @property
    def values(self):
        return self.truth


def result_of(target, values, logits, folds=FOLDS):
    """The result of a model that gives an example the same logits in every fold."""
    task = Mails(folds=folds, target=target, truth=values)
    outcomes = []
    for fold in task.fold_numbers:
        parts = task.split(fold)[1:]
        known = [values[rows] for rows in parts], [logits[rows] for rows in parts]
        outcomes.append([outcome("net", *known, target, seconds=0.0)])
    return CrossValidation(task, [Net()], outcomes, task.fold_numbers, [0], target.metric)


@pytest.fixture
def mails():
    numbers = np.random.default_rng(0)
    urgent = (numbers.random(500) < 0.2).astype(int)
    logits = np.stack([np.zeros(500), numbers.normal(3.0 * urgent - 2, 1)], axis=1)
    return result_of(SingleLabel(NAMES, positive=1), urgent, 4 * logits)


@pytest.mark.parametrize("refitted", [True, False])
def test_a_fold_is_tested_by_the_calibration_of_others(mails, refitted):
    task, found = mails.task, measured_coverage(mails, refitted=refitted)
    own, covered, decided = {}, np.zeros(2, int), 0
    for fold in task.fold_numbers:
        split = task.split(fold)
        scores = mails.first_outcome(fold).validation_probabilities
        own |= dict(zip(split.validation.tolist(), scores, strict=True))
    for fold in task.fold_numbers:
        split = task.split(fold)
        used = set(range(500)) - set(split.test) if refitted else set(split.validation)
        sets = np.ones((len(split.test), 2), bool)
        tested = np.array(mails.first_outcome(fold).probabilities)
        for label in range(2):
            known = sorted(own[row][label] for row in used if task.values[row] == label)
            left_out = int(0.1 * (len(known) + 1) + 1e-9)  # of the lowest scores, at the most
            sets[:, label] = tested[:, label] >= known[left_out - 1] * 0.999
            covered[label] += sets[task.values[split.test] == label, label].sum()
        holds_predicted = sets[np.arange(len(sets)), tested.argmax(axis=1)]
        decided += (sets.sum(axis=1) == 1)[holds_predicted].sum()
    assert np.abs(found.covered - covered).max() <= 2  # what rounding is in favour of
    assert abs(found.decided.sum() - decided) <= 4
    assert found.examples.tolist() == np.bincount(task.values).tolist()
    assert (found.covered / found.examples) == pytest.approx([0.9, 0.9], abs=0.06)


def test_the_published_model_is_calibrated_on_its_fold_or_on_all(mails):
    assert len(calibration_of(mails, refitted=True).labels) == 500
    of_a_fold = calibration_of(mails, refitted=False)
    values = mails.task.values[mails.task.split(0).validation]
    assert of_a_fold.labels.tolist() == values.tolist()


def test_scores_that_are_too_sure_are_mended(mails):
    error = measured_reliability(mails, mails.task.target).error
    assert error["stored"] < error["as trained"]


def test_of_several_labels_each_is_measured_and_of_numbers_nothing():
    numbers = np.random.default_rng(0)
    values = (numbers.random((500, 2)) < 0.4).astype(np.float32)
    several = result_of(MultiLabel(["late", "broken"]), values, numbers.normal(4 * values - 2, 1))
    told = describe_trust(several, refitted=True)
    assert "| late " in told and "| broken " in told and "not sure" not in told
    price = result_of(Regression(["price"]), values[:, 0], values[:, :1])
    assert describe_trust(price, refitted=True) == ""
    assert calibration_of(price, refitted=True) is None


def test_what_cannot_be_measured_is_said():
    values = np.arange(20) % 2
    few = result_of(SingleLabel(NAMES), values, np.eye(2)[values], folds=np.arange(20) // 2 % 5)
    assert "Sets of labels" in describe_trust(few, refitted=False)
    assert "of no label there are more than 2" in describe_trust(few, refitted=False)
    values = np.array([0] * 80 + [1] * 20)
    folds = np.arange(100) % 5
    rare = result_of(SingleLabel(NAMES), values, np.eye(2)[values], folds=folds)
    assert "Labels with too few examples to calibrate on: 1." in describe_trust(
        rare, refitted=False
    )
