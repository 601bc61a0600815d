"""A training has the encoders that its data need, an explicit choice wins, and what was chosen is written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from certify.small_data import write_small_data
from data.sources.manifest import ManifestSource
from data.types import BadInputError
from evaluation.run import evaluate_checkpoint
from fusion.checkpoint import load_model
from training.preparation.encoder_choice import follow_data
from training.run import train
from training.runs.run_folder import resumed_run


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def configured(*overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose("train", overrides=list(overrides))


def run(tmp_path: Path, data: Path, *overrides: str) -> Path:
    """A training of one step."""
    small = ["d_model=16", "fusion.num_layers=1", "mixer.num_heads=2", "mixer.num_kv_heads=1", "tracker=[]"]
    few = ["trainer.max_steps=1", "trainer.device=cpu", "compute_threads=1", "data.samples_per_batch=2", "run=run"]
    given = ["data=manifest", f"data.train={data}", "data.num_workers=0", f"runs={tmp_path}/runs"]
    return train(configured(*given, *small, *few, *overrides), None)[0]  # type: ignore[arg-type]


def written(tmp_path: Path, *modalities: str, name: str = "data") -> Path:
    return write_small_data(tmp_path / name, modalities, num_samples=4)


def encoders_of(run_folder: Path) -> list[str]:
    config = OmegaConf.load(run_folder / "config.yaml")
    there = [name for name, node in config.encoders.items() if node is not None]
    assert set(config.data.processors) == set(there) - {"text"}
    assert all("if_held" not in config.encoders[name] for name in there)
    summary = json.loads((run_folder / "summary.json").read_text())
    counted = {name for name in ("image", "audio") if f"parameters/{name}_encoder" in summary}
    assert counted == set(there) - {"text"}, "what is not there is not counted"
    return sorted(there)


@pytest.mark.parametrize("held", [(), ("image",), ("audio",), ("image", "audio")])
def test_the_encoders_are_those_of_the_media_in_the_data(
    held: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = written(tmp_path, *held)
    run_folder = run(tmp_path, data, f"data.evaluation={data}", "trainer.checkpoint_every=1")
    assert encoders_of(run_folder) == sorted([*held, "text"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("encoders")]
    names = {"image": "image (ImageEncoder)", "audio": "audio (AudioEncoder)"}
    missing = [name for name in names if name not in held]
    left_out = f"; not {' nor '.join(missing)}, of which no source holds any" if missing else ""
    assert line == f"encoders that follow from the data: {', '.join(names[name] for name in held) or 'none'}{left_out}"
    assert load_model(run_folder).model.modalities == ("text", *sorted(held))
    config = OmegaConf.load(run_folder / "config.yaml")
    assert evaluate_checkpoint(run_folder, config.evaluation, progress=False).report["tasks"]
    folder, step, again = resumed_run(str(run_folder), ["trainer.max_steps=2"])
    assert train(again, None, step)[0] == folder  # type: ignore[arg-type]


def test_an_explicit_choice_wins(tmp_path: Path) -> None:
    data = written(tmp_path, "image")
    assert encoders_of(run(tmp_path, data, "encoders/audio=spectrogram")) == ["audio", "image", "text"]


@pytest.mark.parametrize("choice", ["~encoders/image", "encoders.image=null"])
def test_media_without_an_encoder_by_choice_are_refused(choice: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as refused:
        run(tmp_path, written(tmp_path, "image"), choice)
    assert str(refused.value) == (
        "data.sources.manifest: holds media of modality 'image', for which the model has no encoder (it has: none); "
        "add one with encoders/image=NAME"
    )
    assert not (tmp_path / "runs").exists()


def test_media_of_text_alone_need_no_processor(tmp_path: Path) -> None:
    assert encoders_of(run(tmp_path, written(tmp_path), "encoders.image=null", "encoders.audio=null")) == ["text"]


def test_a_new_modality_is_refused_by_name(tmp_path: Path) -> None:
    content = [{"type": "depth", "path": "1.png"}, {"type": "text", "text": "how far?"}]
    answer = {"role": "assistant", "content": [{"type": "text", "text": "near"}]}
    data = tmp_path / "depth.jsonl"
    data.write_text(json.dumps({"id": "1", "messages": [{"role": "user", "content": content}, answer]}) + "\n")
    with pytest.raises(
        BadInputError, match=r"modality 'depth', .* \(it has: none\); add one with \+encoders/depth=NAME"
    ):
        run(tmp_path, data)


@pytest.mark.parametrize("place", ["data.validation_file", "data.evaluation"])
def test_what_is_asked_counts_too(place: str, tmp_path: Path) -> None:
    overrides = [
        "data=manifest",
        f"data.train={written(tmp_path)}",
        f"{place}={written(tmp_path, 'audio', name='other')}",
    ]
    config = configured(*overrides)
    sources = {"manifest": (ManifestSource(config.data.train), 1.0)}
    path = config.data.validation_file
    validation: dict[str, Any] = {"manifest": ManifestSource(path)} if path else {}
    followed, _ = follow_data(config, sources, validation)
    assert sorted(followed.encoders) == ["audio", "text"]
    assert "if_held" in config.encoders.audio, "what was given stays as it is"


def test_the_media_of_rows_are_known_where_bad_ones_are_skipped(tmp_path: Path) -> None:
    data = written(tmp_path, "image")
    data.write_text("not JSON\n" + data.read_text())
    assert ManifestSource(data, on_bad_sample="skip").modalities == {"image"}
    assert encoders_of(run(tmp_path, data, "data.on_bad_sample=skip")) == ["image", "text"]


class Held:
    """A source that says what it holds."""

    def __init__(self, *modalities: str) -> None:
        self.modalities = set(modalities)


def test_a_source_that_does_not_say_what_it_holds_may_hold_anything() -> None:
    followed, _ = follow_data(configured("experiment=easy_vqa"), {"mine": (object(), 1.0)}, {})  # type: ignore[dict-item]
    assert sorted(followed.encoders) == ["audio", "image", "text"]


@pytest.mark.parametrize("experiment", ["easy_vqa", "emoji_alignment"])
def test_built_in_data_without_sound_have_no_encoder_for_it(experiment: str) -> None:
    config = configured(f"experiment={experiment}", "evaluation.tasks=null")
    silent, _ = follow_data(config, {"it": (Held("image"), 1.0)}, {})  # type: ignore[dict-item]
    assert (sorted(silent.encoders), list(silent.data.processors)) == (["image", "text"], ["image"])
    spoken, _ = follow_data(config, {"it": (Held("image", "audio"), 1.0)}, {})  # type: ignore[dict-item]
    explicit = configured(f"experiment={experiment}", "encoders/image=conv", "encoders/audio=spectrogram")
    assert OmegaConf.to_yaml(spoken.encoders, resolve=True) == OmegaConf.to_yaml(explicit.encoders, resolve=True)


def test_the_words_of_aligned_rows_may_be_sentences(tmp_path: Path) -> None:
    data = write_small_data(tmp_path / "pairs", ("image",), "aligned", num_samples=2)
    plain, read = ManifestSource(data), ManifestSource(data, words="sentence")
    (words,) = [item.text for item in plain.sample(0).segments if item.modality == "text"]  # type: ignore[union-attr]
    (sentence,) = [item for item in read.sample(0).segments if item.modality == "sentence"]  # type: ignore[union-attr]
    assert sentence.source == words.encode()
    assert (plain.modalities, read.modalities) == ({"image"}, {"image", "sentence"})
    assert list(read.texts()) == list(plain.texts())
    conversation = ManifestSource(written(tmp_path), words="sentence")
    assert conversation.modalities == set()
    with pytest.raises(ValueError, match="words='spoken' must be one of text, sentence"):
        ManifestSource(data, words="spoken")
