"""Evaluation of a real, tiny model that has learned its task: what it scores, and what it loses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import BadSampleError, Media, Message, Sample, Text
from evaluation.answering.predict import predict
from evaluation.reports.accuracy_report import family_lines
from evaluation.scoring import Questions, by_family, evaluate, read_samples
from evaluation.settings import Settings
from fusion.model import FusionModel
from tests.evaluation.colours import Colours

Parts = tuple[FusionModel, Tokenizer, Interleaver]


def settings(**changes: Any) -> Settings:
    tasks = {"typed": Colours("typed"), "spoken": Colours("spoken")}
    return replace(Settings(tasks, prior=Colours(seed=1), audit_samples=None, batch_size=16), **changes)


@pytest.fixture(scope="module")
def scores(trained: Parts) -> dict[str, Any]:
    return evaluate(*trained, settings(), progress=False)


def value(report: dict[str, Any], task: str, condition: str) -> float:
    return report["audit"][task][condition]["value"]


def test_a_model_that_has_learned_scores_above_everything_blind(scores: dict[str, Any]) -> None:
    for task in ("typed", "spoken"):
        assert scores["tasks"][task]["accuracy"]["value"] >= 0.95
        assert scores["tasks"][task]["accuracy"]["n"] == 48
        assert value(scores, task, "majority") == pytest.approx(18 / 48), "'no' is the most frequent answer"
        assert value(scores, task, "question_majority") == pytest.approx((6 + 18) / 48)


def test_it_falls_when_a_modality_is_taken_away_or_exchanged(scores: dict[str, Any]) -> None:
    for task in ("typed", "spoken"):
        for condition in ("question_only", "image_only", "image_shuffled"):
            assert value(scores, task, condition) < 0.7
    assert value(scores, "spoken", "audio_shuffled") < 0.9
    assert "audio_shuffled" not in scores["audit"]["typed"]
    assert scores["omitted"] == {"typed": {}, "spoken": {}}


def test_breakdown_adds_up_to_the_whole(scores: dict[str, Any]) -> None:
    for task, whole in scores["tasks"].items():
        parts = scores["breakdown"][task]["answer_type"].values()
        hits = sum(part["value"] * part["n"] for part in parts)
        assert sum(part["n"] for part in parts) == whole["accuracy"]["n"]
        assert hits == pytest.approx(whole["accuracy"]["value"] * whole["accuracy"]["n"])
        assert "template" not in scores["breakdown"][task], "no sample says its template"
        assert sum(sum(row.values()) for row in scores["confusion"][task].values()) == 48


@pytest.mark.parametrize("trained_weights", [True, False])
def test_batch_size_changes_no_answer_and_no_figure(trained: Parts, trained_weights: bool) -> None:
    model, tokenizer, interleaver = trained
    if not trained_weights:  # answers of many tokens, as far as they may be
        model = perturbed(model)
    samples = [sample for kind in ("typed", "spoken") for sample in read_samples(Colours(kind, num_images=12))]
    answers = {}
    for size in (1, 64):
        predictions = predict(model, tokenizer, interleaver, samples, batch_size=size, max_new_tokens=6)
        answers[size] = [prediction.answer for prediction in predictions]
        assert [prediction.sample for prediction in predictions] == samples
    assert answers[1] == answers[64]
    if trained_weights:
        tasks = {kind: Colours(kind, num_images=6) for kind in ("typed", "spoken")}
        one, many = (evaluate(*trained, settings(tasks=tasks, batch_size=size), progress=False) for size in (1, 64))
        assert one == many


def perturbed(model: FusionModel) -> FusionModel:
    import copy

    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def test_equal_prompts_are_answered_once(trained: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer, interleaver = trained
    asked: list[str] = []
    prompt = interleaver.prompt
    monkeypatch.setattr(interleaver, "prompt", lambda sample: asked.append(sample.id) or prompt(sample))
    blind = [replace_user(sample, Text("what color is it?")) for sample in read_samples(Colours(num_images=8))]
    done: list[int] = []
    predictions = predict(model, tokenizer, interleaver, blind, batch_size=4, advance=done.append)
    assert asked == ["0"]
    assert len({prediction.answer for prediction in predictions}) == 1
    assert [prediction.sample for prediction in predictions] == blind
    assert sum(done) == len(blind)


def replace_user(sample: Sample, *content: Text | Media) -> Sample:
    return replace(sample, messages=(Message("user", content), sample.messages[-1]))


class OneBroken(Colours):
    """The third sample shows a tensor that is no image."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        return (
            replace_user(sample, Media("image", torch.zeros(4, 4, dtype=torch.uint8)), Text("?"))
            if index == 2
            else sample
        )


