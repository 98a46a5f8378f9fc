"""Cross-validation: what is chosen, what is kept, and what is refused."""

import numpy as np
import pytest

from staged_training import InputError, RunFolder, Task, cross_validate
from staged_training.experiment.candidate import MODELS, Candidate
from staged_training.experiment.outcome import Outcome

TASK = Task(folds=np.array([0, 1, 2] * 4))


class Fixed(Candidate):
    """A candidate whose scores are known, and that counts how often it is evaluated."""

    def __init__(self, name, validation):
        self.name, self.validation, self.rounds = name, validation, []

    def row_names(self):
        return [f"{self.name}, only stage"]

    def evaluate(self, round_, folder):
        self.rounds.append((round_.fold, round_.seed))
        (name,) = self.row_names()
        (folder / MODELS / name).mkdir(parents=True)
        (folder / MODELS / name / "weights").write_text(f"{round_.fold} {round_.seed}")
        return [Outcome(name, {"accuracy": 0.5}, {"accuracy": self.validation}, [], 0.0, 1.0)]


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path / "out")
    folder.open()
    return folder


def test_validation_chooses_and_a_control_is_measured_but_never_chosen(run):
    good, bad, control = Fixed("good", 0.8), Fixed("bad", 0.6), Fixed("control", 0.9)
    result = cross_validate(run, TASK, [bad, good], "accuracy", [0, 2], [0, 1], controls=[control])
    assert result.chosen.name == "good, only stage"
    assert [row.name.split(",")[0] for row in result.rows] == ["control", "bad", "good"]
    assert good.rounds == [(0, 0), (0, 1), (2, 0), (2, 1)]
    assert len(result.chosen_outcomes) == 4


def test_models_of_the_first_fold_and_seed_are_kept_and_no_others(run):
    result = cross_validate(run, TASK, [Fixed("one", 0.8)], "accuracy", [1, 2], [3, 4])
    assert (result.chosen_model / "weights").read_text() == "1 3"
    assert [path.read_text() for path in run.runs.rglob("weights")] == ["1 3"]


def test_what_was_done_is_not_done_again(run):
    first, second = Fixed("one", 0.8), Fixed("one", 0.1)
    cross_validate(run, TASK, [first], "accuracy", [0])
    result = cross_validate(run, TASK, [second], "accuracy", [0, 1])
    assert second.rounds == [(1, 0)]
    assert result.chosen.metrics["validation_accuracy"] == pytest.approx((0.8 + 0.1) / 2)


@pytest.mark.parametrize("names", [["same", "same"], ["a/b"], [".."], ["  "]])
def test_names_that_are_shared_or_no_folders_are_refused(names, run):
    with pytest.raises(InputError, match="Choose another name"):
        cross_validate(run, TASK, [Fixed(name, 0.5) for name in names], "accuracy", [0])
