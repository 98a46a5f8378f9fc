"""Which epoch of a stage is the best: by its score, and of equal scores by its loss."""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, SupportsFloat

import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from staged_training.checkpoints import CheckpointingTrainer
from staged_training.runtime.errors import InputError
from staged_training.runtime.processes import all_gather

logger = logging.getLogger(__name__)

IGNORED = -100
"""The label of what losses leave out."""


class Labels(NamedTuple):
    """The labels that occur in an evaluation."""

    predicted: set[int]
    true: set[int]


class BestEpochTrainer(CheckpointingTrainer):
    """A `Trainer` that keeps, of epochs that score the same, the one of the smallest loss.

    `Trainer` keeps the first of them. On few examples many epochs score the same, while the loss
    still falls and the model still gets better.

    Attributes:
        patience: Epochs without a better one after which training stops; `None` for never.
        steps_per_epoch: Optimizer steps in an epoch.
        seen: The labels that were predicted in the newest evaluation, and the true ones.
        kept: Those in the evaluation of the best epoch.
    """

    patience: int | None = None
    steps_per_epoch: int
    seen: Labels = Labels(set(), set())
    kept = seen

    @property
    def score_name(self) -> str:
        """The name, among the metrics, of the score by which epochs are compared."""
        return f"eval_{(self.args.metric_for_best_model or 'loss').removeprefix('eval_')}"

    @property
    def score_is_loss(self) -> bool:
        """Whether epochs are compared by their loss, which needs no `compute_metrics`."""
        return self.score_name == f"{self._deciding_prefix()}_loss"

    def rank(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Return the score and, for ties, the loss: the greater, the better; NaN is the worst."""
        score = metrics.get(self.score_name, math.nan)
        loss = metrics.get(f"{self._deciding_prefix()}_loss", math.nan)
        if math.isnan(score):
            return -math.inf, -math.inf
        return (
            score if self.args.greater_is_better else -score,
            -math.inf if loss != loss else -loss,
        )

    def _rank_of_best(self, log: Iterable[Mapping[str, float]]) -> tuple[float, float]:
        """Return the rank of the best epoch in the log, which a resumed run has too."""
        best = self.state.best_metric
        ranks = [self.rank(entry) for entry in log if entry.get(self.score_name) == best]
        return max(ranks, default=(-math.inf, -math.inf))

    def epoch_of(self, step: int) -> int:
        """Return the epoch that a step is in, counted from 1."""
        return -(-step // self.steps_per_epoch)

    def score_of(self, metrics: Mapping[str, float]) -> float:
        """Return the score by which epochs are compared.

        Raises:
            InputError: It is not among the metrics, of which the message names those that there
                are, or it is no number.
        """
        if self.score_name not in metrics:
            names = ", ".join(sorted(metrics)) or "nothing"
            raise InputError(
                f"metric_for_best_model is {self.args.metric_for_best_model!r}, but evaluation "
                f"gives {names}. Name one of these, or let compute_metrics return it."
            )
        score = metrics[self.score_name]
        if not isinstance(score, SupportsFloat):
            raise InputError(
                f"metric_for_best_model is {self.args.metric_for_best_model!r}, but "
                f"compute_metrics gives {score!r} for it. It must be a number."
            )
        return float(score)

    def scores_better(self, score: float | None, than: float) -> bool:
        """Return whether an epoch, if any had a score, was better than another score."""
        score = math.nan if score is None else score
        return self.rank({self.score_name: score})[0] > self.rank({self.score_name: than})[0]

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        score, step, log = self.score_of(metrics), self.state.global_step, self.state.log_history
        if math.isnan(score):
            logger.warning(
                "%s is NaN in epoch %d, which cannot be the best therefore. Check the data and "
                "compute_metrics, or try a smaller learning rate.",
                self.score_name,
                self.epoch_of(step),
            )
        earlier = [entry for entry in log if entry["step"] < log[-1]["step"]]
        improved = self.rank(metrics) > self._rank_of_best(earlier)
        if improved:
            self.state.best_metric, self.state.best_global_step = score, step
            self.kept = self.seen
        since = self.epoch_of(step) - self.epoch_of(self.state.best_global_step or 0)
        if self.patience and since >= self.patience:
            self.control.should_training_stop = True
        return improved

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Evaluate as `Trainer` does; an evaluation by a callback replaces no scheduled one."""
        due = self.control.should_evaluate
        metrics: dict[str, float] = super().evaluate(*args, **options)
        self.control.should_evaluate = due
        return metrics

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Evaluate as `Trainer` does, and remember which labels are predicted."""
        seen, self.seen = self.seen, Labels(set(), set())
        try:
            return super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
        finally:
            if metric_key_prefix != self._deciding_prefix():
                self.seen = seen

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Compute the loss as `Trainer` does; in evaluation, inspect the outputs."""
        labels = inputs.get(self.label_names[0]) if self.label_names else None
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if return_outputs:
            self._look_at(result[1], labels)
        return result

    def _look_at(self, outputs: Any, labels: Any) -> None:
        """Record which labels are predicted, if the outputs are scores of classes."""
        logits = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if not isinstance(logits, torch.Tensor) or not isinstance(labels, torch.Tensor):
            return
        if logits.shape[:-1] == labels.shape and not labels.is_floating_point():
            counted = labels != IGNORED
            self.seen.predicted.update(logits.argmax(-1)[counted].unique().tolist())
            self.seen.true.update(labels[counted].unique().tolist())

    def warn_of_single_label(self, stage: str) -> None:
        """Warn of a best epoch whose model predicts a single label where the data have several."""
        columns = {
            name: torch.tensor(sorted(labels), dtype=torch.long)
            for name, labels in self.kept._asdict().items()
        }
        predicted, true = (labels.unique() for labels in all_gather(columns).values())
        if len(predicted) == 1 and len(true) > 1:
            names = getattr(getattr(self.model, "config", None), "id2label", None) or {}
            label = int(predicted.item())
            logger.warning(
                "Stage %r ends with a model that predicts label %r for all validation examples. "
                "Train longer, with another learning_rate, or on more examples of other labels.",
                stage,
                names.get(label, label),
            )

    def _deciding_prefix(self) -> str:
        """Return the prefix of all metrics on the data whose score decides."""
        names = self.eval_dataset if isinstance(self.eval_dataset, dict) else ()
        prefixes = [f"eval_{name}" for name in names if self.score_name.startswith(f"eval_{name}_")]
        return max(prefixes, key=len, default="eval")
