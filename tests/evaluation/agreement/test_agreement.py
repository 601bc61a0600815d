"""Pairs are those that rows state; what is counted is what was answered; who wins is who was followed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from data.batching.interleave import Interleaver
from data.tokenizer import Tokenizer
from data.types import Media, Sample, Text
from evaluation.agreement.conflicts import made_conflicts
from evaluation.agreement.measure import Plan, measure
from evaluation.agreement.sides import pairings, sides_of
from evaluation.answering.audit import expected_answer
from evaluation.answering.predict import Prediction
from evaluation.answering.questions import Questions, read_samples
from evaluation.scoring import evaluate
from evaluation.settings import AgreementOptions, Bootstrap, Settings
from fusion.model import FusionModel
from tests.evaluation.agreement.forms import Answering, Named, Paired
from tests.evaluation.colours import Colours

Parts = tuple[FusionModel, Tokenizer, Interleaver]
BOOT = Bootstrap(1000)
ALL = AgreementOptions(max_samples=None)


def prepared(**sources: Any) -> dict[str, Questions]:
    settings = Settings(sources, audit=False, metrics=["accuracy"], bootstrap=BOOT)
    return {name: Questions.prepare(name, read_samples(source), settings) for name, source in sources.items()}


def answers(questions: Questions, **wrong: str) -> list[Prediction]:
    """Right answers, but for those of some rows by their place, `row_3="blue"`."""
    return [
        Prediction(sample, expected_answer(sample), wrong.get(f"row_{place}", expected_answer(sample)))
        for place, sample in enumerate(questions.samples)
    ]


def pair_of(wrong_typed: dict[str, str], wrong_spoken: dict[str, str]) -> dict[str, Any]:
    tasks = prepared(typed=Paired("typed", 8), spoken=Paired("spoken", 8))
    answered = {"typed": answers(tasks["typed"], **wrong_typed), "spoken": answers(tasks["spoken"], **wrong_spoken)}
    found = measure(Plan.of(tasks, ALL, ()), answered, Answering(expected_answer), BOOT)
    assert found is not None
    (pair,) = found["pairs"]
    return pair


def test_counts_and_agreement_are_those_of_the_answers() -> None:
    """Of 16 questions: rows 0 and 2 are wrong on both sides, once equally; 4 typed alone; 6 and 8 spoken alone."""
    pair = pair_of(
        {"row_0": "blue", "row_2": "red", "row_4": "red"},
        {"row_0": "Blue ", "row_2": "white", "row_6": "red", "row_8": "green"},
    )
    assert pair["sides"] == ["typed", "spoken"]
    assert pair["carriers"] == ["text", "audio"]
    assert pair["n"] == 16
    assert pair["counts"] == {"both_right": 11, "only_first": 2, "only_second": 1, "both_wrong": 2}
    assert [score["value"] for score in pair["accuracy"]] == [13 / 16, 12 / 16]
    assert pair["answers"]["observed"]["value"] == 12 / 16, "case and white space do not matter"
    assert pair["right"]["observed"]["value"] == 13 / 16
    assert pair["right"]["chance"] == pytest.approx(13 / 16 * 12 / 16 + 3 / 16 * 4 / 16), "of independent models"
    assert pair["wrong"]["observed"]["value"] == 1 / 2
    assert pair["wrong"]["observed"]["n"] == 2
    for score in (pair["answers"]["kappa"], pair["right"]["kappa"]):
        assert score["low"] < score["value"] < score["high"]


def test_a_wrong_yes_is_no_agreement_beyond_chance() -> None:
    """To a question of yes or no there is one wrong answer; rows 3 and 5 ask whether a green and a blue one is red."""
    pair = pair_of({"row_3": "yes", "row_5": "yes"}, {"row_3": "yes", "row_5": "yes"})
    assert pair["wrong"]["observed"]["value"] == 1
    assert pair["wrong"]["chance"] == 1


def test_rows_without_a_pair_and_pairs_that_differ_are_left_out() -> None:
    class Other(Paired):
        """Row 0 has no pair, row 1 that of another row, and row 2 expects something else."""

        def sample(self, index: int, rng: np.random.Generator) -> Sample:
            sample = super().sample(index, rng)
            if index < 2:
                metadata = {key: value for key, value in sample.metadata.items() if key != "pair"}
                return replace(sample, metadata=metadata | ({"pair": "question 3"} if index else {}))
            wrong = (sample.messages[0], replace(sample.messages[1], content=(Text("black"),)))
            return replace(sample, messages=wrong) if index == 2 else sample

    tasks = prepared(typed=Paired("typed", 4), other=Other("spoken", 4))
    (pairing,) = pairings(sides_of(tasks, ALL, ()))
    assert set(pairing.pairs) == {f"question {place}" for place in range(4, 8)}, "question 3 is ambiguous"
    assert pairing.other_answer == 1
    assert pairings(sides_of(prepared(typed=Colours("typed"), spoken=Colours("spoken")), ALL, ())) == []


def test_what_the_model_never_has_is_no_side() -> None:
    tasks = prepared(typed=Paired("typed"), spoken=Paired("spoken"))
    assert Plan.of(tasks, ALL, {"audio"}).pairs == ()
    assert Plan.of(tasks, None, ()).size == 0


def asked_in(sample: Sample) -> list[str]:
    return [item.modality for item in sample.messages[0].content]


def test_conflicts_ask_two_questions_of_one_picture() -> None:
    tasks = prepared(typed=Paired("typed", 8), spoken=Paired("spoken", 8))
    (pairing,) = pairings(sides_of(tasks, ALL, ()))
    made = made_conflicts(pairing, ALL)
    assert made is not None
    assert len(made.items) == 32, "a conflict and an agreeing sample of each of 16 questions"
    spoken = {id(sample.messages[0].content[1]): sample for sample in tasks["spoken"].samples}
    for item in made.items:
        image, *questions = item.sample.messages[0].content
        typed, heard = sorted(questions, key=lambda question: question.modality, reverse=True)
        assert item.last == questions[-1].modality
        other = spoken[id(heard)]
        assert other.messages[0].content[0] is not None
        assert isinstance(image, Media)
        assert (other.metadata["image"], item.cluster) == (item.sample.metadata["image"], other.metadata["image"])
        assert item.says == {"text": expected_answer(item.sample), "audio": expected_answer(other)}
        assert item.is_conflict == (other.metadata["question"] != typed.text)
    for kind in (True, False):
        orders = [asked_in(item.sample)[1] for item in made.items if item.is_conflict == kind]
        assert orders.count("text") == orders.count("audio") == 8
    again = made_conflicts(pairing, ALL)
    assert again is not None
    assert [item.says for item in again.items] == [item.says for item in made.items]
    few = made_conflicts(pairing, AgreementOptions(max_samples=3))
    assert few is not None
    assert len(few.items) == 6


def heard_wins(sample: Sample) -> str:
    """Follows the sound: it asks for the colour where it rises, so by the length of `COLOURS` in the test's labels."""
    return LABELS[id(next(item for item in sample.messages[0].content if item.modality == "audio"))]


