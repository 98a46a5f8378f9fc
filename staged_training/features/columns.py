"""The inputs of a model and its features, example by example, and batches made of them again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby
from math import prod
from typing import Any

import torch

from staged_training.features.calls import Call, Intercepted, leaves_of
from staged_training.features.cut import CannotReuseError, Cut, Place
from staged_training.features.layouts import Extents, Kind, Layout, channels_last
from staged_training.features.store import column

Batch = dict[str, torch.Tensor]
Collate = Callable[[list[Any]], Batch]
Rows = Sequence[Sequence[int]]
"""The extents of each example of a batch."""

FEATURES, EXTENTS = "features", "extents"
"""The columns of what is kept of the layers, and of the lengths of examples."""
STORED = "stored_features"
"""The input by which a model is given what its frozen layers would give it."""


def checked_batch(batch: Any) -> Batch:
    """Return a batch without the inputs that are `None`.

    Raises:
        CannotReuseError: It is not made of tensors.
    """
    if isinstance(batch, Mapping):
        named = {name: value for name, value in batch.items() if value is not None}
        if named and all(isinstance(value, torch.Tensor) for value in named.values()):
            return named
    raise CannotReuseError("its batches hold other things than tensors")


def numbers_in(batch: Batch) -> int:
    """Count the numbers in a batch."""
    return sum(tensor.numel() for tensor in batch.values())


def input_layouts(
    batches: Sequence[Batch], singles: Sequence[Batch], extents: Extents
) -> dict[str, Layout]:
    """Find out how batches are put together.

    Args:
        batches: All examples, the first, and the others, as they are collated.
        singles: Each example alone, as it is collated.
        extents: Grows by the lengths in which they differ.

    Raises:
        CannotReuseError: A batch is not its examples side by side, padded to the longest.
    """
    layouts: dict[str, Layout] = {}
    for name, tensor in batches[0].items():
        found = None
        if all(name in batch for batch in [*batches, *singles]):
            found = extents.layout([batch[name] for batch in batches])
        if found and found.rows is not None:
            parts = [single[name] for single in singles]
            for left in (False, True):
                layout = found.padded(_padding(tensor, parts, found, left=left), left=left)
                if torch.equal(layout.joined(parts), tensor):
                    layouts[name] = layout
                    break
        if name not in layouts:
            raise CannotReuseError(f"{name} of a batch is not that of its examples side by side")
    return layouts


def _padding(
    tensor: torch.Tensor, parts: Sequence[torch.Tensor], layout: Layout, *, left: bool
) -> float:
    """Return the padding value that stands beside the shortest examples of a batch."""
    ones = [torch.ones_like(part, dtype=torch.bool) for part in parts]
    beside = ~layout.padded(0, left=left).joined(ones)
    return tensor[beside][0].item() if beside.shape == tensor.shape and beside.any() else 0


@dataclass(frozen=True)
class Columns:
    """What is kept of each example, and how a batch is made of it.

    Attributes:
        inputs: The layouts of the inputs of the model.
        idle: Inputs whose numbers nothing makes use of, such as the pixels of images whose features
            are kept; the model is given blanks of their shape.
        cut: Where the model is cut.
        sources: Where each extent is seen: an input, or a place in the model, and the axis.
        longest: The longest example, where what is computed for padding is kept too: some models
            make use of it. Each example is padded to this one then.
        widest: Its extents.
        writes_into_blanks: Whether the model works in place on what it is given blanks for.
        keeps_format: Whether images stay in the memory format that they come in, which is slower;
            in another one convolutions add up in another order.
    """

    inputs: dict[str, Layout]
    idle: list[str]
    cut: Cut
    sources: list[tuple[str | Place, int]]
    longest: Any = None
    widest: Sequence[int] = ()
    writes_into_blanks: bool = False
    keeps_format: bool = False

    @staticmethod
    def of(inputs: dict[str, Layout], cut: Cut, extents: Extents, keep: set[str]) -> "Columns":
        """Describe what is stored of the inputs and at a cut.

        Args:
            inputs: The layouts of the inputs.
            cut: The cut.
            extents: Those of the inputs and of the layers.
            keep: Inputs that are kept in any case.

        Raises:
            CannotReuseError: The layers see lengths that do not follow from the inputs.
        """
        idle = [
            name
            for name, layout in inputs.items()
            if layout.dtype.is_floating_point and name not in cut.needed_inputs | keep
        ]
        seen: list[tuple[str | Place, Layout]] = [*inputs.items()]
        seen += [
            (Place(call, True, number), leaf)
            for call, stand_in in cut.stand_ins.items()
            for number, leaf in enumerate(stand_in.leaves)
            if isinstance(leaf, Layout)
        ]
        seen += [(value.places[0], value.layout) for value in cut.values]
        sources: list[tuple[str | Place, int]] = []
        for extent in range(len(extents.seen)):
            found = (
                (where, number)
                for where, layout in seen
                for number, axis in enumerate(layout.axes)
                if axis.extent == extent
            )
            sources.append(next(found, ("", 0)))
        if any(isinstance(where, Place) for where, _ in sources) and not any(
            isinstance(where, str) and where for where, _ in sources
        ):
            raise CannotReuseError("its layers see lengths that its inputs do not have")
        left = any(layout.left for layout in inputs.values())
        for value in cut.values:
            value.layout = value.layout.padded(0, left=left)
        return Columns(inputs, idle, cut, sources)

    @property
    def _runs_alike_only(self) -> bool:
        """Whether an example's extents in the layers show only beside others of its length."""
        return any(isinstance(where, Place) for where, _ in self.sources)

    def with_padding(self, longest: Any, collate: Collate) -> "Columns":
        """Return the same columns, with the values computed for padding stored too.

        Args:
            longest: The longest of all examples.
            collate: What makes a batch of it.
        """
        return replace(self, longest=longest, widest=self._own_extents(collate([longest])))

    @property
    def differ(self) -> bool:
        """Whether examples have lengths of their own."""
        return bool(self.sources)

    @property
    def can_keep_padding(self) -> bool:
        """Whether examples are padded, and their inputs show how far."""
        return self.differ and not self._runs_alike_only

    @cached_property
    def _wanted(self) -> set[Place]:
        """The places that are read where features are computed."""
        places = {value.places[0] for value in self.cut.values}
        return places | {where for where, _ in self.sources if isinstance(where, Place)}

    def _own_extents(self, single: Batch) -> list[int]:
        """Return the extents of an example that its inputs show; 0 for others."""
        return [
            single[where].shape[axis] if isinstance(where, str) and where else 0
            for where, axis in self.sources
        ]

    def compute(
        self, model: torch.nn.Module, examples: Sequence[Any], collate: Collate
    ) -> dict[str, torch.Tensor]:
        """Run the frozen layers of a model on some examples; return the columns to store.

        Args:
            model: The model, in evaluation mode.
            examples: The examples.
            collate: What makes a batch of them.

        Raises:
            CannotReuseError: They have other shapes than those that were tried.
        """
        singles = [collate([example]) for example in examples] if self.differ else []
        rows: Rows = [self._own_extents(single) for single in singles] or [[]] * len(examples)
        values: list[list[torch.Tensor]] = []
        known: list[list[int]] = []
        for some in self._batches(rows):
            beside = [self.longest] if self.widest else []
            batch = collate([*(examples[index] for index in some), *beside])
            if not self.keeps_format:
                batch = {name: channels_last(tensor) for name, tensor in batch.items()}
            parts, extents = self._run(model, batch, [rows[index] for index in some])
            values += parts
            known += extents
            if not self.differ:
                singles += self._split(batch, extents)
        return self._stored(values, singles, known)

    def _batches(self, rows: Rows) -> list[list[int]]:
        """Return the numbers of the examples of each batch."""
        numbers = range(len(rows))
        if not self._runs_alike_only:
            return [list(numbers)]
        return [list(some) for _, some in groupby(numbers, key=lambda index: list(rows[index]))]

    def _split(self, batch: Batch, rows: Rows) -> list[Batch]:
        """Return the inputs of each example of a batch."""
        kept = {name: layout for name, layout in self.inputs.items() if name not in self.idle}
        try:
            parts = [layout.parts(batch[name], rows) for name, layout in kept.items()]
        except (KeyError, ValueError) as error:
            raise CannotReuseError(
                f"its inputs have another shape than those tried ({error})"
            ) from error
        return [dict(zip(kept, own, strict=True)) for own in zip(*parts, strict=True)]

    def _run(
        self, model: torch.nn.Module, batch: Batch, rows: Rows
    ) -> tuple[list[list[torch.Tensor]], list[list[int]]]:
        """Return the values of each example, without padding, and all extents."""
        found = _tensors_at(model, batch, self._wanted, self.cut)
        rows = [*rows, self.widest] if self.widest else rows
        known = [
            [
                _share(found[where].shape[axis], self._kind(where, axis), len(rows))
                if isinstance(where, Place)
                else extent
                for (where, axis), extent in zip(self.sources, extents, strict=True)
            ]
            for extents in rows
        ]
        try:
            kept = [self.widest or extents for extents in known]
            parts = [value.layout.parts(found[value.places[0]], kept) for value in self.cut.values]
        except ValueError as error:
            raise CannotReuseError(
                f"its layers gave features of another shape ({error})"
            ) from error
        examples = len(rows) - bool(self.widest)
        values = [list(own) for own in zip(*parts, strict=True)]
        return values[:examples], known[:examples]

    def _kind(self, where: Place, axis: int) -> Kind:
        if where.is_output:
            layout: Layout = self.cut.stand_ins[where.call].leaves[where.leaf]
        else:
            layout = next(v.layout for v in self.cut.values if where in v.places)
        return layout.axes[axis].kind

    def _stored(
        self, values: Sequence[Sequence[torch.Tensor]], inputs: Sequence[Batch], rows: Rows
    ) -> dict[str, torch.Tensor]:
        """Return the columns of some examples, in which each has its numbers in a row."""
        flat = [torch.cat([value.reshape(-1) for value in own]) for own in values]
        fixed = all(value.layout.is_fixed for value in self.cut.values)
        columns = column(FEATURES, [part.cpu() for part in flat], ragged=not fixed)
        for name, layout in self.inputs.items():
            if name not in self.idle:
                parts = [_compact(single[name].reshape(-1).cpu()) for single in inputs]
                columns |= column(name, parts, ragged=not layout.is_fixed)
        if self.differ:
            columns[EXTENTS] = torch.tensor(rows)
        return columns

    def batch(self, examples: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, Any]:
        """Make a batch of examples as they are stored.

        Returns:
            The inputs of the model, and `STORED`: what it takes in place of computing it.
        """
        rows = [e[EXTENTS].tolist() if self.differ else [] for e in examples]
        batch: dict[str, Any] = {}
        for name, layout in self.inputs.items():
            if name not in self.idle:
                parts = [
                    example[name].to(layout.dtype).view(layout.own_shape(own))
                    for example, own in zip(examples, rows, strict=True)
                ]
                batch[name] = layout.joined(parts)
        layouts = [value.layout for value in self.cut.values]
        of_examples = [
            _split(example[FEATURES], [layout.own_shape(self.widest or own) for layout in layouts])
            for example, own in zip(examples, rows, strict=True)
        ]
        values = []
        for layout, kept in zip(layouts, zip(*of_examples, strict=True), strict=True):
            parts = list(kept)
            if self.widest:
                parts = [layout.window(part, layout.shape(rows)) for part in parts]
            joined = layout.joined(parts).to(layout.dtype)
            values.append(joined if self.keeps_format else channels_last(joined))
        return {**batch, STORED: {"values": values, "rows": rows}}


