"""The layers of a model as groups, from the input (general) to the head (specific)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn

from staged_training.model_structure import Part, gathered, parts_of
from staged_training.runtime.errors import InputError

_BACKBONE_INDEX = re.compile(r"backbone\[(-?\d+)\]")
_BACKBONE_SLICE = re.compile(r"backbone\[(-?\d+)?:(-?\d+)?\]")

ADAPTED = re.compile(r"(.+)\.lora(?:\((\d+)\))?")
"""A part of a selector that names adapters, see `adapters`: beside what, and of which rank."""

_OF_ADAPTED = re.compile(r"\.(base_layer|lora_[AB]\.default)(?=\.[^.]+$)")
"""What PEFT puts into the names of parameters, by which they would not be known any more."""


@dataclass
class LayerGroup:
    """A part of a model that is frozen and trained as one.

    Attributes:
        name: `head`, or the path of a layer below the base, such as `encoder.layer.3`.
        modules: Every module of the group, by its name in the model. A container that holds several
            groups, such as the list of layers, belongs to none.
        parameters: Every parameter of the group, by its name in the model.

    Examples:
        >>> *backbone, head = layer_groups(model)
        >>> list(head.parameters)
        ['classifier.weight', 'classifier.bias']
    """

    name: str
    modules: dict[str, nn.Module] = field(default_factory=dict, repr=False)
    parameters: dict[str, nn.Parameter] = field(default_factory=dict, repr=False)


def layer_groups(model: nn.Module) -> list[LayerGroup]:
    """Split a model into layer groups, ordered from input to output, the head last.

    The base is what `base_model_prefix` of a `transformers` model names, or the last part of any
    module that is a `PreTrainedModel`; what comes beside it, or after it, is the head. The head of
    a timm model is the classifier that it names, that of any other its last child with parameters.

    The base is split where it stacks blocks (a `ModuleList`, a `Sequential` of several, or siblings
    of one class), one group each; without any, each child is a block. What runs before the first
    block is a group too, the embedding. What runs after a block without being one, such as a
    normalisation, a pooler or a last convolution, belongs to that block; what stands with a later
    stack and runs before it, such as the positions of a decoder, to the first block of that.

    What is shared belongs to the lowest group that uses it, since whatever trains it changes what
    that group computes. So the head of a language model may be without parameters of its own.

    Args:
        model: A model with a task head, such as `AutoModelForSequenceClassification` makes. It may
            be wrapped by `torch.compile`, `DataParallel` or `DistributedDataParallel`.

    Returns:
        At least two groups. Every parameter is in one of them, and in one only.

    Raises:
        InputError: The model has no head, nothing but a head, or adapters of PEFT.

    Examples:
        >>> [group.name for group in layer_groups(model)]
        ['embedding', 'layers.0', 'layers.1', 'head']
    """
    base, parts = parts_of(model)
    head = [part for part in parts if part.is_head]
    backbone = gathered([part for part in parts if not part.is_head], base)
    if not backbone or not any(part.parameters() for part in head):
        raise InputError(
            f"{type(model).__name__} has no head on a base: its layers are "
            f"{[name for name, _ in model.named_children()]}. "
            "Load it with a task class, such as AutoModelForSequenceClassification."
        )
    groups = [LayerGroup(name) for name in [*_names(backbone, base), "head"]]
    modules = {module: name for name, module in model.named_modules()}
    parameters = {parameter: name for name, parameter in model.named_parameters()}
    for group, members in zip(groups, [*backbone, head], strict=True):
        for part in members:  # what is no longer there is shared with a group below, and lies there
            for module in part.modules():
                if module in modules:
                    group.modules[modules.pop(module)] = module
            for parameter in part.parameters():
                if parameter in parameters:
                    group.parameters[parameters.pop(parameter)] = parameter
    return groups


def _names(groups: Sequence[Sequence[Part]], base: str) -> list[str]:
    """Return the paths of the groups' blocks below the base, unless another group has that name."""
    paths = []
    for parts in groups:
        leaders = [part for part in parts if part.is_leader]
        leader = next((part for part in leaders if part.is_block), leaders[0])
        paths.append(leader.path.removeprefix(f"{base}."))
    return [f"backbone.{p}" if p == "head" or paths.count(p) > 1 else p for p in paths]


