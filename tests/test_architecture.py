"""The rooms of the package: no module imports from a later part, and no import goes round in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmrec_lite"
# In the order of the book; a module may import from its own room and the ones before it. The root is the ground.
ROOMS = ("", "recommenders", "language", "meta", "knowledge", "llma", "cli")
ENTRANCES = {"llmrec_lite", "llmrec_lite.__main__"}  # what these offer comes from anywhere


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """All imports of a module: at once, lazy, and for types only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in inner}
    return found & MODULES.keys()


GRAPH = {name: imports(path) for name, path in MODULES.items()}


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def test_every_folder_is_a_room():
    assert {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} == set(ROOMS[1:])


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_down(name):
    up = [other for other in GRAPH[name] if ROOMS.index(room(other)) > ROOMS.index(room(name))]
    assert name in ENTRANCES or not up


def test_no_import_goes_round_in_a_circle():
    try:
        TopologicalSorter({name: others - {name} for name, others in GRAPH.items()}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("folder", ["book", "tests"])
def test_the_package_knows_nothing_of_the_checkout(folder):
    used = [
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == folder)
        or (isinstance(node, ast.Import) and any(a.name.split(".")[0] == folder for a in node.names))
    ]
    assert not used


def test_modules_are_of_a_size_to_be_read():
    lines = {name: path.read_text("utf-8").count("\n") for name, path in MODULES.items()}
    assert {name: n for name, n in lines.items() if n > 450} == {}
