"""A model that is asked from Python: what it is given, in which form and order, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

import interfuse
from certify.small_data import write_small_data
from data.media.given import given
from data.media.image import read_image
from data.types import AlignedSample, Media, Message, Sample, Segment, Text
from evaluation.insight.explanation import explain
from evaluation.retrieval.embedding import embed
from scripts.generate import main as generate
from serving.session import Session
from tests.evaluation.colours import RATE, learn, parts, whistle
from tests.evaluation.saved_run import save_run
from tests.interfuse.small import SMALL
from tests.scripts.in_process import run_command

BLACK = (0, 0, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a model that knows its colours, and files to ask it about."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("ask")
    model, tokenizer, interleaver = parts()
    learn(model, interleaver)
    save_run(folder / "run", model, tokenizer)
    Image.new("RGB", (8, 8), (50, 50, 200)).save(folder / "blue.png")
    soundfile.write(folder / "which.wav", whistle(0, 3).numpy(), RATE, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> interfuse.Model:
    return interfuse.load(folder / "run")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> interfuse.Model:
    """A model with a shared space, which was trained by a contrastive objective alone."""
    folder = tmp_path_factory.mktemp("space")
    pairs = write_small_data(folder / "data", ("image",), "aligned")
    options = [f"data.train={pairs}", "objective=infonce", "shared_space=linear", "trainer.max_steps=2"]
    return interfuse.load(interfuse.train([*SMALL, *options, f"runs={folder}/runs"]))


def values(model: interfuse.Model, segment: Segment) -> Tensor:
    """What the encoder reads of a medium."""
    question = Sample("question", (Message("user", (segment,)), Message("assistant", (Text("a"),))))
    ((_, read),) = model.session.interleaver.document(question).media
    return read


def test_it_answers_as_the_command_does(
    folder: Path, model: interfuse.Model, capsys: pytest.CaptureFixture[str]
) -> None:
    for question in ({"text": "what color is it?"}, {"audio": folder / "which.wav"}):
        typed = [f"{name}={value}" for name, value in question.items()]
        assert run_command(generate, [f"checkpoint={folder / 'run'}", f"image={folder}/blue.png", *typed]) == 0
        assert model.answer(image=folder / "blue.png", **question) == capsys.readouterr().out.strip() == "blue"


def test_the_order_of_the_keywords_is_the_order_of_reading(
    folder: Path, model: interfuse.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(Session, "answer", lambda self, *given, **options: read.extend(s.modality for s in given) or "")
    image = folder / "blue.png"
    model.answer(text="a", image=image)
    model.answer(image=image, max_new_tokens=3, text="a")
    assert read == ["text", "image", "image", "text"]


def oriented(folder: Path) -> Path:
    """A picture that a camera held on its side."""
    picture, exif = Image.effect_noise((9, 5), 60).convert("RGB"), Image.Exif()
    exif[0x0112] = 6
    picture.save(folder / "side.png", exif=exif)
    return folder / "side.png"


def transparent(folder: Path) -> Path:
    rgba = np.random.default_rng(0).integers(0, 256, (6, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(folder / "glass.png")
    return folder / "glass.png"


def deep(folder: Path) -> Path:
    """16 bits of grey."""
    Image.fromarray(np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)).save(folder / "deep.png")
    return folder / "deep.png"


@pytest.mark.parametrize("make", [oriented, transparent, deep])
def test_a_picture_in_memory_is_the_picture_of_the_file(make: Any, tmp_path: Path, model: interfuse.Model) -> None:
    path = make(tmp_path)
    expected = values(model, Media("image", path))
    with Image.open(path) as opened:
        size = opened.size
        assert torch.equal(values(model, given("image", opened, (255, 255, 255))), expected)
        assert opened.size == size, "the picture that was given is left alone"
    assert torch.equal(values(model, given("image", path.read_bytes(), BLACK)), expected)
    assert torch.equal(values(model, given("image", str(path), BLACK)), expected)


def test_arrays_and_tensors_are_pictures(folder: Path, tmp_path: Path, model: interfuse.Model) -> None:
    path = transparent(tmp_path)
    expected = values(model, Media("image", path))
    array = np.asarray(Image.open(path))
    assert torch.equal(values(model, given("image", array, (255, 255, 255))), expected)
    assert not torch.equal(values(model, given("image", array, BLACK)), expected)
    grey = array[:, :, 0]
    thrice = np.stack([grey] * 3, axis=2)
    assert torch.equal(values(model, given("image", grey, BLACK)), values(model, given("image", thrice, BLACK)))
    pixels = read_image(Media("image", path))
    assert torch.equal(values(model, given("image", pixels, BLACK)), expected)


def test_samples_and_their_rate_are_sound(folder: Path, model: interfuse.Model) -> None:
    path = folder / "which.wav"
    expected = values(model, Media("audio", path))
    samples, rate = soundfile.read(path)
    assert torch.equal(values(model, given("audio", (samples, rate), BLACK)), expected)
    channels = torch.from_numpy(samples).float().expand(2, -1)  # [C, S], as torchaudio has it
    assert torch.equal(values(model, given("audio", (channels, rate), BLACK)), expected)
    assert torch.equal(values(model, given("audio", (channels.numpy().T, rate), BLACK)), expected)
    whole = (samples * 32767).round().astype(np.int16)
    assert torch.allclose(values(model, given("audio", (whole, rate), BLACK)), expected, atol=0.05)
    slower = values(model, given("audio", (samples, rate // 2), BLACK))
    assert len(slower) > 1.8 * len(expected), "the rate counts"


def test_other_media_are_given_as_they_are() -> None:
    reading = np.arange(3.0)
    segment = given("vibration", reading, BLACK)
    assert isinstance(segment, Media)
    assert torch.equal(segment.source, torch.arange(3.0, dtype=torch.float64))  # type: ignore[arg-type]
    assert given("sentence", "a text", BLACK) == Media("sentence", b"a text")


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ({"imge": "x"}, "imge: the checkpoint has no encoder of 'imge' (it has: audio, image); the nearest is image"),
        ({"image": "none.png"}, "image=none.png: no such file"),
        ({"image": Path()}, "image=.: no such file, it is a folder"),
        ({"image": 3}, "image: must be a path, bytes or values, not int"),
        ({"image": np.zeros((2, 2))}, "image: must be uint8 [h, w], [h, w, 3] or [h, w, 4], not float64 [2, 2]"),
        ({"image": torch.zeros(2, 2)}, "an image must be uint8 [3, H, W], not torch.float32 (2, 2)"),
        ({"image": b"no picture"}, "not a readable image"),
        ({"audio": np.zeros(8)}, "audio: must be a path, bytes, or a pair of samples and their rate in hertz, not"),
        ({"audio": (np.zeros(8, np.uint8), 8000)}, "audio: must be int16, int32 or float samples of one or two axes"),
        ({"audio": (np.zeros(8), -1)}, "audio: not sound at rate=-1: "),
        ({"audio": (np.zeros(8), 10**12)}, "audio: not sound at rate=1000000000000: "),
        ({"text": Path("a")}, "text: must be a string, not PosixPath"),
        ({"text": "a", "max_new_tokens": 129}, "max_new_tokens=129: must be at most 128"),
    ],
)
def test_what_cannot_be_asked_is_one_line(question: dict[str, Any], expected: str, model: interfuse.Model) -> None:
    with pytest.raises(interfuse.BadInputError) as refused:
        model.answer(**question)
    assert expected in str(refused.value)
    assert "\n" not in str(refused.value)


def test_nothing_asked_and_no_checkpoint(folder: Path, model: interfuse.Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="segments is empty"):
        model.answer()
    with pytest.raises(ValueError, match="nothing is asked"):
        model.explain(answer="a")
    with pytest.raises(interfuse.BadInputError, match="does not exist"):
        interfuse.load(tmp_path / "none")
    with pytest.raises(interfuse.BadInputError, match=r"no checkpoint .* has a score"):
        interfuse.load(folder / "run", which="best")
    with pytest.raises(interfuse.BadInputError, match="device=gpu"):
        interfuse.load(folder / "run", device="gpu")
    with pytest.raises(interfuse.BadInputError, match="device=None"):
        interfuse.load(folder / "run", device=None)  # type: ignore[arg-type]


def test_it_explains_as_the_evaluation_does(folder: Path, tmp_path: Path, model: interfuse.Model) -> None:
    image, text = folder / "blue.png", "what color is it?"
    found = model.explain(image=image, text=text)
    messages = (Message("user", (Media("image", image), Text(text))), Message("assistant", (Text("blue"),)))
    session = model.session
    expected = explain(session.model, session.tokenizer, session.interleaver, Sample("a", messages), "blue")
    assert (found.answer, found.probability) == ("blue", expected.probability)
    assert found.scores.keys() == expected.scores.keys()
    for method, scores in found.scores.items():
        assert np.array_equal(scores, expected.scores[method])
    assert model.explain(image=image, text=text, answer="red").probability < found.probability
    assert found._repr_png_().startswith(b"\x89PNG")
    with Image.open(found.save(tmp_path / "why.png")) as picture:
        assert picture.width > 500
    assert len(repr(found)) < 100


def test_items_are_embedded_as_the_evaluation_does(space: interfuse.Model, folder: Path) -> None:
    texts = ["red 1", "a longer text of blue", "red 1"]
    vectors = space.embed(text=texts)
    assert vectors.shape == (3, space.embed(text="red 1").shape[0])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for vector, text in zip(vectors, texts, strict=True):
        assert np.allclose(space.embed(text=text), vector, atol=1e-6)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    path = folder / "blue.png"
    sample = AlignedSample("a", (Media("image", path), Text("red 1")))
    expected = embed(space.session.model, space.session.interleaver, [sample])
    assert np.allclose(space.embed(image=Image.open(path)), expected["image"].values[0], atol=1e-6)
    assert np.allclose(vectors[0], expected["text"].values[0], atol=1e-6)


def test_what_cannot_be_embedded(space: interfuse.Model, model: interfuse.Model) -> None:
    with pytest.raises(interfuse.BadInputError, match=r"has no shared space .*; train with shared_space=linear"):
        model.embed(text="a")
    with pytest.raises(interfuse.BadInputError, match="audio: the checkpoint has no encoder of 'audio'"):
        space.embed(audio="a.wav")
    with pytest.raises(interfuse.BadInputError, match="text: is an empty list"):
        space.embed(text=[])
    for items in ({}, {"text": "a", "image": "b.png"}):
        with pytest.raises(TypeError, match="items of one modality"):
            space.embed(**items)


def test_a_model_that_never_learned_to_answer_says_so(space: interfuse.Model) -> None:
    for ask in (space.answer, space.explain):
        with pytest.raises(interfuse.BadInputError, match="cannot answer: it was trained by a contrastive objective"):
            ask(text="a")
    with pytest.raises(interfuse.BadInputError, match="cannot answer"):
        space.explain(text="a", answer="b")
