"""What is refused, or warned of, before a run in stages begins."""

import copy
import logging
import sys
import warnings
from collections.abc import Mapping, Sequence, Sized
from dataclasses import fields
from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import DataLoader, Subset
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from staged_training.best_epoch import IGNORED, BestEpochTrainer
from staged_training.runtime.errors import InputError
from staged_training.runtime.processes import all_of
from staged_training.stage_folder import folder_name
from staged_training.stages import Stage

logger = logging.getLogger(__name__)

OF_STAGES = ("num_train_epochs", "learning_rate")
"""The arguments that each stage sets for itself."""

_PACE = (
    "logging_strategy",
    "logging_steps",
    "eval_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
)
"""The arguments of what stages do after each epoch."""

_FEW = 8  # examples that show which metrics there are


def epoch_by_epoch(args: TrainingArguments, evaluates: bool) -> TrainingArguments:
    """Return the arguments with logging, evaluation and a checkpoint per epoch.

    Warns of arguments that were set and that the stages replace.

    Raises:
        InputError: `max_steps` is given, or `push_to_hub` would push checkpoints.
    """
    if args.push_to_hub:
        raise InputError(
            "push_to_hub is set, but a checkpoint of a stage holds only what the stage trains. "
            "Leave it out, and call trainer.push_to_hub() when all stages are over."
        )
    if args.max_steps > 0:
        raise InputError(
            f"max_steps is {args.max_steps}, but the length of a stage is that of its epochs. "
            "Leave max_steps out; for a short run give stages fewer epochs, or fewer examples."
        )
    defaults = {field.name: field.default for field in fields(TrainingArguments)}
    replaced = [name for name in OF_STAGES if getattr(args, name) != defaults[name]]
    if replaced:
        logger.warning(
            "Not used, as stages have epochs and rates of their own: %s of the arguments.",
            " and ".join(replaced),
        )
    paced = [name for name in _PACE if getattr(args, name) not in (defaults[name], "epoch")]
    if paced:
        logger.warning(
            "Not used, as stages are logged, evaluated and saved after each epoch: %s of the "
            "arguments.",
            ", ".join(paced),
        )
    args = copy.copy(args)
    args.logging_strategy = IntervalStrategy.EPOCH
    args.save_strategy = SaveStrategy.EPOCH
    args.save_total_limit = 2  # the best, the newest; of 1 `Trainer` removes the newest in the end
    args.restore_callback_states_from_checkpoint = True  # those of the user's callbacks
    if evaluates:
        args.eval_strategy = IntervalStrategy.EPOCH
        args.load_best_model_at_end = True
        args.metric_for_best_model = args.metric_for_best_model or "loss"
        if args.greater_is_better is None:
            args.greater_is_better = not args.metric_for_best_model.endswith("loss")
    return args


def check_optimizers(options: Mapping[str, Any]) -> None:
    """Refuse an optimizer or a schedule that cannot serve several stages.

    Args:
        options: Those of the trainer.

    Raises:
        InputError: An optimizer, a schedule or a rate is given.
    """
    if any(part is not None for part in options.get("optimizers") or ()):
        raise InputError(
            "optimizers belong to the parameters of one training, but each stage has an optimizer "
            "of its own. Give its class: optimizer_cls_and_kwargs=(torch.optim.SGD, "
            "{'momentum': 0.9}), and the schedule as lr_scheduler_type of the arguments."
        )
    _, settings = options.get("optimizer_cls_and_kwargs") or (None, {})
    if "lr" in settings:
        raise InputError(
            "optimizer_cls_and_kwargs has a rate 'lr', but each stage has a learning_rate of its "
            "own. Leave 'lr' out."
        )


def check_sets(args: TrainingArguments, train_dataset: Any, eval_dataset: Any) -> None:
    """Refuse data sets without examples, and several of which none decides.

    Raises:
        InputError: A data set is empty, or `metric_for_best_model` names none of several.
    """
    named = eval_dataset if isinstance(eval_dataset, dict) else {}
    sets = {"train_dataset": train_dataset, "eval_dataset": eval_dataset}
    sets |= {f"eval_dataset[{name!r}]": data for name, data in named.items()}
    for name, data in sets.items():
        if isinstance(data, Sized) and not len(data):
            raise InputError(f"{name} has no examples. Check where it is read from.")
    metric = (args.metric_for_best_model or "loss").removeprefix("eval_")
    if named and not any(metric.startswith(f"{name}_") for name in named):
        scores = ", ".join(f"{name}_{metric}" for name in named)
        raise InputError(
            f"eval_dataset has the parts {', '.join(map(str, named))}, but metric_for_best_model "
            f"says by none of them which epoch is best. Set it to one of: {scores}."
        )


