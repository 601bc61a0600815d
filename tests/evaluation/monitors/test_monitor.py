"""Validation during training: what it returns, what it shows, and that it leaves the model as it was."""

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from data.batching.collate import collate_prompts
from data.batching.interleave import Interleaver
from data.storage.array_store import ArrayStore, StoredClip, write_store
from data.tokenizer import Tokenizer
from data.types import BadSampleError, Layout, Media, Message, Sample, Text
from evaluation.answering.predict import predict
from evaluation.insight.attention import Attended, attended_media, draw_attention
from evaluation.insight.preview import asked_media, picture, sound, words
from evaluation.monitors.monitor import Monitor
from evaluation.scoring import read_samples
from fusion.methods.bottleneck import BottleneckFusion
from fusion.methods.concat import ConcatFusion
from fusion.methods.cross_attention import CrossAttentionFusion
from fusion.methods.late import LateFusion
from fusion.model import FusionModel
from tests.evaluation.colours import NUM_MELS, SIZE, Colours, parts
from tests.fusion.builders import perturb
from tests.fusion.dense_maps import dense_maps
from tests.fusion.methods.test_methods import CROSS
from training.objectives.next_token import NextToken

Parts = tuple[FusionModel, Tokenizer, Interleaver]
SOURCES = {"typed": Colours("typed", 8), "spoken": Colours("spoken", 8)}


class Recorder:
    """Keeps what a tracker would show."""

    def __init__(self) -> None:
        self.tables: list[tuple[int, str, Any, Any]] = []
        self.images: list[tuple[int, str, Any, str]] = []
        self.scalars: list[tuple[int, dict[str, float]]] = []

    def log(self, step: int, metrics: Any) -> None:
        self.scalars.append((step, dict(metrics)))

    def image(self, step: int, name: str, image: Any, caption: str = "") -> None:
        self.images.append((step, name, image, caption))

    def table(self, step: int, name: str, columns: Any, rows: Any) -> None:
        self.tables.append((step, name, columns, rows))


def test_accuracies_are_those_of_the_answers(trained: Parts) -> None:
    model, tokenizer, interleaver = parts(seed=3)
    expected = {}
    for name, source in SOURCES.items():
        predictions = predict(model, tokenizer, interleaver, read_samples(source))
        expected[f"val/{name}/accuracy"] = np.mean([item.correct for item in predictions])
    expected |= {"val/accuracy": np.mean(list(expected.values())), "val/skipped": 0}
    found = Monitor(SOURCES, tokenizer, interleaver)(model, 1)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert Monitor(SOURCES, *trained[1:])(trained[0], 1)["val/accuracy"] >= 0.9


def test_losses_are_those_of_a_training(trained: Parts) -> None:
    """Per token and task, by the objective itself; `val/loss` is their mean, and the perplexity its exponential."""
    model, tokenizer, interleaver = parts(seed=3)
    expected = {}
    for name, source in SOURCES.items():
        batch = collate_prompts([interleaver.document(sample) for sample in read_samples(source)])
        with torch.no_grad():
            terms = NextToken()(model.eval(), batch)
        expected[f"val/{name}/loss"] = float(terms.sum) / terms.count
    expected["val/loss"] = float(np.mean(list(expected.values())))
    expected["val/perplexity"] = float(np.exp(expected["val/loss"]))
    found = Monitor(SOURCES, tokenizer, interleaver)(model, 1)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert Monitor(SOURCES, *trained[1:])(trained[0], 1)["val/loss"] < found["val/loss"] / 4, "it learns"


def test_the_loss_may_be_of_a_part_of_the_questions(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        "evaluation.monitors.monitor.likelihoods", lambda m, i, samples, *_, **__: asked.append(len(samples)) or []
    )
    found = Monitor(SOURCES, *trained[1:], loss_samples=5)(trained[0], 1)
    assert asked == [5, 5]
    assert np.isnan(found["val/loss"])
    with pytest.raises(ValueError, match="loss_samples=0"):
        Monitor(SOURCES, *trained[1:], loss_samples=0)


