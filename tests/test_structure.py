"""How the packages hang together: no circle of imports, arrows point one way, modules are small."""

import ast
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).parents[1]
OURS = ("nlp_transfer", "staged_training", "transfer_app", "vision_transfer")
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


RECIPES = sorted(path for path in (ROOT / "recipes").glob("*.py") if path.name != "__init__.py")


def test_a_recipe_is_one_page_that_can_be_copied():
    lines = {path.stem: len(path.read_text().splitlines()) for path in RECIPES}
    assert not {name: number for name, number in lines.items() if number > 180}
    assert sum(lines.values()) <= 150 * len(lines)
    assert not [module for module in IMPORTS if "recipes" in {*map(_top, IMPORTS[module])}]
    assert all((ROOT / "recipes" / "cards" / f"{name}.md").exists() for name in lines)
    assert all("        print_next(" in path.read_text() for path in RECIPES)


def _top(module):
    return module.split(".")[0]


def test_the_wheel_installs_no_name_but_ours(tmp_path):
    copy = tmp_path / "copy"
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in tracked.stdout.splitlines():
        if name.startswith((*OURS, "recipes/")) or "/" not in name:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    build = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, copy]
    subprocess.run([sys.executable, *build], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == set(OURS)
    for file in ("email_urgency.py", "cards/requests.md", "data/pets/metadata.jsonl"):
        assert f"transfer_app/recipes/{file}" in names


KNOW_FLAGS = {"staged_training.recipe", "staged_training.runtime.command"}
"""The modules that speak the language of the command line."""


def test_no_sentence_of_a_library_names_a_flag():
    libraries = [m for m in MODULES if _top(m) not in FLOORS[0] and m not in KNOW_FLAGS]
    sentences = [
        (module, node.value)
        for module in libraries
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    flag = re.compile(r"(?<![\w-])--(?!exclude|check)[a-z]")  # of `hf` and `sha256sum`
    assert not [(module, text) for module, text in sentences if flag.search(text)]
