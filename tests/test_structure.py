"""How the packages hang together: no circle of imports, arrows point one way, modules are small."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = [{"recipes", "transfer_app"}, {"nlp_transfer", "vision_transfer"}, {"staged_training"}]
"""Packages may import those of the floors below their own."""

MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for package in set.union(*FLOORS)
    for file in (ROOT / package).rglob("*.py")
}


class _Imports(ast.NodeVisitor):
    """The modules of the packages that a module imports, in functions too."""

    def __init__(self, module):
        self.package = module.split(".")
        if MODULES[module].name != "__init__.py":
            self.package.pop()
        self.found = set()
        self.visit(ast.parse(MODULES[module].read_text()))
        self.found.discard(module)

    def visit_Import(self, node):
        self.found |= {name.name for name in node.names} & MODULES.keys()

    def visit_ImportFrom(self, node):
        above = self.package[: len(self.package) + 1 - node.level] if node.level else []
        source = ".".join([*above, *filter(None, [node.module])])
        names = {f"{source}.{name.name}" for name in node.names}
        of_package = names & MODULES.keys()
        if len(of_package) < len(names):  # something of the module itself
            of_package.add(source)
        self.found |= of_package & MODULES.keys()


IMPORTS = {module: _Imports(module).found for module in MODULES}


def test_no_imports_go_in_a_circle():
    TopologicalSorter(IMPORTS).prepare()  # raises an error that names the circle


def test_imports_point_down():
    floor = {package: number for number, floor in enumerate(FLOORS) for package in floor}
    upwards = [
        (module, imported)
        for module, found in IMPORTS.items()
        for imported in found
        if (own := module.split(".")[0]) != (other := imported.split(".")[0])
        and floor[own] >= floor[other]
    ]
    assert not upwards


def test_a_module_fits_on_a_few_screens():
    lines = {module: len(file.read_text().splitlines()) for module, file in MODULES.items()}
    assert not {module: number for module, number in lines.items() if number > 400}
