"""House rules that a machine can hold."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = (
    "interfuse",
    "data",
    "encoders",
    "fusion",
    "training",
    "evaluation",
    "serving",
    "certify",
    "bakeoff",
    "conf",
    "scripts",
    "tests",
)
MAX_LINES, MAX_SCRIPT_LINES = 350, 80
VAGUE_NAMES = {"utils.py", "util.py", "helpers.py", "helper.py", "common.py", "misc.py"}
# A home or scratch folder of somebody's machine, at the start of a path.
MACHINE_PATH = re.compile(
    r"""(?<![\w.$}~/-])(/home/\w|/root/|/Users/\w|/work/|/mnt/\w|/scratch/|/tmp/|[A-Z]:\\\\?Users)"""
)


def tracked(*patterns: str) -> list[Path]:
    """Files that belong to the repository; a copy without git is walked instead."""
    try:
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *patterns]
        names = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split("\0")
    except (OSError, subprocess.CalledProcessError):
        folders = (REPOSITORY / package for package in PACKAGES)
        names = [str(path) for folder in folders for pattern in patterns for path in folder.rglob(pattern)]
    return sorted(path for path in (REPOSITORY / name for name in names if name) if path.is_file())


PYTHON = tracked("*.py")


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def test_the_walk_finds_the_tree() -> None:
    assert {path.relative_to(REPOSITORY).parts[0] for path in PYTHON} >= {"data", "fusion", "training", "tests"}


def test_names_say_what_is_inside() -> None:
    assert [name(path) for path in PYTHON if path.name in VAGUE_NAMES] == []


def test_files_stay_readable() -> None:
    lengths = {name(path): len(path.read_text("utf-8").splitlines()) for path in PYTHON}
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_scripts_stay_thin() -> None:
    """What is run holds no logic of its own; that lies in the packages."""
    lengths = {
        name(path): len(path.read_text("utf-8").splitlines())
        for path in PYTHON
        if path.parent.name == "scripts" and path.parent.parent == REPOSITORY and "__main__" in path.read_text("utf-8")
    }
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines >= MAX_SCRIPT_LINES} == {}


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for path in PYTHON if path.parent != REPOSITORY}
    assert [name(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", tracked("*.yaml", "*.yml"), ids=name)
def test_yaml_is_valid(path: Path) -> None:
    with path.open(encoding="utf-8") as file:
        content = yaml.compose(file)
    assert content is None or isinstance(content, yaml.MappingNode)
    assert duplicate_keys(content) == []


def duplicate_keys(node: yaml.Node | None) -> list[str]:
    """Keys that occur twice in one mapping: the second would silently win."""
    if isinstance(node, yaml.SequenceNode):
        return [key for item in node.value for key in duplicate_keys(item)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    twice = [key for key in set(keys) if keys.count(key) > 1]
    return twice + [key for _, value in node.value for key in duplicate_keys(value)]


def test_no_path_of_one_machine() -> None:
    wrong = []
    for path in tracked("*.py", "*.yaml", "*.yml", "*.toml", "*.md", "*.txt", "*.ipynb", "Makefile", ".ci/run"):
        if path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            wrong += [f"{name(path)}:{number}: {line.strip()[:80]}"] if MACHINE_PATH.search(line) else []
    assert wrong == []


def test_versions_are_pinned_without_a_place_to_get_them() -> None:
    lines = [line for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines() if line[:1] not in "#"]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][\w.]*", line)] == []
    assert not [line for line in lines if line.startswith(("nvidia", "triton", "cuda"))]
