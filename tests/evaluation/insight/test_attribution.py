"""Attributions are the derivatives they claim to be, and deletion is judged on a task whose evidence is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import BadSampleError, Layout, Media, Message, Sample, Text
from evaluation.answering.predict import predict
from evaluation.insight.attribution import (
    ATTENTION,
    GRADIENT,
    MAGNITUDE,
    Answered,
    answered,
    attribute,
    neutral,
    parts_of,
)
from evaluation.insight.deletion import RANDOM, deleted, deletion, probabilities
from evaluation.insight.explanation import draw_explanation, explain
from evaluation.settings import Attribution, Bootstrap, Settings
from fusion.hidden import Hidden
from fusion.model import FusionModel
from tests.evaluation.colours import COLOURS, SIZE, Colours, parts, whistle
from tests.fusion.dense_maps import dense_maps

Parts = tuple[FusionModel, Tokenizer, Interleaver]
QUESTION = "what color is it?"


def mixed(number: int = 0, image_first: bool = True) -> Sample:
    """An image, a sound and words: every kind of region in one prompt."""
    image = Colours("typed", 8).sample(2 * number, np.random.default_rng(0)).messages[0].content[0]
    content = (image, Media("audio", whistle(0, number)), Text(QUESTION))
    turns = (Message("user", content if image_first else (content[1], image, content[2])),)
    return Sample(str(number), (*turns, Message("assistant", (Text("?"),))))


def log_probability(model: FusionModel, item: Answered) -> float:
    return float(np.log(probabilities(model, [item.document], 1)[0][0]))


def test_regions_tile_the_media_and_are_the_user_s_words() -> None:
    model, tokenizer, interleaver = parts()
    earlier = (Message("user", (Text("hello there"),)), Message("assistant", (Text("good day"),)))
    sample = replace(mixed(), messages=(*earlier, *mixed().messages))
    item = answered(model, tokenizer, interleaver, sample, "red")
    words = [region.label for region in item.regions if region.modality == "text"]
    assert words == ["hello", "there", "what", "color", "is", "it?"]
    for number, (modality, values) in enumerate(item.document.media):
        covered = torch.zeros(values.shape)
        regions = [region for region in item.regions if region.item == number]
        for region in regions:
            covered[region.part] += 1
        assert (covered == 1).all(), "every value lies in exactly one region"
        assert len(regions) == model.layouts[modality](tuple(values.shape)).count
        places = [place for region in regions for place in region.tokens]
        assert (item.document.modality_ids[places] == model.modalities.index(modality)).all()
        assert len(set(places)) == len(places)
    targets = item.document.token_ids[1:][item.document.labels[:-1] >= 0]
    assert tokenizer.decode(targets.tolist()) == "red<|end|>", "the answer alone is judged"
    assert item.document.labels[item.begin] == targets[0]


def test_patches_lie_row_by_row() -> None:
    assert parts_of(torch.zeros(3, 4, 6), Layout(4, (2, 2))) == [
        (..., slice(top, top + 2), slice(left, left + 3)) for top in (0, 2) for left in (0, 3)
    ]
    assert parts_of(torch.zeros(3, 4, 6), Layout(3, (1, 2)))[1] == (..., slice(0, 4), slice(3, 6))
    assert [part[0] for part in parts_of(torch.zeros(7, 2), Layout(3))] == [slice(0, 2), slice(2, 5), slice(5, 7)]


def test_gradients_are_the_change_of_the_log_probability_per_region() -> None:
    """Against finite differences in float64: each region moved a little towards and away from its neutral content."""
    model, tokenizer, interleaver = parts(seed=1)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    items = []
    for number in (0, 1, 3):  # a batch of several, in which media stand in two orders
        item = answered(model, tokenizer, interleaver, mixed(number, image_first=number != 1), "green")
        media = tuple((modality, values.double()) for modality, values in item.document.media)
        items.append(replace(item, document=replace(item.document, media=media)))
    step = 1e-4
    for item, found in zip(items, attribute(model, items), strict=True):
        expected = []
        for region in item.regions:
            if region.item is None:
                continue
            sides = []
            for sign in (1, -1):
                media = list(item.document.media)
                modality, values = media[region.item]
                moved = values.clone()
                moved[region.part] += sign * step * (values - neutral(values, region.layout))[region.part]
                media[region.item] = (modality, moved)
                batch = collate([[replace(item.document, media=tuple(media))]])
                target = batch.labels >= 0
                scores = model.logits(model(batch).states[target]).log_softmax(-1)
                sides.append(scores.gather(-1, batch.labels[target][:, None]).sum().item())
            expected.append((sides[0] - sides[1]) / (2 * step))
        scores = found[GRADIENT][[region.item is not None for region in item.regions]]
        assert np.abs(scores).max() > 1e-3
        # Log-probabilities are taken in float32 by the scores, hence their tolerance.
        np.testing.assert_allclose(scores, expected, rtol=2e-3, atol=1e-5)


def test_a_linear_model_is_attributed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the score is linear in the embeddings, gradient times input sums to the score itself, word by word."""
    model, tokenizer, interleaver = parts()
    weights = torch.randn(32, generator=torch.Generator().manual_seed(0))
    sample = Sample("x", (Message("user", (Text(QUESTION),)), Message("assistant", (Text("red"),))))
    item = answered(model, tokenizer, interleaver, sample, "red")

    def linear(model: FusionModel, batch: object, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return hidden @ weights @ torch.ones(hidden.shape[1]), torch.ones(1)

    monkeypatch.setattr("evaluation.insight.attribution.answer_scores", linear)
    monkeypatch.setattr(model, "forward", lambda batch: model.fusion(model.embed(batch)))
    monkeypatch.setattr(model.fusion, "forward", lambda sequence, cache=None: Hidden(sequence.hidden))
    embedded = model.embed(collate([[item.document]])).hidden[0].detach()
    expected = [float((embedded[list(region.tokens)] @ weights).sum()) for region in item.regions]
    np.testing.assert_allclose(attribute(model, [item])[0][GRADIENT], expected, rtol=1e-4, atol=1e-5)


def test_rollout_is_the_product_of_the_layers(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    items = [answered(model, tokenizer, interleaver, mixed(n), answer) for n, answer in ((0, "red"), (1, "a b c"))]
    for item, found in zip(items, attribute(model, items), strict=True):
        length = len(item.document)
        maps = [m[0].mean(0).double() for m in dense_maps(model, collate([[item.document]]))]
        steps = [0.5 * (m[:length, :length] + torch.eye(length)) for m in maps]
        reach = (steps[1] @ steps[0])[item.begin]
        assert reach.sum().item() == pytest.approx(1, abs=1e-6)
        expected = [float(reach[list(region.tokens)].sum()) for region in item.regions]
        np.testing.assert_allclose(found[ATTENTION], expected, rtol=1e-4, atol=1e-6)


def test_a_batch_attributes_as_each_alone(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    items = [answered(model, tokenizer, interleaver, mixed(n, image_first=n % 2 == 0), "blue") for n in range(4)]
    for item, together in zip(items, attribute(model, items), strict=True):
        alone = attribute(model, [item])[0]
        for name in (GRADIENT, MAGNITUDE, ATTENTION):
            np.testing.assert_allclose(together[name], alone[name], rtol=1e-3, atol=1e-4)


def test_an_encoder_without_gradients_is_scored_where_its_tokens_enter(
    trained: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, interleaver = trained
    item = answered(model, tokenizer, interleaver, mixed(), "red")
    before = attribute(model, [item])[0][GRADIENT]
    encoder = model.media_encoders["image"]
    monkeypatch.setattr(encoder, "forward", torch.no_grad()(encoder.forward))
    after = attribute(model, [item])[0][GRADIENT]
    image = np.array([region.modality == "image" for region in item.regions])
    np.testing.assert_allclose(after[~image], before[~image], rtol=1e-4, atol=1e-6)
    assert (after[image] != 0).all()
    assert not np.allclose(after[image], before[image])


def test_deletion_makes_regions_neutral_and_nothing_else(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    item = answered(model, tokenizer, interleaver, mixed(), "red")
    patch = next(region for region in item.regions if region.modality == "image")
    word = next(region for region in item.regions if region.label == "color")
    before = [values.clone() for _, values in item.document.media]
    found = deleted(item.document, [patch, word])
    (_, image), (_, sound) = found.media
    assert torch.equal(image[patch.part], neutral(before[0], patch.layout)[patch.part])
    rest = torch.ones_like(image, dtype=torch.bool)
    rest[patch.part] = False
    assert torch.equal(image[rest], before[0][rest])
    assert torch.equal(sound, before[1])
    assert all(torch.equal(a, values) for a, (_, values) in zip(before, item.document.media, strict=True))
    text = tokenizer.decode(found.token_ids[found.modality_ids == 0].tolist())
    assert "what is it?" in text
    assert found.labels[found.labels >= 0].tolist() == item.document.labels[item.document.labels >= 0].tolist()


class OnePatch:
    """Grey images with stripes or squares in one quarter: what the answer depends on is known.

    Their mean is grey too, so that nothing of them is left where the quarter becomes the mean colour of the image.
    """

    def __init__(self, num_images: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.samples, self.places = [], []
        for number in range(num_images):
            name, place = list(COLOURS)[number % 3], int(rng.integers(4))
            pixels = torch.from_numpy(rng.integers(110, 145, size=(3, SIZE, SIZE)))
            half, (row, column) = SIZE // 2, divmod(place, 2)
            quarter = pixels[:, row * half : (row + 1) * half, column * half : (column + 1) * half]
            y, x = torch.meshgrid(torch.arange(half) % 2, torch.arange(half) % 2, indexing="ij")
            quarter += 160 * (y, x, (x + y) % 2)[number % 3] - 80
            image = Media("image", pixels.clamp(0, 255).to(torch.uint8))
            turns = (Message("user", (image, Text(QUESTION))), Message("assistant", (Text(name),)))
            self.samples.append(Sample(str(number), turns, metadata={"image": str(number)}))
            self.places.append(place)


@pytest.fixture(scope="module")
def sighted() -> Parts:
    """A tiny model that has learned to find the coloured quarter."""
    model, tokenizer, interleaver = parts(seed=2)
    batch = collate([[interleaver.document(sample)] for sample in OnePatch(48, seed=1).samples])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        logits = model.logits(model(batch).states[batch.labels >= 0])
        loss = torch.nn.functional.cross_entropy(logits, batch.labels[batch.labels >= 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    return model.eval(), tokenizer, interleaver


def settings(**options: object) -> Settings:
    return Settings({"t": Colours()}, bootstrap=Bootstrap(1000), attribution=Attribution(**options))


def test_deleting_what_is_attributed_hurts_more_than_chance(sighted: Parts) -> None:
    model, tokenizer, interleaver = sighted
    source = OnePatch(24, seed=5)
    predictions = predict(model, tokenizer, interleaver, source.samples)
    assert np.mean([prediction.correct for prediction in predictions]) > 0.9
    items = [answered(model, tokenizer, interleaver, p.sample, p.answer) for p in predictions]
    found = attribute(model, items)
    top = [int(np.argmax(scores[MAGNITUDE][:4])) for scores in found]
    places = source.places
    assert np.mean(np.array(top) == places) > 0.9, "the striped quarter has the highest score"
    report = deletion(model, tokenizer, interleaver, "t", predictions, settings(shares=(0.25, 0.5)))
    image = report["image"]
    assert (image["n"], image["regions"], image["shares"]) == (24, 4, [0.25, 0.5])
    assert set(image["curves"]) == {GRADIENT, MAGNITUDE, ATTENTION, RANDOM}
    # Of the signed product and of attention a model of this size promises nothing, over seeds.
    assert image["harm"][MAGNITUDE]["low"] > 0.1
    left = [
        abs(scores[GRADIENT][place]) / scores[MAGNITUDE][place] for scores, place in zip(found, places, strict=True)
    ]
    assert np.median(left) < 0.2
    by_gradient, by_chance = (image["curves"][name]["probability"][0]["value"] for name in (MAGNITUDE, RANDOM))
    assert by_gradient < by_chance < image["full"]["value"]
    means = {
        name: np.mean([score["value"] for score in curve["probability"]]) for name, curve in image["curves"].items()
    }
    for name, harm in image["harm"].items():
        assert harm["value"] == pytest.approx(means[RANDOM] - means[name], abs=1e-6)
    again = deletion(model, tokenizer, interleaver, "t", predictions, settings(shares=(0.25, 0.5)))
    assert again == report, "the same seed, the same report"
    few = deletion(model, tokenizer, interleaver, "t", predictions, settings(max_samples=3, random_orders=1))
    assert few["text"]["n"] == 3


def test_an_attribution_at_random_does_no_more_harm_than_chance(
    sighted: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: scores that mean nothing are not called good."""
    model, tokenizer, interleaver = sighted
    rng = np.random.default_rng(0)

    def guess(model: FusionModel, items: list[Answered]) -> list[dict[str, np.ndarray]]:
        return [{GRADIENT: rng.random(len(item.regions))} for item in items]

    monkeypatch.setattr("evaluation.insight.deletion.attribute", guess)
    predictions = predict(model, tokenizer, interleaver, OnePatch(24, seed=5).samples)
    harm = deletion(model, tokenizer, interleaver, "t", predictions, settings(shares=(0.25, 0.5)))["image"]["harm"]
    assert set(harm) == {GRADIENT}
    assert harm[GRADIENT]["low"] < 0.02


def test_the_picture_shows_every_medium_by_every_method(trained: Parts) -> None:
    model, tokenizer, interleaver = trained
    explanation = explain(model, tokenizer, interleaver, mixed(), "red")
    item = answered(model, tokenizer, interleaver, mixed(), "red")
    assert np.log(explanation.probability) == pytest.approx(log_probability(model, item), abs=1e-5)
    figure = draw_explanation(explanation)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 12
    for modality in ("image", "audio", "text"):
        assert sum(title.startswith(f"{modality}: ") for title in titles) == 4
    assert [text.get_text() for text in figure.axes[8].texts] == QUESTION.split()
    overlay = figure.axes[1].images[1].get_array()
    scores = explanation.scores[GRADIENT][:4].reshape(2, 2)
    assert np.unravel_index(np.argmax(overlay[..., 3]), (2, 2)) == np.unravel_index(np.argmax(np.abs(scores)), (2, 2))


def test_no_room_for_the_answer_is_named(trained: Parts) -> None:
    model, tokenizer, _ = trained
    _, _, plain = parts()
    short = Interleaver(tokenizer, plain._processors, model.layouts, model.modalities, 36, "truncate")
    sample = replace(mixed(), origin="row 3")
    assert len(short.prompt(sample)) <= 36
    earlier = (Message("user", (Text("hi"),)), Message("assistant", (Text("ho"),)))
    with pytest.raises(BadSampleError, match=r"row 3"):
        answered(model, tokenizer, short, replace(sample, messages=(*earlier, *sample.messages)), "red " * 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"shares": ()}, "shares="), ({"shares": (0.0,)}, "shares="), ({"random_orders": 0}, "random_orders=0")],
)
def test_wrong_settings_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Attribution(**options)


def test_an_empty_answer_can_be_explained(trained: Parts) -> None:
    """A model that says nothing still has an answer: the end."""
    item = answered(*trained, mixed(), "")
    assert (item.document.labels >= 0).sum() == 1
