"""Stages: what is trained, how long and how fast, in which order, and what became of it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from staged_training.adapters import check_adapters, without_adapters
from staged_training.layers import layer_groups, select_parameters
from staged_training.pretrained import pretrained_parameters, selector_of
from staged_training.runtime.errors import InputError

_NAME = re.compile(r"[\w-]+( [\w-]+)*")


@dataclass(frozen=True)
class Stage:
    """One stage of a transfer: a selection of layers that is trained while all others are frozen.

    Attributes:
        name: What the stage is called in logs, reports and folders; a plain word or two.
        train: Selector of the layers to train, as for `select_parameters`. Adapters are merged into
            their layers when the stage is over.
        epochs: Epochs at the most.
        learning_rate: Peak rate of the top layers that are trained.
        layer_decay: Each layer group below has this times the rate of the one above.
        patience: Epochs that are no better than those before them, by validation score and of
            equal scores by loss, after which the stage ends; `None` for never.
        keep_statistics: Let the BatchNorm layers that are trained compute with the statistics of
            pretraining, as in evaluation: a few hundred examples in small batches give worse ones.

    Raises:
        InputError: A value is out of range.

    Examples:
        >>> Stage("top layers", train="backbone[-2:], head", epochs=3, learning_rate=1e-4)
        Stage(name='top layers', train='backbone[-2:], head', epochs=3, learning_rate=0.0001,
              layer_decay=1.0, patience=None, keep_statistics=False)
        >>> Stage("head", train="head", epochs=0, learning_rate=1e-3)
        Traceback (most recent call last):
        staged_training.runtime.errors.InputError: Stage 'head': epochs must be at least 1, but it
        is 0.
    """

    name: str
    train: str
    epochs: int
    learning_rate: float
    layer_decay: float = 1.0
    patience: int | None = None
    keep_statistics: bool = False

    def __post_init__(self) -> None:
        requirements = {
            "name must be words of letters, digits, '-' and '_'": _NAME.fullmatch(self.name),
            "epochs must be a whole number": isinstance(self.epochs, int),
            "epochs must be at least 1": isinstance(self.epochs, int) and self.epochs >= 1,
            "learning_rate must be a positive number": isinstance(self.learning_rate, float | int)
            and 0 < self.learning_rate < math.inf,
            "layer_decay must lie in (0, 1]": 0 < self.layer_decay <= 1,
            "patience must be at least 1, or None": self.patience is None or self.patience >= 1,
        }
        for requirement, holds in requirements.items():
            if not holds:
                value = getattr(self, requirement.split()[0])
                raise InputError(f"Stage {self.name!r}: {requirement}, but it is {value!r}.")


@dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    Attributes:
        name: The name of the stage.
        epochs: Epochs that ran.
        best_epoch: The epoch whose weights were kept, counted from 1; 0 where fine-tuning did not
            score better than its start, whose weights were kept then.
        best_score: Its value of `metric_for_best_model`; `None` without evaluation data, and where
            it never was a number.
        trainable_parameters: How many numbers were trained.
        trained: The layer groups that were trained, at least in part.
        frozen: The layer groups that were not.
        seconds: How long it took; of a resumed stage, since it was resumed.

    Examples:
        >>> from staged_training import StagedTrainer
        >>> stages = [Stage("head", train="head", epochs=1, learning_rate=1e-3)]
        >>> trainer = StagedTrainer(model, args, stages, train_dataset=train,
        ...                         processing_class=tokenizer)
        >>> output = trainer.train()
        >>> trainer.results
        [StageResult(name='head', epochs=1, best_epoch=1, best_score=None,
                     trainable_parameters=266, trained=['head'],
                     frozen=['embedding', 'layers.0', 'layers.1'], seconds=...)]
    """

    name: str
    epochs: int
    best_epoch: int
    best_score: float | None
    trainable_parameters: int
    trained: list[str]
    frozen: list[str]
    seconds: float


def stage_result(
    model: nn.Module,
    stage: Stage,
    *,
    epochs: int,
    best_epoch: int,
    best_score: float | None,
    seconds: float,
) -> StageResult:
    """Return the result of a stage that has just trained what is not frozen now."""
    groups = layer_groups(model)
    trained = [g.name for g in groups if any(p.requires_grad for p in g.parameters.values())]
    return StageResult(
        name=stage.name,
        epochs=epochs,
        best_epoch=best_epoch,
        best_score=best_score,
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        trained=trained,
        frozen=[group.name for group in groups if group.name not in trained],
        seconds=seconds,
    )


def check_stages(
    model: nn.Module,
    stages: Sequence[Stage],
    pretrained: str | None = None,
    *,
    allow_joint_training: bool = False,
) -> None:
    """Refuse to train pretrained layers before new ones were tuned on top of them, frozen.

    New layers start out random. The gradients that they send down at first are noise, and they
    would undo in a few steps what the pretrained layers know. New layers of the backbone, such as a
    pooler that the checkpoint lacked, must be trained with the head: a stage of the head alone
    would train it on random features.

    Args:
        model: The model that the stages will train.
        stages: The stages, in order.
        pretrained: Selector of the layers that carry pretrained weights; all others are new. By
            default the backbone, without what was not in the checkpoint, see `new_parameters`.
        allow_joint_training: Accept pretrained layers that train together with new ones.

    Raises:
        InputError: There are no stages, two have the same name, a selector matches nothing,
            pretrained layers would be trained before all new ones had a stage of their own, or new
            layers of the backbone would never be trained.
    """
    if not stages:
        raise InputError("The list of stages is empty: give at least one Stage.")
    names = [stage.name for stage in stages]
    if len(set(names)) < len(names):
        raise InputError(f"Two stages have the same name: {names}. Rename one.")
    base = pretrained_parameters(model, pretrained)
    new = {name for name, _ in model.named_parameters()} - base
    advice = f"Stage('head', train={selector_of(model, new)!r}, ...)"
    for stage in stages:
        check_adapters(model, stage.train)
        trained = set(select_parameters(model, without_adapters(stage.train)))
        if trained & base and new and not allow_joint_training:
            example = next(name for name in trained if name in base)
            raise InputError(
                f"Stage {stage.name!r} trains pretrained layers (such as {example}) before the new "
                f"layers ({selector_of(model, new)}) were tuned on them frozen. New layers start "
                f"out random, and their first gradients would wreck the pretrained ones. Put a "
                f"stage before it that trains all new layers and nothing else, such as {advice}. "
                f"If other layers are the pretrained ones, name them: pretrained='backbone[0]' is "
                f"an embedding. Or pass allow_joint_training=True to do it all the same."
            )
        new -= trained
    below_the_head = set(select_parameters(model, "backbone"))
    if pretrained is None and (never := new & below_the_head):
        raise InputError(
            f"The checkpoint of the model lacks {selector_of(model, never)}: these layers below "
            f"the head are random, and no stage trains them. Begin with {advice}, or pass "
            f"pretrained='backbone' if the model does not use them or you have set their weights."
        )
