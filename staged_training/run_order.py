"""The order in which a module runs its children, read from the source of its forward pass."""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from torch import nn


def run_order(module: nn.Module) -> list[tuple[str, ...]]:
    """Return the names of the children and of the own parameters of a module, as they are used.

    A container runs its children as they stand. Of any other module, `forward` and the methods that
    it calls are read, since what is declared last may run first, as a last normalisation after the
    layers. A child without parameters, or one that they do not name, comes after the one declared
    before it; a parameter that they do not name comes first.

    Returns:
        A tuple for each, of more than one name only where stacks run side by side, in a `zip`.
    """
    parameters = [(name,) for name, _ in module.named_parameters(recurse=False)]
    children = dict(module.named_children())
    order: list[tuple[str, ...]] = []
    if not isinstance(module, nn.ModuleList | nn.ModuleDict | nn.Sequential):
        weighted = {
            name for name, child in children.items() if any(True for _ in child.parameters())
        }
        order = list(_Uses(module, {name for (name,) in parameters}, weighted).found)
    position = 0
    for name in children:
        used = next((place for place, names in enumerate(order) if name in names), None)
        if used is None:
            order.insert(position, (name,))
            used = position
        position = used + 1
    return [name for name in parameters if name not in order] + order


class _Uses(ast.NodeVisitor):
    """Collects in `found` the children that a class calls or loops over, and the parameters."""

    def __init__(self, module: nn.Module, parameters: set[str], children: set[str]) -> None:
        self.found: dict[tuple[str, ...], None] = {}
        self._module, self._parameters, self._children = module, parameters, children
        self._read: set[str] = set()
        self._self = ""
        self._by_index: set[str] = set()
        self._read_method("forward")

    def _read_method(self, name: str) -> None:
        method = getattr(type(self._module), name, None)
        if inspect.isfunction(method) and name not in self._read:
            self._read.add(name)
            owner = self._self
            self._self, statements = _source(method)
            for statement in statements:
                self.visit(statement)
            self._self = owner

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Note an operand that calls a child before one that does not, since they meet after it."""
        for operand in sorted([node.left, node.right], key=self._calls_nothing):
            self.visit(operand)

    def visit_Call(self, node: ast.Call) -> None:
        """Note a child that is called, after its arguments; read a method in its place."""
        for argument in [*node.args, *node.keywords]:
            self.visit(argument)
        if self._runs_child(node.func):
            self._note_children(node.func)
        if isinstance(node.func, ast.Attribute) and self._is_self(node.func.value):
            self._read_method(node.func.attr)
        self.visit(node.func)

    def visit_For(self, node: ast.For) -> None:
        """Note a stack of children that is looped over."""
        self.visit(node.iter)
        self._note_children(node.iter)
        before = set(self.found)
        for statement in node.body:
            self.visit(statement)
        turned = [
            names for names in self.found if names not in before and self._by_index & {*names}
        ]
        if len(turned) > 1:  # stacks of which each turn of the loop runs one
            self.found = {names: None for names in self.found if names not in turned}
            self.found[tuple(name for names in turned for name in names)] = None

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
            self.found.setdefault((node.attr,))
        self.generic_visit(node)

    def _runs_child(self, called: ast.expr) -> bool:
        """Return whether a call runs a child, one of a stack, or one within a child; no method."""
        holder = called.value if isinstance(called, ast.Attribute | ast.Subscript) else called
        if isinstance(called, ast.Subscript) and isinstance(holder, ast.Attribute):
            self._by_index.add(holder.attr)
        if isinstance(called, ast.Subscript) or self._is_self(holder):
            return True
        if not isinstance(called, ast.Attribute) or not isinstance(holder, ast.Attribute):
            return False
        inner = getattr(getattr(self._module, holder.attr, None), called.attr, None)
        return called.attr.startswith("forward") or isinstance(inner, nn.Module)

    def _note_children(self, node: ast.AST) -> None:
        parts = list(ast.walk(node))
        named = (p.attr for p in parts if isinstance(p, ast.Attribute) and self._is_self(p.value))
        known = {name for names in self.found for name in names}
        new = [name for name in named if name in self._children - known]
        zipped = any(isinstance(part, ast.Name) and part.id == "zip" for part in parts)
        self.found |= {tuple(new): None} if zipped and new else {(name,): None for name in new}

    def _calls_nothing(self, node: ast.AST) -> bool:
        called = (part.func for part in ast.walk(node) if isinstance(part, ast.Call))
        return not any(isinstance(f, ast.Attribute) and self._is_self(f.value) for f in called)

    def _is_self(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Name) and node.id == self._self


@functools.cache
def _source(method: Callable[..., Any]) -> tuple[str, list[ast.stmt]]:
    """Return the name a method gives to `self`, and its statements; none if it has no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    except (OSError, TypeError, SyntaxError):
        return "", []
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or not function.args.args:
        return "", []
    return function.args.args[0].arg, function.body
