"""The command that runs, as it can be typed again."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@dataclass(frozen=True)
class Command:
    """What a command did, and its line as it is copied into a shell."""

    title: str
    line: str


def running_command() -> str | None:
    """The line of the script of this project that runs, to be typed in the project's folder; None from elsewhere."""
    name = Path(sys.argv[0]).name
    return full(shlex.join([name, *sys.argv[1:]])) if (SCRIPTS / name).is_file() else None


def full(line: str) -> str:
    """A line that begins with the name of a script, as a shell takes it."""
    return f"python scripts/{line}"