def head_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers of the head, by their paths; the last one gives the logits."""
    head = layer_groups(model)[-1]
    return {name: m for name, m in head.modules.items() if isinstance(m, nn.Linear)}


def select_parameters(model: nn.Module, selector: str) -> dict[str, nn.Parameter]:
    """Return the parameters that a selector names, by their names in the model.

    Args:
        model: Any model that `layer_groups` can split.
        selector: One or several, separated by commas, of: `all`; `head`; `backbone`, also with an
            index or a slice over its groups as in `backbone[-2:]`; the name of a group; a pattern
            of parameter names such as `*.bias`. In a stage, each also with `.lora` behind it, or
            `.lora(4)`: adapters of that rank, by default 8, beside its linear layers.

    Raises:
        InputError: A part of the selector matches nothing; the message lists the groups. Or it is
            `head`, and the head shares all its weights with the embedding.

    Examples:
        >>> sorted(select_parameters(model, "head"))
        ['classifier.bias', 'classifier.weight']
    """
    groups = layer_groups(model)
    selected: dict[str, nn.Parameter] = {}
    for part in parts_of_selector(selector):
        if part == "head" and not groups[-1].parameters:
            raise InputError(_shared_head(model, groups))
        matches = _match(model, groups, part)
        if not matches:
            names = ["all", "head", "backbone", *(group.name for group in groups)]
            alike = get_close_matches(part, names, 1)
            guess = f"Did you mean {alike[0]!r}? " if alike else ""
            if ADAPTED.fullmatch(part) and _match(model, groups, ADAPTED.sub(r"\1", part)):
                raise InputError(
                    f"{type(model).__name__} has no adapters for {part!r}. A stage of "
                    "`StagedTrainer` makes them; elsewhere train the layers themselves."
                )
            if len(part.split()) > 1:
                guess = "Put a comma between selectors. "
            raise InputError(
                f"The selector {part!r} matches no parameters of {type(model).__name__}. {guess}"
                "Use 'all', 'head', 'backbone', 'backbone[-2:]', a pattern of parameter names, or "
                f"one of the groups: {', '.join(group.name for group in groups)}."
            )
        selected |= matches
    if not selected:
        raise InputError("The selector is empty: name at least one layer group, such as 'head'.")
    chosen = set(selected.values())  # by identity, since a shared one may have been named otherwise
    return {name: p for name, p in model.named_parameters() if p in chosen}


def parts_of_selector(selector: str) -> list[str]:
    """Return the selectors that one holds, separated by commas."""
    return [stripped for part in selector.split(",") if (stripped := part.strip())]


def _match(model: nn.Module, groups: list[LayerGroup], part: str) -> dict[str, nn.Parameter]:
    """Return the parameters that one part of a selector names; none if it names nothing."""
    if adapted := ADAPTED.fullmatch(part):
        beside = _match(model, groups, adapted[1])
        return {name: p for name, p in beside.items() if ".lora_" in name}
    backbone = groups[:-1]
    chosen: list[LayerGroup] = []
    if part == "all":
        chosen = groups
    elif part == "backbone":
        chosen = backbone
    elif index := _BACKBONE_INDEX.fullmatch(part):
        position = int(index[1])
        chosen = backbone[position : position + 1 or None]
    elif bounds := _BACKBONE_SLICE.fullmatch(part):
        chosen = backbone[slice(*(int(bound) if bound else None for bound in bounds.groups()))]
    else:
        chosen = [group for group in groups if group.name == part]
    if chosen:
        return {name: p for group in chosen for name, p in group.parameters.items()}
    every = model.named_parameters(remove_duplicate=False)
    return {name: p for name, p in every if fnmatchcase(_OF_ADAPTED.sub("", name), part)}


def _shared_head(model: nn.Module, groups: Sequence[LayerGroup]) -> str:
    """Explain why a head without weights of its own cannot be trained alone, and what to do."""
    weights = {p for module in groups[-1].modules.values() for p in module.parameters()}
    sharing = [g.name for g in groups if weights & set(g.parameters.values())]
    top = groups[-2].name
    return (
        f"The head of {type(model).__name__} shares all its weights with {', '.join(sharing)}: to "
        f"train it would change the layers that are to be frozen. Train the top layer, {top!r}, or "
        f"{', '.join(map(repr, sharing))} in its place, or give the head weights of its own: "
        "tie_word_embeddings=False."
    )
