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
from evaluation.comparison.run_labels import differences, run_labels, telling
from evaluation.metrics.metric_names import title
from evaluation.metrics.scores import main_metric
from evaluation.reports.report import read_report
from evaluation.skipped_rows import skipped_lines
from fusion.moved_targets import moved

# Options that a warning names at most.
MOST_UNNAMED = 5


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

    def task(self, name: str, metric: str | None = None) -> Spread | None:
        """A metric of a task, or its main one; None if a run was not asked, or was not scored by it."""
        asked = [run.report["tasks"][name] for run in self.runs if name in run.report["tasks"]]
        metric = metric or self.main(name)
        scores = [found[metric] for found in asked if metric in found]
        if len(scores) != len(self.runs):
            return None
        spread = Spread.of([score["value"] for score in scores])
        if len(scores) > 1:
            return spread
        return Spread(spread.mean, spread.lowest, spread.highest, scores[0]["low"], scores[0]["high"])

    def main(self, task: str) -> str | None:
        """The main metric of its runs in a task; None if none was asked."""
        asked = [run.report["tasks"][task] for run in self.runs if task in run.report["tasks"]]
        return main_metric(asked[0]) if asked else None

    def numbers(self, task: str, metric: str) -> list[int]:
        """Of how many rows the scores of a task are, each number once."""
        tasks = [run.report["tasks"].get(task, {}) for run in self.runs]
        return sorted({found[metric]["n"] for found in tasks if "n" in found.get(metric, {})})

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
    return [load_run(folder) for folder in {folder.resolve(): folder for folder in reversed(folders)}.values()][::-1]


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
            content = moved(OmegaConf.to_container(OmegaConf.load(place / "config.yaml")))
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
    """Short names that never repeat: the experiment, and what differs between those that share it."""
    names = [experiment(group) for group in groups]
    origins = [group[0].report["provenance"] for group in groups]
    fallbacks = [
        [
            f"step={origin.get('step')}",
            f"seed={origin.get('seed')}" if len(group) == 1 else f"{len(group)} seeds",
            group[0].name.rpartition("/")[2],
            str(group[0].folder),
        ]
        for group, origin in zip(groups, origins, strict=True)
    ]
    return run_labels(names, [group[0].config for group in groups], fallbacks)


def experiment(group: Sequence[Run]) -> str:
    """The name of the experiment that some runs belong to."""
    return group[0].name.rpartition("/")[0] or group[0].name


def changed_options(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Every option that differs between the groups, with its value in each."""
    return differences([group.runs[0].config for group in groups])


def unnamed_options(groups: Sequence[Group]) -> list[str]:
    """Options that differ between runs of one experiment, and that their labels leave out."""
    found: dict[str, None] = {}
    for name in dict.fromkeys(experiment(group.runs) for group in groups):
        rivals = [group for group in groups if experiment(group.runs) == name]
        changed = changed_options(rivals)
        found |= dict.fromkeys(key for key in changed if key not in telling(changed, len(rivals)))
    return list(found)


def task_names(groups: Sequence[Group]) -> list[str]:
    """Tasks of any run, in their first order."""
    return list(dict.fromkeys(task for group in groups for run in group.runs for task in run.report["tasks"]))


def task_metrics(groups: Sequence[Group], task: str) -> list[str]:
    """The metrics of a task that any run has, the main one of the first run first."""
    asked = [run.report["tasks"][task] for group in groups for run in group.runs if task in run.report["tasks"]]
    return list(dict.fromkeys([main_metric(asked[0]), *(metric for found in asked for metric in found)]))


def main_metrics(groups: Sequence[Group], task: str) -> list[str]:
    """The main metrics that the runs have in a task, which should be one."""
    runs = [run for group in groups for run in group.runs if task in run.report["tasks"]]
    return list(dict.fromkeys(main_metric(run.report["tasks"][task]) for run in runs))


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
    if unnamed := unnamed_options(groups):
        more = f" and {len(unnamed) - MOST_UNNAMED} more" if len(unnamed) > MOST_UNNAMED else ""
        found.append(f"the runs differ in more than their names say: {', '.join(unnamed[:MOST_UNNAMED])}{more}")
    for task in task_names(groups):
        found += task_warnings(groups, task)
    for run in (run for group in groups for run in group.runs):
        found += [
            f"{run.name}: {line.removeprefix('warning: ')}"
            for line in skipped_lines(run.report)
            if line.startswith("warning: ")
        ]
    return found


def task_warnings(groups: Sequence[Group], task: str) -> list[str]:
    """What makes the scores of one task incomparable."""
    found = []
    metrics = main_metrics(groups, task)
    if len(metrics) > 1:
        named = ", ".join(map(title, metrics))
        found.append(f"{task}: the runs have different main metrics ({named}); each is shown where it was measured")
    numbers = sorted({number for group in groups for number in group.numbers(task, metrics[0])})
    if len(numbers) > 1:
        shown = ", ".join(f"{number:,}" for number in (numbers[:1] + numbers[-1:] if len(numbers) > 4 else numbers))
        found.append(f"{task}: the runs were scored on different numbers of rows ({shown}), so not on the same ones")
    return found


def to_json(groups: Sequence[Group]) -> dict[str, Any]:
    """The content of compare.json: of each group, all metrics of all tasks, the main one in `tasks`."""
    tasks = {task: task_metrics(groups, task) for task in task_names(groups)}
    changed = changed_options(groups)
    return {
        "groups": [
            {
                "label": group.label,
                "runs": [str(run.folder) for run in group.runs],
                "seeds": [run.report["provenance"].get("seed") for run in group.runs],
                "differs": {key: values[place] for key, values in changed.items()},
                "tasks": {task: as_dict(group.task(task)) for task in tasks},
                "metrics": {
                    task: {metric: as_dict(group.task(task, metric)) for metric in metrics}
                    for task, metrics in tasks.items()
                },
                "rows": {task: group.numbers(task, metrics[0]) for task, metrics in tasks.items()},
                "model": {
                    "parameters": as_dict(group.cost("model", "parameters")),
                    "flops": {name: as_dict(group.cost("model", "flops", name)) for name in ("inference", "training")},
                },
                "train": {name: as_dict(group.cost("train", name)) for name in ("seconds", "steps", "tokens")},
            }
            for place, group in enumerate(groups)
        ],
        "warnings": warnings(groups),
    }


def as_dict(spread: Spread | None) -> dict[str, float | None] | None:
    """A spread for JSON, without the interval where several runs make one meaningless."""
    if spread is None:
        return None
    content: dict[str, float | None] = {"mean": spread.mean, "lowest": spread.lowest, "highest": spread.highest}
    return content if spread.low is None else {**content, "low": spread.low, "high": spread.high}
