"""No value stands twice in `conf/`: an experiment says what differs from the defaults, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import conf

CONF = Path(str(conf.__file__)).parent
EXPERIMENTS = sorted((CONF / "experiment").glob("*.yaml"))
HEADER = "# @package _global_\n"


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def chosen(content: dict[str, Any]) -> dict[str, str]:
    """Group -> choice, of a list of defaults."""
    entries = [entry for entry in content.get("defaults", []) if isinstance(entry, dict)]
    return {str(key).removeprefix("override ").lstrip("/"): value for entry in entries for key, value in entry.items()}


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every option that an experiment sets, with its value."""
    for name, value in node.items():
        here = f"{place}.{name}" if place else str(name)
        yield from leaves(value, here) if isinstance(value, dict) and value else [(here, value)]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_no_experiment_says_what_is_the_default_already(path: Path, tmp_path: Path) -> None:
    content = read(path)
    defaults = chosen(read(CONF / "train.yaml"))
    assert [group for group, choice in chosen(content).items() if defaults.get(group) == choice] == []
    # The same choices without a value of their own.
    (tmp_path / "experiment").mkdir()
    bare = {"defaults": content["defaults"]} if "defaults" in content else {}
    (tmp_path / "experiment" / "bare.yaml").write_text(HEADER + yaml.safe_dump(bare), encoding="utf-8")
    with initialize_config_module("conf", version_base="1.3"):
        without = compose("train", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=bare"])
    own = {name: value for name, value in content.items() if name != "defaults"}
    assert own["name"] == path.stem  # so that something is compared
    same = [
        place
        for place, value in leaves(own)
        if not OmegaConf.is_missing(without, place) and OmegaConf.select(without, place, default=leaves) == value
    ]
    assert same == []


@pytest.mark.parametrize("group", ["optimizer", "schedule"])
def test_the_default_is_what_experiments_agree_on(group: str) -> None:
    """A value that all of them give is the default, and so is a choice that all of them make."""
    contents = [read(path) for path in EXPERIMENTS]
    given = Counter((place, str(value)) for content in contents for place, value in leaves(content.get(group, {})))
    assert [place for (place, _), count in given.items() if count == len(contents)] == []
    assert not all(group in chosen(content) for content in contents)


def test_no_line_of_values_stands_in_two_files_of_a_group() -> None:
    """Three lines or more, such as the processor of two data sets, belong into a file that both name."""
    for group in ("data", "evaluation", "processor"):
        seen: dict[tuple[str, ...], Path] = {}
        for path in sorted((CONF / group).rglob("*.yaml")):
            lines = [line.split(" #")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
            lines = [line for line in lines if line and not line.startswith(("#", "-", "defaults:"))]
            for block in zip(lines, lines[1:], lines[2:], strict=False):
                other = seen.setdefault(block, path)
                assert other == path, f"{other.name} and {path.name}: {block}"
