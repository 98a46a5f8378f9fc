"""Freezing that really freezes: no gradient, no moving BatchNorm statistics, no dropout.

`requires_grad=False` alone leaves a frozen layer in training mode, since `Trainer` calls
`model.train()` before each step: BatchNorm goes on to update its statistics and dropout goes on to
drop. Here a frozen layer also stays in evaluation mode, whatever its model is told.
"""

from types import MethodType
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from staged_training.errors import InputError
from staged_training.layers import layer_groups, select_parameters
from staged_training.layerwise_rates import layerwise_rates, split_by_layer


def freeze(model: nn.Module, selector: str = "backbone") -> None:
    """Freeze the selected layers of a model; see `select_parameters` for the selectors.

    Their parameters get no gradient. A layer group of which nothing is trained any more, and a
    layer in it that has lost its last trained parameter, computes as in evaluation from now on,
    also in `model.train()`: its buffers do not change and it drops nothing.

    Args:
        model: Any model that `layer_groups` can split.
        selector: The layers, such as `backbone`, `backbone[:-2]` or `embedding`.

    Raises:
        InputError: The selector matches nothing.

    Examples:
        >>> freeze(model, "backbone")
        >>> [name for name, p in model.named_parameters() if p.requires_grad]
        ['classifier.weight', 'classifier.bias']
        >>> model.train().recurrent.training
        False
    """
    _set_trained(model, selector, trained=False)


def unfreeze(model: nn.Module, selector: str = "all") -> None:
    """Undo `freeze` for the selected layers.

    Args:
        model: Any model that `layer_groups` can split.
        selector: The layers, as for `freeze`.

    Raises:
        InputError: The selector matches nothing.

    Examples:
        >>> freeze(model, "all")
        >>> unfreeze(model, "backbone[-1:], head")
        >>> [layer.training for layer in model.train().recurrent.layers]
        [False, True]
    """
    _set_trained(model, selector, trained=True)


def train_only(model: nn.Module, selector: str) -> None:
    """Freeze all but the selected layers.

    Raises:
        InputError: The selector matches nothing; the model is left as it was.
    """
    select_parameters(model, selector)
    freeze(model, "all")
    unfreeze(model, selector)


def freeze_statistics(model: nn.Module) -> None:
    """Let every BatchNorm layer compute as in evaluation, also where its parameters are trained.

    Fine-tuning on few examples is better with the statistics of pretraining. `train_only`, `freeze`
    and `unfreeze` undo it for the layers that are trained then.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _keep_in_evaluation(module)


def frozen_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that stay in evaluation mode, by their names in the model."""
    frozen: dict[str, nn.Module] = {}
    for group in layer_groups(model):
        own = group.parameters.values()  # none in a head that shares its weights with the embedding
        group_is_frozen = bool(own) and not any(p.requires_grad for p in own)
        for name, module in group.modules.items():
            parameters = list(module.parameters())
            if group_is_frozen or (parameters and not any(p.requires_grad for p in parameters)):
                frozen[name] = module
    # A container of nothing but frozen layers may drop or normalise between them.
    for name, module in reversed(list(model.named_modules())):
        children = [f"{name}.{child}".lstrip(".") for child, _ in module.named_children()]
        if children and all(child in frozen for child in children):
            frozen[name] = module
    return frozen


def _set_trained(model: nn.Module, selector: str, *, trained: bool) -> None:
    for parameter in select_parameters(model, selector).values():
        parameter.requires_grad_(trained)
        if not trained:
            parameter.grad = None  # else the optimizer would step on it once more
    frozen = frozen_modules(model)
    for name, module in model.named_modules():
        if name in frozen:
            _keep_in_evaluation(module)
        elif vars(module).pop("train", None) is not None:
            module.training = model.training


def _keep_in_evaluation(module: nn.Module) -> None:
    vars(module)["train"] = MethodType(_stay_in_evaluation, module)
    module.eval()


def _stay_in_evaluation(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stands in for `Module.train` of a frozen module, which `model.train()` calls in turn."""
    return nn.Module.train(module, False)


class LayerFreezingCallback(TrainerCallback):
    """Freezes all but a selection of layers, under the plain `transformers.Trainer` too.

    Pass it when the `Trainer` is made: then the frozen layers never enter the optimizer.

    Args:
        train: Selector of the layers to train; all others are frozen.

    Raises:
        InputError: The selector matches nothing in the model, when the `Trainer` is made.

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
        train_only(kwargs["model"], self.train)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Freeze again: the callback may have been added late, or the model changed since."""
        train_only(kwargs["model"], self.train)


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
        InputError: An argument is out of range.

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

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze all, so that the optimizer which is about to be made knows every parameter."""
        unfreeze(kwargs["model"], "all")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give each layer group its own rate, and take back what is not trained yet."""
        model = kwargs["model"]
        rates = layerwise_rates(model, args.learning_rate, self.layer_decay)
        split_by_layer(kwargs["optimizer"], kwargs["lr_scheduler"], model, rates)
        self._unfreeze_for(model, int(state.epoch or 0))

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Unfreeze the groups whose turn has come."""
        self._unfreeze_for(kwargs["model"], round(state.epoch or 0))

    def _unfreeze_for(self, model: nn.Module, epoch: int) -> None:
        groups = [group for group in layer_groups(model) if group.parameters]
        trained = groups[-(1 + epoch // self.epochs_per_group) :]
        train_only(model, ", ".join(group.name for group in trained))
