"""How the shape of a tensor follows from the examples of a batch, and its parts that are theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import torch


class Kind(Enum):
    """How an axis of a tensor grows with the examples of its batch."""

    CONSTANT = "as long for any batch"
    ROWS = "as long as those of all examples together"
    LENGTH = "as long as that of the longest example"


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor.

    Attributes:
        kind: How it grows.
        size: How long it is for each example, where that is the same for all.
        extent: The number of the extent, an example's own length, where it is not.
    """

    kind: Kind
    size: int = 0
    extent: int | None = None

    def own(self, extents: Sequence[int]) -> int:
        """Return its length for an example with these extents."""
        return self.size if self.extent is None else extents[self.extent]


class Sizes(NamedTuple):
    """How long an axis is in three batches: of all examples, the first, and the others."""

    together: int
    first: int
    others: int


class Extents:
    """The lengths in which examples differ, as a few of them show.

    Args:
        examples: How many there are in the batch of all.
    """

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.seen: list[tuple[Kind, Sizes]] = []

    def axis(self, sizes: Sizes) -> Axis | None:
        """Return the axis that has these sizes; `None` if they follow from no rule."""
        together, first, others = sizes
        if together == first == others:
            return Axis(Kind.CONSTANT, together)
        if together == first + others:
            if others == (self.examples - 1) * first:
                return Axis(Kind.ROWS, first)
            return Axis(Kind.ROWS, extent=self._number(Kind.ROWS, sizes))
        if together == max(first, others):
            return Axis(Kind.LENGTH, extent=self._number(Kind.LENGTH, sizes))
        return None

    def layout(self, tensors: Sequence[torch.Tensor]) -> "Layout | None":
        """Return the layout of a tensor, given as it is in each of the three batches."""
        if len({(tensor.ndim, tensor.dtype) for tensor in tensors}) > 1:
            return None
        shapes = zip(*(tensor.shape for tensor in tensors), strict=True)
        axes = [self.axis(Sizes(*sizes)) for sizes in shapes]
        if any(axis is None for axis in axes):
            return None
        return Layout(tuple(axis for axis in axes if axis), tensors[0].dtype)

    def _number(self, kind: Kind, sizes: Sizes) -> int:
        if (kind, sizes) not in self.seen:
            self.seen.append((kind, sizes))
        return self.seen.index((kind, sizes))


@dataclass(frozen=True)
class Layout:
    """The axes of a tensor.

    Attributes:
        axes: The axes.
        dtype: Its type.
        padding: What stands where an example ends before the longest.
        left: Whether that is before the example, not behind it.
    """

    axes: tuple[Axis, ...]
    dtype: torch.dtype
    padding: float = 0
    left: bool = False

    @property
    def rows(self) -> int | None:
        """The axis along which examples follow each other, if there is one, and one only."""
        found = [number for number, axis in enumerate(self.axes) if axis.kind is Kind.ROWS]
        return found[0] if len(found) == 1 else None

    @property
    def is_fixed(self) -> bool:
        """Whether it is as large for any example."""
        return all(axis.extent is None for axis in self.axes)

    @property
    def follows_examples(self) -> bool:
        """Whether it grows with the number of examples."""
        return any(axis.kind is Kind.ROWS for axis in self.axes)

    def padded(self, padding: float, *, left: bool) -> "Layout":
        """Return the same layout with another padding."""
        return replace(self, padding=padding, left=left)

    def own_shape(self, extents: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the part of one example."""
        return tuple(axis.own(extents) for axis in self.axes)

    def shape(self, batch: Sequence[Sequence[int]]) -> tuple[int, ...]:
        """Return the shape for examples with these extents, a row for each."""
        return tuple(
            sum(axis.own(extents) for extents in batch)
            if axis.kind is Kind.ROWS
            else max(axis.own(extents) for extents in batch)
            for axis in self.axes
        )

    def parts(self, tensor: torch.Tensor, batch: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Split a tensor into the parts of the examples, without padding.

        Raises:
            ValueError: It has another shape than it should have.
        """
        if self.rows is None or tuple(tensor.shape) != self.shape(batch):
            raise ValueError(f"{tuple(tensor.shape)} in place of {self.shape(batch)}")
        if self.is_fixed:
            return list(tensor.split(self.axes[self.rows].size, self.rows))
        parts, start = [], 0
        for extents in batch:
            shape = self.own_shape(extents)
            part = tensor.narrow(self.rows, start, shape[self.rows])
            start += shape[self.rows]
            parts.append(self.window(part, shape))
        return parts

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join the parts of examples, padded to the longest."""
        rows = self.rows
        assert rows is not None
        if len({(*p.shape[:rows], *p.shape[rows + 1 :]) for p in parts}) == 1:
            return torch.cat(list(parts), rows)
        shape = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
        shape[rows] = sum(part.shape[rows] for part in parts)
        joined = parts[0].new_full(shape, self.padding)
        start = 0
        for part in parts:
            own = joined.narrow(rows, start, part.shape[rows])
            self.window(own, part.shape).copy_(part)
            start += part.shape[rows]
        return joined

    def window(self, tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
        """Return the part of a tensor that is as long as a shape, with all of its rows."""
        for number, axis in enumerate(self.axes):
            if axis.kind is Kind.LENGTH:
                beside = tensor.shape[number] - shape[number]
                tensor = tensor.narrow(number, beside if self.left else 0, shape[number])
        return tensor


def channels_last(tensor: torch.Tensor) -> torch.Tensor:
    """Put images in the memory format that convolutions are fastest on; leave anything else."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
