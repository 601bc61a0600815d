"""What `data.without` removes is gone everywhere, with its encoder; all else stays as it is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from certify.small_data import write_small_data
from data.batching.without import Without, check_removed, removed_modalities, stripped
from data.build import build_sources, build_validation
from data.sources.base import ALIGNED, Source
from data.sources.manifest import ManifestSource
from data.types import Absent, AlignedSample, BadInputError, BadSampleError, Media, Message, Sample, Text
from evaluation.run import evaluate_checkpoint
from fusion.checkpoint import load_model
from scripts.train import main

PICTURE, CLIP = Media("image", Path("a.png")), Media("audio", Path("q.wav"))


class One:
    """A source of one sample."""

    modalities = frozenset({"image", "audio"})
    stores = ("a store",)

    def __init__(self, sample: Sample | AlignedSample) -> None:
        self.one = sample

    def __len__(self) -> int:
        return 1

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        return self.one

    def texts(self) -> list[str]:
        return ["what?"]


def talk(*content: Text | Media | Absent, **metadata: str) -> Sample:
    messages = (
        Message("system", (CLIP, Text("listen"))),
        Message("user", content),
        Message("assistant", (Text("yes"), PICTURE)),
    )
    return Sample("1", messages, metadata=metadata)


def read(sample: Sample | AlignedSample, *removed: str) -> Sample | AlignedSample:
    return Without(One(sample), removed).sample(0, np.random.default_rng(0))


def test_media_go_from_every_turn_and_leave_no_trace() -> None:
    found = read(talk(PICTURE, CLIP, Absent("audio"), Text("what?")), "audio")
    assert isinstance(found, Sample)
    assert [message.content for message in found.messages] == [
        (Text("listen"),),
        (PICTURE, Text("what?")),
        (Text("yes"), PICTURE),
    ]
    blind = read(talk(PICTURE, CLIP, Text("what?")), "audio", "image")
    assert isinstance(blind, Sample)
    assert [message.content for message in blind.messages[1:]] == [(Text("what?"),), (Text("yes"),)]
    pair = read(AlignedSample("1", (PICTURE, CLIP, Text("a"))), "audio")
    assert pair == AlignedSample("1", (PICTURE, Text("a")))


def test_a_question_that_is_gone_is_not_looked_for() -> None:
    assert read(talk(PICTURE, CLIP, asked_in="audio", kind="spoken"), "audio").metadata == {"kind": "spoken"}
    assert read(talk(PICTURE, CLIP, asked_in="image"), "audio").metadata == {"asked_in": "image"}


def test_a_sample_of_which_nothing_is_left_is_an_error() -> None:
    with pytest.raises(BadSampleError, match=r"\(id 1\): nothing is left of it without audio, image \(data.without\)"):
        read(talk(PICTURE, CLIP), "image", "audio")
    with pytest.raises(BadSampleError, match="nothing is left"):
        read(AlignedSample("1", (CLIP,)), "audio")


def test_the_source_is_the_same_otherwise(tmp_path: Path) -> None:
    source = Without(One(talk(PICTURE, CLIP)), {"audio"})
    assert (len(source), source.texts(), source.stores) == (1, ["what?"], ("a store",))
    assert source.modalities == {"image"}
    assert pickle.loads(pickle.dumps(source)).modalities == {"image"}
    rows = Without(ManifestSource(write_small_data(tmp_path / "data", ("image",), "aligned")), {"audio"})
    assert set(rows.kinds()) == {ALIGNED}
    assert not hasattr(source, "kinds")
    assert stripped(rows.source, ()) is rows.source


def test_names_are_checked() -> None:
    sources: list[Source] = [One(talk(PICTURE)), Without(One(talk(PICTURE)), {"audio"})]
    check_removed(["audio", "image"], sources)
    with pytest.raises(
        BadInputError, match=r"no source holds media of modality 'audoi' \(.* audio, image\); the nearest is audio"
    ):
        check_removed(["audoi"], sources)
    with pytest.raises(BadInputError, match="text cannot be removed"):
        removed_modalities({"without": ["text"]})
    assert removed_modalities({"without": ["audio", "audio"]}) == ("audio",)
    assert removed_modalities({"without": None}) == removed_modalities({}) == ()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


SMALL = [
    "data=manifest",
    "name=small",
    "run=one",
    "tracker=jsonl",
    "d_model=16",
    "fusion.num_layers=1",
    "data.samples_per_batch=4",
    "trainer.max_steps=1",
    "trainer.evaluate_every=1",
    "trainer.checkpoint_every=1",
    "compute_threads=1",
]


def trained(tmp_path: Path, *overrides: str) -> Path:
    data = write_small_data(tmp_path / "data", ("text", "image", "audio"))
    files = [f"data.{name}={data}" for name in ("train", "validation_file", "evaluation")]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", [*SMALL, *files, f"runs={tmp_path / 'runs'}", *overrides])
    main.__wrapped__(config)  # type: ignore[attr-defined]
    return tmp_path / "runs" / "small" / "one"


def test_training_validation_and_evaluation_have_none_of_it(tmp_path: Path) -> None:
    """A chosen encoder is not built either, and whoever evaluates the run again need not say it again."""
    run = trained(tmp_path, "data.without=[image]", "encoders/image=conv")
    config = OmegaConf.load(run / "config.yaml")
    assert config.data.without == ["image"]
    assert "image" not in config.encoders
    sources, validation = build_sources(config.data), build_validation(config.data)
    for source in (sources["manifest"][0], validation["manifest"]):
        samples = [source.sample(index, np.random.default_rng(0)) for index in range(len(source))]
        assert {item.modality for s in samples for m in s.messages for item in m.content} == {"audio", "text"}  # type: ignore[union-attr]
    assert set(load_model(run).model.media_encoders) == {"audio"}
    report = json.loads((run / "report.json").read_text())
    again = evaluate_checkpoint(run, output=tmp_path / "again", progress=False).report
    for found in (report, again):
        assert found["without"] == ["image"]
        assert not {"image_shuffled", "image_removed"} & set(found["audit"]["manifest"])
    assert report["tasks"] == json.loads(json.dumps(again["tasks"]))
    assert "the model has no image: it is removed from what it was trained on and is asked" in (
        run / "report.md"
    ).read_text().replace("\n", " ")


def test_rows_of_which_nothing_is_left_are_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(
        BadInputError, match=r"data\.validation\.manifest: .*nothing is left of it without audio, image"
    ):
        trained(tmp_path, "data.without=[image,audio]")
    assert not (tmp_path / "runs").exists()
