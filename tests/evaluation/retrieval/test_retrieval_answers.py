"""What a retrieval leaves of every query: its rank, the first candidates, examples, and the curve of recall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.display.drawing import save_all
from data.types import AUDIO, IMAGE, SENTENCE, AlignedSample, Media, Text
from evaluation.metrics.ranking import best, chance_curve, curve_points, ranks
from evaluation.metrics.scores import bootstrap
from evaluation.monitors.alignment_monitor import COLUMNS, AlignmentMonitor
from evaluation.reports.figures.recall import draw_curves, recall_pictures
from evaluation.retrieval.answers import retrieval_rows, words_of
from evaluation.retrieval.embedding import Embedded
from evaluation.retrieval.evaluate import RetrievalSettings, directions, evaluate_retrieval
from evaluation.retrieval.examples import class_examples, retrieval_examples
from evaluation.settings import Bootstrap
from tests.training.aligned import AlignedMemory, aligned_model, reader

NUM = 12


def embedded_of(values: list[list[float]], contents: list[int] | None = None) -> Embedded:
    return Embedded(np.array(values, dtype=float), np.arange(len(values)), np.array(contents or range(len(values))))


def pair(number: int) -> AlignedSample:
    segments = (Media(IMAGE, Path(f"{number}.png")), Text(f"caption {number}"))
    return AlignedSample(f"row {number}", segments, metadata={"kind": "odd" if number % 2 else "even"})


def test_every_query_says_its_rank_and_what_came_first() -> None:
    """By hand: picture 0 finds its caption, picture 1 finds that of 2 first, picture 2 its own last of three."""
    images = embedded_of([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    texts = embedded_of([[0.9, 0, 0.8], [0.5, 0.6, 0.7], [0.1, 0.8, 0.2]])
    embedded = {IMAGE: images, "text": texts}
    direction = directions(embedded)["image_to_text"]
    rows = retrieval_rows("pairs", direction, embedded, [pair(number) for number in range(3)], ["a", "b", "c"])
    assert [row["rank"] for row in rows] == [1, 2, 3] == direction.ranks.tolist()
    assert rows[1] == {
        "task": "pairs/image_to_text",
        "id": "row 1",
        "cluster": "b",
        "query": "1.png",
        "expected": "caption 1",
        "answer": "caption 2",
        "rank": 2.0,
        "correct": True,
        "best": [
            {"id": "row 2", "candidate": "caption 2", "similarity": 0.8, "right": False},
            {"id": "row 1", "candidate": "caption 1", "similarity": 0.6, "right": True},
            {"id": "row 0", "candidate": "caption 0", "similarity": 0.0, "right": False},
        ],
        "metadata": {"kind": "odd"},
    }


def test_a_page_shows_queries_that_found_theirs_first_and_others() -> None:
    """The pictures of above: what came first is shown where it is not what belongs to the query."""
    images = embedded_of([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    texts = embedded_of([[0.9, 0, 0.8], [0.5, 0.6, 0.7], [0.1, 0.8, 0.2]])
    embedded, samples = {IMAGE: images, "text": texts}, [pair(number) for number in range(3)]
    shown = retrieval_examples("pairs", directions(embedded)["image_to_text"], embedded, samples)
    assert [example.verdict for example in shown] == [f"right candidate at rank {rank} of 3" for rank in (1, 2, 3)]
    first, second, _ = shown
    assert first.given == {"query": [samples[0].segments[0]], "belongs to it": [samples[0].segments[1]]}
    assert second.given["belongs to it"] == [Text("caption 1")]
    assert second.given["found first"] == [Text("caption 2")]
    assert second.facts == {"sample": "row 1", "found first": "row 2, similarity 0.800"}


def test_a_page_shows_media_with_their_classes() -> None:
    samples = [pair(number) for number in range(4)]
    right, wrong = class_examples("pairs/image_to_kind", IMAGE, samples[:2], ["even", "odd"], ["even", "even"])
    assert (right.verdict, right.facts["given class"], right.facts["sample"]) == ("right", "even", "row 0")
    assert (wrong.verdict, wrong.facts["given class"], wrong.facts["expected class"]) == ("wrong", "even", "odd")
    assert wrong.given == {"given": [samples[1].segments[0]]}


def test_of_several_right_candidates_the_best_placed_is_expected() -> None:
    """One picture in two rows, with two captions: the second is the nearer one."""
    images = embedded_of([[1, 0], [1, 0], [0, 1]], [7, 7, 8])
    texts = embedded_of([[0.2, 0.1], [0.6, 0.3], [0.5, 0.9]])
    embedded = {IMAGE: images, "text": texts}
    direction = directions(embedded)["image_to_text"]
    rows = retrieval_rows("pairs", direction, embedded, [pair(number) for number in range(3)], ["a", "b"])
    assert [(row["expected"], row["rank"]) for row in rows] == [("caption 1", 1), ("caption 2", 1)]
    assert [item["right"] for item in rows[0]["best"]] == [True, False, True]


def test_the_first_candidates_are_those_of_a_full_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.metrics.ranking.QUERIES_AT_ONCE", 4)
    rng = np.random.default_rng(0)
    queries, candidates = rng.standard_normal((10, 3)), rng.standard_normal((30, 3))
    candidates[5] = candidates[20]  # equally similar: the first is first
    places, values = best(queries, candidates, 6)
    similarity = queries @ candidates.T
    assert places.tolist() == np.argsort(-similarity, axis=1, kind="stable")[:, :6].tolist()
    assert np.allclose(values, -np.sort(-similarity, axis=1)[:, :6])
    assert best(queries, candidates[:2], 6)[0].shape == (10, 2)


def test_the_curve_goes_through_the_recalls_of_the_table() -> None:
    model = aligned_model(d_embedding=16).eval()
    rows: list[dict[str, Any]] = []
    settings = RetrievalSettings({"pairs": AlignedMemory(NUM, ("",))}, classes="parity", bootstrap=Bootstrap(1000))
    report = evaluate_retrieval(model, reader(model), settings, progress=False, keep=rows.extend)
    for task, scores in report["tasks"].items():
        of_task = [row for row in rows if row["task"] == task]
        assert len(of_task) == NUM
        if "accuracy" in scores:  # classes
            assert np.mean([row["correct"] for row in of_task]) == scores["accuracy"]["value"]
            assert {row["expected"] for row in of_task} == {"0", "1"}
            continue
        found = report["recall_curves"][task]
        assert found["k"] == [1, 2, 5, 10]
        for k, score, random in zip(found["k"], found["model"], found["chance"], strict=True):
            ranked = [row["rank"] <= k for row in of_task]
            assert score == bootstrap(ranked, [row["cluster"] for row in of_task], 1000, 0).to_json()
            assert random == pytest.approx(k / NUM)
            if f"recall@{k}" in scores:
                assert score == scores[f"recall@{k}"]
        assert np.mean([row["correct"] for row in of_task]) == scores["recall@10"]["value"]


def test_points_of_a_curve_and_chance_at_them() -> None:
    assert curve_points(1) == [1]
    assert curve_points(10) == [1, 2, 5, 10]
    assert curve_points(270) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert chance_curve(4, [1, 2], [1, 2, 4]) == pytest.approx([3 / 8, (1 / 2 + 5 / 6) / 2, 1])
    assert ranks(np.eye(2), np.eye(2), np.array([[0, 1], [1, 1]])).tolist() == [2, 1]


def test_the_figure_shows_model_ridge_and_chance_for_every_direction(tmp_path: Path) -> None:
    score = {"value": 0.5, "low": 0.3, "high": 0.7, "n": 9}
    curve = {"candidates": 5, "k": [1, 2, 5], "model": [score] * 3, "ridge": [score] * 3, "chance": [0.2, 0.4, 1.0]}
    plain = {key: values for key, values in curve.items() if key != "ridge"}
    curves = {"a_to_$b": curve, **{f"c_to_d{number}": plain for number in range(3)}}
    figure = draw_curves(curves)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [len(axes.get_lines()) for axes in panels] == [3, 2, 2, 2]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert panels[0].get_xlabel() == "k of 5 candidates; n=9"
    assert names == ["model", "ridge regression on frozen features", "chance"]
    report = {"sources": ["p", "p/q"], "recall_curves": {"p/a_to_b": plain, "p/q/a_to_b": plain, "p/q/b_to_a": plain}}
    drawn = save_all(recall_pictures(report), tmp_path)
    assert list(drawn) == ["Recall at k, p", "Recall at k, p/q"]
    assert all(path.is_file() for path in drawn.values())
    assert recall_pictures({"tasks": {}}) == {}


def test_a_sample_is_named_by_what_it_holds() -> None:
    sample = AlignedSample(
        "7", (Media(SENTENCE, b"a b"), Media(AUDIO, b"fLaC\0\0\0\x22"), Media("depth", torch.zeros(2)), Text("t"))
    )
    assert [words_of(sample, name) for name in (SENTENCE, AUDIO, "depth", "text")] == [
        "a b",
        "audio of 7",
        "depth of 7",
        "t",
    ]


class Recorder:
    """A tracker that keeps its tables."""

    def __init__(self) -> None:
        self.tables: dict[str, tuple[Any, Any]] = {}

    def log(self, step: int, metrics: Any) -> None: ...

    def image(self, step: int, name: str, image: Any, caption: str = "") -> None: ...

    def table(self, step: int, name: str, columns: Any, rows: Any) -> None:
        self.tables[name] = (columns, rows)


def test_a_validation_shows_what_was_asked_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tracker, pairs = aligned_model(d_embedding=16).eval(), Recorder(), {"pairs": AlignedMemory(NUM, ("audio",))}
    cells = {"num_examples": 6, "image_cell": lambda pixels: f"a picture of {pixels}"}
    AlignmentMonitor(pairs, reader(model), **cells)(model, 3, tracker)
    assert tracker.tables["val/retrieval"][1][0][2] == "image of 0", "what cannot be looked at is named"
    monkeypatch.setattr("evaluation.monitors.alignment_monitor.picture", lambda medium: tuple(medium.source.shape))
    AlignmentMonitor(pairs, reader(model), **cells)(model, 3, tracker)
    columns, rows = tracker.tables["val/retrieval"]
    assert columns == COLUMNS
    assert [row[0] for row in rows] == ["pairs/text_to_image"] * 3 + ["pairs/image_to_text"] * 3
    text_first, image_first, picture = rows[0], rows[3], "a picture of (3, 4, 4)"
    assert text_first[1:3] == ["number 0", picture]
    assert text_first[4:] == [picture] * 3
    assert image_first[1:3] == [picture, "number 0"]
    assert len({*image_first[4:]}) == 3
