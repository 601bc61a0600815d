"""Every interval of a report is over clusters of what the questions are about, in every part of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.batching.interleave import Interleaver
from data.media.corruptions import ImageNoise
from data.tokenizer import Tokenizer
from data.types import AlignedSample, Media, Sample, Text
from evaluation.answering.audit import expected_answer
from evaluation.answering.clusters import clusters_of
from evaluation.answering.predict import Prediction
from evaluation.insight.deletion import summary
from evaluation.metrics.scores import bootstrap
from evaluation.reports.answers import answer_rows
from evaluation.reports.report import to_markdown
from evaluation.retrieval import evaluate as retrieval
from evaluation.retrieval.embedding import Embedded
from evaluation.retrieval.evaluate import RetrievalSettings
from evaluation.robustness import ratios
from evaluation.run import evaluate_checkpoint
from evaluation.scoring import evaluate
from evaluation.settings import Attribution, Bootstrap, Robustness, Settings
from fusion.model import FusionModel
from tests.evaluation.colours import Colours
from tests.evaluation.saved_run import EVALUATION, save_run

Parts = tuple[FusionModel, Tokenizer, Interleaver]
QUESTIONS = 10


class Shared(Colours):
    """Ten questions about each image that stand or fall together; `metadata.image` only if `told`."""

    def __init__(self, num_images: int, told: bool, same_id: bool = False) -> None:
        super().__init__("typed", num_images)
        self.told, self.same_id = told, same_id

    def __len__(self) -> int:
        return QUESTIONS * len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        number = index // QUESTIONS
        sample = super().sample(2 * number, rng)
        metadata = {"answer_type": "color"} | ({"image": str(number)} if self.told else {})
        return replace(sample, id="same" if self.same_id else str(index), metadata=metadata, origin=str(number))


def right(sample: Sample) -> bool:
    """Every third image is a failure, with all of its questions."""
    return int(sample.origin) % 3 != 0


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(model: Any, tokenizer: Any, interleaver: Any, samples: Sequence[Sample], **_: Any) -> list[Prediction]:
        expected = [(sample, expected_answer(sample)) for sample in samples]
        return [Prediction(sample, answer, answer if right(sample) else "unknown") for sample, answer in expected]

    monkeypatch.setattr("evaluation.answering.asking.predict", predict)


def asked(trained: Parts, source: Shared, **options: Any) -> dict[str, Any]:
    settings = Settings({"t": source}, source, bootstrap=Bootstrap(1000), **options)
    return evaluate(*trained, settings, progress=False)


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("num_images", [12, 120])
def test_questions_about_one_image_are_drawn_together(trained: Parts, num_images: int, told: bool) -> None:
    corruptions = Robustness({"noise": ImageNoise()}, max_samples=None)
    report = asked(trained, Shared(num_images, told), robustness=corruptions)
    images = [str(i // QUESTIONS) for i in range(QUESTIONS * num_images)]
    hits = [int(image) % 3 != 0 for image in images]
    expected, alone = bootstrap(hits, images, 1000).to_json(), bootstrap(hits, None, 1000).to_json()
    assert expected["high"] - expected["low"] > 2 * (alone["high"] - alone["low"])
    curve = report["robustness"]["t"]["corruptions"]["noise"]
    audit = report["audit"]["t"]
    found = [report["tasks"]["t"]["accuracy"], report["breakdown"]["t"]["answer_type"]["color"]]
    found += [audit[name] for name in ("question_only", "image_only", "image_shuffled")]
    found += [report["robustness"]["t"]["clean"], *curve["accuracy"], report["audited_rows"]["t"]["question_only"]]
    for score in found:
        assert (score["value"], score["n"]) == (expected["value"], expected["n"])
        # The draws of a bootstrap depend on the order of the clusters, by about 3 % of the width.
        width = expected["high"] - expected["low"]
        assert score["low"] == pytest.approx(expected["low"], abs=0.1 * width)
        assert score["high"] == pytest.approx(expected["high"], abs=0.1 * width)
    assert report["clusters"]["t"]["count"] == num_images


@pytest.mark.usefixtures("answering")
def test_the_report_says_what_was_resampled_whatever_the_ids_are(trained: Parts) -> None:
    told, untold = (asked(trained, Shared(4, told, same_id=True), audit=False) for told in (True, False))
    assert told["clusters"]["t"]["words"] == "4 groups of rows with one value of metadata.image"
    for report in (told, untold):
        report |= {"train": {"steps": 1, "seconds": 1, "tokens": 1}}
        report["data"]["skipped"] = 0
        assert report["clusters"]["t"]["count"] == 4
    text = to_markdown(untold, {})
    assert "- t: 4 groups of rows that share a medium of what they are about\n" in text
    assert "resamples of clusters; exact (Clopper-Pearson) where fewer than 30" in untold["provenance"]["interval"]


def test_answers_keep_the_cluster_that_their_score_was_resampled_by(trained: Parts, tmp_path: Path) -> None:
    model, tokenizer, _ = trained
    save_run(tmp_path / "run", model, tokenizer)
    folder = evaluate_checkpoint(tmp_path / "run", EVALUATION, progress=False).folder
    rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    typed = [row["cluster"] for row in rows if row["task"] == "typed"]
    assert typed == [f"0-{i // 2}" for i in range(16)]
    sample = Colours().sample(0, np.random.default_rng(0))
    one, two = answer_rows("t", [Prediction(sample, "red", "red")] * 2)
    assert one["cluster"] != two["cluster"], "what has no cluster is alone"


def test_deletion_curves_are_resampled_by_cluster() -> None:
    sample = Colours().sample(0, np.random.default_rng(0))
    kept = {True: np.array([1.0]), False: np.array([0.0])}

    def rows(cluster: bool) -> list[Any]:
        found = []
        for i in range(400):
            high = i // QUESTIONS % 2 == 0
            prediction = Prediction(sample, "a", "a", cluster=str(i // QUESTIONS) if cluster else "")
            curves = {"random": (kept[high], kept[high]), "gradient": (kept[False], kept[high])}
            found.append((prediction, 4, float(high), curves))
        return found

    settings = Settings({"t": Colours()}, attribution=Attribution(shares=[0.5]), bootstrap=Bootstrap(1000))
    tied, alone = (summary(rows(cluster), settings) for cluster in (True, False))
    for path in (("full",), ("harm", "gradient"), ("curves", "random", "unchanged", 0)):
        widths = []
        for found in (tied, alone):
            value: Any = found
            for key in path:
                value = value[key]
            widths.append(value["high"] - value["low"])
        assert widths[0] > 2 * widths[1], path


def test_robustness_is_resampled_by_cluster() -> None:
    clean = np.ones(600)
    corrupted = (np.arange(600) // QUESTIONS % 2).astype(float)
    images = [str(i // QUESTIONS) for i in range(600)]
    settings = Settings({"t": Colours()}, bootstrap=Bootstrap(1000))
    tied, alone = (
        ratios(corrupted, clean, 0.1 * clean, names, settings.bootstrap)
        for names in (images, list(map(str, range(600))))
    )
    for name in ("relative", "effective"):
        assert tied[name]["high"] - tied[name]["low"] > 2 * (alone[name]["high"] - alone[name]["low"])


def test_captions_of_one_picture_are_drawn_together_in_a_retrieval() -> None:
    """Five captions of each of 120 pictures, and those of every third picture find another one."""
    numbers = np.arange(600) // 5
    pictures = [Media("image", bytes([number])) for number in range(120)]
    samples = [AlignedSample("one id", (pictures[number], Text(f"caption {i}"))) for i, number in enumerate(numbers)]
    seen = np.where(numbers % 3 == 0, (numbers + 1) % 120, numbers)
    found = {
        "image": Embedded(np.eye(120)[numbers], np.arange(600), numbers),
        "text": Embedded(np.eye(120)[seen], np.arange(600), np.arange(600)),
    }
    report: dict[str, Any] = {"tasks": {}, "chance": {}, "recall_curves": {}}
    settings = RetrievalSettings({"t": samples}, bootstrap=Bootstrap(1000))  # type: ignore[dict-item]
    drawn = clusters_of(samples, "concept")
    for asked in retrieval.directions(found).values():
        retrieval._add_direction(report, "t", drawn, asked, settings)
    score = report["tasks"]["t/text_to_image"]["recall@1"]
    tied, alone = (bootstrap(numbers % 3 != 0, names, 1000) for names in (numbers.astype(str).tolist(), None))
    assert (score["value"], score["n"]) == (tied.value, 600)
    assert score["high"] - score["low"] == pytest.approx(tied.high - tied.low, rel=0.1)
    assert tied.high - tied.low > 2 * (alone.high - alone.low)
