"""The largest memory of an update."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

STATUS, CLEAR, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs"), "VmHWM:"


class PeakMemory:
    """Watches updates: `start` before each, `stop` after it.

    On CUDA it measures the memory of tensors. Elsewhere it measures the resident memory of this process, with all else
    that it holds (libraries, data), or nothing where the system cannot measure a part of a process's life (not Linux).
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.mb = self.process_mb = 0.0
        self.can_measure = False

    def start(self) -> None:
        """Forgets earlier peaks, so that what came before the update does not count."""
        self._note_process()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            self.can_measure = _reset()

    def stop(self) -> None:
        """Takes the peak since `start`."""
        if self.device.type == "cuda":
            self.mb = max(self.mb, torch.cuda.max_memory_allocated(self.device) / 2**20)
        elif self.can_measure:
            self.mb = max(self.mb, _peak_mb())

    def metrics(self) -> dict[str, float]:
        """`memory/peak_mb`: of the updates since the last call.

        `memory/process_peak_mb`: of the process since its start, resident, with what it did before and between updates
        (reading data, evaluation).
        """
        self._note_process()
        peak, self.mb = self.mb, 0.0
        return ({"memory/peak_mb": peak} if peak else {}) | {"memory/process_peak_mb": self.process_mb}

    def _note_process(self) -> None:
        """Before the system's own mark is set back."""
        usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.process_mb = max(self.process_mb, usage / (2**20 if sys.platform == "darwin" else 2**10))


def _reset() -> bool:
    """Sets the high-water mark of this process to what it holds now; whether that is possible here."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _peak_mb() -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(PEAK))
    return int(line.split()[1]) / 2**10