def test_a_bad_sample_stops_or_is_counted(trained: Parts) -> None:
    chosen = settings(tasks={"typed": OneBroken()}, audit=False)
    with pytest.raises(BadSampleError, match=r"colours \(id 2\).*\(4, 4\)"):
        evaluate(*trained, chosen, progress=False)
    report = evaluate(*trained, chosen, on_bad_sample="skip", progress=False)
    assert report["tasks"]["typed"]["accuracy"]["n"] == 47
    assert report["data"]["skipped_in_evaluation"] == 1
    assert "colours (id 2)" in report["data"]["reasons"][0]
    assert report["audit"] == {"typed": {}}
    (reason,) = report["data"]["reasons"]
    assert report["data"]["tasks"] == {"typed": {"rows": 48, "skipped": 1, "first": reason}}


class HalfUnread(Colours):
    """Every second row cannot be read, and the third one not be asked."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        if index % 2:
            raise BadSampleError(f"test.jsonl:{index + 1}: image cannot be read")
        sample = super().sample(index, rng)
        return replace_user(sample, Media("smell", b"?"), Text("?")) if index == 2 else sample


def test_every_task_says_how_many_of_its_rows_were_skipped(trained: Parts) -> None:
    chosen = settings(tasks={"whole": Colours(), "half": HalfUnread()}, audit=False)
    report = evaluate(*trained, chosen, on_bad_sample="skip", progress=False)
    assert report["data"]["skipped_in_evaluation"] == 25
    assert report["data"]["tasks"]["whole"] == {"rows": 48, "skipped": 0, "first": None}
    found = report["data"]["tasks"]["half"]
    assert (found["rows"], found["skipped"]) == (48, 25)
    assert found["first"] == "test.jsonl:2: image cannot be read"
    assert report["tasks"]["half"]["accuracy"]["n"] == 23


def test_nothing_left_to_ask_is_an_error(trained: Parts) -> None:
    class AllBroken(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            return replace_user(super().sample(index, rng), Media("smell", b"?"), Text("?"))

    with pytest.raises(BadSampleError, match=r"typed: no sample can be used; the first: .*'smell'"):
        evaluate(*trained, settings(tasks={"typed": AllBroken()}), on_bad_sample="skip", progress=False)


def test_audit_samples_are_a_seeded_part(trained: Parts) -> None:
    samples = read_samples(Colours())
    first, again = (Questions.prepare("typed", samples, settings(audit_samples=10)) for _ in range(2))
    other = Questions.prepare("spoken", samples, settings(audit_samples=10))
    ids = [sample.id for sample in first.changed["image_only"].samples]
    assert len(ids) == 10
    assert ids == [sample.id for sample in again.changed["image_only"].samples]
    assert ids != [sample.id for sample in other.changed["image_only"].samples]
    assert [sample.id for sample in first.changed["image_shuffled"].samples] == ids
    assert [samples[place].id for place in first.changed["image_only"].places] == ids


def test_what_cannot_be_audited_is_named(trained: Parts) -> None:
    class Unworded(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            return replace(super().sample(index, rng), metadata={})

    report = evaluate(*trained, settings(tasks={"spoken": Unworded("spoken", 4)}), progress=False)
    assert "words of the questions are not known" in report["omitted"]["spoken"]["question_majority"]
    report = evaluate(*trained, settings(tasks={"typed": Colours("typed", 4)}, prior=None), progress=False)
    assert "prior" in report["omitted"]["typed"]["majority"]


class Mixed(Colours):
    """Rows of three kinds in turn: an image with a typed question, with a spoken one, and a question alone."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        kind = index // 2 % 3
        self.questions = "spoken" if kind == 1 else "typed"
        sample = super().sample(index, rng)
        return sample if kind < 2 else replace_user(sample, *sample.messages[0].content[1:])


