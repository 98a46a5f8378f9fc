"""A model whose frozen layers do not run: it takes what they would give from its batch."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_unflatten

from staged_training.features.calls import Call, Intercepted, with_leaves
from staged_training.features.columns import STORED, Columns
from staged_training.features.cut import Place
from staged_training.features.layouts import Layout


@contextmanager
def on_stored(model: nn.Module, columns: Columns, blank: float = 0.0) -> Iterator[None]:
    """Let a model also run on batches of stored examples.

    Args:
        model: The model.
        columns: What is stored of the examples.
        blank: The number that fills what is not stored, since nothing makes use of it.
    """
    stored: dict[str, Any] | None = None
    cut, places = columns.cut, columns.cut.places

    def begin(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        nonlocal stored
        stored = kwargs.pop(STORED, None)
        if stored is not None:
            kwargs |= {name: filled(columns.inputs[name]) for name in columns.idle}
        return args, kwargs

    def filled(layout: Layout) -> torch.Tensor:
        """Return a tensor of a layout, all of one number."""
        assert stored is not None
        kind = {"dtype": layout.dtype, "device": stored["values"][0].device}
        number = blank if layout.dtype.is_floating_point else 0
        tensor = torch.full((), number, **kind).expand(layout.shape(stored["rows"]))
        return tensor.clone() if columns.writes_into_blanks else tensor

    def handle(
        call: Call, compute: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if stored is None:
            return intercepted.whole(compute, *args, **kwargs)
        values = {place: stored["values"][number] for place, number in places.get(call, {}).items()}
        if call not in cut.stand_ins:
            given = {place.leaf: value for place, value in values.items()}
            args, kwargs = with_leaves(args, kwargs, given)
            return compute(*args, **kwargs)
        leaves = [
            values.get(
                Place(call, True, number), filled(leaf) if isinstance(leaf, Layout) else leaf
            )
            for number, leaf in enumerate(cut.stand_ins[call].leaves)
        ]
        return tree_unflatten(leaves, cut.stand_ins[call].spec)

    intercepted = Intercepted(model, cut.modules, handle)
    handle_of_hook = model.register_forward_pre_hook(begin, with_kwargs=True, prepend=True)
    try:
        with intercepted.active():
            yield
    finally:
        handle_of_hook.remove()
