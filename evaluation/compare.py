"""Reports of several runs side by side; runs that differ by their seed alone form a group."""

from __future__ import annotations

import glob
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from data.types import BadInputError
from evaluation.metrics import main_score
from evaluation.provenance import NOT_THE_EXPERIMENT
from evaluation.report import read_report


@dataclass(frozen=True)
class Run:
    """A report and the configuration that it belongs to."""

    folder: Path
    report: dict[str, Any]
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """experiment/run, for tables."""
        return self.report["provenance"].get("run") or "/".join(self.folder.resolve().parts[-2:])


@dataclass(frozen=True)
class Spread:
    """One number over the runs of a group: mean, lowest, highest. `low, high`: the interval, for a single run."""

    mean: float
    lowest: float
    highest: float
    low: float | None = None
    high: float | None = None

    @staticmethod
    def of(values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return Spread(float(np.mean(values)), float(min(values)), float(max(values)))


@dataclass(frozen=True)
class Group:
    """Runs of one experiment; `label` says by what it differs from the other groups."""

    label: str
    runs: tuple[Run, ...]

    def task(self, name: str) -> Spread | None:
        """Accuracy or recall@10 in a task, None if a run was not asked."""
        scores = [main_score(run.report["tasks"][name]) for run in self.runs if name in run.report["tasks"]]
        if len(scores) != len(self.runs):
            return None
        spread = Spread.of([score["value"] for score in scores])
        if len(scores) > 1:
            return spread
        return Spread(spread.mean, spread.lowest, spread.highest, scores[0]["low"], scores[0]["high"])

    def cost(self, *path: str) -> Spread | None:
        """A number of the report's `model` or `train`, by its keys; None if a run does not know it."""
        values = [found_at(run.report, path) for run in self.runs]
        known = [value for value in values if value is not None]
        return Spread.of(known) if len(known) == len(values) else None


def found_at(content: Any, path: Sequence[str]) -> Any:
    """What lies in nested mappings under these keys; None if nothing does."""
    for key in path:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def load_runs(paths: Sequence[str | Path]) -> list[Run]:
    """Runs by their folders; a name with `*`, `?` or `[` stands for all folders with a report that it matches.

    Raises:
        BadInputError: a folder does not exist or has no report, or nothing is left to compare.
    """
    folders: list[Path] = []
    for path in map(str, paths):
        if glob.has_magic(path):
            matches = sorted(Path(match) for match in glob.glob(path))  # noqa: PTH207 (absolute patterns)
            found = [match for match in matches if (match / "report.json").is_file()]
            if not found:
                raise BadInputError(f"{path}: matches no folder with a report.json")
            folders += found
        else:
            folders.append(Path(path))
    if not folders:
        raise BadInputError("runs: names no run; give runs=[RUN1,RUN2]")
    return [load_run(folder) for folder in dict.fromkeys(folders)]


def load_run(folder: Path) -> Run:
    """One run. Raises `BadInputError` if there is no report in the folder."""
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such run folder")
    report = read_report(folder)
    if report is None:
        raise BadInputError(f"{folder}: has no report.json; run python scripts/evaluate.py checkpoint={folder}")
    return Run(folder, report, read_config(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """The run's configuration, found in the folder or above (`evaluations/step_N`); empty if there is none."""
    for place in (folder, *folder.resolve().parents[:2]):
        if (place / "config.yaml").is_file():
            content = OmegaConf.to_container(OmegaConf.load(place / "config.yaml"))
            return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}
    return {}


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Groups in the order of their first run; runs without an `experiment_hash` stand alone."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        key = run.report["provenance"].get("experiment_hash") or str(run.folder)
        # A run's checkpoints have one configuration, but are not one experiment's seeds.
        step = run.report["provenance"].get("step")
        members.setdefault(f"{key} {step}", []).append(run)
    found = list(members.values())
    return [Group(label, tuple(group)) for label, group in zip(labels(found), found, strict=True)]


def labels(groups: Sequence[Sequence[Run]]) -> list[str]:
    """Short names: the experiment, and where several groups share it, the options in which they differ."""
    names = [group[0].name.rpartition("/")[0] or group[0].name for group in groups]
    flat = [options(group[0].config) for group in groups]
    result = []
    for place, name in enumerate(names):
        rivals = [other for other in range(len(groups)) if other != place and names[other] == name]
        keys = [key for key in flat[place] if any(flat[other].get(key) != flat[place][key] for other in rivals)]
        parts = [f"{key}={flat[place][key]}" for key in sorted(keys)]
        if rivals and not parts:
            parts = [f"step {groups[place][0].report['provenance'].get('step')}"]
        shown = ", ".join(parts[:3]) + (", ..." if len(parts) > 3 else "")
        result.append(f"{name} ({shown})" if parts else name)
    repeated = {label for label in result if result.count(label) > 1}
    return [f"{label} {groups[place][0].name}" if label in repeated else label for place, label in enumerate(result)]


def options(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a configuration by its dotted name, without what does not belong to the experiment."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in NOT_THE_EXPERIMENT:
            continue
        if isinstance(value, Mapping):
            found |= options(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def task_names(groups: Sequence[Group]) -> list[str]:
    """Tasks of any run, in their first order."""
    return list(dict.fromkeys(task for group in groups for run in group.runs for task in run.report["tasks"]))


def warnings(groups: Sequence[Group]) -> list[str]:
    """What makes the comparison unfair, in words."""
    found = []

    def values(*path: str) -> set[str]:
        result = set()
        for run in (run for group in groups for run in group.runs):
            result.add(json.dumps(found_at(run.report, path), sort_keys=True))
        return result

    if len(values("provenance", "data_hash")) > 1:
        found.append("the runs were not asked the same questions (data_hash differs)")
    if len(values("provenance", "interval")) > 1:
        found.append("the intervals were not made in the same way; evaluate the older runs again")
    if len(values("provenance", "trained_on", "processor")) > 1 or len(values("provenance", "trained_on", "cores")) > 1:
        found.append("the runs were trained on different machines, so their seconds cannot be compared")
    return found


def to_json(groups: Sequence[Group]) -> dict[str, Any]:
    """The content of compare.json."""
    return {
        "groups": [
            {
                "label": group.label,
                "runs": [str(run.folder) for run in group.runs],
                "seeds": [run.report["provenance"].get("seed") for run in group.runs],
                "tasks": {task: as_dict(group.task(task)) for task in task_names(groups)},
                "model": {
                    "parameters": as_dict(group.cost("model", "parameters")),
                    "flops": {name: as_dict(group.cost("model", "flops", name)) for name in ("inference", "training")},
                },
                "train": {name: as_dict(group.cost("train", name)) for name in ("seconds", "steps", "tokens")},
            }
            for group in groups
        ],
        "warnings": warnings(groups),
    }


def as_dict(spread: Spread | None) -> dict[str, float | None] | None:
    """A spread for JSON, without the interval where several runs make one meaningless."""
    if spread is None:
        return None
    content: dict[str, float | None] = {"mean": spread.mean, "lowest": spread.lowest, "highest": spread.highest}
    return content if spread.low is None else {**content, "low": spread.low, "high": spread.high}
