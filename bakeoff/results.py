"""What the runs of a bake-off say, read from their folders.

Shape legend: s seeds, N items (questions).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.contrasts import Answers, Difference, Tested, judged_contrasts, plain_differences
from bakeoff.settings import Bakeoff
from bakeoff.statistics import Estimate
from bakeoff.trials import Entry, costs
from data.storage.run_log import METRICS, read_metrics
from data.types import BadInputError
from evaluation.comparison.compare import load_run
from evaluation.costs import training_flops
from evaluation.metrics.metric_names import ACCURACY, CHOICE, CHRF, LOSS, PERPLEXITY, WER, title
from evaluation.metrics.scores import main_metric
from evaluation.reports.answers import read_answers
from evaluation.reports.report import read_report


@dataclass(frozen=True)
class Row:
    """A method at one budget, over its seeds.

    active: parameters that one token uses. inference_flops: operations of the forward pass of a training sample;
    training_flops: with the backward pass and the optimizer, None if a run does not say. scores: task -> estimate; the
    rest are means over the seeds.
    """

    method: str
    budget: str
    tuned: float | None
    d_model: int
    parameters: float
    active: float
    inference_flops: float
    training_flops: float | None
    seconds: float
    memory_gb: float
    scores: Mapping[str, Estimate]


@dataclass(frozen=True)
class Results:
    """The whole bake-off.

    contrasts: the primary ones, tested; differences: all others, by budget. clusters: task -> how many its questions
    make. metrics: task -> what its score is. option: what was tuned, None: nothing; tuned_by: the metric that decided;
    tuning: its values by method and value of the option.
    """

    option: str | None
    reference: str
    num_seeds: int
    clusters: Mapping[str, int]
    metrics: Mapping[str, str]
    rows: tuple[Row, ...]
    contrasts: tuple[Tested, ...]
    differences: Mapping[str, tuple[Difference, ...]]
    tuned_by: str | None
    tuning: Mapping[str, Mapping[float, float]]

    def deviation(self, budget: str) -> float:
        """How far the costs of a budget are from that of the reference at most, as a share of it."""
        field = {"flops": "inference_flops", "parameters": "parameters"}[budget]
        spent = {row.method: getattr(row, field) for row in self.rows if row.budget == budget}
        return max(abs(cost / spent[self.reference] - 1) for cost in spent.values())

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(self.rows[0].scores)


def gather(
    bakeoff: Bakeoff,
    entries: Sequence[Entry],
    folders: Mapping[str, Path],
    tuned: Mapping[str, float],
    tuning: Mapping[str, Mapping[float, float]],
) -> Results:
    """Reads the reports and answers of all runs; `folders` by the name of the trial.

    Raises `BadInputError` when a run lacks its answers, or was asked other questions than the first.
    """
    rows: list[Row] = []
    answers: dict[str, Answers] = {}
    for budget in bakeoff.budgets:
        of_method = {
            method: [folders[e.trial.name] for e in entries if (e.method, e.budget) == (method, budget)]
            for method in bakeoff.methods
        }
        answers[budget] = read_answered(of_method)
        scores = answers[budget].scores()
        for method, runs in of_method.items():
            own = {task: scores[task][method] for task in scores}
            rows.append(_row(method, budget, tuned.get(method), runs, own))
    differences = {
        budget: plain_differences(found, bakeoff.baselines, [c for c in bakeoff.primary if c.budget == budget])
        for budget, found in answers.items()
    }
    return Results(
        option=bakeoff.tuning.option if bakeoff.tuning else None,
        reference=bakeoff.reference,
        num_seeds=len(bakeoff.seeds),
        clusters={task: len(set(names)) for task, names in next(iter(answers.values())).clusters.items()},
        metrics=dict(next(iter(answers.values())).metrics),
        rows=tuple(rows),
        contrasts=judged_contrasts(answers, bakeoff.primary),
        differences=differences,
        tuned_by=bakeoff.tuning.metric if bakeoff.tuning else None,
        tuning=tuning,
    )


def _row(method: str, budget: str, tuned: float | None, folders: Sequence[Path], scores: Mapping[str, Estimate]) -> Row:
    runs = [load_run(folder) for folder in folders]
    spent = [costs(folder) for folder in folders]
    training = [found for folder in folders if (found := training_flops(folder)) is not None]
    memory = [max(float(line.get("memory/peak_mb", 0.0)) for line in read_metrics(f / METRICS)) for f in folders]
    return Row(
        method=method,
        budget=budget,
        tuned=tuned,
        d_model=int(runs[0].config["d_model"]),
        parameters=float(np.mean([cost["parameters"] for cost in spent])),
        active=float(np.mean([run.report["model"]["active_parameters"] for run in runs])),
        inference_flops=float(np.mean([cost["flops"] for cost in spent])),
        training_flops=float(np.mean(training)) if len(training) == len(runs) else None,
        seconds=float(np.mean([run.report["train"]["seconds"] for run in runs])),
        memory_gb=float(np.mean(memory)) / 1024,
        scores=scores,
    )


def read_answered(of_method: Mapping[str, Sequence[Path]]) -> Answers:
    """What each method's runs, one a seed, answered.

    Raises `BadInputError` when the runs were not asked the same questions.
    """
    values: dict[str, dict[str, list[list[float]]]] = {}
    metrics: dict[str, str] = {}
    asked: dict[str, list[tuple[str, str]]] = {}
    tasks_of: dict[Path, set[str]] = {}
    for method, folders in of_method.items():
        for folder in folders:
            found = read_answers(folder)
            tasks_of[folder] = set(found)
            for task, answers in found.items():
                questions = [(str(answer["id"]), str(answer["cluster"])) for answer in answers]
                if asked.setdefault(task, questions) != questions:
                    raise BadInputError(f"{folder}: was asked other questions in {task} than the first run")
                if task not in metrics:
                    metrics[task] = compared_metric(folder, task)
                own = [of_answer(folder, task, metrics[task], answer) for answer in answers]
                values.setdefault(task, {}).setdefault(method, []).append(own)
    for folder, tasks in tasks_of.items():
        if tasks != set(asked):
            missing = ", ".join(task for task in asked if task not in tasks)
            raise BadInputError(
                f"{folder}: was not asked {missing}, as other runs were; move its report.json away and evaluate it "
                "again where what optional tasks need is installed"
            )
    arrays = {task: {m: np.array(own) for m, own in methods.items()} for task, methods in values.items()}
    clusters = {task: [cluster for _, cluster in questions] for task, questions in asked.items()}
    return Answers(arrays, clusters, metrics)


def compared_metric(folder: Path, task: str) -> str:
    """By what the answers of a task are compared: the main metric of the run's report.

    Raises `BadInputError` for one that is no share of single answers, such as a loss.
    """
    scores = ((read_report(folder) or {}).get("tasks") or {}).get(task)
    metric = ACCURACY if scores is None else main_metric(scores)
    if metric in (LOSS, PERPLEXITY, WER):
        raise BadInputError(
            f"{folder}: {task} is scored by {title(metric)}, which is no share of an answer; "
            "name one first that is, as in bakeoff.options.evaluation.metrics=[chrf,loss]"
        )
    return metric


def of_answer(folder: Path, task: str, metric: str, answer: Mapping[str, Any]) -> float:
    """The value of one answer, 0 to 1."""
    if metric in (CHRF, CHOICE):
        try:
            return float(answer["scores"][metric])
        except (KeyError, TypeError) as error:
            raise BadInputError(
                f"{folder}: an answer in {task} has no {title(metric)}; evaluate the run again"
            ) from error
    return float(bool(answer["correct"]))
