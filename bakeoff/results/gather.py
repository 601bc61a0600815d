"""What the runs of a bake-off say, read from their folders.

Shape legend: s seeds, N items (questions).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bakeoff.methods import Terms
from bakeoff.results.contrasts import Answers, Difference, Tested, judged_contrasts, plain_differences, with_pooled
from bakeoff.results.curves import Curve, read_curves
from bakeoff.results.statistics import Estimate
from bakeoff.settings import Bakeoff
from bakeoff.trainings.sizes import costs, samples_per_step
from bakeoff.trainings.trials import Entry
from bakeoff.tuning.tune import Tuned
from data.storage.run_log import METRICS, read_metrics, read_summary
from data.types import BadInputError
from evaluation.comparison.compare import load_run
from evaluation.costs import training_flops
from evaluation.metrics.metric_names import ACCURACY, CHOICE, CHRF, LOSS, PERPLEXITY, WER, title
from evaluation.metrics.scores import main_metric
from evaluation.reports.answers import read_answers
from evaluation.reports.report import read_report


@dataclass(frozen=True)
class Row:
    """A method on some terms, over its seeds.

    tuned: option -> value. steps: of its training. active: parameters that one token uses. inference_flops: operations
    of the forward pass of a training sample, and fusion_flops those in the fusion method, None if a run does not say;
    training_flops: with the backward pass and the optimizer, None if a run does not say; total_flops: of the whole
    training. seconds: that it took. inference_seconds: measured, a question, None if a run does not say. scores: task
    -> estimate. All but the scores are means over the seeds; of an ensemble sums over its members.
    """

    method: str
    terms: Terms
    tuned: Mapping[str, Any]
    d_model: int
    steps: float
    parameters: float
    active: float
    inference_flops: float
    fusion_flops: float | None
    training_flops: float | None
    total_flops: float | None
    seconds: float
    inference_seconds: float | None
    memory_gb: float
    scores: Mapping[str, Estimate]


@dataclass(frozen=True)
class Results:
    """The whole bake-off.

    contrasts: the primary ones, tested; differences: all others, by terms. clusters: task -> how many its questions
    make. metrics: task -> what its score is. equal: the methods that were brought to the cost of the reference.
    tuned_by: the metric that decided, None if nothing was tuned; tuning: what it found, by method; tuned_for: at which
    terms. curves: learning curves on validation data. ceilings: task -> the best score that there can be, of those that
    say it. lengths: name -> operations of a training.
    """

    reference: str
    num_seeds: int
    clusters: Mapping[str, int]
    metrics: Mapping[str, str]
    rows: tuple[Row, ...]
    contrasts: tuple[Tested, ...]
    differences: Mapping[Terms, tuple[Difference, ...]]
    equal: tuple[str, ...]
    tuned_by: str | None = None
    tuning: Mapping[str, Tuned] = field(default_factory=dict)
    tuned_for: Terms | None = None
    curves: tuple[Curve, ...] = ()
    ceilings: Mapping[str, float] = field(default_factory=dict)
    lengths: Mapping[str, float] = field(default_factory=dict)

    def deviation(self, terms: Terms) -> float:
        """How far the costs on these terms are from that of the reference at most, as a share of it.

        Of the methods that were brought to its cost.
        """
        name = {"flops": "inference_flops", "fusion_flops": "fusion_flops", "parameters": "parameters"}[terms.budget]
        spent = {row.method: getattr(row, name) for row in self.rows if row.terms == terms}
        return max(abs(cost / spent[self.reference] - 1) for method, cost in spent.items() if method in self.equal)

    @property
    def tasks(self) -> list[str]:
        """The names of the tasks."""
        return list(self.rows[0].scores)


def gather(
    bakeoff: Bakeoff, entries: Sequence[Entry], folders: Mapping[str, Path], tuned: Mapping[str, Tuned]
) -> Results:
    """Reads the reports and answers of all runs; `folders` by the name of the trial.

    Raises `BadInputError` when a run lacks its answers, or was asked other questions than the first.
    """
    rows: list[Row] = []
    answers: dict[Terms, Answers] = {}
    for terms in bakeoff.terms:
        of_method = {
            method: [entry for entry in entries if (entry.method, entry.terms) == (method, terms)]
            for method in bakeoff.all_methods
        }
        runs = {method: [folders[e.trial.name] for e in own] for method, own in of_method.items() if own}
        answers[terms] = with_pooled(read_answered(runs), bakeoff.pooled)
        scores = answers[terms].scores()
        for method, own in runs.items():
            of_seed = [[folders[name] for name in e.members] or [folders[e.trial.name]] for e in of_method[method]]
            values = tuned[method].values if method in tuned else {}
            rows.append(_row(method, terms, values, own, of_seed, {task: scores[task][method] for task in scores}))
    differences = {
        terms: plain_differences(found, bakeoff.baselines, [c for c in bakeoff.primary if c.terms == terms])
        for terms, found in answers.items()
    }
    return Results(
        reference=bakeoff.reference,
        num_seeds=len(bakeoff.seeds),
        clusters={task: len(set(names)) for task, names in next(iter(answers.values())).clusters.items()},
        metrics=dict(next(iter(answers.values())).metrics),
        rows=tuple(rows),
        contrasts=judged_contrasts(answers, bakeoff.primary),
        differences=differences,
        equal=tuple(m.name for m in bakeoff.trained if m.share == 1),
        tuned_by=bakeoff.tuning.metric if bakeoff.tuning else None,
        tuning=tuned if bakeoff.tuning else {},
        tuned_for=bakeoff.tuned_terms if bakeoff.tuning else None,
        curves=read_curves(entries, folders),
        ceilings=dict(bakeoff.ceilings),
        lengths=dict(bakeoff.lengths or {}),
    )


def _row(
    method: str,
    terms: Terms,
    tuned: Mapping[str, Any],
    answered: Sequence[Path],
    of_seed: Sequence[Sequence[Path]],
    scores: Mapping[str, Estimate],
) -> Row:
    """answered: the folders with its answers; of_seed: those of the trainings that each of them owes its costs to."""
    loaded = {folder: load_run(folder) for members in of_seed for folder in members}
    spent = {folder: costs(folder) for folder in loaded}
    reports = [read_report(folder) or {} for folder in answered]

    def total(cost: Callable[[Path], float | None]) -> float | None:
        """The mean over seeds of the sum over members."""
        found = [[cost(folder) for folder in members] for members in of_seed]
        if any(value is None for members in found for value in members):
            return None
        return float(np.mean([sum(value for value in members if value is not None) for members in found]))

    timed = [report.get("inference", {}).get("seconds_per_sample") for report in reports]
    return Row(
        method=method,
        terms=terms,
        tuned=tuned,
        d_model=int(loaded[of_seed[0][0]].config["d_model"]),
        steps=float(np.mean([read_summary(folder)["steps"] for folder in loaded])),
        parameters=total(lambda folder: spent[folder]["parameters"]) or math.nan,
        active=total(lambda folder: loaded[folder].report["model"]["active_parameters"]) or math.nan,
        inference_flops=total(lambda folder: spent[folder]["flops"]) or math.nan,
        fusion_flops=total(lambda folder: spent[folder].get("fusion_flops")),
        training_flops=total(training_flops),
        total_flops=total(whole_training_flops),
        seconds=total(lambda folder: loaded[folder].report["train"]["seconds"]) or math.nan,
        inference_seconds=None if None in timed else float(np.mean([value for value in timed if value is not None])),
        memory_gb=max(map(peak_memory, loaded)) / 1024,
        scores=scores,
    )


def whole_training_flops(run_folder: Path) -> float | None:
    """Operations of all steps of a run together."""
    sample = training_flops(run_folder)
    return None if sample is None else sample * read_summary(run_folder)["steps"] * samples_per_step(run_folder)


def peak_memory(run_folder: Path) -> float:
    """In MB."""
    return max(float(line.get("memory/peak_mb", 0.0)) for line in read_metrics(run_folder / METRICS))


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
