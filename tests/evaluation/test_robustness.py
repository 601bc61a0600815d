"""Robustness is what its definition says, on predictions made by hand and on a model that runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from data.batching.absence import without
from data.batching.interleave import Interleaver
from data.media.corruptions import AudioNoise, ImageNoise, Typos
from data.tokenizer import Tokenizer
from data.types import Media, Message, Sample, Text
from evaluation.answering.answer_metrics import METRICS
from evaluation.answering.audit import Prior
from evaluation.answering.predict import Prediction
from evaluation.metrics.scores import bootstrap_ratio
from evaluation.reports.probe_report import draw_robustness, probe_lines, probe_pictures
from evaluation.robustness import blind_table, curves, damaged, points
from evaluation.run import chosen_evaluation, evaluate_checkpoint
from evaluation.scoring import evaluate
from evaluation.settings import Bootstrap, Robustness, Settings
from fusion.model import FusionModel
from tests.evaluation.colours import Colours
from tests.evaluation.saved_run import EVALUATION, save_run

Parts = tuple[FusionModel, Tokenizer, Interleaver]
SAMPLES = [Colours("typed", 8).sample(i, np.random.default_rng(0)) for i in range(16)]
CORRUPTIONS = {"noise": ImageNoise(), "typos": Typos(), "hiss": AudioNoise()}


def settings(**options: object) -> Settings:
    robustness = Robustness(CORRUPTIONS, **options)
    return Settings({"t": Colours()}, bootstrap=Bootstrap(1000), robustness=robustness)


def answered(right: Sequence[bool]) -> list[Prediction]:
    return [
        Prediction(sample, sample.messages[-1].content[0].text, sample.messages[-1].content[0].text if ok else "wrong")
        for sample, ok in zip(SAMPLES, right, strict=True)
    ]


def accuracy_curves(predictions: Sequence[Prediction], prior: Prior | None, chosen: Settings, ask: Any) -> Any:
    expected = [(item.sample.messages[-1],) for item in predictions]
    return curves("t", METRICS["accuracy"], predictions, expected, prior, chosen, ask)


def blind_hits(samples: Sequence[Sample], modality: str, prior: Prior) -> np.ndarray:
    return blind_table(samples, modality, prior, METRICS["accuracy"])[:, 0]


class Asked:
    """Answers in place of a model: of 16 questions, two fewer are right at every severity."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.samples: list[list[Sample]] = []

    def __call__(self, stage: str, samples: Sequence[Sample], *_: Any) -> list[Prediction]:
        self.stages.append(stage)
        self.samples.append(list(samples))
        severity = int(stage.rpartition(" ")[2])
        return answered([place < 16 - 2 * severity for place in range(16)])


def test_scores_are_those_of_the_definition() -> None:
    ask = Asked()
    prior = Prior("no", {"what color is it?": "red", "is it red?": "no"})
    found = accuracy_curves(answered([True] * 16), prior, settings(), ask)
    assert set(found["corruptions"]) == {"noise", "typos"}, "there is no sound to damage"
    assert ask.stages == [f"t, {name} {severity}" for name in ("noise", "typos") for severity in range(1, 6)]
    noise, typos = found["corruptions"]["noise"], found["corruptions"]["typos"]
    assert (found["n"], found["clean"]["value"]) == (16, 1.0)
    assert [score["value"] for score in noise["accuracy"]] == [14 / 16, 12 / 16, 10 / 16, 8 / 16, 6 / 16]
    assert noise["levels"] == list(ImageNoise.standard)
    assert noise["relative"]["value"] == pytest.approx(10 / 16)
    # Blind answers know the question unless it is what is damaged: red for 2 of 8 and no for 6 of 8, or no for 6 of 16.
    assert noise["floor"]["value"] == 8 / 16
    assert typos["floor"]["value"] == 6 / 16
    assert noise["effective"]["value"] == pytest.approx((10 / 16 - 8 / 16) / (1 - 8 / 16))
    assert typos["effective"]["value"] == pytest.approx((10 / 16 - 6 / 16) / (1 - 6 / 16))
    assert found["relative"]["value"] == pytest.approx(10 / 16)
    assert found["effective"]["value"] == pytest.approx((10 / 16 - 7 / 16) / (1 - 7 / 16))
    for score in (noise["relative"], noise["effective"], found["relative"]):
        assert score["low"] < score["value"] < score["high"]


