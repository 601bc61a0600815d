"""Free text is evaluated by metrics that say something of it, and shown by them; classes are evaluated as ever."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from data.batching.interleave import Interleaver
from data.media.corruptions import ImageNoise
from data.tokenizer import Tokenizer
from data.types import Message, Sample, Text
from evaluation.answering.answer_metrics import METRICS
from evaluation.answering.metric_choice import is_free_text
from evaluation.answering.predict import Prediction
from evaluation.answering.reply import reply
from evaluation.metrics.scores import main_metric
from evaluation.reports.answers import answer_rows
from evaluation.reports.figures.scores import draw_breakdown, pictures
from evaluation.reports.report import print_table, read_report, write_report
from evaluation.scoring import evaluate
from evaluation.settings import Bootstrap, Robustness, Settings
from fusion.model import FusionModel
from tests.evaluation.colours import Colours
from tests.evaluation.conftest import made_up_report

Parts = tuple[FusionModel, Tokenizer, Interleaver]
ROBUSTNESS = Robustness({"noise": ImageNoise()}, max_samples=6)


class Captions(Colours):
    """A caption for each picture, longer than a class."""

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(2 * index, rng)
        text = Text(f"{self.images[index][0]} it is, and number {index}")
        return replace(sample, messages=(sample.messages[0], Message("assistant", (text,))))


class Chosen(Captions):
    """Rows that name their candidates: two for each."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        return replace(sample, choices=(reply(sample.messages[-1]), "something else"))


def settings(source: Colours, **options: Any) -> Settings:
    prior = type(source)("typed", 8, seed=1)
    chosen = {"batch_size": 8, "max_new_tokens": 4, "bootstrap": Bootstrap(1000), "breakdown": ["answer_type"]}
    return Settings({"t": source}, **{"prior": prior, **chosen, **options})


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return {}


@pytest.fixture(scope="module")
def report(trained: Parts, answers: dict[str, Any]) -> dict[str, Any]:
    def keep(task: str, predictions: Any, metrics: Any) -> None:
        answers[task] = predictions, metrics

    return evaluate(*trained, settings(Captions("typed", 12), robustness=ROBUSTNESS), progress=False, keep=keep)


def test_captions_have_scores_with_intervals_and_no_accuracy(report: dict[str, Any], answers: dict[str, Any]) -> None:
    scores = report["tasks"]["t"]
    assert list(scores) == ["chrf", "loss", "perplexity", "choice"]
    assert main_metric(scores) == "chrf"
    predictions, metrics = answers["t"]
    for metric in metrics:
        found = scores[metric.name]
        assert found["value"] == pytest.approx(float(metric.value(metric.table(predictions).sum(axis=0))))
        assert found["low"] < found["value"] < found["high"]
        assert found["n"] == 12
    assert scores["perplexity"]["value"] == pytest.approx(np.exp(scores["loss"]["value"]))
    assert report["chance"] == {"t": {"choice": 0.25}}
    assert report["confusion"] == {"t": {}}


def test_the_audit_and_its_baselines_are_of_the_main_metric(report: dict[str, Any], answers: dict[str, Any]) -> None:
    predictions, _ = answers["t"]
    most_frequent = "red it is, and number 0"  # of twelve that occur once, the first
    blind = [replace(item, answer=most_frequent) for item in predictions]
    expected = float(METRICS["chrf"].value(METRICS["chrf"].table(blind).sum(axis=0)))
    assert report["audit"]["t"]["majority"]["value"] == pytest.approx(expected)
    assert expected > report["tasks"]["t"]["chrf"]["value"], "the model answers with a colour"
    assert {"question_only", "image_only", "image_shuffled"} <= set(report["audit"]["t"])
    assert report["audited_rows"]["t"]["image_only"] == report["tasks"]["t"]["chrf"]
    (whole,) = report["breakdown"]["t"]["answer_type"].values()
    assert whole == report["tasks"]["t"]["chrf"]