LABELS: dict[int, str] = {}


def test_who_is_followed_wins_and_an_unsure_model_says_so() -> None:
    tasks = prepared(typed=Paired("typed", 8), spoken=Paired("spoken", 8))
    LABELS.update({id(s.messages[0].content[1]): expected_answer(s) for s in tasks["spoken"].samples})
    plan = Plan.of(tasks, AgreementOptions(max_samples=None, admits=["no"]), ())
    ask = Answering(heard_wins, loss=lambda sample: 2.0 if heard_wins(sample) != expected_answer(sample) else 0.5)
    found = measure(plan, {name: answers(questions) for name, questions in tasks.items()}, ask, BOOT)
    assert found is not None
    (conflict,) = found["conflicts"]
    assert (conflict["tasks"], conflict["made"], conflict["n"]) == (["typed", "spoken"], True, 16)
    assert {name: score["value"] for name, score in conflict["follows"].items()} == {
        "text": 0.0, "audio": 1.0, "neither": 0.0
    }  # fmt: skip
    assert conflict["last"]["value"] == 0.5, "the sound is last in half of them"
    assert conflict["agreeing"]["value"] == 1
    assert conflict["auroc"]["value"] == 1
    assert conflict["probability"]["conflict"]["value"] == pytest.approx(np.exp(-2.0))
    assert conflict["probability"]["agreeing"]["value"] == pytest.approx(np.exp(-0.5))
    assert conflict["admits"]["conflict"]["value"] == 6 / 16, "of 16 sounds that are heard six ask for a no"
    assert plan.size == sum(len(samples) for samples in ask.asked.values())
    indifferent = measure(plan, {name: answers(item) for name, item in tasks.items()}, Answering(heard_wins), BOOT)
    assert indifferent is not None
    assert indifferent["conflicts"][0]["auroc"]["value"] == 0.5


