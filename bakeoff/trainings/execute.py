"""Trains what is missing: every trial is a `train.py` of its own, so that its memory is its own."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from bakeoff.trainings.trials import Trial
from data.device import cores
from data.processes import die_with_parent
from data.progress import Progress
from data.storage.atomic_write import write_text
from data.types import BadInputError
from fusion.checkpoint import step_folders
from training.steps.anomaly import AnomalyError

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"
ENDED, DIVERGED = "ended.txt", "diverged\n"


class OutOfTimeError(Exception):
    """The time of a stage is over; what is missing is trained by the next one."""


class Runner:
    """Trains trials into `<runs>/<name>/<trial>`, with what they print in `<runs>/<name>/logs/<trial>.log`.

    A trial that has ended is left alone, one that was killed goes on from its newest checkpoint, and one that was
    killed before its first checkpoint is moved aside and begun again. A trial that was begun with other overrides
    is refused: the results would be mixed. parallel: trials at a time, which share the cores; small models on a CPU
    waste less time so than one after the other on all cores. max_minutes: no trial is begun later than that.
    """

    def __init__(
        self, runs: Path, name: str, parallel: int = 1, max_minutes: float | None = None, visible: bool = True
    ) -> None:
        self.runs, self.name, self.parallel, self.visible = runs, name, parallel, visible
        self.folder = runs / name
        self._until = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes

    def run_folder(self, trial: Trial) -> Path:
        """Where the trial's run is."""
        return self.folder / trial.name

    def run(self, trials: Iterable[Trial], what: str = "trainings", may_diverge: bool = False) -> None:
        """Trains those that are missing, in their order, with a progress bar. See `diverged` for `may_diverge`.

        Raises `BadInputError` if one fails, and `OutOfTimeError` when the time is over; those that are under way then
        are waited for, and no other is begun.
        """
        trials = list(trials)
        for trial in trials:
            self._check_overrides(trial)
        missing = [trial for trial in trials if not self.has_ended(trial)]
        done = len(trials) - len(missing)
        shown = self.visible and bool(missing)
        with Progress(what, len(trials), done, shown=shown) as progress, ThreadPoolExecutor(self.parallel) as pool:
            futures = [pool.submit(self._train, trial, may_diverge, progress) for trial in missing]
            try:
                for future in as_completed(futures):
                    future.result()
                    progress.advance()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def has_ended(self, trial: Trial) -> bool:
        """Whether nothing is left to do."""
        return (self.run_folder(trial) / ENDED).exists()

    def diverged(self, trial: Trial) -> bool:
        """Whether its loss was not finite any more, which is a result where a learning rate is tried."""
        return self.has_ended(trial) and (self.run_folder(trial) / ENDED).read_text(encoding="utf-8") == DIVERGED

    def _check_overrides(self, trial: Trial) -> None:
        record = self._record(trial)
        if self.run_folder(trial).exists() and record.exists() and record.read_text(encoding="utf-8") != _text(trial):
            raise BadInputError(
                f"{self.run_folder(trial)} was begun with other options; choose another name=... or move it away"
            )

    def _train(self, trial: Trial, may_diverge: bool, progress: Progress) -> None:
        if time.monotonic() > self._until:
            raise OutOfTimeError(f"the stage of {self.name} is over")
        progress.stage(trial.name)
        folder, log = self.run_folder(trial), self._record(trial).with_suffix(".log")
        log.parent.mkdir(parents=True, exist_ok=True)
        if step_folders(folder / "checkpoints"):
            arguments = [f"resume={folder}"]
        else:
            if folder.exists():
                folder.rename(folder.with_name(f"{folder.name}.interrupted-{time.strftime('%Y%m%d-%H%M%S')}"))
            arguments = [*trial.overrides, f"runs={self.runs}", f"name={self.name}", f"run={trial.name}"]
            if self.parallel > 1:
                arguments.append(f"compute_threads={max(cores() // self.parallel, 1)}")
        write_text(self._record(trial), _text(trial))
        code = train(arguments, log)
        if code == AnomalyError.exit_code and may_diverge:
            write_text(folder / ENDED, DIVERGED)
        elif code:
            raise BadInputError(f"{trial.name}: train.py ended with code {code}; the reason is at the end of {log}")
        else:
            write_text(folder / ENDED, "trained\n")

    def _record(self, trial: Trial) -> Path:
        return self.folder / "logs" / f"{trial.name}.overrides"


def train(arguments: Sequence[str], log: Path) -> int:
    """Runs train.py and returns its exit code. Ctrl-C reaches it too, and it saves before it leaves."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *arguments],
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            # Two processes must not train one run.
            preexec_fn=partial(die_with_parent, signal.SIGTERM, os.getpid()) if sys.platform == "linux" else None,
        )
    return process.wait()


def _text(trial: Trial) -> str:
    return "\n".join([*trial.overrides, ""])
