"""Callbacks that freeze under the plain `transformers.Trainer`."""

from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.training_args import ParallelMode

from staged_training.freezing import train_only, unfreeze
from staged_training.layers import layer_groups, select_parameters
from staged_training.layerwise_rates import layerwise_rates, split_by_layer
from staged_training.runtime.errors import InputError


class LayerFreezingCallback(TrainerCallback):
    """Freezes all but a selection of layers, under the plain `transformers.Trainer` too.

    Pass it when the `Trainer` is made: then the frozen layers never enter the optimizer.

    Args:
        train: Selector of the layers to train; all others are frozen.

    Raises:
        InputError: The selector matches nothing in the model, or there is another callback that
            freezes, when the `Trainer` is made.

    Examples:
        >>> from transformers import Trainer
        >>> trainer = Trainer(model, args, callbacks=[LayerFreezingCallback(train="head")])
        >>> [name for name, p in model.named_parameters() if p.requires_grad]
        ['classifier.weight', 'classifier.bias']
    """

    def __init__(self, train: str = "head") -> None:
        self.train = train

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze before the optimizer is made, so that it holds no frozen parameter."""
        _check_alone(self, control)
        train_only(kwargs["model"], self.train)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze again: the callback may have been added late, or the model changed since."""
        model = kwargs["model"]
        before = {name for name, p in model.named_parameters() if p.requires_grad}
        if before != set(select_parameters(model, self.train)):
            _check_unused_parameters(args, model, "pass the callback when the Trainer is made")
        train_only(model, self.train)


class GradualUnfreezingCallback(TrainerCallback):
    """Trains the head first, then unfreezes one more layer group per epoch, from the top down.

    Gradual unfreezing is due to Howard and Ruder (ULMFiT, ACL 2018), as are the rates: a group has
    `layer_decay` times the learning rate of the group above it, in an optimizer group of its own,
    from which `layer_decay=1` removes the difference. Works under the plain `Trainer`, and resumes
    from its checkpoints. Pass it when the `Trainer` is made.

    Args:
        layer_decay: Ratio of the learning rates of neighbouring groups, in (0, 1].
        epochs_per_group: Whole epochs that pass before one more group is unfrozen.

    Raises:
        InputError: An argument is out of range; or, when the `Trainer` is made, there is another
            callback that freezes, or several processes train and `ddp_find_unused_parameters` is
            false.

    Examples:
        >>> from transformers import Trainer
        >>> args.num_train_epochs, callbacks = 2, [GradualUnfreezingCallback(layer_decay=0.5)]
        >>> trainer = Trainer(model, args, train_dataset=train, callbacks=callbacks,
        ...                   processing_class=tokenizer)
        >>> trainer.train()
        {'train_runtime': ...}
        TrainOutput(global_step=6, ...)
        >>> [layer.training for layer in model.train().recurrent.layers]  # the upper one trains
        [False, True]
        >>> {group["layer_group"]: group["initial_lr"] for group in trainer.optimizer.param_groups}
        {'embedding': 6.25e-06, 'layers.0': 1.25e-05, 'layers.1': 2.5e-05, 'head': 5e-05}
    """

    def __init__(self, layer_decay: float = 1 / 2.6, epochs_per_group: int = 1) -> None:
        if not 0 < layer_decay <= 1:
            raise InputError(f"layer_decay is {layer_decay}; it must lie in (0, 1].")
        if epochs_per_group < 1:
            raise InputError(f"epochs_per_group is {epochs_per_group}; it must be at least 1.")
        self.layer_decay = layer_decay
        self.epochs_per_group = epochs_per_group
        self._epoch = 0

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze all, so that the optimizer about to be created knows every parameter."""
        _check_alone(self, control)
        _check_unused_parameters(args, kwargs["model"], "freeze by LayerFreezingCallback")
        unfreeze(kwargs["model"], "all")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give each layer group its own rate, and freeze what is not trained yet."""
        model = kwargs["model"]
        rates = layerwise_rates(model, args.learning_rate, self.layer_decay)
        split_by_layer(kwargs["optimizer"], kwargs["lr_scheduler"], model, rates)
        self._epoch = int(state.epoch or 0)  # of a run that resumes, also in the middle of one
        self._unfreeze(model)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze the groups whose turn has come."""
        self._unfreeze(kwargs["model"])
        self._epoch += 1

    def _unfreeze(self, model: nn.Module) -> None:
        groups = [group for group in layer_groups(model) if group.parameters]
        trained = groups[-(1 + self._epoch // self.epochs_per_group) :]
        train_only(model, ", ".join(group.name for group in trained))


def _check_alone(callback: TrainerCallback, control: TrainerControl) -> None:
    """Refuse a second freezing callback in a `Trainer`, whose control all callbacks share."""
    other = vars(control).setdefault("freezing_callback", callback)
    if other is not callback:
        raise InputError(
            f"callbacks holds a {type(other).__name__} and a {type(callback).__name__}, and each "
            "would undo what the other freezes. Leave one of them out."
        )


def _check_unused_parameters(args: TrainingArguments, model: nn.Module, otherwise: str) -> None:
    """Refuse to freeze parameters whose gradients other processes wait for in every step."""
    find = args.ddp_find_unused_parameters
    if find is None:  # the default of `Trainer`
        checkpointing = getattr(model, "is_activation_checkpointing", False)
        find = not (checkpointing or args.activation_checkpointing)
    if args.parallel_mode == ParallelMode.DISTRIBUTED and not find:
        raise InputError(
            "ddp_find_unused_parameters is False (as it is by default with activation "
            "checkpointing), so that each process waits in each step for the gradients of layers "
            "that are still frozen. Set TrainingArguments(ddp_find_unused_parameters=True), or "
            f"{otherwise}."
        )


def refuse_freezing(*callbacks: TrainerCallback | type[TrainerCallback]) -> None:
    """Refuse callbacks, as objects or classes, that would freeze what a stage trains.

    Raises:
        InputError: One of them is a `LayerFreezingCallback` or a `GradualUnfreezingCallback`.
    """
    for callback in callbacks:
        kind = callback if isinstance(callback, type) else type(callback)
        if issubclass(kind, (LayerFreezingCallback, GradualUnfreezingCallback)):
            raise InputError(
                f"callbacks holds a {kind.__name__}, but in StagedTrainer the stages say what is "
                "frozen. Leave it out and name the layers by the stages: Stage(train='head', ...) "
                "first, then Stage(train='backbone[-1:], head', ...) and so on, or use the plain "
                "transformers.Trainer."
            )
