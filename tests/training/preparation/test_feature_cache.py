"""Training from cached features is training live, and features of anything else are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from certify.small_data import write_small_data
from data.batching.mixture import Mixture
from data.build import build_processors, build_sources
from data.storage.run_log import read_metrics
from data.types import BadInputError, Layout, Media
from fusion.build import build_model
from fusion.checkpoint import load_model
from training.preparation.feature_cache import cached_processors, weights_hash
from training.preparation.preprocessing import follow_encoders
from training.run import train
from training.runs.random_state import seed_everything

STEPS, PER_BATCH, NUM_ROWS, NUM_IMAGES = 4, 4, 12, 8


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The default model, small, with a frozen model of timm as image encoder; two rows in three have an image."""
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path / "cache"))
    manifest = write_small_data(tmp_path / "data", ("image",), num_samples=NUM_ROWS)

    def make(*changes: str, run: str = "run") -> DictConfig:
        overrides = [
            *("data=manifest", f"data.train={manifest}", f"data.samples_per_batch={PER_BATCH}", "data.num_workers=0"),
            *("encoders/image=timm", "encoders.image.image_size=32", "fine_tuning@encoders.image.fine_tuning=frozen"),
            *("d_model=16", "fusion.num_layers=1", "mixer.num_heads=2", "mixer.num_kv_heads=1", "tracker=[]"),
            *(f"trainer.max_steps={STEPS}", "trainer.log_every=1", "trainer.device=cpu", "compute_threads=1"),
            *(f"runs={tmp_path}/runs", f"run={run}"),
        ]
        with initialize_config_module("conf", version_base="1.3"):
            config = compose("train", overrides=[*overrides, *changes])
        return OmegaConf.create(OmegaConf.to_container(config, resolve=True))

    return make


def cached(config: DictConfig):
    """The model, and what replaces its processors."""
    seed_everything(config.seed)
    model = build_model(config, 300).eval()
    config, _ = follow_encoders(config, model)
    mixture = Mixture(build_sources(config.data), config.seed, config.data.samples_per_batch)
    return model, cached_processors(config, model, mixture, build_processors(config.data), torch.device("cpu"))


def folders(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "features").glob("*/part-????????????????"))


def losses(run_folder: Path) -> list[float]:
    return [row["train/loss"] for row in read_metrics(run_folder / "metrics.jsonl") if "train/loss" in row]


def test_training_from_the_cache_is_training_live(configure, tmp_path) -> None:
    live, _ = train(configure(run="live"), None)
    first, _ = train(configure("encoders.image.cache=true", run="first"), None)
    stores = folders(tmp_path)
    assert len(stores) == 1
    written = (stores[0] / "values.bin").stat().st_mtime_ns
    second, _ = train(configure("encoders.image.cache=true", run="second"), None)
    assert folders(tmp_path) == stores
    assert (stores[0] / "values.bin").stat().st_mtime_ns == written
    assert len(losses(live)) == STEPS
    # Live, images are encoded in other batches, whose matrix products round differently.
    np.testing.assert_allclose(losses(first), losses(live), rtol=1e-5)
    assert losses(second) == losses(first)
    weights = [load_model(folder).model.state_dict() for folder in (live, first)]
    for name, value in weights[0].items():
        assert torch.allclose(weights[1][name], value, rtol=1e-3, atol=1e-4), name


def test_the_batches_hold_what_the_encoder_computes(configure) -> None:
    config = configure("encoders.image.cache=true")
    model, processors = cached(config)
    source, _ = build_sources(config.data)["manifest"]
    parts = (part for index in range(4) for part in source.sample(index).messages[0].content)
    image = next(part for part in parts if isinstance(part, Media))
    features = processors["image"](image, np.random.default_rng(0))
    encoder = model.media_encoders["image"].encoder
    with torch.no_grad():
        followed, _ = follow_encoders(config, model)
        expected = encoder.extract(build_processors(followed.data)["image"](image)[None])[0]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    layout = model.layouts["image"]
    assert layout(tuple(features.shape)) == layout((3, 32, 32)) == Layout(len(expected), (2, 2))