def test_curves_are_of_the_main_metric(report: dict[str, Any], trained: Parts) -> None:
    found = report["robustness"]["t"]
    assert found["metric"] == "chrf"
    assert len(found["corruptions"]["noise"]["chrf"]) == 5
    values = [score["value"] for score in found["corruptions"]["noise"]["chrf"]]
    assert found["relative"]["value"] == pytest.approx(np.mean(values) / found["clean"]["value"])
    chosen = settings(Captions("typed", 6), metrics=["loss"], robustness=ROBUSTNESS)
    by_loss = evaluate(*trained, chosen, progress=False)["robustness"]["t"]
    assert by_loss["relative"] is None, "no share of a loss is left"
    assert by_loss["corruptions"]["noise"]["floor"] is None
    assert by_loss["corruptions"]["noise"]["loss"][4]["value"] > 0


def test_a_loss_is_audited_without_generating(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    from evaluation.answering import asking

    predict = asking.predict
    monkeypatch.setattr(
        asking, "predict", lambda m, t, i, samples, **o: asked.append(1) or predict(m, t, i, samples, **o)
    )
    found = evaluate(*trained, settings(Captions("typed", 6), metrics=["loss", "wer"]), progress=False)
    assert len(asked) == 1, "the answers of the task alone"
    assert list(found["tasks"]["t"]) == ["loss", "wer"]
    assert set(found["audit"]["t"]) == {"question_only", "image_only", "image_shuffled"}
    assert found["omitted"]["t"]["majority"] == "what is answered without a model has no loss"
    assert found["audit"]["t"]["image_shuffled"]["value"] != found["tasks"]["t"]["loss"]["value"]


def test_every_answer_is_written_with_its_scores(answers: dict[str, Any]) -> None:
    rows = answer_rows("t", *answers["t"])
    first = answers["t"][0][0]
    assert set(rows[0]["scores"]) == {"chrf", "loss", "perplexity", "choice"}
    assert rows[0]["scores"]["loss"] == pytest.approx(first.likelihood.losses[0] / first.likelihood.tokens[0])
    assert rows[0]["tokens"] == first.likelihood.tokens[0]
    assert rows[0]["chosen"] in first.likelihood.answers
    plain = answer_rows("t", [replace(first, likelihood=None)], [METRICS["accuracy"]])
    assert not {"scores", "tokens", "chosen"} & set(plain[0])


def test_rows_may_name_their_candidates(trained: Parts) -> None:
    found = evaluate(*trained, settings(Chosen("typed", 6), metrics=["choice"], audit=False), progress=False)
    assert found["chance"] == {"t": {"choice": 0.5}}
    assert found["tasks"]["t"]["choice"]["n"] == 6


def test_a_choice_without_a_second_answer_is_left_out(trained: Parts) -> None:
    class Same(Captions):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            return replace(sample, messages=(sample.messages[0], Message("assistant", (Text("the same answer"),))))

    found = evaluate(*trained, settings(Same("typed", 4), metrics=["accuracy", "choice"]), progress=False)
    assert list(found["tasks"]["t"]) == ["accuracy"]
    assert "no question has a second candidate" in found["omitted"]["t"]["choice"]


def test_classes_are_measured_by_accuracy_alone(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.answering.asking.likelihoods", pytest.fail)
    found = evaluate(*trained, settings(Colours("typed", 6)), progress=False)
    assert list(found["tasks"]["t"]) == ["accuracy"]
    assert "spread" not in found
    assert "chance" not in found
    assert found["confusion"]["t"]


@pytest.mark.parametrize(
    ("answers", "free"),
    [
        ([f"a red kangaroo and {place} others" for place in range(9)], True),
        ([f"a red kangaroo and {place // 2} others" for place in range(10)], True),
        (["yes", "no", "red"] * 3, False),
        ([str(place) for place in range(100)], False),
        (["I cannot see any picture, sorry", "this is what it seems to be"] * 20, False),
        (["the same long answer to all of them"] * 2, False),
        ([f'<|tool_call|>{{"arguments": {{"a": {place}}}, "name": "look"}}' for place in range(9)], False),
        ([f"一只红色的大袋鼠站在草地上看着{place}" for place in range(9)], True),
    ],
)
def test_free_text_is_long_and_hardly_ever_expected_again(answers: list[str], free: bool) -> None:
    assert is_free_text(answers) is free


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["bleu"]}, "metrics: 'bleu' must be one of accuracy, chrf, wer, loss, perplexity, choice"),
        ({"metrics": ["loss", "loss"]}, "metrics: 'loss' stands there twice"),
        ({"metrics": "loss"}, "metrics='loss' must be a list"),
        ({"metrics": []}, r"metrics=\[\] must be a list"),
        ({"choices": 1}, "choices=1 must be at least 2"),
    ],
)
def test_wrong_metrics_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(Colours(), **options)


