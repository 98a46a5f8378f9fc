"""The calls that a model makes of its modules in a forward pass: watched, or answered."""

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.weak import WeakTensorKeyDictionary


class Call(NamedTuple):
    """A call of a module in a forward pass.

    Attributes:
        module: The name of the module in the model.
        number: How many calls of it went before, where those within answered calls do not count.
    """

    module: str
    number: int


Handler = Callable[[Call, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
"""Given a call, what computes it, and its arguments: gives its output."""


class Intercepted:
    """The forward passes of a model, some of whose modules are called through a handler.

    Calls that a handler's own computation leads to are not handled, and not counted.

    Args:
        model: The model.
        modules: Names of the modules.
        handler: What answers their calls.
    """

    def __init__(self, model: nn.Module, modules: Iterable[str], handler: Handler) -> None:
        self.model, self.modules, self.handler = model, list(modules), handler
        self._numbers: Counter[str] = Counter()
        self._within = False

    def whole(self, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a call, and handle none of the calls within it."""
        self._within = True
        try:
            return compute(*args, **kwargs)
        finally:
            self._within = False

    @contextmanager
    def active(self) -> Iterator["Intercepted"]:
        """Handle calls for as long as the context lasts."""
        before: list[tuple[nn.Module, Any]] = []
        root = self.model.register_forward_pre_hook(lambda *_: self._restart())
        try:
            for name in self.modules:
                module = self.model.get_submodule(name)
                before.append((module, vars(module).get("forward")))
                vars(module)["forward"] = partial(self._called, name, module.forward)
            yield self
        finally:
            root.remove()
            for module, own in before:
                if own is None:
                    del vars(module)["forward"]
                else:
                    vars(module)["forward"] = own

    def _restart(self) -> None:
        """Restart the count of calls: another forward pass begins."""
        self._numbers.clear()
        self._within = False

    def _called(self, name: str, compute: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self._within:
            return compute(*args, **kwargs)
        call = Call(name, self._numbers[name])
        self._numbers[name] += 1
        return self.handler(call, compute, args, kwargs)


@dataclass
class Leaf:
    """A tensor, or any other value, that went into a call or came out of it.

    Attributes:
        value: A copy, without gradient, which is on the device `meta` where only its shape is kept.
        requires_grad: Whether a gradient would flow back through it.
    """

    value: Any
    requires_grad: bool


@dataclass
class Record:
    """A call that was watched.

    Attributes:
        module: The name of the module.
        parent: The record of the call that led to it; `None` for that of the model.
        drawn: Whether random numbers had been drawn before it.
        inputs: The leaves of its arguments.
        outputs: Those of what it returned.
        spec: The structure of what it returned.
    """

    module: str
    parent: "Record | None"
    drawn: bool
    inputs: list[Leaf]
    outputs: list[Leaf] = field(default_factory=list)
    spec: TreeSpec | None = None


Result = TypeVar("Result")


def watched(
    model: nn.Module, run: Callable[[], Result], is_kept: Callable[[torch.Tensor], bool]
) -> tuple[list[Record], Result]:
    """Watch the calls of all modules.

    Args:
        model: The model.
        run: Runs it.
        is_kept: Whether the numbers of a tensor are wanted, not only its shape.

    Returns:
        What is called while `run` runs, in order of their beginning, and what it returns.
    """
    records: list[Record] = []
    stack: list[Record] = []
    copies = WeakTensorKeyDictionary()  # what comes out of one module goes into others

    def kept(leaf: Any) -> Leaf:
        if not isinstance(leaf, torch.Tensor):
            return Leaf(leaf, False)
        if not is_kept(leaf):
            return Leaf(torch.empty_like(leaf, device="meta"), leaf.requires_grad)
        version, copy = copies.get(leaf, (None, None))
        if version != leaf._version:  # layers may work in place
            copy = leaf.detach().clone()
            copies[leaf] = leaf._version, copy
        return Leaf(copy, leaf.requires_grad)

    def handle(
        call: Call, compute: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        parent = stack[-1] if stack else None
        inputs = [kept(leaf) for leaf in leaves_of(args, kwargs)]
        record = Record(call.module, parent, random_state() != before, inputs)
        records.append(record)
        stack.append(record)
        try:
            output = compute(*args, **kwargs)
        finally:
            stack.pop()
        leaves, record.spec = tree_flatten(output)
        record.outputs = [kept(leaf) for leaf in leaves]
        return output

    names = [n for n, m in model.named_modules() if not isinstance(m, torch.jit.ScriptModule)]
    before = random_state()
    with Intercepted(model, names, handle).active():
        result = run()
    return records, result


def random_state() -> tuple[Any, ...]:
    """Return the state of the generators from which models and augmentation draw."""
    numpy: Any = np.random.get_state()
    return random.getstate(), numpy[1].tobytes(), numpy[2], torch.get_rng_state().numpy().tobytes()


def leaves_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """Return the arguments of a call, those within tuples, lists and dicts too."""
    return tree_flatten((args, kwargs))[0]


def with_leaves(
    args: tuple[Any, ...], kwargs: dict[str, Any], replaced: dict[int, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a call with some of their leaves, by number, replaced."""
    leaves, spec = tree_flatten((args, kwargs))
    together: tuple[tuple[Any, ...], dict[str, Any]] = tree_unflatten(
        [replaced.get(number, leaf) for number, leaf in enumerate(leaves)], spec
    )
    return together
