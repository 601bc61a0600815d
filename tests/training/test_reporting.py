"""What a training reports beside its metrics."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from training.distributed import Processes
from training.reporting import Reporter
from training.trackers.jsonl import JsonlTracker
from training.window import Counters


@pytest.mark.parametrize(("device", "advises"), [("cpu", False), ("meta", True)])
def test_waiting_for_data_is_reported_once_and_not_for_the_first_window(
    device: str, advises: bool, tmp_path: Path
) -> None:
    """The first window waits for the loader to start; workers are advised where they do not slow the model."""
    tracker = JsonlTracker(tmp_path)
    tracker.start("run", {})
    report = Reporter(tracker, Processes(0, 1, torch.device(device)))
    for step, data_seconds in enumerate((0.9, 0.1, 0.5, 0.9), start=1):
        report.window.steps, report.window.seconds, report.window.data_seconds = 1, 1.0, data_seconds
        report.log(Counters(step=step), float(step), 0.1, {})
    (alert,) = map(json.loads, tracker.alerts_path.read_text(encoding="utf-8").splitlines())
    assert alert["title"] == "slow data"
    assert alert["text"].startswith("step 3: 50% of the time")
    assert ("num_workers" in alert["text"]) == advises
