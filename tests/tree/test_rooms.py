"""Rooms: folders small enough to look through, and no two rooms of a floor that need each other."""

from __future__ import annotations

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.tree.test_imports import ALLOWED, REPOSITORY, imported

MOST_FILES = 13  # of Python in one folder, its `__init__.py` aside
PACKAGES = [name for name in ALLOWED if name not in ("conf", "scripts", "interfuse")]
# A room that may be named like a file says which room it is.
VAGUE_ROOMS = {"base", "common", "core", "helpers", "lib", "misc", "other", "shared", "tools"}


def folders() -> list[Path]:
    """Every folder of Python in the packages and the tests."""
    roots = [REPOSITORY / name for name in (*PACKAGES, "tests")]
    return sorted({path.parent for root in roots for path in root.rglob("*.py")})


def own(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")


def test_no_folder_is_crowded() -> None:
    crowded = {str(folder.relative_to(REPOSITORY)): len(own(folder)) for folder in folders()}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


def test_rooms_say_which_they_are() -> None:
    assert [str(folder) for folder in folders() if folder.name in VAGUE_ROOMS] == []
    for folder in folders():
        rooms = {path.name for path in folder.iterdir() if (path / "__init__.py").is_file()}
        assert not rooms & {name.removesuffix(".py") for name in own(folder)}, (
            f"{folder}: a room and a file of one name"
        )


def test_the_page_names_every_room() -> None:
    """`docs/architecture.md` shows where each thing lives."""
    page = (REPOSITORY / "docs" / "architecture.md").read_text("utf-8")
    tree = page.partition("## Where things live")[2].partition("\n## ")[0]
    rooms = {f"{folder.name}/" for folder in folders() if "tests" not in folder.relative_to(REPOSITORY).parts}
    assert {room for room in rooms if f"{room} " not in tree and f"{room}\n" not in tree} == set()


def modules(package: str) -> dict[str, str]:
    """Dotted name -> source, of every module of a package; a folder's `__init__` has the folder's name."""
    found = {}
    for path in sorted((REPOSITORY / package).rglob("*.py")):
        parts = path.relative_to(REPOSITORY).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text("utf-8")
    return found


def arrows(sources: dict[str, str]) -> dict[str, set[str]]:
    """Module -> the modules of the same package that it imports, anywhere in it."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        names = imported(source, module, any(other.startswith(f"{module}.") for other in sources))
        targets = {next((part for part in (name, name.rpartition(".")[0]) if part in sources), "") for name in names}
        found[module] = targets - {"", module}
    return found


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """A round trip in a graph, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_needs_itself(package: str) -> None:
    assert cycle(arrows(modules(package))) == []


def rooms(graph: dict[str, set[str]], floor: str) -> dict[str, set[str]]:
    """The same arrows between the rooms that lie directly in `floor`; files of the floor itself belong to no room."""
    depth = floor.count(".") + 1
    names = {module for module in graph if any(other.startswith(f"{module}.") for other in graph)}

    def room(module: str) -> str:
        parts = module.split(".")
        name = ".".join(parts[: depth + 1])
        return name if module.startswith(f"{floor}.") and name in names else ""

    found: dict[str, set[str]] = defaultdict(set)
    for module, targets in graph.items():
        if room(module):
            found[room(module)] |= {room(target) for target in targets} - {"", room(module)}
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_arrow_between_rooms_runs_back(package: str) -> None:
    graph = arrows(modules(package))
    floors = {module for module in graph if any(other.startswith(f"{module}.") for other in graph)}
    assert {floor: cycle(rooms(graph, floor)) for floor in floors if cycle(rooms(graph, floor))} == {}


def test_arrows_that_run_back_are_found() -> None:
    graph = arrows(
        {
            "data": "",
            "data.types": "",
            "data.media": "",
            "data.media.image": "from data.types import Media",
            "data.storage": "",
            "data.storage.files": "def f():\n    from data.media import image",
        }
    )
    assert rooms(graph, "data") == {"data.media": set(), "data.storage": {"data.media"}}
    assert cycle(rooms(graph, "data")) == []
    graph["data.media.image"].add("data.storage.files")
    assert set(cycle(rooms(graph, "data"))) == {"data.media", "data.storage"}
