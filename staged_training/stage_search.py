"""The search for stages: over rates, epochs, and which layers to train."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from transformers import set_seed

from staged_training.best_epoch import BestEpochTrainer
from staged_training.run_checks import OF_STAGES
from staged_training.runtime.errors import InputError
from staged_training.stages import Stage


class SearchingTrainer(BestEpochTrainer):
    """A `Trainer` whose trials of a search may train different stages."""

    model: nn.Module
    _stages_of: Callable[[Any], Sequence[Stage]] | None  # gives the stages of a trial
    _searched: Any = None  # the trial at hand
    _before: tuple[int, float] = 0, 0.0  # steps and epochs of the stages that are over

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Search as `Trainer` does; each trial trains all stages of a new model.

        A trial has a folder of its own in that of the output, and is judged by the model that it
        ends with. Stages that are given as a function of the trial ask it for rates, epochs and
        layers, such as `trial.suggest_float("rate", 1e-4, 1e-2, log=True)`. To train the best once
        more, make a trial of its values:
        `train(trial=optuna.trial.FixedTrial(best.hyperparameters))`.

        Args:
            hp_space: Gives the training arguments of a trial, such as `weight_decay`; by default
                none, so that the stages alone are searched.
            *args: As for `Trainer.hyperparameter_search`.
            **options: As for `Trainer.hyperparameter_search`.

        Returns:
            The best run, or the best runs.

        Raises:
            InputError: Nothing is searched, or an argument that stages replace.
        """
        if hp_space is None and self._stages_of is None:
            raise InputError(
                "Nothing is searched: give stages as a function of the trial, or hp_space."
            )

        def space(trial: Any) -> dict[str, Any]:
            if self._stages_of:  # other processes know of a trial only what it was asked here
                self._stages_of(trial)
            values = hp_space(trial) if hp_space else {}
            for name in OF_STAGES:
                if name in values:
                    raise InputError(
                        f"hp_space gives {name}, but stages have their own. Give stages as a "
                        "function of the trial, and let it ask for this."
                    )
            return values

        return super().hyperparameter_search(space, *args, **options)

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        super()._report_to_hp_search(self._searched, self._before[0] + step, metrics)

    def _begin_trial(self, trial: Any) -> None:
        """Set the arguments of a trial, and make a new model if there is a `model_init`."""
        self._hp_search_setup(trial)
        self._searched = trial
        if self.model_init is not None:
            set_seed(self.args.seed)
            self.model = self.callback_handler.model = self.call_model_init(trial)
            if self.place_model_on_device:
                self._move_model_to_device(self.model, self.args.device)
