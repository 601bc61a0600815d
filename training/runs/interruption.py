"""Stopping at the next step when the user or the system asks for it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Who stops a process often tells it and then its group; so soon after the first, a signal is not a second wish.
ECHO_SECONDS = 1.0


class TrainingInterrupted(SystemExit):
    """Ends the program with the status that shells expect after a signal; everything has been saved."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(128 + number)
        self.message = message

    def __str__(self) -> str:
        return self.message


class StopSignals:
    """While entered, SIGINT and SIGTERM are noted instead of obeyed; one that comes later is obeyed at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._since = 0.0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = number, time.monotonic()
            sys.stderr.write("\nstopping: this step is finished and saved first (once more to stop at once)\n")
        elif time.monotonic() - self._since > ECHO_SECONDS:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
