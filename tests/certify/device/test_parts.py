"""Each part of the check of a device, in small, on the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig
from torch._dynamo import lookup_backend, reset

from certify.device import parts, workload
from certify.device.found import Found
from certify.suite import MODEL_CHECKS

SMALL = ("d_model=32", "fusion.num_layers=1", "device=cpu", "steps=6", "documents=4", "new_tokens=3")


def config_of(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("gpu_check", overrides=[*SMALL, *overrides])


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Captured by torch.compile; its code generator is left out, it takes minutes."""
    captured, original = [], torch.nn.Module.compile

    def backend(graph, inputs):
        captured.append(graph)
        return lookup_backend("eager")(graph, inputs)

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: original(self, backend=backend, **options))
    reset()
    yield captured
    reset()


def test_speed_and_memory_are_measured() -> None:
    found = parts.carry_out("speed", config_of())
    assert found.passed, found.reason
    assert len(found.figures) == 4
    assert all(values["cpu"] > 0 for name, values in found.figures.items() if name.endswith("tokens/s"))


def test_a_compiled_training_in_bfloat16_is_held_to_a_plain_one(uncompiled: list[object]) -> None:
    found = parts.carry_out("compiled", config_of("optimizer=adamw", "optimizer.lr=0.01", "steps=40"))
    assert found.passed, found.reason
    assert uncompiled
    same, learned = found.checks
    assert 0 < same["deviation"] < same["tolerance"]
    assert learned["deviation"] < learned["tolerance"]


def test_one_that_does_not_learn_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "trained", lambda *_, **__: workload.Trained([5.0, 5.0], 1.0, 1.0))
    found = parts.carry_out("compiled", config_of())
    assert not found.passed
    assert found.reason.startswith("1 of 2 checks failed: last loss over first, compiled in bfloat16")


def test_the_certificate_has_the_tolerances_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MODEL_CHECKS", MODEL_CHECKS[:5])
    monkeypatch.setattr(parts, "ENCODER_CHECKS", ())
    kept: list[Found] = []
    found = parts.carry_out("certificate", config_of(), kept.append)
    assert [len(part.checks) for part in kept] == [1, 2, 3, 4, 5]
    assert found.passed, found.reason
    assert [check["tolerance"] for check in found.checks] == [5e-5, 1e-5, *[5e-5] * 3]
    assert max(check["deviation"] for check in found.checks if not check["at_least"]) > 1e-9


def test_the_tests_of_the_device_are_run_and_their_failures_named(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def run(arguments: list[str], plugins: list[parts._Outcomes]) -> int:
        calls.append(arguments)
        plugins[0].failed.append("tests/fusion/mixers/test_kernels.py::test_a")
        return pytest.ExitCode.TESTS_FAILED

    monkeypatch.setattr(pytest, "main", run)
    found = parts.carry_out("tests", config_of())
    assert not found.passed
    assert "tests/fusion/mixers/test_kernels.py::test_a" in found.reason
    ((*_, marker, chosen, option, device, _, _),) = calls
    assert (marker, chosen, option, device) == ("-m", "on_device", "--device", "cpu")


def test_what_a_part_raises_is_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(config: DictConfig, device: torch.device, keep: parts.Keep) -> Found:
        raise RuntimeError("no compiler\nand much more")

    monkeypatch.setitem(parts.PARTS, "speed", (broken, 1.0))
    found = parts.carry_out("speed", config_of())
    assert (found.passed, found.reason) == (False, "RuntimeError: no compiler")


def test_all_parts_together_take_less_than_eight_minutes() -> None:
    assert sum(limit for _, limit in parts.PARTS.values()) < 8 * 60 - 15  # the rest is for starting
