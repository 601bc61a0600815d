"""Trainings and evaluations as functions: the commands train.py and evaluate.py, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import torch

from data.inspection import check as check_manifests
from data.inspection import named_manifests
from data.storage.run_log import METRICS, read_metrics
from evaluation.reports.report import read_report
from evaluation.run import Evaluated
from scripts.evaluate import main as evaluate_command
from scripts.train import main as train_command
from training.runs.interruption import TrainingInterrupted


@dataclass(frozen=True)
class Run:
    """The folder of a training, and what lies in it; wherever a path is asked for, a run may stand."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, each with `step`, `seconds` and flat names such as `train/loss`."""
        return read_metrics(self.path / METRICS)

    @property
    def report(self) -> dict[str, Any] | None:
        """The report of its evaluation, for instance `report["tasks"]["easy_vqa/typed"]["accuracy"]["value"]`; None if
        it was not evaluated.
        """
        return read_report(self.path)


def train(overrides: Sequence[str] = ()) -> Run:
    """Trains, evaluates and prints the table, as `python scripts/train.py OVERRIDES` does.

    overrides: options as they are typed there, such as `["experiment=easy_vqa_quick", "trainer.max_steps=20"]`;
    `resume=RUN` goes on with a run.

    Raises:
        BadInputError: an option, a file or a row cannot be used; the message is one line that names it.
        KeyboardInterrupt: it was interrupted; what was done is saved, and the message says how to go on.
    """
    threads = torch.get_num_threads()
    try:
        return Run(train_command.run(_options(overrides)))
    except TrainingInterrupted as stopped:  # which would end the process
        raise KeyboardInterrupt(str(stopped)) from None
    finally:
        torch.set_num_threads(threads)


def evaluate(run: str | PathLike[str] | Sequence[str | PathLike[str]], overrides: Sequence[str] = ()) -> Evaluated:
    """Evaluates a run and prints the table, as `python scripts/evaluate.py checkpoint=RUN OVERRIDES` does.

    run: the folder of a run, one of its checkpoints, or a `Run`; several are an ensemble, which needs an `output`.
    overrides: options as they are typed there, such as `["data.evaluation=test.jsonl", "output=again"]`.

    Returns:
        The `report`, as report.json holds it, and the `folder` that it lies in.

    Raises:
        BadInputError: the checkpoint, an option, a file or a row cannot be used, or a report would be overwritten.
    """
    several = isinstance(run, Sequence) and not isinstance(run, str)
    path = f"[{','.join(map(fspath, run))}]" if several else fspath(run)  # type: ignore[arg-type]
    return evaluate_command.run([f"checkpoint={path}", *_options(overrides)])


def check(*manifests: str | PathLike[str], output: str | PathLike[str] | None = None) -> dict[str, Any]:
    """Says what manifests hold and what is odd, as `python scripts/prepare_data.py check=[..]` does.

    output: a new folder for the report and its figures; None: one next to the first manifest, TRAIN-check.

    Returns:
        The report, as report.json holds it.

    Raises:
        BadInputError: a manifest is missing or holds no rows, or `output` exists.
    """
    paths = named_manifests([fspath(path) for path in manifests], "check")
    return check_manifests(paths, None if output is None else Path(output).expanduser())[0]


def _options(overrides: Sequence[str]) -> list[str]:
    if isinstance(overrides, str):
        raise TypeError(f"overrides={overrides!r} must be a list of options, such as [{overrides!r}]")
    return list(overrides)
