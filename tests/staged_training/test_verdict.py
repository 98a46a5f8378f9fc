"""The sentence on what was chosen: ahead, behind, or no difference to be seen."""

from dataclasses import dataclass

import numpy as np
import pytest

from staged_training import RunFolder, cross_validate
from staged_training.experiment.candidate import Candidate
from staged_training.experiment.outcome import Outcome
from staged_training.experiment.target import SingleLabel, Target
from staged_training.experiment.task import LabelledTask


@dataclass(frozen=True, kw_only=True)
class Coins(LabelledTask):
    """Coins, of which each fold holds 200."""

    target: Target = SingleLabel(["heads", "tails"])  # noqa: RUF009

    @property
    def values(self):
        return np.arange(len(self.folds)) % 2


COINS = Coins(folds=np.arange(600) // 2 % 3)


def guessed(name, share, split):
    """The outcome of a model that is right on a share of the validation part."""
    values = split.validation % 2
    right = np.arange(len(values)) < share * len(values)
    right = right[::-1] if name == "simple" else right  # its errors are others
    sure = np.array([[0.9, 0.1], [0.1, 0.9]]) if name == "net" else np.eye(2)
    probabilities = sure[np.where(right, values, 1 - values)].tolist()
    scores = {"accuracy": share}
    return Outcome(name, scores, scores, [], [], 0.0, validation_probabilities=probabilities)


class Guess(Candidate):
    def __init__(self, name, share):
        self.name, self.share = name, share

    def row_names(self):
        return [self.name]

    def evaluate(self, round_, folder):
        return [guessed(self.name, self.share, round_.split)]


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.3, "On validation it is ahead of majority class (+0.400"),
        (0.9, "Simpler and as good is simple (+0.000"),
        (
            0.87,
            "no difference to be seen from simple. On validation it is ahead of majority class",
        ),
    ],
)
def test_a_model_is_compared_with_a_simpler_one(share, told, tmp_path):
    candidates = [Guess("simple", share), Guess("net", 0.9 + 1e-9)]
    choice = choice_among(candidates, tmp_path)
    assert choice.startswith("Validation chose **net** (accuracy 0.900 on validation")
    assert told in choice
    assert ("use that" in choice) == (share == 0.9)


def test_few_examples_choose_by_loss_alone(tmp_path):
    few = Coins(folds=np.arange(120) // 2 % 3)
    candidates = [Guess("simple", 1.0 - 1e-9), Guess("net", 0.85)]
    choice = choice_among(candidates, tmp_path, few)
    assert choice.startswith("Validation chose **simple**"), "its loss is less, too"
    worse = choice_among([Guess("simple", 0.97), Guess("net", 0.9)], tmp_path / "worse", few)
    assert worse.startswith("Validation chose **net**")
    assert "It has the least loss: 40 examples to validate on are too few to choose" in worse


def test_a_baseline_that_is_better_is_said_to_be(tmp_path):
    def better(round_):
        return [guessed("rule", 1.0, round_.split)]

    choice = choice_among([Guess("net", 0.9)], tmp_path, baselines=better)
    assert "On validation it is behind rule (-0.100" in choice


def test_a_model_that_may_have_learnt_nothing_is_told(tmp_path):
    choice = choice_among([Guess("net", 0.55)], tmp_path)
    assert "That it has learnt anything is not seen yet: majority class looks at no" in choice


def choice_among(candidates, folder, task=COINS, **options):
    run = RunFolder(folder / "out")
    run.open()
    result = cross_validate(run, task, candidates, "accuracy", [0], **options)
    return result.describe_choice()