def whole(report: dict[str, Any]) -> dict[str, Any]:
    """With what a run adds to the evaluation."""
    made_up = made_up_report()
    return {**report, "train": made_up["train"], "provenance": report["provenance"] | made_up["provenance"]} | {
        "model": {**report["model"], "flops": {**report["model"]["flops"], "training": None}}
    }


def test_the_report_shows_the_metrics_that_are_there(report: dict[str, Any], tmp_path: Path) -> None:
    write_report(whole(report), tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    score = report["tasks"]["t"]["chrf"]
    assert f"| **t** | {100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}] | 12 |" in text
    loss = report["tasks"]["t"]["loss"]
    assert f"| t: loss | {loss['value']:.3f} [{loss['low']:.3f}, {loss['high']:.3f}] |  | 12 |" in text
    assert "| 25.0 | 12 |" in text, "chance of a choice"
    assert "The worst answers, t" in text
    assert "it is, and number" in text
    assert "Accuracy" not in text.replace("Accuracy in percent, if no other score is named", "")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"scores_chrf.png", "breakdown_answer_type_chrf.png", "spread.png", "robustness.png"}
    assert read_report(tmp_path) == json.loads(json.dumps(whole(report)))


def test_the_terminal_shows_the_metrics_that_are_there(report: dict[str, Any]) -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    print_table(report, console)
    shown = console.export_text()
    assert "chrF, 0 to 100, with 95 % interval" in shown
    for text in ("loss", "perplexity", "(lower is better)", "chance 25.0"):
        assert text in shown
    assert "accuracy" not in shown


def test_mixed_tasks_are_shown_each_by_its_own_metric(report: dict[str, Any], tmp_path: Path) -> None:
    both = made_up_report()
    for key in ("tasks", "breakdown", "audit", "omitted", "confusion"):
        both[key]["t"] = report[key]["t"]
    names = {f"{name}.png" for name, _ in pictures(both, None).values()}
    assert {"scores.png", "scores_chrf.png", "breakdown_answer_type.png", "breakdown_answer_type_chrf.png"} <= names
    assert {"confusion_t.png"}.isdisjoint(names)
    write_report(both, tmp_path)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "| answer type | easy_vqa/typed | easy_vqa/spoken | t, chrF |" in text


def test_the_worst_row_is_that_with_the_highest_loss() -> None:
    scores = {"t": {key: {"value": value, "low": value, "high": value, "n": 3} for key, value in (("a", 1), ("b", 2))}}
    labels = [text.get_text() for text in draw_breakdown("kind", scores, "loss").axes[0].get_yticklabels()]
    assert labels[0].startswith("b")
    labels = [text.get_text() for text in draw_breakdown("kind", scores, "chrf").axes[0].get_yticklabels()]
    assert labels[0].startswith("a")


def test_examples_are_the_worst_and_the_best(report: dict[str, Any], answers: dict[str, Any]) -> None:
    found = report["spread"]["t"]
    scores = sorted(METRICS["chrf"].of_each(answers["t"][0]))
    assert [row["score"] for row in found["worst"]] == pytest.approx(scores[:5])
    assert [row["score"] for row in found["best"]] == pytest.approx(scores[-5:][::-1])
    assert sum(found["counts"]) == 12
    assert isinstance(answers["t"][0][0], Prediction)
