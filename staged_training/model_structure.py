"""What a model is made of: its base, its head, and the parts that run one after the other."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, cast

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from transformers import PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from staged_training.run_order import run_order
from staged_training.runtime.errors import InputError

_WRAPPED = ("_orig_mod", "module")  # of `torch.compile`, and of data parallelism


@dataclass(eq=False)
class Part:
    """A part of a model that is not split further.

    Attributes:
        path: Its name in the model.
        content: A module, or a parameter that a container holds itself.
        is_head: It belongs to the head.
        is_block: It is one of a stack of blocks.
        is_leader: It may name a group: it is a layer, no normalisation, and not shared with one
            that runs before it.
    """

    path: str
    content: nn.Module | nn.Parameter
    is_head: bool = False
    is_block: bool = False
    is_leader: bool = False

    def modules(self) -> list[nn.Module]:
        """Return every module in it."""
        return [] if isinstance(self.content, nn.Parameter) else list(self.content.modules())

    def parameters(self) -> list[nn.Parameter]:
        """Return every parameter in it."""
        if isinstance(self.content, nn.Parameter):
            return [self.content]
        return list(self.content.parameters())

    def outweighs(self, other: "Part") -> bool:
        """Return whether it has several layers, and more numbers than another part."""
        return self.matrices > 1 and self.size > other.size

    @cached_property
    def size(self) -> int:
        """How many numbers are in its parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @cached_property
    def matrices(self) -> int:
        """How many parameters are no vectors, such as biases and scales, of which norms consist."""
        shapes = [parameter.shape for parameter in self.parameters()]
        return sum(len(shape) == 2 or sum(size > 1 for size in shape) > 1 for shape in shapes)


def parts_of(model: nn.Module) -> tuple[str, list[Part]]:
    """Split a model into parts, in the order in which they run.

    Returns:
        The path of the base, that of the model itself where it is its own base, and the parts.

    Raises:
        InputError: The model holds adapters of PEFT.
    """
    root, inner = _unwrapped(model)
    base, heads = (root, []) if _is_base(inner) else _base_and_head(inner, root)
    parts = list(_split(root, inner, heads, _stacks(inner)))
    first_of_head = next((i for i, part in enumerate(parts) if part.is_head), len(parts))
    for index, part in enumerate(parts):
        if isinstance(part.content, nn.Parameter) and _parent(part.path) == root:
            part.is_head = base != root or index > first_of_head
    users: dict[nn.Parameter, Part] = {}
    for part in parts:
        for parameter in part.parameters():
            users.setdefault(parameter, part)
    for part in parts:
        part.is_leader = (
            isinstance(part.content, nn.Module)
            and any(users[p] is part for p in part.parameters())
            and part.matrices > 0
        )
    return base, parts


def _is_base(model: nn.Module) -> bool:
    """Return whether it is what `AutoModel` makes: a base, whose last layer is no head."""
    kind = MODEL_MAPPING_NAMES.get(getattr(getattr(model, "config", None), "model_type", ""))
    return kind == type(model).__name__ and "For" not in kind


def gathered(parts: Sequence[Part], base: str) -> list[list[Part]]:
    """Gather the parts of a backbone into groups: the embedding, then each block with its own."""
    leaders = [part for part in parts if part.is_leader]
    blocks = [part for part in leaders if part.is_block] or leaders
    loose = [part for part in parts if isinstance(part.content, nn.Parameter)]
    groups: list[list[Part]] = []
    waiting: list[Part] = []  # what runs before a block, and belongs to its group
    for part in parts:
        around = _parent(part.path)
        if part in loose:
            continue
        if part in blocks:
            if not groups and any(before.is_leader for before in waiting):
                groups, waiting = [waiting], []  # the embedding
            groups.append([*waiting, part])
            waiting = []
            block = blocks.pop(0)
        elif not groups or waiting or (part.is_leader and _feeds(part, blocks, base)):
            waiting.append(part)
        elif part.is_leader and around == base and (blocks or part.outweighs(block)):
            groups.append([part])
        else:
            groups[-1].append(part)
    if groups:
        groups[0] += loose  # class tokens, positions
    return groups


def _feeds(part: Part, blocks: Sequence[Part], base: str) -> bool:
    """Return whether the next block is in the same module as a part, below the base."""
    around = _parent(part.path)
    return around != base and bool(blocks) and blocks[0].path.startswith(f"{around}.")


