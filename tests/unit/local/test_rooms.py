"""The rooms of the embedded Autopilot import one way; imports for types and inside functions count too."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import airflow_automl.local

ROOT = Path(airflow_automl.local.__file__).parent
LOCAL = "airflow_automl.local"

#: A room may import itself and the rooms above it. What has no room of its own here lies between two of them.
ROOMS = (
    ("background", "errors", "files", "processes", "retry", "service_model"),
    ("storage",),
    ("training.data",),
    ("models",),
    ("training",),
    ("state",),
    ("jobs",),
    ("serving",),
    ("api",),
    ("http",),
    ("one_click",),
    ("service",),
    ("server",),
    ("commands",),
)
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
#: What a room must not know, although it lies above.
UNKNOWN = {"http": {"jobs", "training", "training.data", "models"}, "state": {"training", "training.data", "models"}}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((LOCAL, *(part for part in parts if part != "__init__")))


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
    return found


GRAPH = {name: imported(path) for name, path in MODULES.items()}


def room_of(module: str) -> str | None:
    parts = module.removeprefix(f"{LOCAL}.").split(".")
    return next((room for room in (".".join(parts[:2]), parts[0]) if room in RANK), None)


def test_no_module_imports_itself_over_others() -> None:
    own = {name: {each for each in found if each in MODULES and each != name} for name, found in GRAPH.items()}
    try:
        TopologicalSorter(own).prepare()
    except CycleError as error:
        pytest.fail("import circle: " + " → ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_rooms_below_its_own(name: str) -> None:
    room = room_of(name)
    if room is None:
        assert name == LOCAL, f"{name} lies in no room"
        return
    for other in GRAPH[name] & set(MODULES):
        there = room_of(other)
        if there is None:
            continue
        assert RANK[there] <= RANK[room], f"{name} ({room}) imports {other} ({there})"
        assert there not in UNKNOWN.get(room, ()), f"{name} ({room}) imports {other} ({there})"


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_knows_nothing_of_airflow(name: str) -> None:
    inside = ("airflow_automl.local", "airflow_automl.contract", "airflow_automl.exceptions", "airflow_automl.cli")
    for other in GRAPH[name]:
        assert other.split(".")[0] != "airflow", f"{name} imports {other}"
        if other.split(".")[0] == "airflow_automl":
            assert other == "airflow_automl" or other.startswith(inside), f"{name} imports {other}"
