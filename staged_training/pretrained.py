"""Which parameters of a model carry what was learned before, and which are new and random."""

import re
from typing import Any, cast

from safetensors import safe_open
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from staged_training.errors import InputError
from staged_training.layers import layer_groups, select_parameters

_MASKS = re.compile(r"(.*\.)?(masked_spec_embed|mask_token)")
"""What stands in for masked parts of an input in training; many checkpoints lack it."""


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
    """Load a model of which every weight is in its checkpoint, and a number.

    What it does not find, `from_pretrained` starts at random, with a warning.

    Args:
        kind: A class with `from_pretrained`.
        name: Folder or Hub name of the model, whose weights are in `safetensors`.

    Raises:
        InputError: A weight is missing, or none that a model can compute with.
    """
    model, found = kind.from_pretrained(name, use_safetensors=True, output_loading_info=True)
    if missing := sorted(found["missing_keys"]):
        raise InputError(
            f"{name} lacks {len(missing)} weights of {type(model).__name__}, such as {missing[0]}. "
            "Save the whole model, by save_pretrained."
        )
    whole = set() if hasattr(model.config, "quantization_config") else _whole_numbers(name)
    for weight, parameter in model.named_parameters():
        if weight in whole or not parameter.isfinite().all():
            raise InputError(
                f"{name}: the weight {weight} holds what is no weight: whole numbers, NaN or "
                "infinity. Train the model, or copy it, anew."
            )
    return cast(PreTrainedModel, model)


def _whole_numbers(name: str) -> set[str]:
    """The tensors of whole numbers in a file of weights, which loading would take for weights."""
    file = cached_file(name, SAFE_WEIGHTS_NAME, _raise_exceptions_for_missing_entries=False)
    if file is None:  # it is in several files
        return set()
    with safe_open(file, "pt") as tensors:
        kinds = {key: tensors.get_slice(key).get_dtype() for key in tensors.keys()}  # noqa: SIM118
    return {key for key, kind in kinds.items() if not kind.startswith(("F", "BF"))}


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
    """Return a selector of these parameters, as short as whole modules make it."""
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