def test_the_floor_follows_from_what_is_asked_about() -> None:
    """Of a typed question about a sound the damaged sound leaves the question, damaged words leave nothing."""
    prior = Prior("no", {"what color is it?": "red", "is it red?": "no"})
    heard = [heard_instead(sample) for sample in SAMPLES]
    assert blind_hits(heard, "audio", prior).tolist() == blind_hits(SAMPLES, "image", prior).tolist()
    assert blind_hits(heard, "audio", prior).sum() == 8
    assert blind_hits(heard, "text", prior).sum() == 6
    spoken = [Colours("spoken", 8).sample(i, np.random.default_rng(0)) for i in range(16)]
    assert blind_hits(spoken, "audio", prior).sum() == 6
    assert blind_hits(spoken, "image", prior).sum() == 8


def heard_instead(sample: Sample) -> Sample:
    """The same question about a sound in place of the image."""
    question = sample.messages[0].content[1]
    return replace(sample, messages=(Message("user", (Media("audio", torch.ones(4)), question)), sample.messages[1]))


def test_a_curve_is_of_the_rows_that_have_the_modality() -> None:
    mixed = [sample if place % 4 else without(sample, ["image"]) for place, sample in enumerate(SAMPLES)]
    seen: dict[str, int] = {}

    def ask(stage: str, samples: Sequence[Sample], *_: Any) -> list[Prediction]:
        seen[stage.split()[1]] = len(samples)
        return [Prediction(sample, "x", "y") for sample in samples]

    right = [Prediction(sample, "x", "y" if place % 4 == 1 else "x") for place, sample in enumerate(mixed)]
    found = accuracy_curves(right, Prior("no", {}), settings(), ask)
    assert seen == {"noise": 12, "typos": 16}
    noise, typos = found["corruptions"]["noise"], found["corruptions"]["typos"]
    assert (noise["n"], noise["clean"]["value"]) == (12, pytest.approx(8 / 12))
    assert (typos["n"], typos["clean"]["value"]) == (16, 12 / 16)
    assert noise["relative"]["value"] == typos["relative"]["value"] == found["relative"]["value"] == 0
    assert points(mixed, settings().robustness) == (12 + 16) * 5


def test_a_model_at_the_floor_has_no_effective_robustness() -> None:
    prior = Prior("no", {"what color is it?": "red", "is it red?": "no"})
    floor = blind_hits(SAMPLES, "image", prior) > 0
    found = accuracy_curves(answered(floor), prior, settings(), Asked())
    assert found["corruptions"]["noise"]["effective"] is None
    assert found["corruptions"]["noise"]["relative"] is not None
    assert accuracy_curves(answered([True] * 16), None, settings(), Asked())["corruptions"]["noise"]["floor"] is None
    nothing = accuracy_curves(answered([False] * 16), prior, settings(), Asked())
    assert nothing["relative"] is None


