"""The command that times training with and without the cache of features."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module

from certify.small_data import write_small_data
from data.types import BadInputError
from scripts.benchmark_cache import main
from training.preparation.cache_benchmark import WARM_UP

STEPS = 2
PRINTED = re.compile(
    r"live +(?P<live>[\d.]+) s a step\n"
    r"from cache +(?P<cached>[\d.]+) s a step, (?P<ratio>[\d.]+) times as fast\n"
    r"filling or opening the cache took (?P<fill>[\d.]+) s, once\n"
    r"largest difference of the (?P<count>\d+) losses: (?P<difference>\S+)\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, beside data and cache; threads are put back, which the command sets."""
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    threads = torch.get_num_threads()
    yield tmp_path
    torch.set_num_threads(threads)


def benchmark(folder: Path, *overrides: str) -> None:
    manifest = write_small_data(folder / "data", ("image",), num_samples=12)
    options = [
        *("data=manifest", f"data.train={manifest}", "data.samples_per_batch=4", "d_model=16", "fusion.num_layers=1"),
        *("encoders/image=timm", "encoders.image.image_size=32", "fine_tuning@encoders.image.fine_tuning=frozen"),
        *("mixer.num_heads=2", "mixer.num_kv_heads=1", "trainer.device=cpu", "compute_threads=1", f"steps={STEPS}"),
    ]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("benchmark_cache", overrides=[*options, *overrides])
    main.__wrapped__(config)  # type: ignore[attr-defined]


def test_both_ways_are_timed_and_train_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    benchmark(folder, "encoders.image.cache=true")
    found = PRINTED.fullmatch(capsys.readouterr().out)
    assert found is not None
    number = {name: float(value) for name, value in found.groupdict().items()}
    assert number["live"] > 0
    assert number["cached"] > 0
    assert number["ratio"] > 0
    assert number["count"] == STEPS + WARM_UP
    # Live, images are encoded in other batches, whose matrix products round differently.
    assert number["difference"] < 1e-4
    assert list((folder / "cache" / "features").glob("*/part-*/values.bin"))
    assert list((folder / "here").iterdir()) == [], "no run is made"


def test_without_a_cache_there_is_nothing_to_compare(folder: Path) -> None:
    with pytest.raises(BadInputError, match="no encoder has cache=true; try experiment=easy_vqa_pretrained"):
        benchmark(folder)


def test_an_objective_that_the_rows_do_not_teach_is_refused(folder: Path) -> None:
    pairs = ("objective=infonce", "shared_space=linear")
    with pytest.raises(
        BadInputError, match=r"data\.sources\.manifest: holds conversations only, .*objective=next_token"
    ):
        benchmark(folder, "encoders.image.cache=true", *pairs)
