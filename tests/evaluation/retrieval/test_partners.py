"""Captions, pictures and clips that repeat: what is right for a query, and what chance reaches then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.types import IMAGE, TEXT, AlignedSample, Media, Text
from evaluation.metrics.ranking import RECALL_AT, chance, ranks
from evaluation.monitors.alignment_monitor import AlignmentMonitor, comparable_mean
from evaluation.retrieval.embedding import Embedded, read_aligned
from evaluation.retrieval.evaluate import RetrievalSettings, directions, evaluate_retrieval
from evaluation.retrieval.partners import search
from evaluation.retrieval.shared_space import modality_gap
from evaluation.settings import Bootstrap
from fusion.model import FusionModel
from tests.training.aligned import AlignedMemory, aligned_model, reader


def embedded(pictures: list[int], captions: list[int], noise: float = 0.0) -> dict[str, Embedded]:
    """A model that sees of each picture and of each caption nothing but which it is, and which picture it is of."""
    rng, rows = np.random.default_rng(0), np.arange(len(pictures))
    meaning = rng.standard_normal((1 + max(max(pictures), max(captions)), 16))
    extra = rng.standard_normal((2, *meaning.shape)) * noise

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    return {
        IMAGE: Embedded(unit((meaning + extra[0])[pictures]), rows, np.array(pictures)),
        TEXT: Embedded(unit((meaning + extra[1])[captions]), rows, np.array(captions) + 1000),
    }


def recalls(found: dict[str, Embedded], k: int = 1) -> dict[str, float]:
    return {name: float((asked.ranks <= k).mean()) for name, asked in directions(found).items()}


def test_five_captions_of_a_picture_in_rows_of_their_own_are_found() -> None:
    pictures = np.repeat(np.arange(24), 5)
    rng = np.random.default_rng(0)
    picture = rng.standard_normal((24, 16))
    caption = picture[pictures] + 1e-3 * rng.standard_normal((120, 16))
    found = {
        IMAGE: Embedded(picture[pictures], np.arange(120), pictures),
        TEXT: Embedded(caption, np.arange(120), np.arange(120)),
    }
    found = {
        name: replace(e, values=e.values / np.linalg.norm(e.values, axis=1, keepdims=True)) for name, e in found.items()
    }
    assert recalls(found) == {"image_to_text": 1.0, "text_to_image": 1.0}
    asked = directions(found)
    assert (asked["text_to_image"].num_candidates, len(asked["text_to_image"].ranks)) == (24, 120)
    assert (asked["image_to_text"].num_candidates, len(asked["image_to_text"].ranks)) == (120, 24)
    assert asked["image_to_text"].num_right.tolist() == [5] * 24
    assert asked["text_to_image"].chance()["recall@1"] == pytest.approx(1 / 24)
    assert asked["image_to_text"].chance()["recall@1"] == pytest.approx(5 / 120)


def test_pictures_that_share_captions_are_found() -> None:
    captions = [number % 3 for number in range(24)]
    caption = np.eye(3)[captions]
    found = {
        IMAGE: Embedded(caption, np.arange(24), np.arange(24)),
        TEXT: Embedded(caption, np.arange(24), np.array(captions)),
    }
    assert recalls(found) == {"image_to_text": 1.0, "text_to_image": 1.0}
    asked = directions(found)
    assert (len(asked["text_to_image"].ranks), asked["text_to_image"].num_right.tolist()) == (3, [8, 8, 8])
    assert asked["image_to_text"].chance()["recall@1"] == pytest.approx(1 / 3)
    assert asked["text_to_image"].chance()["recall@1"] == pytest.approx(8 / 24)


def clip_benchmark(image_IE: np.ndarray, text_TE: np.ndarray, picture_T: np.ndarray, k: int) -> tuple[float, float]:
    """As open_clip's zero-shot retrieval (CLIP_benchmark) counts, by loops: (image to text, text to image)."""
    scores_TI = text_TE @ image_IE.T
    texts = [picture_T[text] in np.argsort(-scores_TI[text])[:k] for text in range(len(text_TE))]
    images = [image in picture_T[np.argsort(-scores_TI[:, image])[:k]] for image in range(len(image_IE))]
    return float(np.mean(images)), float(np.mean(texts))


def test_coco_and_flickr_are_scored_as_open_clip_scores_them() -> None:
    rng = np.random.default_rng(0)
    image_IE, picture_T = rng.standard_normal((40, 8)), np.repeat(np.arange(40), 5)
    text_TE = image_IE[picture_T] + 1.5 * rng.standard_normal((200, 8))
    rows = rng.permutation(200)
    found = {
        IMAGE: Embedded(image_IE[picture_T[rows]], np.arange(200), picture_T[rows]),
        TEXT: Embedded(text_TE[rows], np.arange(200), rows),
    }
    for k in RECALL_AT:
        images, texts = clip_benchmark(image_IE, text_TE, picture_T, k)
        assert recalls(found, k) == {"image_to_text": pytest.approx(images), "text_to_image": pytest.approx(texts)}
        assert 0.1 < images < 1


def test_without_repetition_recall_is_that_of_open_clip() -> None:
    theirs = pytest.importorskip("open_clip_train.train").get_clip_metrics
    rng = np.random.default_rng(0)
    image, text = (torch.tensor(rng.standard_normal((50, 6)) + np.eye(50, 6)) for _ in range(2))
    metrics = theirs(image, text, torch.tensor(1.0))
    found = {
        IMAGE: Embedded(image.numpy(), np.arange(50), np.arange(50)),
        TEXT: Embedded(text.numpy(), np.arange(50), np.arange(50)),
    }
    for k in RECALL_AT:
        expected = {name: pytest.approx(metrics[f"{name}_R@{k}"]) for name in ("image_to_text", "text_to_image")}
        assert recalls(found, k) == expected


