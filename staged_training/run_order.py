"""The order in which a module runs its children, read from the source of its forward pass."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from torch import nn


def run_order(module: nn.Module) -> list[str]:
    """Return the names of the children and of the own parameters of a module, as they are used.

    A container runs its children as they stand. Of any other module, `forward` and the methods that
    it calls are read, since what is declared last may run first, as a last normalisation after the
    layers. A child without parameters, or one that they do not name, comes after the one declared
    before it; a parameter that they do not name comes first.
    """
    parameters = [name for name, _ in module.named_parameters(recurse=False)]
    children = [name for name, _ in module.named_children()]
    if isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential):
        return parameters + children
    weighted = {
        name for name, child in module.named_children() if any(True for _ in child.parameters())
    }
    order = list(_Uses(type(module), set(parameters), weighted).found)
    for before, name in zip([None, *children], children, strict=False):
        if name not in order:
            order.insert(order.index(before) + 1 if before else 0, name)
    return [name for name in parameters if name not in order] + order


class _Uses(ast.NodeVisitor):
    """Collects in `found` the children that a class calls or loops over, and the parameters."""

    def __init__(self, kind: type[nn.Module], parameters: set[str], children: set[str]) -> None:
        self.found: dict[str, None] = {}
        self._kind, self._parameters, self._children = kind, parameters, children
        self._read: set[str] = set()
        self._pending: list[str] = []
        self._self = ""
        self._read_method("forward")

    def _read_method(self, name: str) -> None:
        method = getattr(self._kind, name, None)
        if inspect.isfunction(method) and name not in self._read:
            self._read.add(name)
            owner = self._self
            self._self, statements = _source(method)
            for statement in statements:
                self.visit(statement)
            self._self = owner

    def visit(self, node: ast.AST) -> None:
        """Note the parameters of a statement after the children that it calls."""
        super().visit(node)
        if isinstance(node, ast.stmt):
            self.found.update(
                dict.fromkeys(name for name in self._pending if name not in self.found)
            )
            self._pending.clear()

    def visit_Call(self, node: ast.Call) -> None:
        """Note a child that is called, after its arguments; read a method in its place."""
        for argument in [*node.args, *node.keywords]:
            self.visit(argument)
        self._note_children(node.func)
        if isinstance(node.func, ast.Attribute) and self._is_self(node.func.value):
            self._read_method(node.func.attr)
        self.visit(node.func)

    def visit_For(self, node: ast.For) -> None:
        """Note a stack of children that is looped over."""
        self.visit(node.iter)
        self._note_children(node.iter)
        for statement in node.body:
            self.visit(statement)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Note a stack of children that is looped over."""
        self.visit(node.iter)
        self._note_children(node.iter)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note a parameter that is read, or a child whose weight is."""
        if node.attr in {"dtype", "device", "shape"}:  # these compute nothing
            return
        if node.attr in {"weight", "bias"}:
            self._note_children(node.value)
        if self._is_self(node.value) and node.attr in self._parameters:
            self._pending.append(node.attr)
        self.generic_visit(node)

    def _note_children(self, node: ast.AST) -> None:
        for part in ast.walk(node):
            if isinstance(part, ast.Attribute) and self._is_self(part.value):
                self.found |= {part.attr: None} if part.attr in self._children else {}

    def _is_self(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._self


@functools.cache
def _source(method: Callable[..., Any]) -> tuple[str, list[ast.stmt]]:
    """What a method calls `self`, and its statements; none where it has no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, TypeError, SyntaxError):
        return "", []
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or not function.args.args:
        return "", []
    return function.args.args[0].arg, function.body
