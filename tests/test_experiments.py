"""Every experiment, found by listing the folder, is trained for two steps and evaluated through the real entry point.

Only amounts are cut down: steps, samples, voices. Nothing is replaced.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

import conf
from certify.small_data import write_small_data
from data.storage.run_log import read_metrics
from data.synthesisers import espeak
from data.synthesisers.flite import FliteVoices
from data.synthesisers.piper import PiperVoices
from data.types import BadInputError
from scripts.train import main
from tests.data.emoji_packages import fill_cache
from tests.evaluation.retrieval.random_vectors import write_vectors

CONF = Path(str(conf.__file__)).parent
EXPERIMENTS = sorted(file.stem for file in (CONF / "experiment").glob("*.yaml"))
METHODS = sorted(file.stem for file in (CONF / "fusion").glob("*.yaml"))
STEPS, SAMPLES, VOICES = 2, 4, 2
# Directions that a report has a regression beside; it needs two frozen encoders.
BASELINES = {
    "emoji_alignment_pretrained": {"emoji/image_to_sentence", "emoji/sentence_to_image"},
    "pairs_pretrained": {"manifest/image_to_sentence", "manifest/sentence_to_image"},
}
WIDTH = 128  # of the vectors that `matching` reads


@pytest.fixture(scope="module")
def small_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Banks of speech with a few voices and packages of a few emoji, made for these tests and shared by them."""
    variants = espeak.variants
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTERFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(espeak, "variants", lambda split: variants(split)[:VOICES])
        for family in (FliteVoices, PiperVoices):
            patch.setattr(family, "takes", 1)
        fill_cache()
        yield


def nodes(config: Any) -> Iterator[DictConfig]:
    """All nodes that make something."""
    if isinstance(config, DictConfig):
        if "_target_" in config:
            yield config
        for value in config.values():
            yield from nodes(value)


def cut_down(config: DictConfig) -> DictConfig:
    """The same experiment with few steps and samples."""
    config = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    config.trainer = OmegaConf.merge(
        config.trainer,
        {"max_steps": STEPS, "max_seconds": None, "log_every": 1, "evaluate_every": STEPS, "checkpoint_every": STEPS},
        {"compile": False},
    )
    config.data.samples_per_batch, config.data.num_workers, config.compute_threads = SAMPLES, 0, 1
    config.tracker = {}  # trackio keeps one place per process, and has tests of its own
    for node in (*nodes(config.data.get("validation")), *nodes(config.evaluation)):
        if "max_samples" in inspect.signature(get_object(node._target_)).parameters:
            node.max_samples = SAMPLES
    return config


def short_run(tmp_path: Path, *overrides: str) -> Path:
    """The folder of a run of two steps and its evaluation."""
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*overrides, f"runs={tmp_path}", "run=short"])
    threads = torch.get_num_threads()
    try:
        main.__wrapped__(cut_down(config))  # type: ignore[attr-defined]
    except BadInputError as error:
        if espeak.INSTALL not in str(error):
            raise
        pytest.skip(str(error))
    finally:
        torch.set_num_threads(threads)
    return tmp_path / config.name / "short"


def own_data(experiment: str, tmp_path: Path) -> list[str]:
    """What an experiment on files of one's own is given: pictures with words, or vectors of both."""
    if experiment == "pairs_pretrained":
        manifest = write_small_data(tmp_path / "data", ("image",), "aligned")
    elif experiment == "matching":
        manifest = write_vectors(tmp_path / "data", "rows", WIDTH)
    else:
        return []
    return [f"data.{name}={manifest}" for name in ("train", "validation_file", "evaluation")]


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_two_steps_and_a_report(experiment: str, tmp_path: Path) -> None:
    run_folder = short_run(tmp_path, f"experiment={experiment}", *own_data(experiment, tmp_path))
    rows = read_metrics(run_folder / "metrics.jsonl")
    assert [row["step"] for row in rows if "train/loss" in row] == [1, STEPS]
    assert (run_folder / "checkpoints" / f"step_{STEPS}" / "model.safetensors").exists()
    report = json.loads((run_folder / "report.json").read_text(encoding="utf-8"))
    assert report["tasks"]
    assert set(report.get("baselines", {})) == BASELINES.get(experiment, set())
    assert report["train"]["steps"] == STEPS


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize("fusion", METHODS)
def test_every_method_learns_a_shared_space(fusion: str, tmp_path: Path) -> None:
    """Every document is of one modality, so that where a method joins modalities nothing comes in."""
    without_scores = ["evaluation.tasks=null", "data.validation=null", "trainer.best_metric=null"]
    run_folder = short_run(tmp_path, "experiment=emoji_alignment", f"fusion={fusion}", *without_scores)
    rows = [row for row in read_metrics(run_folder / "metrics.jsonl") if "train/loss" in row]
    assert [row["step"] for row in rows] == [1, STEPS]
    for row in rows:
        assert math.isfinite(float(row["train/loss"]))
        norms = {name: row[f"grad_norm/{name}"] for name in ("text", "image", "audio", "fusion", "shared_space")}
        assert all(0 < float(norm) < math.inf for norm in norms.values()), norms
        assert math.isfinite(float(row["grad_norm/total"]))


def test_experiments_are_found() -> None:
    assert {"easy_vqa", "easy_vqa_quick", "emoji_alignment", *BASELINES} <= set(EXPERIMENTS)


@pytest.mark.usefixtures("small_cache")
@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (["experiment=easy_vqa"], "data.sources.easy_vqa"),
        (["experiment=easy_vqa", "data.sources.easy_vqa.source.spoken=0"], "data.validation.easy_vqa/spoken"),
        (["experiment=emoji_alignment"], "data.sources.emoji"),
    ],
)
def test_spoken_samples_need_an_encoder_before_a_run_is_made(overrides: list[str], place: str, tmp_path: Path) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*overrides, f"runs={tmp_path}/runs", "~encoders/audio"])
    threads = torch.get_num_threads()
    try:
        with pytest.raises(BadInputError) as refused:
            main.__wrapped__(config)  # type: ignore[attr-defined]
    finally:
        torch.set_num_threads(threads)
    if espeak.INSTALL in str(refused.value):
        pytest.skip(str(refused.value))
    message = f"{place}: holds media of modality 'audio', for which the model has no encoder (it has: image); add one"
    assert str(refused.value).startswith(message)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "runs").exists()
