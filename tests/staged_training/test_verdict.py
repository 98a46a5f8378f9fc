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
        return np.arange(600) % 2


COINS = Coins(folds=np.arange(600) // 2 % 3)


def guessed(name, share, split):
    """The outcome of a model that is right on a share of the validation part."""
    values = COINS.values[split.validation]
    right = np.arange(len(values)) < share * len(values)
    probabilities = np.eye(2)[np.where(right, values, 1 - values)].tolist()
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
    ("floor", "told"),
    [
        (0.3, "It is ahead of floor (+0.600"),
        (0.89, "No difference to be seen from floor, which is simpler (+0.010"),
        (1.0, "It is behind floor (-0.100"),
    ],
)
def test_what_is_chosen_is_compared_with_the_floor(floor, told, tmp_path):
    run = RunFolder(tmp_path / "out")
    run.open()
    result = cross_validate(
        run,
        COINS,
        [Guess("net", 0.9)],
        "accuracy",
        [0],
        baselines=lambda round_: [guessed("floor", floor, round_.split)],
    )
    choice = result.describe_choice()
    assert choice.startswith("Validation chose **net** (accuracy 0.900 on validation")
    assert told in choice
    assert choice.endswith("use that.") == (floor > 0.3)
