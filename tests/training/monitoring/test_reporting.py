"""What a training reports beside its metrics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from training.distributed import Processes
from training.monitoring.progress import Progress
from training.monitoring.reporting import Reporter
from training.monitoring.slow_data import remedy
from training.steps.window import Counters
from training.trackers.jsonl import JsonlTracker


def alerts(folder: Path, waited: Sequence[float], steps: int = 5) -> list[dict[str, str]]:
    """The alerts of windows of so many steps, each a second, of which a share was spent waiting."""
    tracker = JsonlTracker(folder)
    tracker.start("run", {})
    report = Reporter(tracker, Processes(0, 1, torch.device("cpu")), "easy_vqa/quick", "data.num_workers=2")
    for number, share in enumerate(waited, start=1):
        report.window.steps, report.window.seconds, report.window.data_seconds = steps, steps, share * steps
        report.log(Counters(step=number * steps), float(number), 0.1, {})
    if not tracker.alerts_path.exists():
        return []
    return list(map(json.loads, tracker.alerts_path.read_text(encoding="utf-8").splitlines()))


def test_waiting_for_data_names_run_and_remedy_once(tmp_path: Path) -> None:
    (alert,) = alerts(tmp_path, (0.9, 0.1, 0.4, 0.6, 0.9, 0.9))
    assert (alert["title"], alert["level"]) == ("slow data", "warn")
    assert alert["text"] == (
        "run easy_vqa/quick, step 20: 50% of the time was spent waiting for data; what may help: data.num_workers=2"
    )


@pytest.mark.parametrize(
    ("waited", "steps"),
    [
        ((0.9, 0.9, 0.1, 0.1), 9),  # the loader starts
        ((0.1, 0.9, 0.1, 0.9, 0.1), 50),  # now and then
        ((0.9, 0.9, 0.9, 0.9, 0.9, 0.9), 1),  # first steps, each logged
        ((0.2, 0.2, 0.2, 0.2), 20),  # not slow
    ],
)
def test_the_first_steps_and_single_ones_are_no_slow_data(
    waited: tuple[float, ...], steps: int, tmp_path: Path
) -> None:
    assert alerts(tmp_path, waited, steps) == []


def test_the_remedy_fits_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    config, encoders = OmegaConf.create({"compute_threads": None}), nn.ModuleDict()

    def helps(cores: int, workers: int, on_cpu: bool) -> str:
        monkeypatch.setattr("training.monitoring.slow_data.share_of_cores", lambda: cores)
        return remedy(config, encoders, {}, workers, on_cpu)

    assert helps(16, 4, False) == "data.num_workers=8 (now data.num_workers=4)"
    assert helps(16, 0, False) == "data.num_workers=4 (now data.num_workers=0)"
    assert helps(2, 0, False).startswith("data.num_workers=2 (")
    assert helps(8, 0, True) == "data.num_workers=1 compute_threads=7 (now data.num_workers=0)"
    for stuck in (helps(1, 0, True), helps(2, 1, True), helps(4, 4, False)):
        assert "has all cores: smaller pictures" in stuck
    frozen = SimpleNamespace(cache=False, parameters=lambda: iter([nn.Parameter(torch.zeros(1), requires_grad=False)]))
    trained = SimpleNamespace(cache=False, parameters=lambda: iter([nn.Parameter(torch.zeros(1))]))
    cached = SimpleNamespace(cache=True, parameters=lambda: iter([]))
    named = {"image": frozen, "audio": trained, "sentence": cached, "text": SimpleNamespace(), "depth": frozen}
    processors: Any = {name: SimpleNamespace(augments=name == "depth") for name in named}
    parts: Any = {key: SimpleNamespace(encoder=value) for key, value in named.items()}
    monkeypatch.setattr("training.monitoring.slow_data.share_of_cores", lambda: 8)
    found = remedy(config, parts, processors, 0, True)
    assert found == "keep the features of frozen encoders: encoders.image.cache=true"


def test_the_console_shows_the_words_of_data_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(0, 1) as progress:
        progress.say("skipped: [red]a[/red] :smile: [/nothing] $x^$")
    assert "skipped: [red]a[/red] :smile: [/nothing] $x^$" in capsys.readouterr().out
