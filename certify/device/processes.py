"""All parts, one after the other, each in a process that is stopped at its limit: none takes another one with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from certify.device.found import Found
from certify.device.parts import PARTS

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "gpu_check.py"


def carry_out_all(folder: Path, overrides: Sequence[str]) -> Iterator[Found]:
    """What each part found; `overrides` are those of this command."""
    for name, (_, limit) in PARTS.items():
        begun = time.monotonic()
        reason = _process([*overrides, f"part={name}", f"output={folder}"], limit)
        found = Found.read(folder, name) or Found(name, False)
        if not found.finished:
            found.passed, found.reason = False, reason
        found.seconds, found.limit_seconds = time.monotonic() - begun, limit
        yield found


def _process(arguments: Sequence[str], limit: float) -> str:
    """Why it came to no end, if it did not."""
    process = subprocess.Popen([sys.executable, str(SCRIPT), *arguments], start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"stopped after {limit:.0f} s, which is its limit"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"its process ended with code {code}; what it printed stands above"
