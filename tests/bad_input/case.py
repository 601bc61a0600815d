"""One bad input, how it is run, and what must come of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.scripts.in_process import run_command

LIMIT_SECONDS = 120
ACCEPTED, REFUSED = 0, 2


@dataclass(frozen=True)
class Case:
    """A command with something wrong in it.

    name: what is wrong. script: of `scripts/`. arguments: as a function of the folder that `prepare` filled. names: of
    which a refusal must name at least one; none for what may be named in several ways.
    """

    name: str
    script: str
    arguments: Callable[[Path], list[str]]
    prepare: Callable[[Path], Any] = lambda folder: None
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


@dataclass
class Outcome:
    """What a command said before it ended."""

    code: int | None = None
    out: str = ""
    errors: str = ""
    unexpected: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The lines of refusals and of failures."""
        return [line for line in self.errors.splitlines() if line.startswith("error:")]


def faults(case: Case, outcome: Outcome) -> list[str]:
    """Everything that a person should not have met."""
    found = list(outcome.unexpected)
    if outcome.code not in (ACCEPTED, REFUSED):
        found.append(f"ended with {outcome.code}")
    if "Traceback" in outcome.out + outcome.errors:
        found.append("printed a traceback")
    if outcome.code == REFUSED:
        if len(outcome.lines) != 1:
            found.append(f"said {len(outcome.lines)} lines of error instead of one")
        elif case.names and not any(name in outcome.lines[0] for name in case.names):
            found.append(f"named none of {', '.join(case.names)}")
        elif len(outcome.lines[0]) > 1200:
            found.append(f"said a line of {len(outcome.lines[0])} characters")
    return found


def run_here(case: Case, folder: Path) -> Outcome:
    """Runs the command in this process, as if it had been typed in `folder`."""
    case.prepare(folder)
    main = importlib.import_module(f"scripts.{case.script}").main
    outcome, out, errors = Outcome(), io.StringIO(), io.StringIO()
    place = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), limited(LIMIT_SECONDS):
            outcome.code = run_command(main, case.arguments(folder))
    except Exception as error:
        outcome.unexpected.append(f"{type(error).__name__}: {error}")
    finally:
        os.chdir(place)
    outcome.out, outcome.errors = out.getvalue(), errors.getvalue()
    return outcome


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises `TimeoutError` in what takes longer."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"took longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
