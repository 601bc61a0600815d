"""Trains what is missing: every trial is a `train.py` of its own, so that its time and memory are its own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bakeoff.trials import Trial
from data.types import BadInputError
from fusion.checkpoint import step_folders

TRAIN = Path(__file__).parent.parent / "scripts" / "train.py"
ENDED = "ended.txt"
PR_SET_PDEATHSIG = 1
Advance = Callable[[str, bool], None]


class Runner:
    """Trains trials into `<runs>/<name>/<trial>`, with what they print in `<runs>/<name>/logs/<trial>.log`.

    A trial that has ended is left alone, one that was killed goes on from its newest checkpoint, and one that was
    killed before its first checkpoint is moved aside and begun again. A trial whose folder belongs to other overrides
    is refused: the results would be mixed.
    """

    def __init__(self, runs: Path, name: str, advance: Advance = lambda trial, done: None) -> None:
        self.runs, self.name, self.advance = runs, name, advance
        self.folder = runs / name

    def run_folder(self, trial: Trial) -> Path:
        """Where the trial's run is."""
        return self.folder / trial.name

    def is_done(self, trial: Trial) -> bool:
        """Whether it has ended. Raises `BadInputError` if it was made with other overrides."""
        record = self.run_folder(trial) / ENDED
        if record.exists() and record.read_text(encoding="utf-8") != _record(trial):
            raise BadInputError(
                f"{self.run_folder(trial)} was trained with other options; choose another name=... or move it away"
            )
        return record.exists()

    def run(self, trials: Iterable[Trial]) -> None:
        """Trains those that are missing, one after the other. Raises `BadInputError` if one fails."""
        for trial in trials:
            self.advance(trial.name, False)
            if not self.is_done(trial):
                self._train(trial)
            self.advance(trial.name, True)

    def _train(self, trial: Trial) -> None:
        folder, log = self.run_folder(trial), self.folder / "logs" / f"{trial.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if step_folders(folder / "checkpoints"):
            arguments = [f"resume={folder}"]
        else:
            if folder.exists():
                folder.rename(folder.with_name(f"{folder.name}.interrupted-{time.strftime('%Y%m%d-%H%M%S')}"))
            arguments = [*trial.overrides, f"runs={self.runs}", f"name={self.name}", f"run={trial.name}"]
        code = train(arguments, log)
        if code:
            raise BadInputError(f"{trial.name}: train.py ended with code {code}; the reason is at the end of {log}")
        record = folder / ENDED
        temporary = record.with_name(f".{ENDED}.tmp")
        temporary.write_text(_record(trial), encoding="utf-8")
        temporary.replace(record)


def train(arguments: Sequence[str], log: Path) -> int:
    """Runs train.py and returns its exit code. After Ctrl-C it is waited for, because it saves before it leaves."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *arguments],
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        raise


def die_with_parent() -> None:
    """Asks Linux to stop this process when the one that started it is killed: two must not train one run."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _record(trial: Trial) -> str:
    return "\n".join([*trial.overrides, ""])
