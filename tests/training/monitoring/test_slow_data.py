"""Advice where steps wait for data holds on few cores too."""

import pytest
from omegaconf import OmegaConf
from torch import nn

from training.monitoring.slow_data import remedy


@pytest.mark.parametrize(
    ("cores", "told"),
    [
        (2, "; it takes one of 2 cores from the model, which pays above 50%"),
        (4, "; it takes one of 4 cores from the model, which pays above 25%"),
        (8, ""),
    ],
)
def test_a_worker_beside_a_model_on_few_cores_has_its_price(
    cores: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a share s of a step spent reading, the rest takes c / (c - 1) times as long: less in all above s = 1 / c."""
    monkeypatch.setattr("training.monitoring.slow_data.share_of_cores", lambda: cores)
    found = remedy(OmegaConf.create({"compute_threads": None}), nn.ModuleDict(), {}, 0, on_cpu=True)
    assert found == f"data.num_workers=1 compute_threads={cores - 1} (now data.num_workers=0{told})"
