"""Trains what is missing: every trial is a `train.py` of its own, so that its memory is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path

from bakeoff.trials import Trial
from data.device import cores
from data.processes import die_with_parent
from data.storage.atomic_write import write_text
from data.types import BadInputError
from fusion.checkpoint import step_folders
from training.steps.anomaly import AnomalyError

TRAIN = Path(__file__).parent.parent / "scripts" / "train.py"
ENDED, DIVERGED = "ended.txt", "diverged\n"
Advance = Callable[[str, bool], None]


class Runner:
    """Trains trials into `<runs>/<name>/<trial>`, with what they print in `<runs>/<name>/logs/<trial>.log`.

    A trial that has ended is left alone, one that was killed goes on from its newest checkpoint, and one that was
    killed before its first checkpoint is moved aside and begun again. A trial that was begun with other overrides
    is refused: the results would be mixed. parallel: trials at a time, which share the cores; small models on a CPU
    waste less time so than one after the other on all cores.
    """

    def __init__(self, runs: Path, name: str, advance: Advance = lambda trial, done: None, parallel: int = 1) -> None:
        self.runs, self.name, self.advance, self.parallel = runs, name, advance, parallel
        self.folder = runs / name

    def run_folder(self, trial: Trial) -> Path:
        """Where the trial's run is."""
        return self.folder / trial.name

    def run(self, trials: Iterable[Trial], may_diverge: bool = False) -> None:
        """Trains those that are missing, in their order. See `diverged` for `may_diverge`.

        Raises `BadInputError` if one fails; those that are under way then are waited for, and no other is begun.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            futures = [pool.submit(self._run, trial, may_diverge) for trial in trials]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, trial: Trial, may_diverge: bool) -> None:
        self.advance(trial.name, False)
        self._check_overrides(trial)
        if not self.has_ended(trial):
            self._train(trial, may_diverge)
        self.advance(trial.name, True)

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

    def _train(self, trial: Trial, may_diverge: bool) -> None:
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