def check_folders(stages: Sequence[Stage], evaluates: bool) -> None:
    """Refuse stages that would share a folder, or that wait for a score that does not exist.

    Raises:
        InputError: Names would give the same folder, or a stage has patience
            without evaluation data.
    """
    for one, other in pairwise(sorted(stages, key=folder_name)):
        if folder_name(one) == folder_name(other):
            raise InputError(
                f"Stages {one.name!r} and {other.name!r} would share a folder. Rename one."
            )
    waiting = [stage.name for stage in stages if stage.patience]
    if waiting and not evaluates:
        raise InputError(
            f"Stage {waiting[0]!r} has patience, but there is no eval_dataset to show whether an "
            "epoch is better. Give one, or leave patience out."
        )


def check_data(trainer: BestEpochTrainer) -> int:
    """Refuse data with nothing to learn from or to choose by, before long work begins.

    Streams are read for this only as far as their examples have to be counted.

    Returns:
        The steps of an epoch.

    Raises:
        InputError: `dataloader_drop_last` leaves no batch, every label is one that losses leave
            out, or evaluation does not give `metric_for_best_model`.
    """
    loader = trainer.get_train_dataloader()
    _check_batches(loader, "train_dataset")
    if isinstance(trainer.train_dataset, Sized) and all_of(_all_ignored(trainer)):
        raise InputError(
            f"Every label of train_dataset is {IGNORED}, which losses leave out: there is nothing "
            "to learn. Check how the labels are made."
        )
    if trainer.eval_dataset is not None:
        _check_score(trainer)
    return -(-len(loader) // trainer.args.gradient_accumulation_steps)


def _check_score(trainer: BestEpochTrainer) -> None:
    """Refuse a score that evaluation does not give, tried on a few examples."""
    data: Any = trainer.eval_dataset
    parts = data if isinstance(data, dict) else {"": data}
    if not all(isinstance(part, Sized) for part in parts.values()):
        return
    for part in parts.values():
        _check_batches(trainer.get_test_dataloader(part), "eval_dataset")
    if trainer.score_is_loss:
        return
    metrics = _metrics_on(trainer, parts, _FEW)
    if metrics is not None and trainer.score_name not in metrics:  # of a class that few do not have
        metrics = _metrics_on(trainer, parts, sys.maxsize)
    if metrics is not None:
        trainer.score_of(metrics)


def _check_batches(loader: DataLoader[Any], name: str) -> None:
    """Refuse data smaller than a batch where incomplete batches are dropped."""
    if not len(loader):
        raise InputError(
            f"{name} has fewer examples than a batch, and dataloader_drop_last leaves that out. "
            "Set it to False, or make the batches smaller."
        )


def _all_ignored(trainer: BestEpochTrainer) -> bool:
    """Return whether no label counts; mostly, the first batch shows that some does."""
    data: Any = trainer.train_dataset
    collate = trainer._get_collator_with_removed_columns(trainer.data_collator)
    for batch in DataLoader(data, _FEW, collate_fn=collate):
        labels = [batch.get(name) for name in trainer.label_names]
        if not labels or not all(isinstance(part, torch.Tensor) for part in labels):
            return False
        if any((part != IGNORED).any() for part in labels):
            return False
    return True


def _metrics_on(
    trainer: BestEpochTrainer, parts: Mapping[str, Any], most: int
) -> dict[str, float] | None:
    """Return the metrics on the first evaluation examples; `None` if they are too few."""
    metrics: dict[str, float] = {}
    for name, data in parts.items():
        loader = trainer.get_test_dataloader(Subset(data, range(min(most, len(data)))))
        prefix = f"eval_{name}" if name else "eval"
        loss_only = None if trainer.compute_metrics else True
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                output = trainer.evaluation_loop(
                    loader, "Check", loss_only, metric_key_prefix=prefix
                )
        except Exception:  # scores such as the area under a curve need examples of all classes
            return None
        metrics |= output.metrics or {}
    vars(trainer).pop("model_preparation_time", None)  # else all evaluations would log it
    return metrics
