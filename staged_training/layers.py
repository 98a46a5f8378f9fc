"""The layers of a model as groups, from the input (general) to the head (specific)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from staged_training.errors import InputError

_BACKBONE_INDEX = re.compile(r"backbone\[(-?\d+)\]")
_BACKBONE_SLICE = re.compile(r"backbone\[(-?\d+)?:(-?\d+)?\]")


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
    modules: dict[str, nn.Module] = field(default_factory=dict)
    parameters: dict[str, nn.Parameter] = field(default_factory=dict)


def layer_groups(model: nn.Module) -> list[LayerGroup]:
    """Split a model into layer groups, ordered from input to output, the head last.

    The base is what `base_model_prefix` of a `transformers` model names; everything beside it is
    the head. The head of any other module is its last child with parameters. The base is split
    where it stacks layers (a `ModuleList`, or a `Sequential` of several), one group each.
    Normalisation and layers without parameters, such as dropout, belong to the group before them.
    The head of a timm model, which lies within its base, is the classifier that timm names.

    Args:
        model: A model with a task head, such as `AutoModelForSequenceClassification` makes.

    Returns:
        At least two groups. Every parameter is in one of them, and in one only.

    Raises:
        InputError: The model has no head, or nothing but a head.

    Examples:
        >>> [group.name for group in layer_groups(model)]
        ['embedding', 'layers.0', 'layers.1', 'head']
    """
    base = _base_name(model)
    backbone, head = _split_at_head(model, base)
    groups: list[LayerGroup] = []
    for path in backbone:
        if groups and not _begins_a_group(model.get_submodule(path)):
            _extend(groups[-1], model, path)
        else:
            groups.append(LayerGroup(path.removeprefix(f"{base}.")))
            _extend(groups[-1], model, path)
    groups.append(LayerGroup("head"))
    for path in head:
        _extend(groups[-1], model, path)
    _assign_loose_parameters(model, groups, base)
    if len(groups) < 2 or not groups[-1].parameters:
        raise InputError(
            f"{type(model).__name__} has no head on a base: its layers are "
            f"{[name for name, _ in model.named_children()]}. "
            "Load it with a task class, such as AutoModelForSequenceClassification."
        )
    return groups


def head_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of the head, by their paths in the model; the last one gives the logits."""
    head = layer_groups(model)[-1]
    return {name: m for name, m in head.modules.items() if isinstance(m, nn.Linear)}


def select_parameters(model: nn.Module, selector: str) -> dict[str, nn.Parameter]:
    """The parameters that a selector names, by their names in the model.

    Args:
        model: Any model that `layer_groups` can split.
        selector: One or several, separated by commas, of: `all`; `head`; `backbone`, also with an
            index or a slice over its groups as in `backbone[-2:]`; the name of a group; a pattern
            of parameter names such as `*.bias`.

    Raises:
        InputError: A part of the selector matches nothing; the message lists the groups.
    """
    groups = layer_groups(model)
    selected: dict[str, nn.Parameter] = {}
    for part in filter(None, (part.strip() for part in selector.split(","))):
        matches = _match(model, groups, part)
        if not matches:
            raise InputError(
                f"The selector {part!r} matches no parameters of {type(model).__name__}. "
                "Use 'all', 'head', 'backbone', 'backbone[-2:]', a pattern of parameter names, or "
                f"one of the groups: {', '.join(group.name for group in groups)}."
            )
        selected |= matches
    if not selected:
        raise InputError("The selector is empty: name at least one layer group, such as 'head'.")
    return {name: p for name, p in model.named_parameters() if name in selected}


def _match(model: nn.Module, groups: list[LayerGroup], part: str) -> dict[str, nn.Parameter]:
    """The parameters that one part of a selector names; none if it names nothing."""
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
    return {name: p for name, p in model.named_parameters() if fnmatchcase(name, part)}


def _base_name(model: nn.Module) -> str:
    """The attribute that holds the base of a `transformers` model; empty if there is none."""
    name = getattr(model, "base_model_prefix", "")
    return name if name and isinstance(getattr(model, name, None), nn.Module) else ""


def _split_at_head(model: nn.Module, base: str) -> tuple[list[str], list[str]]:
    """Paths of the backbone's layers and of the head's, each in the order of the model."""
    children = dict(model.named_children())
    if base:
        head = _timm_classifier(children[base], base)
        backbone = _layer_paths(base, children.pop(base), without=head)
        return backbone, [*head, *children]
    names = list(children)
    with_parameters = [name for name in names if any(True for _ in children[name].parameters())]
    cut = names.index(with_parameters[-1]) if with_parameters else len(names)
    return [path for n in names[:cut] for path in _layer_paths(n, children[n])], names[cut:]


def _timm_classifier(base: nn.Module, path: str) -> list[str]:
    """The path of the classifier within a timm model, in a list; an empty list for any other."""
    get_classifier = getattr(base, "get_classifier", None)
    if not callable(get_classifier):
        return []
    classifier = get_classifier()
    found = [name for name, module in base.named_modules(prefix=path) if module is classifier]
    return [name for name in found if any(True for _ in classifier.parameters())]


def _layer_paths(path: str, module: nn.Module, without: Sequence[str] = ()) -> list[str]:
    """The paths of the layers that make up a module: down to its stacks, not into their layers."""
    if path in without:
        return []
    holds_head = any(name.startswith(f"{path}.") for name in without)
    if not holds_head and not any(_is_stack(part) for part in module.modules()):
        return [path]
    children = [(f"{path}.{name}", child) for name, child in module.named_children()]
    if _is_stack(module):
        return [name for name, _ in children]
    return [layer for name, child in children for layer in _layer_paths(name, child, without)]


def _begins_a_group(module: nn.Module) -> bool:
    has_parameters = any(True for _ in module.parameters())
    return has_parameters and "norm" not in type(module).__name__.lower()


def _is_stack(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList) or (
        isinstance(module, nn.Sequential)
        and sum(any(True for _ in child.parameters()) for child in module) > 1
    )


def _extend(group: LayerGroup, model: nn.Module, path: str) -> None:
    """Add the module at `path`, with all below it, to a group."""
    module = model.get_submodule(path)
    group.modules.update(module.named_modules(prefix=path))
    group.parameters.update(module.named_parameters(prefix=path))


def _assign_loose_parameters(model: nn.Module, groups: list[LayerGroup], base: str) -> None:
    """Give parameters that a container holds itself to the base's first group, or to the head."""
    grouped = {name for group in groups for name in group.parameters}
    for name, parameter in model.named_parameters():
        if name not in grouped:
            owner = groups[0] if base and name.startswith(f"{base}.") else groups[-1]
            owner.parameters[name] = parameter