def test_other_weights_and_other_preprocessing_have_other_caches(configure, tmp_path) -> None:
    models = [cached(configure("encoders.image.cache=true", f"seed={seed}"))[0] for seed in (0, 1)]
    one, other = (weights_hash(model.media_encoders["image"].encoder) for model in models)
    assert one != other
    assert len(folders(tmp_path)) == 2
    cached(configure("encoders.image.cache=true", "data.processors.image.mean=[0,0,0]"))
    assert len({folder.parent for folder in folders(tmp_path)}) == 3
    cached(configure("encoders.image.cache=true", "encoders.image.lr_scale=0.5", "optimizer=adamw"))
    assert len(folders(tmp_path)) == 3


def test_a_cache_from_other_weights_is_refused_wherever_it_lies(configure, tmp_path) -> None:
    cached(configure("encoders.image.cache=true", "seed=0"))
    theirs = folders(tmp_path)[0]
    cached(configure("encoders.image.cache=true", "seed=1"))
    ours = next(folder for folder in folders(tmp_path) if folder.parent != theirs.parent)
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    with pytest.raises(BadInputError, match="holds features made with other weights; delete it"):
        cached(configure("encoders.image.cache=true", "seed=1"))


def test_values_that_the_encoder_does_not_compute_are_refused(configure, tmp_path) -> None:
    cached(configure("encoders.image.cache=true"))
    store = folders(tmp_path)[0]
    values = np.fromfile(store / "values.bin", np.float32)
    (values + 1).tofile(store / "values.bin")
    with pytest.raises(BadInputError, match="its features are not what the encoder computes; delete this folder"):
        cached(configure("encoders.image.cache=true"))
    (store / "values.bin").write_bytes(b"")
    with pytest.raises(BadInputError, match=r"values.bin: holds 0 bytes"):
        cached(configure("encoders.image.cache=true"))


def test_new_media_are_added_and_old_ones_kept(configure, tmp_path) -> None:
    cached(configure("encoders.image.cache=true", "trainer.max_steps=1"))
    first = folders(tmp_path)
    _, processors = cached(configure("encoders.image.cache=true", "trainer.max_steps=20"))
    assert len(folders(tmp_path)) == 2
    assert set(first) < set(folders(tmp_path))
    sizes = [len(json.loads((part / "index.json").read_text())["metadata"]["keys"]) for part in folders(tmp_path)]
    assert sum(sizes) == len(processors["image"].store.keys()) == NUM_IMAGES


def test_bad_images_are_refused_before_training_or_skipped_as_ever(configure, tmp_path) -> None:
    (tmp_path / "data" / "1.png").write_bytes(b"not an image")
    with pytest.raises(
        BadInputError, match=r"jsonl:\d+ \(id 1\): messages\[0\]\.content\[0\]: .*1.png: not a readable"
    ):
        train(configure("encoders.image.cache=true", run="stopped"), None)
    assert not (tmp_path / "runs" / "default" / "stopped").exists()
    run_folder, _ = train(configure("encoders.image.cache=true", "data.on_bad_sample=skip", run="skipping"), None)
    rows = read_metrics(run_folder / "metrics.jsonl")
    assert max(row.get("data/skipped", 0) for row in rows) > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["fine_tuning@encoders.image.fine_tuning=full"], "encoders.image: cache=true needs a frozen encoder"),
        (["+data.processors.image.mirror=true"], "encoders.image.cache: features of augmented media"),
        (["+data.processors.image.shift=0.1"], "switch the augmentation in data.processors.image off"),
        (["encoders.image.image_size=48", "data.processors.image.size=32"], "takes \\(3, 48, 48\\)"),
    ],
)
def test_what_cannot_be_cached_is_refused_before_a_run_is_made(configure, tmp_path, changes, words) -> None:
    with pytest.raises(BadInputError, match=words):
        train(configure("encoders.image.cache=true", *changes), None)
    assert not (tmp_path / "runs").exists()


def test_a_modality_without_an_encoder_is_refused_before_training(configure, tmp_path) -> None:
    write_small_data(tmp_path / "both", ("image", "audio"))
    without_sound = ("~encoders.audio", "~data.processors.audio")
    words = r"data.sources.manifest: holds media of modality 'audio', .* \(it has: image\); add one with encoders/audio"
    with pytest.raises(BadInputError, match=words):
        train(configure(f"data.train={tmp_path / 'both' / 'manifest.jsonl'}", *without_sound), None)
    assert not (tmp_path / "runs").exists()