def _tensors_at(
    model: torch.nn.Module, batch: Batch, wanted: set[Place], cut: Cut
) -> dict[Place, torch.Tensor]:
    """Return the tensors at some places of a model; it runs no further than to the last of them."""
    found: dict[Place, torch.Tensor] = {}

    def note(call: Call, leaves: Sequence[Any], *, is_output: bool) -> None:
        for number, leaf in enumerate(leaves):
            place = Place(call, is_output, number)
            if place in wanted:
                found[place] = leaf.clone()  # what comes after may work in place
        if len(found) == len(wanted):
            raise _AllFoundError

    def handle(
        call: Call, compute: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if call not in cut.stand_ins:
            note(call, leaves_of(args, kwargs), is_output=False)
            return compute(*args, **kwargs)
        output = intercepted.whole(compute, *args, **kwargs)
        note(call, leaves_of((output,), {}), is_output=True)
        return output

    intercepted = Intercepted(model, cut.modules, handle)
    with torch.no_grad(), intercepted.active():
        try:
            model(**batch)
        except _AllFoundError:
            return found
    raise CannotReuseError("its layers run in another order than when they were tried")


class _AllFoundError(Exception):
    """Ends a forward pass of which nothing more is wanted."""


def _share(length: int, kind: Kind, examples: int) -> int:
    """Return the extent of an example among others that are like it."""
    return length // examples if kind is Kind.ROWS else length


def _compact(numbers: torch.Tensor) -> torch.Tensor:
    """Return the same integers in the smallest type that holds them."""
    if numbers.dtype is torch.int64 and numbers.numel():
        for dtype in (torch.int8, torch.int32):
            bounds = torch.iinfo(dtype)
            if bounds.min <= numbers.min() and numbers.max() <= bounds.max:
                return numbers.to(dtype)
    return numbers


def _split(numbers: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Split numbers into tensors of some shapes that stand one behind another."""
    ends = list(accumulate(prod(shape) for shape in shapes))
    starts = [0, *ends[:-1]]
    return [
        numbers[start:end].view(shape)
        for start, end, shape in zip(starts, ends, shapes, strict=True)
    ]
