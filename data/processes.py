"""Processes that this one starts."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# Loaded before a process is forked: what runs between fork and exec must not load anything.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Asks Linux to send `number` to this process when `parent`, which started it, is killed; elsewhere does nothing.

    When `parent` has been killed already, nobody would send it: the process gets it now.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os.kill(os.getpid(), number)