def test_free_text_is_validated_by_chrf_too(trained: Parts) -> None:
    class Described(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            text = Text(f"picture number {index}, which is one of many")
            return replace(sample, messages=(sample.messages[0], Message("assistant", (text,))))

    monitor = Monitor({"free": Described("typed", 4), "typed": SOURCES["typed"]}, *trained[1:])
    found = monitor(trained[0], 1)
    assert list(found) == monitor.metrics
    assert found["val/free/chrf"] == found["val/chrf"]
    assert 0 < found["val/chrf"] < 0.5
    assert "val/typed/chrf" not in found


def test_the_names_of_its_metrics_are_known_before(trained: Parts) -> None:
    monitor = Monitor(SOURCES, *trained[1:])
    assert list(monitor(trained[0], 1)) == monitor.metrics


def test_the_model_s_mode_and_the_random_state_are_left_alone(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    monitor = Monitor(SOURCES, tokenizer, interleaver)
    before = torch.get_rng_state()
    for mode in (True, False):
        model.train(mode)
        monitor(model, 1, Recorder())
        assert model.training is mode
    assert torch.equal(before, torch.get_rng_state())


def test_examples_show_the_image_the_question_and_both_answers(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    seen = Recorder()
    monitor = Monitor(
        SOURCES,
        tokenizer,
        interleaver,
        num_examples=4,
        image_cell=lambda pixels: ("image", pixels),
        audio_cell=lambda samples, rate, caption: ("audio", samples, rate, caption),
    )
    monitor(model, 7, seen)
    step, name, columns, rows = seen.tables[0]
    assert (step, name) == (7, "val/examples")
    assert columns == ("task", "image", "question", "expected", "answer", "right")
    assert [row[0] for row in rows] == ["typed", "typed", "spoken", "spoken"]
    first, last = rows[0], rows[-1]
    assert first[2:] == ["what color is it?", "red", "red", "yes"]
    assert first[1][1].shape == (SIZE, SIZE, 3)
    assert last[2][0] == "audio"
    assert last[2][2] == 16000
    assert last[2][3] == "(spoken: is it red?)"
    step, name, image, _ = seen.images[0]
    assert (step, name, image.dtype, image.shape[2]) == (7, "val/attention", np.uint8, 3)


def test_examples_about_sound_have_no_column_of_images(trained: Parts) -> None:
    class Heard(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            return replace(sample, messages=(Message("user", sample.messages[0].content[1:]), sample.messages[1]))

    seen = Recorder()
    Monitor({"heard": Heard("spoken", 2)}, *trained[1:], num_examples=2)(trained[0], 1, seen)
    _, _, columns, rows = seen.tables[0]
    assert columns == ("task", "question", "expected", "answer", "right")
    assert [len(row) for row in rows] == [5, 5]


def test_an_answer_may_be_as_long_as_the_longest_expected_one(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wordy(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            return replace(sample, messages=(sample.messages[0], Message("assistant", (Text("x" * 40),))))

    limits: list[int] = []
    monkeypatch.setattr(
        "evaluation.monitors.monitor.predict", lambda *a, max_new_tokens, **k: limits.append(max_new_tokens) or []
    )
    Monitor({"wordy": Wordy("typed", 2)}, *trained[1:])(trained[0], 1)
    assert limits == [len(trained[1].encode("x" * 40)) + 1]


def test_without_a_tracker_nothing_is_drawn(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.monitors.monitor.draw_attention", pytest.fail)
    assert Monitor(SOURCES, *trained[1:])(trained[0], 1)


def test_a_picture_that_fails_does_not_end_a_training(
    trained: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise ValueError("ParseException\n$x^$")

    monkeypatch.setattr("evaluation.monitors.monitor.draw_attention", fails)
    seen = Recorder()
    assert Monitor(SOURCES, *trained[1:], num_examples=2)(trained[0], 1, seen)["val/accuracy"] > 0.9
    assert len(seen.tables) == 1, "the examples are there"
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "warning: picture 'val/attention' is left out (ValueError: ParseException $x^$)"
    )


def test_attention_is_cut_to_the_right_tokens(trained: Parts) -> None:
    """Weights of image, sound and text sum to 1 in every layer, whatever the order of the media."""
    model, _, interleaver = trained
    red, clip = read_samples(SOURCES["spoken"])[0].messages[0].content
    for content in ((red, clip), (clip, red), (red, clip, red, Text("is it red?"))):
        sample = Sample("x", (Message("user", content), Message("assistant", (Text("yes"),))))
        found = attended_media(model, interleaver, sample)
        assert [item.modality for item in found] == [item.modality for item in content if isinstance(item, Media)]
        for layer in ("layer_1", "layer_2"):
            assert {len(item.weights[layer]) for item in found if item.modality == "image"} == {4}
            inside = sum(item.weights[layer].sum() for item in found)
            assert 0 < inside < 1, "the rest falls on text"


def test_the_weights_are_those_of_the_answering_position(trained: Parts) -> None:
    """Two images by hand: `<|user|>`, 4 patches, 4 patches, `<|assistant|>`, and padding behind."""
    model, _, interleaver = trained
    images = tuple(read_samples(SOURCES["typed"])[place].messages[0].content[0] for place in (0, 2))
    sample = Sample("x", (Message("user", images), Message("assistant", (Text("yes"),))))
    found = attended_media(model, interleaver, sample)
    prompt = interleaver.prompt(sample)
    assert len(prompt) == 10
    for layer, weights in enumerate(dense_maps(model, collate_prompts([prompt])), start=1):
        expected = weights[0, :, 9].mean(0).numpy()
        for item, places in zip(found, (slice(1, 5), slice(5, 9)), strict=True):
            np.testing.assert_allclose(item.weights[f"layer_{layer}"], expected[places], rtol=1e-5)
    assert not np.array_equal(found[0].shown, found[1].shown)


@pytest.mark.parametrize(
    ("fusion", "layers", "share"),
    [
        (partial(CrossAttentionFusion, **CROSS), ["cross_1", "cross_2"], 1.0),
        (LateFusion, ["layer_2"], None),
        (BottleneckFusion, ["rollout"], None),
        (ConcatFusion, [], None),
    ],
)
def test_an_answer_is_shown_where_it_sees_media(fusion: Any, layers: list[str], share: float | None) -> None:
    """In layers that attend to media alone they get all attention; through bottlenecks there is the rollout."""
    model, tokenizer, interleaver = parts(fusion=fusion)
    perturb(model)
    media = attended_media(model.eval(), interleaver, read_samples(SOURCES["spoken"])[0])
    assert all(list(item.weights) == layers for item in media)
    assert len(media) == (2 if layers else 0)
    for layer in layers:
        inside = [float(item.weights[layer].sum()) for item in media]
        assert min(inside) > 0
        assert sum(inside) == pytest.approx(share, abs=1e-5) if share else sum(inside) < 1
    seen = Recorder()
    Monitor(SOURCES, tokenizer, interleaver, num_examples=2, mass_samples=2)(model, 1, seen)
    assert [name for _, name, _, _ in seen.images] == (["val/attention"] if layers else [])
    assert all("attention/layer_1/text_to_text" in scalars for _, scalars in seen.scalars)
    assert len(seen.scalars) == 1


def test_a_layer_in_which_one_example_sees_nothing_is_left_empty() -> None:
    shown = np.zeros((4, 4, 3), dtype=np.uint8)
    one, two = (
        Attended("image", shown, {x: np.full(4, 0.1) for x in layers}, Layout(4, (2, 2))) for layers in ("ab", "abc")
    )
    both = draw_attention([("one", [one]), ("two", [two])])
    panel = both.shape[1] // 4
    upper, lower = np.split(both, [both.shape[0] // 2])
    assert (upper[40:, -panel + 20 :] == 255).all()
    assert (lower[40:, -panel + 20 :] < 255).any()


def test_the_picture_has_a_row_for_each_medium(trained: Parts) -> None:
    model, _, interleaver = trained
    media = attended_media(model, interleaver, read_samples(SOURCES["spoken"])[0])
    assert media[1].shown.shape[1] == NUM_MELS
    one, both = draw_attention([("image", media[:1])]), draw_attention([("both", media)])
    assert both.shape[0] > 1.5 * one.shape[0]


def test_previews_are_the_raw_media(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    raw = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    for source in (tmp_path / "a.png", buffer.getvalue(), raw):
        np.testing.assert_array_equal(picture(Media("image", source)), pixels)
    samples = np.linspace(-0.5, 0.5, 400, dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", np.stack([samples, samples], axis=1), 4000, subtype="FLOAT")
    heard, rate = sound(Media("audio", tmp_path / "a.wav"))
    np.testing.assert_allclose(heard, samples, atol=1e-6)
    assert rate == 4000
    heard, rate = sound(Media("audio", torch.from_numpy(samples)))
    np.testing.assert_array_equal(heard, samples)
    (tmp_path / "store").mkdir()
    write_store(tmp_path / "store", [(samples * 32768).astype(np.int16)], np.int16, metadata={"sample_rate": 8000})
    heard, rate = sound(Media("audio", StoredClip(ArrayStore(tmp_path / "store"), 0)))
    np.testing.assert_allclose(heard, samples, atol=1e-4)
    assert rate == 8000


def test_words_name_the_media_that_cannot_be_read() -> None:
    typed, spoken = (read_samples(SOURCES[name])[0] for name in ("typed", "spoken"))
    assert words(typed) == "[image] what color is it?"
    assert words(typed, ["image"]) == "what color is it?"
    assert words(spoken, ["image"]) == "(spoken: what color is it?)"
    unknown = Sample("x", spoken.messages)
    assert words(unknown, ["image"]) == "[audio]"


def test_the_words_of_a_question_stand_where_it_is_asked() -> None:
    """Whatever the modality is called: in the last clip, not in the one that the question is about."""
    heard, asked = Media("radio", torch.zeros(4)), Media("radio", torch.ones(4))
    turns = (Message("user", (heard, asked)), Message("assistant", (Text("yes"),)))
    sample = Sample("1", turns, metadata={"question": "is it loud?", "asked_in": "radio"})
    assert words(sample) == "[radio] (spoken: is it loud?)"
    assert [item is asked for item in asked_media(sample)] == [True]


def test_wrong_arguments_are_named(trained: Parts) -> None:
    with pytest.raises(ValueError, match="sources is empty"):
        Monitor({}, *trained[1:])
    with pytest.raises(ValueError, match="num_examples=-1"):
        Monitor(SOURCES, *trained[1:], num_examples=-1)


class OneBroken(Colours):
    """The third sample shows a tensor that is no image."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        broken = Message("user", (Media("image", torch.zeros(2, 2, dtype=torch.uint8)), Text("?")))
        return Sample("2", (broken, sample.messages[1])) if index == 2 else sample


def test_bad_samples_stop_or_are_passed_over(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    with pytest.raises(BadSampleError, match="uint8"):
        Monitor({"typed": OneBroken()}, tokenizer, interleaver)(model, 1)
    monitor = Monitor({"typed": OneBroken()}, tokenizer, interleaver, on_bad_sample="skip")
    found = monitor(model, 1, Recorder())
    assert found["val/accuracy"] >= 0.9
    assert found["val/skipped"] == 1
