"""A resume on other data stops and names the source, or goes on where it is told to, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from certify.small_data import write_small_data
from data.types import BadInputError
from evaluation.provenance import training_data
from fusion.checkpoint import read_manifest, resolve
from training.run import train
from training.runs.data_changes import differences
from training.runs.run_folder import resumed_run

OPTIONS = [
    *("data=manifest", "name=small", "run=one", "tracker=jsonl", "d_model=16", "fusion.num_layers=1"),
    *("data.samples_per_batch=4", "data.num_workers=0", "schedule.warmup_steps=1", "trainer.max_steps=2"),
    *("trainer.checkpoint_every=1", "trainer.log_every=1", "compute_threads=1", "trainer.device=cpu"),
]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """16 rows."""
    return write_small_data(tmp_path / "data", ("text", "image", "audio"))


@pytest.fixture
def run(manifest: Path, tmp_path: Path) -> Path:
    """A training of two steps on them."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [*OPTIONS, f"data.train={manifest}", f"runs={tmp_path / 'runs'}"])
    return train(config, None)[0]


def resume(run: Path, *overrides: str, steps: int = 3) -> Path:
    _, step_folder, config = resumed_run(str(run), [f"resume={run}", f"trainer.max_steps={steps}", *overrides])
    train(config, None, step_folder)
    return resolve(run)


def cut(manifest: Path, rows: int) -> None:
    lines = manifest.read_text(encoding="utf-8").splitlines()
    manifest.write_text("\n".join(lines[:rows]) + "\n", encoding="utf-8")


def test_a_checkpoint_keeps_length_and_fingerprint_of_every_source(run: Path) -> None:
    data = read_manifest(resolve(run))["data"]
    assert data["changes"] == []
    assert data["sources"].keys() == {"data.sources.manifest"}
    assert data["sources"]["data.sources.manifest"]["samples"] == 16
    assert data["sources"]["data.sources.manifest"]["modalities"] == ["audio", "image"]
    assert training_data({"data": data}) == {"sources": data["sources"]}


def test_a_resume_on_the_same_data_goes_on_without_a_word(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert resume(run).name == "step_3"
    assert "resume" not in capsys.readouterr().out
    assert not (run / "alerts.jsonl").exists()


def test_a_resume_on_fewer_rows_stops_and_names_the_source(run: Path, manifest: Path) -> None:
    cut(manifest, 5)
    with pytest.raises(BadInputError, match=r"^step_2 .*: data\.sources\.manifest has 5 samples, had 16 \(resume_with"):
        resume(run)
    assert resolve(run).name == "step_2"


def test_a_resume_on_other_media_stops_and_names_the_source(run: Path, manifest: Path) -> None:
    picture = next(path for path in sorted(manifest.parent.rglob("*.png")))
    picture.write_bytes(picture.read_bytes() + b"\0")
    with pytest.raises(BadInputError, match=r"data\.sources\.manifest holds other contents"):
        resume(run)


def test_told_to_it_goes_on_and_says_so_in_log_alerts_and_report(
    run: Path, manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    cut(manifest, 5)
    change = "from step 2 on with other data: data.sources.manifest has 5 samples, had 16"
    step_folder = resume(run, "resume_with_changed_data=true")
    assert capsys.readouterr().out.count(change) == 1
    assert change in (run / "alerts.jsonl").read_text(encoding="utf-8")
    # It was told once: from then on these are the data, and the change stays in the report.
    assert not OmegaConf.load(run / "config.yaml")["resume_with_changed_data"]
    manifest_of_four = read_manifest(resume(run, steps=4))
    for found in (read_manifest(step_folder), manifest_of_four):
        assert found["data"]["sources"]["data.sources.manifest"]["samples"] == 5
        assert training_data(found)["data_changes"] == change


def test_a_checkpoint_that_does_not_say_what_its_data_were_goes_on_with_a_notice(
    run: Path, manifest: Path, capsys: pytest.CaptureFixture
) -> None:
    path = resolve(run) / "manifest.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    assert old.pop("data")
    path.write_text(json.dumps(old), encoding="utf-8")
    assert training_data(old) == {}
    cut(manifest, 5)
    assert resume(run).name == "step_3"
    assert capsys.readouterr().out.count("does not say what its data were") == 1


def test_a_run_older_than_the_option_may_be_given_it(run: Path) -> None:
    config = OmegaConf.load(run / "config.yaml")
    del config["resume_with_changed_data"]
    OmegaConf.save(config, run / "config.yaml")
    assert resumed_run(str(run), ["resume_with_changed_data=true"])[2].resume_with_changed_data is True
    assert resume(run).name == "step_3"
    assert resume(run, "resume_with_changed_data=true", steps=4).name == "step_4"


def test_sources_that_come_and_go_are_named() -> None:
    one, other = {"samples": 3, "fingerprint": "a"}, {"samples": 3, "fingerprint": "b"}
    assert differences({"x": one, "y": one}, {"x": one, "z": other}) == ["y is gone", "z is new"]
    assert differences({"x": one}, {"x": other}) == ["x holds other contents (fingerprint b, was a)"]
