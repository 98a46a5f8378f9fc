"""Which parameters of a model carry what was learned before, and which are new and random."""

import re

from torch import nn

from staged_training.layers import layer_groups, select_parameters


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


def pretrained_parameters(model: nn.Module, selector: str | None = None) -> set[str]:
    """Return the names of the parameters that carry pretrained weights.

    Args:
        model: A model with a head on a base.
        selector: What the user says is pretrained; by default all of the backbone but
            `new_parameters`.

    Raises:
        InputError: The selector matches nothing.
    """
    if selector is not None:
        return set(select_parameters(model, selector))
    return set(select_parameters(model, "backbone")) - new_parameters(model)


def selector_of(model: nn.Module, names: set[str]) -> str:
    """Return a selector of these parameters, as short as whole modules make it."""
    *_, head = layer_groups(model)
    selects_head = head.parameters.keys() <= names
    parts = ["head"] if selects_head else []
    left = names - head.parameters.keys() if selects_head else set(names)
    for path, module in model.named_modules():  # a container comes before what it holds
        held = {name for name, _ in module.named_parameters(prefix=path)}
        if path and held and held <= left:
            parts.append(f"{path}.*")
            left -= held
    return ", ".join([*parts, *sorted(left)])
