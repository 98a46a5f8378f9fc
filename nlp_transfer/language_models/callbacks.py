"""Callbacks of training a language model: progress in tokens, and the best epoch."""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class TokenProgress(TrainerCallback):
    """Moves a progress bar on by the tokens of each step, and shows the loss.

    Args:
        bar: The bar, which counts tokens.
        width: How many tokens are read to predict one.
    """

    def __init__(self, bar: tqdm, width: int) -> None:
        self.bar, self.width = bar, width

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Advance by one step."""
        self.bar.update(int(state.num_input_tokens_seen) // self.width - self.bar.n)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show the newest loss."""
        if "loss" in kwargs["logs"]:
            self.bar.set_postfix_str(f"loss {kwargs['logs']['loss']:.3f}", refresh=False)


class BestEpoch(TrainerCallback):
    """Logs a perplexity after each epoch, and ends with the weights of the epoch of the lowest.

    Args:
        measure: Returns the perplexity of the model as it is.
    """

    def __init__(self, measure: Callable[[], float]) -> None:
        self.measure, self.best = measure, math.inf
        self.weights: dict[str, torch.Tensor] | None = None

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure, and keep a copy of the weights if they are the best so far."""
        value = self.measure()
        entry = {"perplexity": value, "epoch": state.epoch, "step": state.global_step}
        state.log_history.append(entry)
        if self.weights is None or value < self.best:
            self.best, self.weights = value, copy.deepcopy(kwargs["model"].state_dict())

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the best weights."""
        kwargs["model"].load_state_dict(self.weights)
