"""How a training shares the cores with its workers and with its neighbours."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from data.device import cores
from training.distributed import share_of_cores
from training.run import num_workers


def test_processes_of_one_machine_divide_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.distributed.cores", lambda: 8)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert share_of_cores() == 8
    for processes, share in ((2, 4), (3, 2), (16, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert share_of_cores() == share
    assert cores() >= 1


@pytest.mark.parametrize(("given", "device", "expected"), [(None, "cpu", 0), (3, "cpu", 3), (0, "meta", 0)])
def test_no_worker_takes_the_cores_of_a_model(given: int | None, device: str, expected: int) -> None:
    assert num_workers(OmegaConf.create({"num_workers": given}), torch.device(device)) == expected


def test_an_accelerator_gets_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for processes, expected in ((1, 4), (4, 2), (8, 1)):
        monkeypatch.setattr("training.run.share_of_cores", lambda processes=processes: 8 // processes)
        assert num_workers(OmegaConf.create({"num_workers": None}), torch.device("meta")) == expected
