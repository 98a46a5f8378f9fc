"""A cut through a model: which calls of frozen modules need not run, and what must be kept of them.

Some calls give the same for an example in every pass: no parameter that is trained has a part in
them, nor chance. They can be answered without being computed. What they return is kept only where
something beyond them makes use of it, or what the model itself makes of it before a module is given
it, where that is smaller: the vector of the first token, say, and not those of all tokens.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from staged_training.features.calls import (
    Call,
    Intercepted,
    Leaf,
    Record,
    leaves_of,
    with_leaves,
)
from staged_training.features.layouts import Extents, Kind, Layout

_SAME = 1e-4  # of the largest number: what dropout changes is more


class CannotReuseError(Exception):
    """Says why features of a model cannot be reused; its message ends a sentence."""


@dataclass(frozen=True)
class Place:
    """A tensor that goes into a call or comes out of it.

    Attributes:
        call: The call.
        is_output: Whether it comes out.
        leaf: Its number among the leaves of the arguments, or of the output.
    """

    call: Call
    is_output: bool
    leaf: int


@dataclass
class Value:
    """What is kept of the frozen layers for each example.

    Attributes:
        layout: Its layout in a batch.
        places: Where it is put in place of what the model would have computed.
    """

    layout: Layout
    places: list[Place] = field(default_factory=list)


@dataclass(frozen=True)
class StandIn:
    """What answers a call.

    Attributes:
        spec: The structure of what it returns.
        leaves: Of each leaf the layout, or the value itself if it is no tensor.
    """

    spec: TreeSpec
    leaves: list[Any]


@dataclass(frozen=True)
class Cut:
    """A cut through a model.

    Attributes:
        stand_ins: The calls that need not run, and what answers them.
        values: What is kept.
        needed_inputs: The inputs of the model whose numbers something beyond the cut makes use of.
    """

    stand_ins: dict[Call, StandIn]
    values: list[Value]
    needed_inputs: set[str]

    @property
    def places(self) -> dict[Call, dict[Place, int]]:
        """The number of the value at each place, by calls."""
        found: dict[Call, dict[Place, int]] = {}
        for number, value in enumerate(self.values):
            for place in value.places:
                found.setdefault(place.call, {})[place] = number
        return found

    @property
    def modules(self) -> list[str]:
        """The modules some of whose calls are answered, or given what is kept."""
        return list(dict.fromkeys(call.module for call in [*self.stand_ins, *self.places]))


def find_cuts(
    model: nn.Module,
    evaluated: Sequence[list[Record]],
    trained: list[Record],
    extents: Extents,
    objective: Callable[[], tuple[torch.Tensor, Mapping[str, torch.Tensor]]],
) -> list[Cut]:
    """Find where a model can be cut, the cut that needs the least storage first.

    Gradients show what is used: a use without any, such as a comparison, is not seen.
    The first cut may come too late for it, the last one hardly.

    Args:
        model: The model.
        evaluated: The calls in evaluation, with every parameter counted as trained, so that what
            depends on none of them is known; of batches of all examples, the first, and the others.
        trained: The calls in training, on all examples.
        extents: Those of its inputs; it grows by those of layers.
        objective: Runs the model on all examples in training; gives the sum of all that it is
            asked for, and those of its inputs for which there are gradients.

    Raises:
        CannotReuseError: It cannot be cut, or nothing would be saved.
    """
    records = _Matched([*evaluated, trained], extents)
    answered = {
        id(record): stand_in
        for record in evaluated[0]
        if (stand_in := records.stand_in(model, record)) is not None
    }
    visible = list(_visible(evaluated[0], answered))
    stand_ins = {call: answered[id(r)] for call, r in visible if id(r) in answered}
    if not any(_is_worth_it(model.get_submodule(call.module)) for call in stand_ins):
        raise CannotReuseError(
            "no layer below the trained ones gives the same in every epoch; "
            "requires_grad=False alone leaves dropout on, freeze(model, ...) does not"
        )
    layouts = {
        Place(call, True, number): layout
        for call, stand_in in stand_ins.items()
        for number, layout in enumerate(stand_in.leaves)
        if isinstance(layout, Layout)
    }
    values, needed = _used(model, layouts, objective)
    most = max((_numbers(value.layout, extents) for value in values), default=0)
    entries = {
        place: layout
        for call, record in visible
        if id(record) not in answered
        for number in range(len(record.inputs))
        for place in [Place(call, False, number)]
        if (layout := records.entry(record, number)) and _numbers(layout, extents) < most
    }
    cuts = [Cut(stand_ins, values, needed)]
    if entries:
        later = Cut(stand_ins, *_used(model, layouts | entries, objective))
        sizes = [sum(_numbers(v.layout, extents) for v in cut.values) for cut in (later, cuts[0])]
        if sizes[0] < sizes[1]:
            cuts.insert(0, later)
    split = [c for c in cuts if c.values and all(v.layout.rows is not None for v in c.values)]
    if not split:
        raise CannotReuseError("the output of its frozen layers is not split by example")
    return split


class _Matched:
    """The calls of several passes, matched to those of one of them."""

    def __init__(self, passes: Sequence[list[Record]], extents: Extents) -> None:
        self._extents = extents
        self._of = {id(record): others for record, *others in _together(passes)}

    def stand_in(self, model: nn.Module, record: Record) -> StandIn | None:
        """Return the stand-in that answers a call; `None` if it must run."""
        module = model.get_submodule(record.module)
        if any(parameter.requires_grad for parameter in module.parameters()):
            return None
        others = self._of.get(id(record))
        if others is None or any(len(o.outputs) != len(record.outputs) for o in others):
            return None
        if others[-1].drawn and not layer_drop(model, record.module):  # then chance had a say in it
            return None
        has_parameters = any(True for _ in module.parameters())
        leaves: list[Any] = []
        for number, leaf in enumerate(record.outputs):
            same = [leaf, *(other.outputs[number] for other in others)]
            if isinstance(leaf.value, torch.Tensor):
                layout = self._layout(same, has_parameters=has_parameters)
                if layout is None or not layout.follows_examples:
                    return None
                leaves.append(layout)
            elif not isinstance(leaf.value, bool | int | float | str | None):
                leaves.append(None)  # such as a cache of keys and values, which nobody reads
            elif all(leaf.value == some.value for some in same):
                leaves.append(leaf.value)
            else:
                return None
        if record.spec is None or not any(isinstance(leaf, Layout) for leaf in leaves):
            return None
        return StandIn(record.spec, leaves)

    def entry(self, record: Record, number: int) -> Layout | None:
        """Return the layout of an input of a call, if it is the same in every pass."""
        others = self._of.get(id(record))
        if others is None or any(len(o.inputs) != len(record.inputs) for o in others):
            return None
        layout = self._layout([record.inputs[number], *(o.inputs[number] for o in others)])
        return layout if layout and layout.rows is not None else None

    def _layout(self, leaves: Sequence[Leaf], *, has_parameters: bool = False) -> Layout | None:
        """Return the layout of a tensor of frozen layers, independent of chance and padding.

        Where gradients are off, as in `torch.no_grad()`, only a call of what has parameters is
        known to be computed by them.
        """
        *evaluated, trained = leaves
        if not all(isinstance(leaf.value, torch.Tensor) for leaf in leaves):
            return None
        computed = evaluated[0].requires_grad or (
            has_parameters and evaluated[0].value.is_floating_point()
        )
        if not computed or trained.requires_grad or not _same(evaluated[0].value, trained.value):
            return None
        together, first, others = (leaf.value for leaf in evaluated)
        layout = self._extents.layout([together, first, others])
        if layout and layout.is_fixed and layout.rows is not None:
            # It might be a mean over padding, too, or what comes last of the longest.
            return layout if _same(together, torch.cat([first, others], layout.rows)) else None
        return layout


class _State(NamedTuple):
    """A tensor as it is until a layer works on it in place."""

    tensor: torch.Tensor
    version: int

    @staticmethod
    def of(tensor: torch.Tensor) -> "_State":
        return _State(tensor, tensor._version)

    def is_state_of(self, tensor: torch.Tensor) -> bool:
        return tensor is self.tensor and tensor._version == self.version


def _used(
    model: nn.Module,
    layouts: Mapping[Place, Layout],
    objective: Callable[[], tuple[torch.Tensor, Mapping[str, torch.Tensor]]],
) -> tuple[list[Value], set[str]]:
    """Return the places, and the inputs of the model, whose tensors are used beyond them.

    All are leaves of the gradient: one that reaches the objective only through another has none.
    """
    leaves: list[torch.Tensor] = []
    values: list[Value] = []
    known: list[tuple[_State, _State, Value]] = []

    def put(place: Place, tensor: torch.Tensor) -> torch.Tensor:
        for before, given, value in known:
            if given.is_state_of(tensor):
                if place.is_output:  # else it passes this place by itself
                    value.places.append(place)
                return tensor
            if before.is_state_of(tensor):
                value.places.append(place)
                return given.tensor
        leaves.append(tensor.detach().clone().requires_grad_())
        values.append(Value(layouts[place], [place]))
        with torch.enable_grad():
            copy = leaves[-1].clone()  # not the leaf itself: layers may work in place
        known.append((_State.of(tensor), _State.of(copy), values[-1]))
        return copy

    calls = {place.call for place in layouts}
    answered = {place.call for place in layouts if place.is_output}

    def handle(
        call: Call, compute: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if call not in calls:
            return compute(*args, **kwargs)
        if call not in answered:
            given = {
                place.leaf: put(place, tensor)
                for number, tensor in enumerate(leaves_of(args, kwargs))
                if (place := Place(call, False, number)) in layouts
            }
            args, kwargs = with_leaves(args, kwargs, given)
            return compute(*args, **kwargs)
        with torch.no_grad():
            found, spec = tree_flatten(intercepted.whole(compute, *args, **kwargs))
        for number, tensor in enumerate(found):
            if (place := Place(call, True, number)) in layouts:
                found[number] = put(place, tensor)
        return tree_unflatten(found, spec)

    intercepted = Intercepted(model, {call.module for call in calls}, handle)
    with intercepted.active():
        total, inputs = objective()
    named = list(inputs.items())
    gradients = torch.autograd.grad(
        total, [*leaves, *(tensor for _, tensor in named)], allow_unused=True
    )
    used = [v for v, gradient in zip(values, gradients, strict=False) if gradient is not None]
    of_inputs = zip(named, gradients[len(leaves) :], strict=True)
    return used, {name for (name, _), gradient in of_inputs if gradient is not None}


def _together(passes: Sequence[list[Record]]) -> Iterable[tuple[Record, ...]]:
    """Yield the calls that are the same in all passes: the nth ones of a module."""
    numbered = [_numbered(records) for records in passes]
    for call, record in numbered[0].items():
        if all(call in others for others in numbered[1:]):
            yield record, *(others[call] for others in numbered[1:])


def _numbered(records: Iterable[Record]) -> dict[Call, Record]:
    numbers: Counter[str] = Counter()
    found: dict[Call, Record] = {}
    for record in records:
        if record.parent is None:  # of two passes in a step the first serves for both
            numbers.clear()
        found.setdefault(Call(record.module, numbers[record.module]), record)
        numbers[record.module] += 1
    return found


def _visible(
    records: Iterable[Record], answered: Mapping[int, StandIn]
) -> Iterable[tuple[Call, Record]]:
    """Yield the calls that are not made by answered ones, with their numbers."""
    hidden: set[int] = set()
    numbers: Counter[str] = Counter()
    for record in records:
        parent = id(record.parent)
        if record.parent is not None and (parent in answered or parent in hidden):
            hidden.add(id(record))
            continue
        if record.parent is None:
            numbers.clear()
        yield Call(record.module, numbers[record.module]), record
        numbers[record.module] += 1


def layer_drop(model: nn.Module, name: str) -> list[float]:
    """Return the rates at which layers are left out in training, if a module lies in such a stack.

    That is LayerDrop (Fan et al., ICLR 2020). Models draw a number for each layer even at rate 0.
    """
    parts = name.split(".")
    rates: list[float] = []
    for depth, part in enumerate(parts):
        if depth and part.isdecimal():  # the number of a layer; above its list is what runs it
            runs = model.get_submodule(".".join(parts[: depth - 1]))
            settings = {**vars(runs), **vars(getattr(runs, "config", nn.Module()))}
            rates += [rate for key, rate in settings.items() if key.endswith("layerdrop")]
    return rates


def _is_worth_it(module: nn.Module) -> bool:
    """Return whether a module does more than look up rows, which is as fast as reading features."""
    return any(
        parameter.ndim > 1
        for part in module.modules()
        if not isinstance(part, nn.Embedding)
        for parameter in part.parameters(recurse=False)
    )


def _numbers(layout: Layout, extents: Extents) -> int:
    """Count the numbers that a tensor has in the batch of all examples."""
    size = 1
    for axis in layout.axes:
        together = None if axis.extent is None else extents.seen[axis.extent][1].together
        rows = extents.examples if axis.kind is Kind.ROWS else 1
        size *= axis.size * rows if together is None else together
    return size


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if torch.equal(one, other):
        return True
    infinite = one.isinf()  # as masks are
    if not one.is_floating_point() or not torch.equal(infinite, other.isinf()):
        return False
    one, other = one.masked_fill(infinite, 0), other.masked_fill(infinite, 0)
    return bool((one - other).abs().max() <= _SAME * one.abs().max().clamp(min=1e-6))
