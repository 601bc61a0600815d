"""A file of rows from a bake-off, or from the runs of one method over seeds. What these do not say is left out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from bakeoff.leaderboard.rows import RowFile, checked
from bakeoff.results.gather import read_answered
from data.storage.run_log import read_summary
from data.types import BadInputError
from evaluation.comparison.compare import found_at, load_run, load_runs, read_config
from evaluation.costs import renamed, training_flops
from evaluation.metrics.metric_names import ACCURACY, LOSS, PERPLEXITY, WER, is_share
from evaluation.metrics.proportions import CONFIDENCE
from evaluation.metrics.scores import main_metric
from evaluation.reports.answers import FILE as ANSWERS

BAKEOFF = "bakeoff.json"
# What a bake-off calls its budgets.
OF_BAKEOFF = {"flops": "inference_flops"}
BOTH, QUESTIONS, NONE = "new seeds and new questions", "new questions", "none"


@dataclass(frozen=True)
class Given:
    """What a person says of rows, in place of what the runs say or where they say nothing.

    budget: name -> value, of runs; a bake-off says its own. reference: the method of a bake-off that others were
    brought to the cost of. date: null takes today.
    """

    data_set: str | None = None
    method: str | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    reference: str | None = None
    made_by: str | None = None
    commit: str | None = None
    command: str | None = None
    machine: str | None = None
    date: str | None = None
    note: str | None = None

    def need(self, option: str, found: Any = None) -> Any:
        """What is given, or else what was found. Raises `BadInputError` if there is neither."""
        value = getattr(self, option)
        if value is None and found is None:
            raise BadInputError(f"{option}: has no value, and what is added does not say it; give {option}=VALUE")
        return found if value is None else value


def rows_of(paths: Sequence[str], given: Given) -> RowFile:
    """The file of what lies at `paths`: one bake-off, its folder or its bakeoff.json; or runs of one method.

    A run is its folder, or a report as JSON. Raises `BadInputError` for what cannot be read, or does not say enough.
    """
    found = [_bakeoff_file(Path(path).expanduser()) for path in paths]
    if any(path is not None for path in found):
        if len(paths) > 1:
            raise BadInputError("add: names a bake-off among others; add one at a time")
        assert found[0] is not None
        return of_bakeoff(found[0], given)
    return of_runs(paths, given)


def name_of(paths: Sequence[str], file: RowFile) -> str:
    """What the file is called where nobody says it: as the bake-off's folder, or by data set and method."""
    found = _bakeoff_file(Path(paths[0]).expanduser())
    return f"{file.rows[0].data}_{file.rows[0].method}" if found is None else found.resolve().parent.name


def _bakeoff_file(path: Path) -> Path | None:
    inside = path / BAKEOFF
    return inside if inside.is_file() else path if path.name == BAKEOFF else None