def test_a_ratio_is_of_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    below = (rng.random(400) < 0.6).astype(float)
    exact = bootstrap_ratio(0.5 * below, below)
    assert exact is not None
    assert (exact.low, exact.value, exact.high) == pytest.approx((0.5, 0.5, 0.5)), "what is common cancels"
    above = below * (rng.random(400) < 0.8)
    score = bootstrap_ratio(above, below)
    assert score is not None
    # A share of 0.8 of about 240 right answers: standard error sqrt(0.8 * 0.2 / 240) = 0.026.
    assert score.high - score.low == pytest.approx(4 * 0.026, rel=0.25)
    clustered = bootstrap_ratio(above, below, [str(i // 20) for i in range(400)])
    assert clustered is not None
    assert clustered != score
    assert bootstrap_ratio([0.0], [0.0]) is None
    with pytest.raises(ValueError, match="above has 2 and below 1"):
        bootstrap_ratio([1.0, 0.0], [1.0])


def test_a_higher_severity_is_more_of_the_same_damage() -> None:
    options = Robustness(CORRUPTIONS)
    before = SAMPLES[3].messages[0].content[0].source.float()
    shifts = []
    for severity in (1, 2):
        changed = damaged("t", SAMPLES, "noise", CORRUPTIONS["noise"], severity, options)[3]
        shifts.append((changed.messages[0].content[0].source.float() - before).flatten().numpy())
    assert np.corrcoef(shifts)[0, 1] > 0.9
    other = damaged("t", SAMPLES, "noise", CORRUPTIONS["noise"], 2, Robustness(CORRUPTIONS, seed=1))[3]
    shift = (other.messages[0].content[0].source.float() - before).flatten().numpy()
    assert abs(np.corrcoef(shift, shifts[1])[0, 1]) < 0.4


def test_questions_are_drawn_once_for_all_points() -> None:
    few = settings(max_samples=5)
    assert few.robustness is not None
    seen: list[list[str]] = []

    def ask(stage: str, samples: Sequence[Sample], *_: Any) -> list[Prediction]:
        seen.append([sample.id for sample in samples])
        return [Prediction(sample, "x", "x") for sample in samples]

    found = accuracy_curves(answered([True] * 16), None, few, ask)
    assert found["n"] == 5
    assert len({tuple(ids) for ids in seen}) == 1
    assert sum(map(len, seen)) == points(SAMPLES, few.robustness) == 5 * 5 * 2


class Grown(Typos):
    """Damage that makes a prompt longer than the model reads."""

    def apply(self, value: str, level: float, rng: np.random.Generator) -> str:
        return value * 100


def test_what_becomes_unreadable_is_wrong_and_not_an_end(trained: Parts) -> None:
    robustness = Robustness({"grown": Grown()})
    given = Settings({"t": Colours("typed", 4)}, max_new_tokens=4, bootstrap=Bootstrap(1000), robustness=robustness)
    report = evaluate(*trained, given, progress=False)
    curve = report["robustness"]["t"]["corruptions"]["grown"]
    assert [score["value"] for score in curve["accuracy"]] == [0] * 5
    assert report["data"]["skipped_in_evaluation"] == 0


def test_any_run_is_measured_by_naming_the_choices(
    trained: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, _ = trained
    save_run(tmp_path / "run", model, tokenizer)
    with initialize_config_module("conf", version_base="1.3"):
        chosen = ["evaluation/robustness=standard", "evaluation/attribution=standard"]
        config = compose("evaluate", ["checkpoint=x", *chosen, "evaluation.attribution.max_samples=4"])
    assert "tasks" not in config.evaluation
    given = chosen_evaluation(OmegaConf.to_container(config.evaluation), OmegaConf.create(EVALUATION))
    assert set(given["tasks"]) == {"typed", "spoken"}
    assert chosen_evaluation(None, "stored") == "stored"
    assert chosen_evaluation({"tasks": {}}, "stored") == {"tasks": {}}
    report = evaluate_checkpoint(tmp_path / "run", given, progress=False).report
    typed, spoken = (report["robustness"][task]["corruptions"] for task in ("typed", "spoken"))
    image = {"noise", "blur", "occlusion", "contrast"}
    assert set(typed) == image | {"typos"}
    assert set(spoken) == image | {"additive_noise", "clipping", "dropped_frames"}
    worst = [curve["accuracy"][4]["value"] for curve in (typed["noise"], spoken["additive_noise"])]
    assert min(worst) < report["tasks"]["typed"]["accuracy"]["value"]
    assert set(report["attribution"]["spoken"]) == {"image", "audio"}
    assert {"robustness.png", "deletion.png"} <= {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    text = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    for line in ("| image: noise | ", "- signal-to-noise ratio, dB", "typed, text: gradient", "figures/deletion.png"):
        assert line in text
    axes = draw_robustness(report["robustness"]).axes[0]
    drawn = axes.lines[0].get_ydata()
    expected = [report["robustness"]["typed"]["clean"], *typed["noise"]["accuracy"]]
    assert list(drawn) == [score["value"] for score in expected]


def test_a_plain_report_has_neither_table_nor_figure(report: dict[str, object], tmp_path: Path) -> None:
    assert probe_lines(report) == []
    assert probe_pictures(report) == {}


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match="corruptions is empty"):
        Robustness({})
    with pytest.raises(ValueError, match="max_samples=0"):
        Robustness(CORRUPTIONS, max_samples=0)


def test_no_user_no_damage() -> None:
    sample = Sample("x", (Message("system", (Text("a"),)), Message("assistant", (Text("b"),))))
    assert points([sample], Robustness(CORRUPTIONS)) == 0
