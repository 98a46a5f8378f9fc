"""The head of a model as a model of its own, on what the base gives it."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from staged_training.features.layouts import channels_last
from staged_training.layers import layer_groups
from staged_training.runtime.errors import InputError

Batch = Mapping[str, torch.Tensor]

_TOLERANCE = 1e-5


class FeatureHead(nn.Module):
    """The head of a model as a model of its own, on the features of the base.

    It shares its layers with the model: to train the one is to train the other. A head whose
    `forward` takes `labels`, as those of detectors and captioners do, computes its own loss and
    gives an output with whatever it predicts; it may take other inputs of the model too, by their
    names. Any other gives logits, and the loss is that of the model.

    Args:
        model: A model with a head, as `layer_groups` splits it.
        batch: Inputs of the model, to find out in what order its layers run, and that logits and
            loss from features are those of the model.

    Raises:
        InputError: The head takes more than features, or what it computes from these is not what
            the model computes.
    """

    def __init__(self, model: nn.Module, batch: Batch) -> None:
        super().__init__()
        upper_modules = upper_modules_from(model, -1)
        ran: list[str] = []
        features: list[torch.Tensor] = []

        def note(name: str, inputs: tuple[Any, ...]) -> None:
            if not ran:
                features.append(inputs[0].clone())  # a layer may work in place
            ran.append(name)

        self._loss = _loss_of(model)
        self._names = inputs_of_head(model)
        batch = _on_device_of(model, batch)
        with evaluating(model), _hooked(model, upper_modules, note):
            expected = model(**batch)
        self.layers = nn.ModuleList(model.get_submodule(name) for name in dict.fromkeys(ran))
        self.register_state_dict_post_hook(_make_contiguous)
        with evaluating(model):
            try:
                found = self(*features, **{n: t for n, t in batch.items() if n in self._names})
                same = all(_close(found[name], expected[name]) for name in found)
            except (TypeError, RuntimeError):  # a layer got other inputs than in the model
                same = False
        if not same:
            raise InputError(
                f"The head of {type(model).__name__} ({', '.join(upper_modules)}) does not compute "
                "the model's logits and loss from the features of its base alone. Train it within "
                "the model."
            )

    def forward(
        self, features: torch.Tensor, labels: torch.Tensor | None = None, **others: torch.Tensor
    ) -> dict[str, Any]:
        """Predict from features.

        Args:
            features: What its first layer is given, `[batch, ...]`.
            labels: True labels, `[batch, ...]`.
            **others: What the head takes besides.

        Returns:
            `logits`, `[batch, ...]`, and with labels `loss`; all that a head with a loss of its own
            predicts.
        """
        states = channels_last(features)
        *below, head = self.layers
        for layer in below:
            states = layer(states)
        if _has_own_loss(head):
            return dict(head(states, labels=labels, **others))
        logits = head(states)
        loss = {} if labels is None else {"loss": self._loss(logits, labels)}
        return {**loss, "logits": logits}


def base_features(model: nn.Module, batch: Batch, first: int = -1) -> torch.Tensor:
    """Return the input of a layer group, by default the head: `[batch, ...]`, without gradients."""
    return inputs_of(upper_modules_from(model, first), model, batch)


def inputs_of(upper_modules: Sequence[str], model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the input of the first of these modules that runs."""
    found: list[torch.Tensor] = []

    def keep(name: str, inputs: tuple[Any, ...]) -> None:
        found.append(inputs[0])
        raise _HeadReachedError

    inputs = {name: channels_last(t) for name, t in _on_device_of(model, batch).items()}
    with torch.no_grad(), _hooked(model, upper_modules, keep):
        try:
            model(**inputs)
        except _HeadReachedError:
            return found[0].detach()
    raise InputError(f"The head of {type(model).__name__} does not run in its forward pass.")


@contextmanager
def collected_features(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the input of a model's head, a vector for each example, while it runs.

    Examples:
        >>> with collected_features(model) as features:
        ...     logits = model(torch.tensor(tokenizer(texts[:1])["input_ids"])).logits
        >>> len(features), features[0].shape, logits.shape
        (1, torch.Size([132]), torch.Size([1, 2]))
    """
    rows: list[torch.Tensor] = []
    with watched_head(model, lambda features: rows.extend(features.flatten(1).cpu())):
        yield rows


@contextmanager
def collected_tokens(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Collect the token numbers that a model of texts is given, padded, while it runs.

    Examples:
        >>> with collected_tokens(model) as tokens:
        ...     logits = model(**tokenizer(texts[:1], return_tensors="pt")).logits
        >>> tokens[0].tolist() == tokenizer(texts[0])["input_ids"]
        True
    """
    rows: list[torch.Tensor] = []

    def keep(_: nn.Module, __: tuple[Any, ...], inputs: dict[str, torch.Tensor]) -> None:
        rows.extend(inputs["input_ids"].cpu())

    handle = model.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        yield rows
    finally:
        handle.remove()


@contextmanager
def watched_head(model: nn.Module, watch: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Call a function with what the head is given, `[batch, ...]`, whenever it runs."""
    head = next(iter(layer_groups(model)[-1].modules))
    with _hooked(model, [head], lambda _, inputs: watch(inputs[0])):
        yield


def upper_modules_from(model: nn.Module, first: int) -> list[str]:
    """Return the outermost modules of a layer group and of all above it, by name in the model."""
    modules = modules_from(model, first)
    return [name for name in modules if name.rpartition(".")[0] not in modules]


def modules_from(model: nn.Module, first: int) -> dict[str, nn.Module]:
    """Return the modules of a layer group and of all above it, by name in the model."""
    return {name: m for group in layer_groups(model)[first:] for name, m in group.modules.items()}


def inputs_of_head(model: nn.Module) -> set[str]:
    """Return the inputs that the head takes beside features: labels, and those that it names."""
    head = model.get_submodule(next(iter(layer_groups(model)[-1].modules)))
    own = inspect.signature(head.forward).parameters if _has_own_loss(head) else {}
    return {"labels", *own}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode without gradients, and restore it afterwards.

    It computes with the numbers of its weights then, also after training in mixed precision, which
    leaves a `forward` on it that does not.
    """
    was_training = model.training
    mixed = {
        module: vars(module).pop("forward")
        for module in model.modules()
        if hasattr(module, "_original_forward") and "forward" in vars(module)
    }
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)
        for module, forward in mixed.items():
            vars(module)["forward"] = forward


class _HeadReachedError(Exception):
    """Ends a forward pass where the head would begin."""


def _has_own_loss(head: nn.Module) -> bool:
    return "labels" in inspect.signature(head.forward).parameters


def _loss_of(model: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Return the loss of a model as a function of its logits and labels."""
    if isinstance(model, PreTrainedModel) and model.loss_type is not None:
        return lambda logits, labels: model.loss_function(labels, logits, model.config)
    return nn.functional.cross_entropy


def _close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return found.shape == expected.shape and bool((found - expected).abs().max() <= _TOLERANCE)


def _on_device_of(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _make_contiguous(
    module: nn.Module, state: dict[str, torch.Tensor], prefix: str, metadata: Any
) -> None:
    """Make weights contiguous for `safetensors`; `transformers` does so for its own models."""
    for name, tensor in state.items():
        state[name] = tensor.contiguous()


@contextmanager
def _hooked(
    model: nn.Module, names: Sequence[str], hook: Callable[[str, tuple[Any, ...]], None]
) -> Iterator[None]:
    """Call `hook` with its name and inputs whenever one of the named modules runs."""
    handles = [
        model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, name=name: hook(name, inputs)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