def _unwrapped(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the model within wrappers that compute the same, and its path in them."""
    path: list[str] = []
    while True:
        if hasattr(model, "peft_config"):
            raise InputError(
                f"{type(model).__name__} holds adapters of PEFT, which says itself what is "
                "trained: freezing layers would undo that. Train it with the plain Trainer, or "
                "merge the adapters first: model = model.merge_and_unload()."
            )
        names = [name for name, _ in model.named_children()]
        if len(names) != 1 or names[0] not in _WRAPPED:
            return ".".join(path), model
        path += names
        model = model.get_submodule(names[0])


def _base_and_head(model: nn.Module, path: str) -> tuple[str, list[str]]:
    """Return the paths of the base and of the modules of the head; none if there is no head."""
    if callable(getattr(model, "get_classifier", None)):
        return path, _timm_classifiers(model, path)
    order = [name for names in run_order(model) for name in names]
    children = {n: c for n in order if isinstance(c := getattr(model, n), nn.Module)}
    names, weighted = list(children), [n for n, c in children.items() if _has_parameters(c)]
    prefix = getattr(model, "base_model_prefix", "")
    bases = [name for name in weighted if isinstance(children[name], PreTrainedModel)]
    if prefix in children:
        last, base, head = prefix, _join(path, prefix), [name for name in names if name != prefix]
    elif bases:
        last, base, head = bases[-1], path, names[names.index(bases[-1]) + 1 :]
    elif len(weighted) == 1:
        last, base, head = weighted[0], path, []
    else:
        head = names[names.index(weighted[-1]) :] if weighted else []
        return path, [_join(path, name) for name in head]
    if set(head) & set(weighted):
        return base, [_join(path, name) for name in head]
    # The head lies in the base, as of timm and Perceiver, or in the last of several models.
    inner, heads = _base_and_head(children[last], _join(path, last))
    return inner if len(bases) < 2 or prefix in children else path, heads


def _timm_classifiers(model: nn.Module, path: str) -> list[str]:
    """Return the paths of the classifiers that a timm model names; it may have two."""
    found = cast(Any, model).get_classifier()
    wanted = {id(module) for module in (found if isinstance(found, tuple) else [found])}
    return [
        name
        for name, module in model.named_modules(prefix=path)
        if id(module) in wanted and _has_parameters(module)
    ]


def _split(
    path: str, module: nn.Module, heads: Sequence[str], stacks: Set[nn.Module]
) -> Iterator[Part]:
    """Yield the parts of a module: down to its stacks, not into their blocks."""
    if path in heads:
        yield Part(path, module, is_head=True)
        return
    holds_head = any(not path or head.startswith(f"{path}.") for head in heads)
    if not holds_head and stacks.isdisjoint(module.modules()):
        yield Part(path, module)
        return
    parts = [part for names in run_order(module) for part in _turns(path, module, names, heads)]
    is_stack = module in stacks and not holds_head
    for part in _layers(parts) if is_stack else _siblings(parts, stacks):
        part.is_block = part.path not in heads
    for part in parts:
        if is_stack or part.is_block or isinstance(part.content, nn.Parameter):
            yield part
        else:
            yield from _split(part.path, part.content, heads, stacks)


def _turns(path: str, module: nn.Module, names: Sequence[str], heads: Sequence[str]) -> list[Part]:
    """Return a child or parameter; of parallel stacks, the blocks that run in the same turn."""
    single = [Part(_join(path, name), getattr(module, name)) for name in names]
    stacks = [getattr(module, name) for name in names]
    apart = any(part.path in heads for part in single)
    if apart or len(names) == 1 or not all(isinstance(s, nn.ModuleList) for s in stacks):
        return single
    parts = []
    for turn in zip_longest(*(stack.named_children() for stack in stacks)):
        together = [
            Part(f"{stack.path}.{child[0]}", child[1])
            for stack, child in zip(single, turn, strict=True)
            if child
        ]
        largest = max(together, key=lambda part: part.size)
        layers = nn.ModuleList(cast(nn.Module, part.content) for part in together)
        parts.append(Part(largest.path, layers, is_block=largest.matrices > 0))
    return parts


def _stacks(model: nn.Module) -> Set[nn.Module]:
    """Return the stacks of blocks with several layers each; where there are none, of layers.

    So a stem or a list of embeddings is no stack in a model that has blocks.
    """
    of_blocks, of_layers = set(), set()
    for module in model.modules():
        if isinstance(module, nn.ModuleList | nn.Sequential):
            layers = [count for child in module.children() if (count := Part("", child).matrices)]
            if len(layers) > isinstance(module, nn.Sequential) and max(layers) > 1:
                of_blocks.add(module)
            elif len(layers) > 1 and not isinstance(module, ParametrizationList):
                of_layers.add(module)
    return of_blocks or of_layers


def _layers(parts: Sequence[Part]) -> list[Part]:
    """Return the blocks of a stack, without what normalises them or a last convolution."""
    layers = [part for part in parts if part.matrices]
    if len(layers) > 1 and layers[-1].matrices == 1 < layers[-2].matrices:
        layers.pop()
    return layers


def _siblings(parts: Sequence[Part], stacks: Set[nn.Module]) -> list[Part]:
    """Return side-by-side blocks that are no stack: of one class, and without inner stacks."""
    several = [
        part
        for part in parts
        if part.matrices > 1
        and part.content not in stacks
        and not any(isinstance(m, nn.ModuleList) and m in stacks for m in part.modules())
    ]
    kinds = Counter(type(part.content) for part in several)
    return [part for part in several if kinds[type(part.content)] > 1]


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _parent(path: str) -> str:
    return path.rpartition(".")[0]
