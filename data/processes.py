"""Processes that this one starts."""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1
# Loaded before a process is forked: what runs between fork and exec must not load anything.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals) -> None:
    """Asks Linux to send `number` to this process when the one that started it is killed; elsewhere nothing."""
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, number)