def test_mixed_rows_are_audited_each_condition_with_its_number(trained: Parts) -> None:
    report = evaluate(*trained, settings(tasks={"mixed": Mixed(num_images=24)}), progress=False)
    numbers = {name: score["n"] for name, score in report["audit"]["mixed"].items()}
    both = {"question_only": 32, "image_only": 32, "image_shuffled": 32}
    assert numbers == both | {"majority": 48, "question_majority": 48, "audio_shuffled": 16}
    same = {name: score["n"] for name, score in report["audited_rows"]["mixed"].items()}
    assert same == both | {"audio_shuffled": 16}
    accuracy = report["tasks"]["mixed"]["accuracy"]
    assert accuracy["n"] == 48
    assert report["audited_rows"]["mixed"]["image_only"]["value"] >= 0.95 > accuracy["value"], "16 rows lack the image"
    assert report["context"] == {"mixed": ["image"]}


def test_questions_without_known_words_have_no_baseline_and_the_others_have(trained: Parts) -> None:
    class HalfWorded(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            return replace(sample, metadata={}) if index % 4 == 0 else sample

    report = evaluate(*trained, settings(tasks={"spoken": HalfWorded("spoken", 4)}), progress=False)
    assert report["audit"]["spoken"]["majority"]["n"] == 8
    assert report["audit"]["spoken"]["question_majority"]["n"] == 6


def test_a_question_that_is_not_where_the_sample_says_is_a_bad_sample(trained: Parts) -> None:
    class Elsewhere(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            return replace(super().sample(index, rng), metadata={"asked_in": "audio"})

    with pytest.raises(BadSampleError, match=r"colours \(id 0\): metadata.asked_in: 'audio' must be none or"):
        read_samples(Elsewhere())


def test_the_data_hash_follows_the_data(trained: Parts, scores: dict[str, Any]) -> None:
    other = evaluate(*trained, settings(tasks={"typed": Colours(seed=3)}, audit=False), progress=False)
    assert other["provenance"]["data_hash"] != scores["provenance"]["data_hash"]


def test_a_sample_must_end_with_an_answer() -> None:
    class Unanswered(Colours):
        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            return replace(sample, messages=sample.messages[:1])

    with pytest.raises(BadSampleError, match="must end with the assistant's expected answer"):
        read_samples(Unanswered())
    reasons: list[str] = []
    assert read_samples(Unanswered(num_images=3), reasons) == []
    assert len(reasons) == 6


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"max_new_tokens": 0}, {"audit_samples": 0}, {"tasks": {}}])
def test_settings_name_the_wrong_value(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        settings(**changes)


def test_spoken_scores_are_reported_by_family_of_synthesisers() -> None:
    right, wrong = ({"value": value, "low": 0.1, "high": 0.9, "n": 10} for value in (0.8, 0.3))
    breakdowns: dict[str, Any] = {
        "typed": {"voice": {}},
        "spoken": {"voice": {"a": right}, "synthesiser": {"espeak": right}},
        "new": {"synthesiser": {"piper": wrong, "espeak": right}},
    }
    families = by_family(breakdowns)
    assert families == {"espeak": {"spoken": right, "new": right}, "piper": {"new": wrong}}
    assert breakdowns == {"typed": {"voice": {}}, "spoken": {"voice": {"a": right}}, "new": {}}
    lines = family_lines({"families": families})
    assert "| piper | new | 30.0 [10.0, 90.0] | 10 |" in lines
    assert any("none of them speaks as people do" in line for line in lines)
    assert family_lines({}) == []