def test_a_row_of_two_carriers_is_asked_with_each_alone_and_exchanged_in_its_place() -> None:
    tasks = prepared(named=Named("typed", 8))
    plan = Plan.of(tasks, ALL, ())
    (pairing,) = plan.pairs
    assert [side.name for side in plan.sides] == ["named: image", "named: audio"]
    seen = {side.carrier: asked_in(next(iter(side.rows.values())).sample) for side in plan.sides}
    assert seen == {"image": ["image", "audio", "text"], "audio": ["image", "audio", "text"]}
    ask = Answering(expected_answer)
    found = measure(plan, {"named": answers(tasks["named"])}, ask, BOOT)
    assert found is not None
    given = {
        name: {item.modality for item in ask.asked[f"agreement, named: {name}"][0].messages[0].content
               if isinstance(item, Media)}
        for name in ("image", "audio")
    }  # fmt: skip
    assert given == {"image": {"image"}, "audio": {"audio"}}
    (conflict,) = found["conflicts"]
    assert conflict["follows"]["image"]["value"] == 1
    assert "last" in conflict
    for sample in ask.asked["conflicts of named and named"]:
        assert asked_in(sample) == ["image", "audio", "text"], "as the rows are"
        assert all(isinstance(item, Media) for item in sample.messages[0].content[:2])
    assert len(pairing.pairs) == 8


class Stating(Colours):
    """Every second row says that a picture and a sound contradict one another."""

    def sample(self, index: int, rng: np.random.Generator) -> Sample:
        sample = super().sample(index, rng)
        says = {"says_image": expected_answer(sample), "says_audio": "black" if index % 2 else expected_answer(sample)}
        return replace(sample, metadata={**sample.metadata, **says})


def test_rows_may_state_their_own_contradictions() -> None:
    tasks = prepared(stated=Stating("typed", 8))
    plan = Plan.of(tasks, ALL, ())
    wrong = {"row_1": "black", "row_3": "black", "row_5": "teal"}
    ask = Answering(expected_answer)
    found = measure(plan, {"stated": answers(tasks["stated"], **wrong)}, ask, BOOT)
    assert found is not None
    (conflict,) = found["conflicts"]
    assert (conflict["made"], conflict["n"], found["pairs"]) == (False, 8, [])
    assert {name: score["value"] for name, score in conflict["follows"].items()} == {
        "audio": 2 / 8, "image": 5 / 8, "neither": 1 / 8
    }  # fmt: skip
    assert conflict["accuracy"]["value"] == 5 / 8
    assert list(ask.asked) == ["conflicts of stated, probability"], "the answers are there already"


def test_three_sides_have_one_kappa_of_all() -> None:
    tasks = prepared(a=Paired("typed", 8), b=Paired("typed", 8), c=Paired("spoken", 8))
    answered = {name: answers(questions, row_0="blue") for name, questions in tasks.items()}
    found = measure(Plan.of(tasks, ALL, ()), answered, Answering(expected_answer), BOOT)
    assert found is not None
    assert [pair["sides"] for pair in found["pairs"]] == [["a", "b"], ["a", "c"], ["b", "c"]]
    (family,) = found["families"]
    assert (family["sides"], family["n"], family["answers"]["kappa"]["value"]) == (["a", "b", "c"], 16, 1)


def test_a_trained_model_agrees_with_itself_and_old_questions_have_no_agreement(trained: Parts) -> None:
    boot = {"audit": False, "bootstrap": BOOT, "max_new_tokens": 4}
    tasks = {"typed": Paired("typed", 8), "spoken": Paired("spoken", 8)}
    report = evaluate(*trained, Settings(tasks, **boot), progress=False)
    (pair,) = report["agreement"]["pairs"]
    assert pair["answers"]["kappa"]["value"] > 0.9
    (conflict,) = report["agreement"]["conflicts"]
    assert sum(score["value"] for score in conflict["follows"].values()) == pytest.approx(1)
    assert 0 <= conflict["auroc"]["value"] <= 1
    again = evaluate(*trained, Settings(tasks, batch_size=3, **boot), progress=False)
    assert again["agreement"]["pairs"] == report["agreement"]["pairs"]
    plain = {"typed": Colours("typed", 4), "spoken": Colours("spoken", 4)}
    assert "agreement" not in evaluate(*trained, Settings(plain, **boot), progress=False)
    assert "agreement" not in evaluate(*trained, Settings(tasks, agreement=None, **boot), progress=False)


def test_the_settings_name_a_wrong_value() -> None:
    with pytest.raises(ValueError, match="max_samples=0 must be at least 1, or null for all"):
        AgreementOptions(max_samples=0)
