"""Heads trained on stored features, their settings chosen on validation.

An epoch on stored features takes milliseconds, so that a grid of settings is tried by default.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import cast

import torch
from numpy.typing import ArrayLike
from tqdm.auto import tqdm
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from staged_training.experiment.loss import mean_loss
from staged_training.experiment.target import Target
from staged_training.features.head import FeatureHead
from staged_training.features.store import FeatureDataset

RATES = (1e-3, 1e-2)
WEIGHT_DECAYS = (0.0, 0.1)


@dataclass(frozen=True)
class Trial:
    """One point of a grid.

    Attributes:
        settings: Its values, by their names.
        score: The score on validation by which models are chosen, see `Target.metric`.
        loss: The mean loss there, which decides among equals.
    """

    settings: dict[str, float]
    score: float
    loss: float

    @property
    def rank(self) -> tuple[float, float]:
        """The larger, the better."""
        return self.score, -self.loss


def score_trial(
    settings: dict[str, float], target: Target, values: ArrayLike, logits: ArrayLike
) -> Trial:
    """Score settings by the logits `[examples, outputs]` that they led to on validation."""
    predictions = target.predictions(logits)
    score = target.scores(values, predictions)[target.metric]
    return Trial(settings, score, mean_loss(target, values, predictions))


@dataclass(frozen=True)
class TrainedHead:
    """A head that was trained by steps.

    Attributes:
        weights: What `FeatureHead.load_state_dict` takes.
        grid: What every setting scored on validation; the best one was kept.
    """

    weights: dict[str, torch.Tensor]
    grid: list[Trial]


def search_head(
    head: FeatureHead,
    train: FeatureDataset,
    validation: FeatureDataset,
    target: Target,
    arguments: TrainingArguments,
    rates: Sequence[float] = RATES,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    loss: Callable[..., torch.Tensor] | None = None,
) -> TrainedHead:
    """Train a head with each rate and weight decay, and return the best on validation.

    Each starts from the weights and the seed at hand. The head ends with the weights of the best.

    Args:
        head: The head, as a part of its model.
        train: Features to train on.
        validation: Features to choose by: the metric of the target, and loss among equals.
        target: What is predicted.
        arguments: How to train; rate and weight decay come from the grid.
        rates: Peak learning rates to try.
        weight_decays: Weight decays to try.
        loss: As `compute_loss_func` for `Trainer`; by default that of the model.
    """
    start = copy.deepcopy(head.state_dict())
    best: TrainedHead | None = None
    grid: list[Trial] = []
    settings = list(product(rates, weight_decays))
    for rate, weight_decay in tqdm(settings, "heads", delay=2, leave=False, dynamic_ncols=True):
        head.load_state_dict(start)
        logits = _train(head, train, validation, arguments, rate, weight_decay, loss)
        values = {"rate": rate, "weight decay": weight_decay}
        trial = score_trial(values, target, validation.columns["labels"], logits)
        if not grid or trial.rank > max(other.rank for other in grid):
            best = TrainedHead(copy.deepcopy(head.state_dict()), grid)
        grid.append(trial)
    assert best is not None
    head.load_state_dict(best.weights)
    return best


def _train(
    head: FeatureHead,
    train: FeatureDataset,
    validation: FeatureDataset,
    arguments: TrainingArguments,
    rate: float,
    weight_decay: float,
    loss: Callable[..., torch.Tensor] | None,
) -> ArrayLike:
    """Train a head, and return its logits on validation."""
    arguments = copy.copy(arguments)
    arguments.learning_rate, arguments.weight_decay = rate, weight_decay
    arguments.disable_tqdm = True
    set_seed(arguments.seed)
    arguments.output_dir = tempfile.gettempdir()  # it must be somewhere; nothing is written there
    trainer = Trainer(head, arguments, train_dataset=train, compute_loss_func=loss)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return cast(ArrayLike, trainer.predict(validation).predictions)