def of_bakeoff(path: Path, given: Given) -> RowFile:
    """A row for every method on all terms of a bake-off. Its runs, next to it, say seeds, questions and machine."""
    content = _read(path)
    runs = [load_run(folder.parent) for folder in sorted(path.parent.glob("*/report.json"))]
    if not runs:
        raise BadInputError(f"{path.parent}: has no runs with a report.json, which say seeds and machine")
    numbers = {task: found[main_metric(found)]["n"] for run in runs for task, found in run.report["tasks"].items()}
    metrics = content.get("metrics") or {
        task: main_metric(found) for run in runs for task, found in run.report["tasks"].items()
    }
    seeds = sorted({int(run.report["provenance"]["seed"]) for run in runs})
    rows = []
    try:
        intervals = BOTH if content["seeds"] > 1 else NONE
        for row in content["rows"]:
            scores = {
                task: {"metric": metrics.get(task, ACCURACY), "n": numbers.get(task), **_known(score)}
                for task, score in row["scores"].items()
            }
            names = ("parameters", "inference_flops", "training_flops", "total_flops", "seconds")
            costs = {name: row.get(name) for name in names} | {"active_parameters": row.get("active")}
            rows.append(
                {
                    "data": given.need("data_set", _data_of(runs[0].config)),
                    "budget": _budget(row, content, given),
                    "method": row["method"],
                    "scores": scores,
                    "costs": _known(costs),
                    "seeds": seeds,
                }
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: is not what a bake-off writes ({type(error).__name__}: {error})") from error
    origin = provenance(given, [run.report for run in runs], None)
    return checked({"intervals": intervals, "provenance": origin, "rows": rows}, str(path))


def _budget(row: Mapping[str, Any], content: Mapping[str, Any], given: Given) -> dict[str, float]:
    """What the methods of a row's terms were held to, with the value of the reference."""
    reference = given.need("reference", content.get("reference"))
    terms = (row["budget"], row.get("length"))
    name = OF_BAKEOFF.get(row["budget"], row["budget"])
    same = [other for other in content["rows"] if (other["budget"], other.get("length")) == terms]
    held = next((other[name] for other in same if other["method"] == reference), None)
    if held is None:
        raise BadInputError(f"reference={reference}: must be one of {', '.join(other['method'] for other in same)}")
    length = (content.get("lengths") or {}).get(row.get("length"))
    return {name: held} | ({} if length is None else {"total_flops": length})


def of_runs(paths: Sequence[str], given: Given) -> RowFile:
    """One row for runs that differ by their seed alone."""
    files = [Path(path).expanduser() for path in paths if path.endswith(".json")]
    if files and len(files) < len(paths):
        raise BadInputError("add: names folders and files of reports; give one or the other")
    if files:
        reports, folders, config = [renamed(_read(path)) for path in files], [], {}
    else:
        runs = load_runs(paths)
        reports, folders, config = [run.report for run in runs], [run.folder for run in runs], runs[0].config
    origins = [report.get("provenance") or {} for report in reports]
    if len({origin.get("experiment_hash") for origin in origins}) > 1:
        raise BadInputError("add: runs differ by more than their seed; add those of one method at a time")
    seeds = [int(found) for origin in origins if (found := origin.get("seed")) is not None]
    if not given.budget:
        raise BadInputError("budget: has no value; say what the runs were held to, such as budget.steps=1700")
    row = {
        "data": given.need("data_set", _data_of(config)),
        "budget": dict(given.budget),
        "method": given.need("method", _method_of(config)),
        "scores": scores_of(reports, folders),
        "costs": costs_of(reports, folders),
        "seeds": seeds,
    }
    # A run is evaluated where it was trained, as a rule: then its own folder says the command.
    origin = provenance(given, reports, folders[0] if folders else None)
    intervals = BOTH if len(reports) > 1 else QUESTIONS
    return checked({"intervals": intervals, "provenance": origin, "rows": [row]}, ", ".join(paths))


def scores_of(reports: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The main score of every task that all were asked: of one run with its own interval.

    Of several it is the mean, with an interval for new seeds and new questions: from their answers, as in a bake-off,
    where these are there; else `pooled`.
    """
    try:
        tasks = {task: main_metric(reports[0]["tasks"][task]) for task in reports[0]["tasks"]}
        own = {task: [report["tasks"][task][metric] for report in reports] for task, metric in tasks.items()}
    except (KeyError, TypeError, StopIteration) as error:
        raise BadInputError(f"add: the reports have not the same tasks and metrics ({error})") from error
    if len(reports) == 1:
        return {task: {"metric": metric, **own[task][0]} for task, metric in tasks.items()}
    sums = any(metric in (LOSS, PERPLEXITY, WER) for metric in tasks.values())
    answered = bool(folders) and not sums and all((folder / ANSWERS).is_file() for folder in folders)
    found = {task: pooled(scores, metric) for (task, metric), scores in zip(tasks.items(), own.values(), strict=True)}
    if answered:
        estimates = read_answered({"": folders}).scores()
        found = {task: _known(vars(estimates[task][""])) for task in tasks if task in estimates}
    return {task: {"metric": tasks[task], "n": own[task][0]["n"], **score} for task, score in found.items()}


def pooled(scores: Sequence[Mapping[str, float]], metric: str) -> dict[str, float]:
    """Mean of the scores of several seeds, with an interval for new seeds and new questions from their intervals alone.

    The half widths of two intervals are added as squares, on each side: t over seeds, and the mean one for new
    questions. All seeds were asked the same questions, so that these do not average out. That is a little too wide,
    because a part of what differs between questions differs between seeds, too.
    """
    values = np.array([score["value"] for score in scores])
    value, over_seeds = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    over_seeds *= float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    down = math.hypot(over_seeds, float(np.mean([score["value"] - score["low"] for score in scores])))
    up = math.hypot(over_seeds, float(np.mean([score["high"] - score["value"] for score in scores])))
    # A word error rate, a loss and a perplexity may be above 1.
    most = 1.0 if is_share(metric) and metric != WER else math.inf
    return {"value": value, "low": max(value - down, 0.0), "high": min(value + up, most)}


def costs_of(reports: Sequence[Mapping[str, Any]], folders: Sequence[Path]) -> dict[str, float]:
    """Means over runs of what all of them say; operations of the whole training need the folder of the run."""

    def mean(*path: str) -> float | None:
        return over_runs([found_at(report, path) for report in reports])

    return _known(
        {
            "parameters": mean("model", "parameters"),
            "active_parameters": mean("model", "active_parameters"),
            "question_flops": mean("model", "flops", "inference"),
            "inference_flops": over_runs([_forward(folder) for folder in folders]),
            "training_flops": mean("model", "flops", "training"),
            "total_flops": over_runs([whole_training(folder) for folder in folders]),
            "seconds": mean("train", "seconds"),
        }
    )


def over_runs(values: Sequence[float | None]) -> float | None:
    """The mean; None if there is no value, or one is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _forward(folder: Path) -> float | None:
    """Operations of the forward pass of a training sample."""
    try:
        return read_summary(folder).get("flops/inference")
    except BadInputError:
        return None


def whole_training(folder: Path) -> float | None:
    """Operations of all updates of a run together; None if its folder does not say what they follow from."""
    sample, config, report = training_flops(folder), read_config(folder), load_run(folder).report
    size, steps = found_at(config, ("data", "samples_per_batch")), found_at(report, ("train", "steps"))
    if sample is None or size is None or steps is None:
        return None
    return sample * steps * size * (found_at(config, ("trainer", "accumulation_steps")) or 1)


def provenance(given: Given, reports: Sequence[Mapping[str, Any]], folder: Path | None) -> dict[str, Any]:
    """What made the rows, as the first run says it where nothing is given."""
    origin = reports[0].get("provenance") or {}
    trained = origin.get("trained_on") or {}
    commit = trained.get("commit") or origin.get("commit")
    changes = "+changes" if trained.get("uncommitted_changes") else ""
    machine = (
        f"{trained['cores']} cores of {trained['processor']}, {trained.get('device', 'cpu')}"
        if (trained.get("processor") and trained.get("cores"))
        else None
    )
    found = {
        "commit": given.need("commit", commit and f"{commit}{changes}"),
        "command": given.need("command", None if folder is None else _command(folder)),
        "machine": given.need("machine", machine),
        "date": given.date or datetime.now(UTC).date().isoformat(),
        "made_by": given.need("made_by"),
        "note": given.note,
    }
    return _known(found)


def _command(folder: Path) -> str | None:
    try:
        found = json.loads((folder / "environment.json").read_text(encoding="utf-8")).get("command")
    except (OSError, ValueError, AttributeError):
        return None
    return None if found is None else f"python scripts/{found}"


def _data_of(config: Mapping[str, Any]) -> str | None:
    """The data set of a run: the one source that it was trained on. Of several, somebody must say it."""
    sources = list(found_at(config, ("data", "sources")) or {})
    return sources[0] if len(sources) == 1 and sources[0] != "manifest" else None


def _method_of(config: Mapping[str, Any]) -> str | None:
    """The fusion method of a run, by the file of its class."""
    target = found_at(config, ("fusion", "_target_"))
    return None if target is None else str(target).split(".")[-2]


def _known(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInputError(f"{path}: is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise BadInputError(f"{path}: must be a JSON object")
    return content
