"""The parts of the check of a device. Each is carried out in a process of its own, within its limit."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from certify.device.found import Found, from_results
from certify.device.workload import decoded, trained
from certify.result import Result, Tolerance, at_most, first_line
from certify.suite import ENCODER_CHECKS, MODEL_CHECKS, make_context, run
from data.device import CPU, choose_device

Keep = Callable[[Found], None]
REPOSITORY = Path(__file__).resolve().parents[2]
MARKER = "on_device"
BFLOAT16_LOSS = Tolerance(
    0.05,
    "bfloat16 has 8 significant bits, so that each product is off by up to 0.4 %; a wrong kernel is off by far more",
)
LEARNED = Tolerance(0.9, "the same few batches come again and again, so that the loss falls by a tenth at least")


def tests(config: DictConfig, device: torch.device, keep: Keep) -> Found:
    """Those that take the device and need no second process: fast against slow, outputs and gradients."""
    import pytest  # an installation for users has none

    outcomes = _Outcomes()
    where = [str(REPOSITORY / place) for place in config.tests]
    root = ["--rootdir", str(REPOSITORY), "-c", str(REPOSITORY / "pyproject.toml")]
    what = ["-m", MARKER, "--device", str(device), "-p", "no:cacheprovider"]
    code = pytest.main([*where, *root, *what], plugins=[outcomes])
    passed = code == pytest.ExitCode.OK
    reason = "" if passed else f"pytest ended with {code!r}; {'; '.join(outcomes.failed[:3]) or 'nothing was run'}"
    counts = {"tests passed": outcomes.passed, "tests failed": len(outcomes.failed)}
    return Found("tests", passed, reason, figures={name: {device.type: count} for name, count in counts.items()})


def certificate(config: DictConfig, device: torch.device, keep: Keep) -> Found:
    """All checks of `scripts/certify.py` but the one of training processes that are killed."""
    context, results = make_context(config), list[Result]()
    for result in run(context, (*MODEL_CHECKS, *ENCODER_CHECKS)):
        results.append(result)
        keep(from_results("certificate", results))
    return from_results("certificate", results)


def compiled(config: DictConfig, device: torch.device, keep: Keep) -> Found:
    """A short training with `torch.compile` in bfloat16, against a plain one in float32 from the same weights."""
    plain = trained(config, str(device))
    fast = trained(config, str(device), compile=True, precision="bfloat16")
    first = abs(fast.losses[0] - plain.losses[0]) / plain.losses[0]
    results = [
        at_most("first loss, compiled in bfloat16 = plain in float32", first, BFLOAT16_LOSS, f"{fast.losses[0]:.4f}"),
        at_most(
            "last loss over first, compiled in bfloat16",
            fast.losses[-1] / fast.losses[0],
            LEARNED,
            f"{fast.losses[0]:.4f} to {fast.losses[-1]:.4f} in {len(fast.losses)} steps, {plain.losses[-1]:.4f} plain",
        ),
    ]
    kinds = {"training, float32": plain, "training, bfloat16 compiled": fast}
    figures = {
        f"{kind}, {name}": {device.type: value}
        for kind, found in kinds.items()
        for name, value in {"tokens/s": found.tokens_per_second, "peak MB": found.peak_mb}.items()
    }
    return from_results("compiled", results, figures)


def speed(config: DictConfig, device: torch.device, keep: Keep) -> Found:
    """Tokens in a second and peak memory of training and of decoding, in float32, next to the CPU's.

    The CPU comes first, so that what the device needs of its memory is not counted.
    """
    figures: dict[str, dict[str, float]] = {}
    for place in dict.fromkeys((torch.device(CPU), device)):
        training, decoding = trained(config, str(place)), decoded(config, place)
        for name, value in {
            "training, float32, tokens/s": training.tokens_per_second,
            "training, float32, peak MB": training.peak_mb,
            "decoding, float32, tokens/s": decoding["tokens_per_second"],
            "decoding, float32, peak MB": decoding["peak_mb"],
        }.items():
            figures.setdefault(name, {})[place.type] = value
        keep(Found("speed", True, figures=figures))
    return Found("speed", True, figures=figures)


# With the most seconds of each: together less than eight minutes.
PARTS: dict[str, tuple[Callable[[DictConfig, torch.device, Keep], Found], float]] = {
    "tests": (tests, 150),
    "certificate": (certificate, 110),
    "compiled": (compiled, 120),
    "speed": (speed, 80),
}


def carry_out(name: str, config: DictConfig, keep: Keep = lambda found: None) -> Found:
    """One part in this process; what it raises is its reason. keep: is given what is known on the way."""
    try:
        found = PARTS[name][0](config, choose_device(config.device), keep)
    except Exception as error:
        traceback.print_exc()
        found = Found(name, False, first_line(error))
    found.finished = True
    return found


@dataclass
class _Outcomes:
    """Counts what pytest reports."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.passed += report.when == "call" and report.passed
        if report.failed:
            self.failed.append(report.nodeid)
