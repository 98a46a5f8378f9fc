"""One progress bar over all stages of a `StagedTrainer`."""

from collections.abc import Sequence
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from staged_training.best_epoch import BestEpochTrainer
from staged_training.stages import Stage, StageResult


class StageProgress(TrainerCallback):
    """A progress bar that counts steps over all stages and shows the newest validation score.

    Args:
        trainer: What runs the stages.
        stages: The stages.
        results: The results of finished stages; it grows as they end.
    """

    def __init__(
        self, trainer: BestEpochTrainer, stages: Sequence[Stage], results: Sequence[StageResult]
    ) -> None:
        self.trainer, self.stages, self.results = trainer, stages, results
        self.before = 0  # steps of the stages that are over

    def __enter__(self) -> "StageProgress":
        self.trainer.add_callback(self)
        hidden = self.trainer.args.disable_tqdm or not self.trainer.is_world_process_zero()
        total = self.trainer.steps_per_epoch * sum(stage.epochs for stage in self.stages)
        self.bar = tqdm(total=total, unit="step", disable=hidden, dynamic_ncols=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self.bar.close()
        self.trainer.remove_callback(self)

    def end_stage(self) -> None:
        """Advance to where the next stage begins, also if this one ended early."""
        stages = self.stages[: len(self.results)]
        self.before = self.trainer.steps_per_epoch * sum(stage.epochs for stage in stages)
        self._move_to(self.before)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Advance by one step."""
        self._move_to(self.before + state.global_step)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the score that decides which epoch is best."""
        name = self.trainer.score_name
        if name in kwargs["metrics"]:  # not so where a callback evaluates on other data
            score = kwargs["metrics"][name]
            self.bar.set_postfix_str(f"{name.removeprefix('eval_')} {score:.3f}")

    def _move_to(self, step: int) -> None:
        number = len(self.results)
        if number < len(self.stages):
            self.bar.set_description(self.stages[number].name, refresh=False)
        self.bar.update(step - self.bar.n)
