"""Freezing that really freezes: no gradient, no moving BatchNorm statistics, no dropout.

`requires_grad=False` alone leaves a frozen layer in training mode, since `Trainer` calls
`model.train()` before each step: BatchNorm goes on to update its statistics and dropout goes on to
drop. Here a frozen layer also stays in evaluation mode, whatever the mode of its model.
"""

from collections.abc import Iterable

from torch import nn

from staged_training.layers import layer_groups, select_parameters


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
    _set_trained(model, dict.fromkeys(select_parameters(model, selector), False))


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
    _set_trained(model, dict.fromkeys(select_parameters(model, selector), True))


def train_only(model: nn.Module, selector: str) -> None:
    """Freeze all but the selected layers.

    Raises:
        InputError: The selector matches nothing; the model is left as it was.
    """
    selected = select_parameters(model, selector)
    _set_trained(model, {name: name in selected for name, _ in model.named_parameters()})


def freeze_statistics(model: nn.Module) -> None:
    """Make every BatchNorm layer compute as in evaluation, even if its parameters are trained.

    Fine-tuning on few examples is better with the statistics of pretraining. `train_only`, `freeze`
    and `unfreeze` undo it for the layers that are trained then.
    """
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            _EvaluationMode.keep(module)


def frozen_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules that stay in evaluation mode, by their names in the model.

    These are all modules of a group of which nothing is trained, and any module that holds
    parameters of which none is trained. A container whose own parameters are all frozen stays in
    evaluation mode too, though blocks in it are trained: a wav2vec2 masks no features by its frozen
    `masked_spec_embed`. Only what contains the head goes on, for it may drop before the head.

    A container without parameters of its own goes on training with any layer in it: by `layerdrop`
    an encoder skips layers in training, frozen ones too, unless its configuration says 0.
    """
    *_, head = groups = layer_groups(model)
    frozen: dict[str, nn.Module] = {}
    for group in groups:  # a head that shares its weights with the embedding has none of its own
        if group.parameters and not _any_trained(group.parameters.values()):
            frozen |= group.modules
    for name, module in model.named_modules():
        held, own = list(module.parameters()), list(module.parameters(recurse=False))
        if held and not _any_trained(held):
            frozen |= module.named_modules(prefix=name)
        elif own and not _any_trained(own) and not set(held) & set(head.parameters.values()):
            frozen[name] = module
    return frozen


def _any_trained(parameters: Iterable[nn.Parameter]) -> bool:
    return any(parameter.requires_grad for parameter in parameters)


def _set_trained(model: nn.Module, trained: dict[str, bool]) -> None:
    """Set which parameters are trained, and the modes of modules accordingly."""
    for name, parameter in model.named_parameters():
        if name in trained:
            parameter.requires_grad_(trained[name])
            if not trained[name]:
                parameter.grad = None  # else the optimizer would step on it once more
    frozen = set(frozen_modules(model).values())
    thawed = [m for m in model.modules() if m not in frozen and _EvaluationMode.release(m)]
    for module in frozen:
        _EvaluationMode.keep(module)
    if thawed:  # set from the top, for a container may pin the mode of what it holds
        model.train(model.training)


class _EvaluationMode:
    """Stands in for `train` of a frozen module, which `model.train()` calls in turn.

    It is an object, and not a bound method or a closure, so that a frozen model can be pickled and
    a copy of it freezes the copy.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.replaced = vars(module).get("train")  # the user's own

    def __call__(self, mode: bool = True) -> nn.Module:
        if self.replaced:
            self.replaced(mode)
        else:
            type(self.module).train(self.module, mode)
        self.module.training = False
        return self.module

    @classmethod
    def keep(cls, module: nn.Module) -> None:
        """Keep a module in evaluation mode whatever mode is set; its children follow the mode."""
        if not isinstance(vars(module).get("train"), cls):
            vars(module)["train"] = cls(module)
        module.training = False

    @classmethod
    def release(cls, module: nn.Module) -> bool:
        """Restore the `train` method of a module; return whether it was kept in evaluation mode."""
        kept = vars(module).get("train")
        if not isinstance(kept, cls):
            return False
        del vars(module)["train"]
        if kept.replaced:
            vars(module)["train"] = kept.replaced
        return True
