"""Which parameters of a model carry what was learned before, and which are new and random."""

import math
import re
from collections.abc import Mapping
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from staged_training.layers import layer_groups, select_parameters
from staged_training.runtime.errors import InputError

_MASKS = re.compile(r"(.*\.)?(masked_spec_embed|mask_token)")
"""What stands in for masked parts of an input in training; many checkpoints lack it."""


_NUMBER = re.compile(r"\d+")

_MULTIPLYING = (nn.Linear, nn.RNNBase, *(getattr(nn, f"Conv{n}d") for n in (1, 2, 3)))
"""Layers that pass nothing on where all of their weights are zero."""

_STATISTICS = ("running_mean", "running_var")
"""Of batch normalization."""

_MOST = 1e10
"""No weight is as large. What a layer keeps beside its weights may be, such as a mask."""


def new_parameters(model: nn.Module) -> set[str]:
    """Return the names of the parameters that `from_pretrained` did not find in the checkpoint.

    It starts them at random, as it does those of another size: a pooler that a masked language
    model was saved without, the projector before a classifier of sounds.

    Args:
        model: A model that `from_pretrained` loaded, or that holds one. A deep copy of it does not
            tell any more what was loaded.

    Returns:
        Their names; none for a model that was not loaded from a checkpoint.

    Examples:
        >>> new_parameters(model)  # made from a configuration
        set()
    """
    # `from_pretrained` marks what it loads, lest it be initialised.
    loaded = {n for n, p in model.named_parameters() if getattr(p, "_is_hf_initialized", False)}
    if not loaded:
        return set()
    computed = getattr(model, "_keys_to_ignore_on_load_missing", None) or ()
    return {
        name
        for name, _ in model.named_parameters()
        if name not in loaded and not any(re.search(pattern, name) for pattern in computed)
    }


def load_whole(kind: Any, name: str) -> PreTrainedModel:
    """Load a model, and refuse weights that are missing from its checkpoint, or not finite.

    What it does not find, `from_pretrained` starts at random, with a warning; layers beyond those
    of its configuration it leaves out. A configuration that describes a larger model than the
    checkpoint holds is refused before room for that is made.

    Args:
        kind: A class with `from_pretrained`.
        name: Folder or Hub name of the model, whose weights are in `safetensors`.

    Raises:
        InputError: A weight is missing, is of a layer too many, or is none that a model can compute
            with.
    """
    stored = _stored(name)
    outline = _outline(kind, name, stored).state_dict() if stored else {}
    model, found = kind.from_pretrained(
        name, use_safetensors=True, output_loading_info=True, trust_remote_code=False
    )
    whole = {key for key, (_, dtype) in stored.items() if not dtype.startswith(("F", "BF"))}
    alike = {_NUMBER.sub("N", weight) for weight in model.state_dict()}
    too_many = {weight for weight in found["unexpected_keys"] if _NUMBER.sub("N", weight) in alike}
    for weights, what in (
        (found["missing_keys"], "lacks {} weights of {}"),
        (too_many, "holds {} weights of more layers than {} has"),
    ):
        if weights:
            told = what.format(len(weights), type(model).__name__)
            raise InputError(
                f"{name} {told}, such as {min(weights)}. Save the whole model, by save_pretrained."
            )
    parameters = {weight for weight, _ in model.named_parameters()}
    matrices = {
        f"{path}.{weight}"
        for path, module in model.named_modules()
        if isinstance(module, _MULTIPLYING)
        for weight, tensor in module.named_parameters(recurse=False)
        if tensor.ndim > 1
    }
    for weight, tensor in model.state_dict().items():
        is_whole = weight in whole and outline[weight].is_floating_point()
        is_limited = weight in parameters or weight.endswith(_STATISTICS)
        usable = tensor.abs() < _MOST if is_limited else ~tensor.isnan()
        is_empty = weight in matrices and not tensor.any()
        if is_whole or is_empty or not usable.all():
            raise InputError(
                f"{name}: the weight {weight} holds invalid values: whole numbers, NaN, "
                "infinity, huge numbers or nothing but zeros. Train the model, or copy it, anew."
            )
    return cast(PreTrainedModel, model)


def _stored(name: str) -> dict[str, tuple[list[int], str]]:
    """Return shapes and types of a checkpoint's tensors; none where it is sharded or quantized."""
    file = cached_file(name, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if file is None or hasattr(
        AutoConfig.from_pretrained(name, trust_remote_code=False), "quantization_config"
    ):
        return {}
    with safe_open(file, "pt") as tensors:
        slices = {key: tensors.get_slice(key) for key in tensors.keys()}  # noqa: SIM118
        return {key: (part.get_shape(), part.get_dtype()) for key, part in slices.items()}


def _outline(kind: Any, name: str, stored: Mapping[str, tuple[list[int], str]]) -> PreTrainedModel:
    """Build the model of a configuration without memory; refuse weights that are incomplete."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1
        if count > 4 * len(stored) + 1000:  # some parts are replaced while a model is made
            raise larger

    larger = InputError(
        f"{name} lacks some weights of the model that its config.json describes, which is larger. "
        "Copy the model anew."
    )
    handle = register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            model = kind.from_config(AutoConfig.from_pretrained(name, trust_remote_code=False))
    finally:
        handle.remove()
    held = sum(math.prod(shape) for shape, _ in stored.values())
    if sum(parameter.numel() for parameter in model.parameters()) > held:
        raise larger
    return cast(PreTrainedModel, model)


def pretrained_parameters(model: nn.Module, selector: str | None = None) -> set[str]:
    """Return the names of the parameters that carry pretrained weights.

    Args:
        model: A model with a head on a base.
        selector: What the user says is pretrained; by default all of the backbone but
            `new_parameters`. Of those a mask does not count: a frozen model uses none.

    Raises:
        InputError: The selector matches nothing.
    """
    if selector is not None:
        return set(select_parameters(model, selector))
    new = {name for name in new_parameters(model) if not _MASKS.fullmatch(name)}
    return set(select_parameters(model, "backbone")) - new


def selector_of(model: nn.Module, names: set[str]) -> str:
    """Return the shortest selector of these parameters, by whole modules where possible."""
    *_, head = layer_groups(model)
    selects_head = bool(head.parameters) and head.parameters.keys() <= names
    parts = ["head"] if selects_head else []
    left = names - head.parameters.keys() if selects_head else set(names)
    for path, module in model.named_modules():  # a container comes before what it holds
        held = {name for name, _ in module.named_parameters(prefix=path)}
        if path and held and held <= left:
            parts.append(f"{path}.*")
            left -= held
    return ", ".join([*parts, *sorted(left)])