@pytest.mark.parametrize(("num", "sizes"), [(12, [1]), (12, [5, 5]), (30, [1, 3, 8, 8]), (7, [2]), (4, [1]), (10, [1])])
def test_chance_is_what_random_orders_reach(num: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(0)
    orders = rng.random((20_000, num)).argsort(axis=1)
    best = np.concatenate([(orders < size).argmax(axis=1) + 1 for size in sizes])
    found = chance(num, sizes)
    for k in RECALL_AT:
        assert found[f"recall@{k}"] == pytest.approx(np.mean(best <= k), abs=0.012)
    assert abs(found["median_rank"] - np.median(best)) <= 0.5


def test_random_embeddings_reach_chance_and_equal_ones_gain_nothing() -> None:
    right = np.stack([np.repeat(np.arange(400), 4), np.random.default_rng(1).permutation(1600)], axis=1)
    right = right[np.lexsort(right.T[::-1])]
    rng = np.random.default_rng(0)
    placed = ranks(rng.standard_normal((400, 64)), rng.standard_normal((1600, 64)), right)
    assert np.mean(placed <= 10) == pytest.approx(chance(1600, [4])["recall@10"], abs=0.02)
    # Of n equally similar candidates, m of them right, the first right one is at (n + 1) / (m + 1) on average.
    same = ranks(np.ones((400, 3)), np.ones((1600, 3)), right)
    assert same.tolist() == pytest.approx([1601 / 5] * 400)


class Captioned(AlignedMemory):
    """Picture i // 3 with caption i: in rows of their own, or in one row."""

    def __init__(self, num_pictures: int = 6, in_one_row: bool = False) -> None:
        super().__init__(num_pictures if in_one_row else 3 * num_pictures, ("",))
        self.in_one_row = in_one_row

    def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
        picture = index if self.in_one_row else index // 3
        captions = range(3 * index, 3 * index + 3) if self.in_one_row else [index]
        image = next(item for item in super().sample(picture, rng).segments if isinstance(item, Media))
        return AlignedSample(str(index), (image, *(Text(f"caption {number}") for number in captions)))


def evaluated(model: FusionModel, source: AlignedMemory, **options: Any) -> dict[str, Any]:
    settings = RetrievalSettings({"x": source}, classes=None, bootstrap=Bootstrap(1000), **options)
    return evaluate_retrieval(model, reader(model), settings, progress=False)


def test_captions_in_one_row_and_in_rows_of_their_own_are_the_same_question() -> None:
    model = aligned_model().eval()
    one, many = (evaluated(model, Captioned(in_one_row=kind)) for kind in (True, False))
    assert one["tasks"] == many["tasks"]
    assert one["chance"] == many["chance"]
    assert {task: found["candidates"] for task, found in one["chance"].items()} == {
        "x/image_to_text": 18,
        "x/text_to_image": 6,
    }
    assert one["chance"]["x/image_to_text"]["right"] == 3.0
    assert len(read_aligned(Captioned(in_one_row=True))) == 18


def test_captions_of_a_picture_are_drawn_together() -> None:
    report = evaluated(aligned_model().eval(), Captioned())
    (clusters,) = report["clusters"].values()
    assert clusters["count"] == 6
    assert "6 groups of rows that share a medium" in clusters["words"]


def test_what_two_rows_share_is_matched_in_the_gap() -> None:
    found = embedded([0, 0, 1], [0, 1, 2])
    gap = modality_gap(found)["image-text"]
    # Two pictures and three captions: 2 + 1 belong together, 1 + 2 do not.
    assert (sum(gap["counts"]["matched"]), sum(gap["counts"]["unmatched"])) == (3, 3)


def test_a_candidate_whose_sample_lacks_the_query_counts() -> None:
    first = Embedded(np.eye(2), np.array([0, 2]), np.array([5, 6]))
    second = Embedded(np.eye(3)[:, :2], np.array([0, 1, 2]), np.array([7, 8, 9]))
    found = search(first, second)
    assert found is not None
    assert (found.queries.tolist(), found.candidates.tolist()) == ([0, 1], [0, 1, 2])
    assert (found.right.tolist(), found.asked.tolist()) == ([[0, 0], [1, 2]], [0, 2])
    assert search(first, replace(second, samples=np.array([5, 6, 7]))) is None


class Few(AlignedMemory):
    """54 texts, and pictures of the first 7."""

    def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
        sample = super().sample(index, rng)
        image, text = (next(s for s in sample.segments if s.modality == name) for name in (IMAGE, TEXT))
        return replace(sample, segments=(image, text) if index < 7 else (text,))


def test_validation_does_not_average_what_cannot_be_missed_with_what_can() -> None:
    model = aligned_model().eval()
    metrics = AlignmentMonitor({"x": Few(54, ("",))}, reader(model))(model, 1)
    assert metrics["val/x/text_to_image/recall@10"] == metrics["val/x/text_to_image/recall@10_chance"] == 1.0
    assert metrics["val/x/image_to_text/recall@10_chance"] == pytest.approx(10 / 54)
    assert metrics["val/recall@10"] == metrics["val/x/image_to_text/recall@10"] < 1
    assert metrics["val/recall@10_chance"] == pytest.approx(10 / 54)
    assert set(metrics) == set(AlignmentMonitor({"x": Few(54, ("",))}, reader(model)).metrics)


def test_directions_about_as_hard_as_the_hardest_are_averaged() -> None:
    assert comparable_mean([(0.5, 0.1), (0.7, 0.11), (1.0, 1.0)]) == pytest.approx((0.6, 0.105))
    assert comparable_mean([]) == (0.0, 0.0)
