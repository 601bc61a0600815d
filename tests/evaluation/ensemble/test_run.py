"""Several checkpoints on disk to one report on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from bakeoff.results.gather import read_answered
from data.batching.interleave import Interleaver
from data.sources.base import read_sample
from data.tokenizer import Tokenizer
from data.types import BadInputError, Media, Message, Text
from evaluation.answering.likelihood import likelihoods
from evaluation.answering.reply import reply
from evaluation.ensemble.averaging import probabilities
from evaluation.ensemble.facts import summed
from evaluation.ensemble.members import Member
from evaluation.ensemble.run import common_evaluation, evaluate_ensemble
from evaluation.reports.answers import read_answers
from evaluation.reports.report import read_report
from evaluation.run import Evaluated, evaluate_checkpoint
from fusion.build import build_model
from fusion.checkpoint import load_model
from fusion.model import FusionModel
from tests.evaluation.colours import Colours, parts
from tests.evaluation.saved_run import EVALUATION, TYPED, config, save_run
from tests.fusion.builders import perturb

Parts = tuple[FusionModel, Tokenizer, Interleaver]
TYPED_ALONE = EVALUATION | {"tasks": {"typed": TYPED}, "audit": False}
CANDIDATES = ("blue", "green", "no", "red", "white", "yes")


@pytest.fixture(scope="module")
def runs(trained: Parts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that is trained, one that is not, and one that never had sound: it has no encoder for it."""
    model, tokenizer, _ = trained
    folder = tmp_path_factory.mktemp("runs") / "colours"
    save_run(folder / "first", model, tokenizer)
    other, _, _ = parts(seed=1)
    perturb(other)
    save_run(folder / "second", other, tokenizer, seed=1)
    stored = config()
    del stored["encoders"]["audio"], stored["data"]["processors"]["audio"]
    stored["data"]["without"] = ["audio"]
    torch.manual_seed(2)
    deaf = build_model(OmegaConf.create(stored), tokenizer.vocab_size)
    perturb(deaf)
    save_run(folder / "deaf", deaf, tokenizer, stored=stored)
    return {name: folder / name for name in ("first", "second", "deaf")}


@pytest.fixture(scope="module")
def alone(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The trained run by itself."""
    return evaluate_checkpoint(runs["first"], TYPED_ALONE, tmp_path_factory.mktemp("alone"), progress=False)


@pytest.fixture(scope="module")
def both(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The trained run with the other."""
    members = [runs["first"], runs["second"]]
    return evaluate_ensemble(members, TYPED_ALONE, tmp_path_factory.mktemp("both"), progress=False)


def test_a_run_with_itself_is_the_run(runs: dict[str, Path], alone: Evaluated, tmp_path: Path) -> None:
    twice = evaluate_ensemble([runs["first"]] * 2, TYPED_ALONE, tmp_path / "twice", progress=False)
    for key in ("tasks", "breakdown", "confusion", "clusters", "context"):
        assert twice.report[key] == alone.report[key]
    assert read_answers(twice.folder) == read_answers(alone.folder)
    for member in twice.report["ensemble"]["members"]:
        assert member["tasks"] == twice.report["tasks"]
    model, double = alone.report["model"], twice.report["model"]
    assert double["parameters"] == 2 * model["parameters"]
    assert double["active_parameters"] == 2 * model["active_parameters"]
    assert double["flops"]["inference"] == pytest.approx(2 * model["flops"]["inference"])
    assert twice.report["train"] == {"seconds": 20.0, "steps": 40, "tokens": 4000}
    assert twice.report["provenance"]["data_hash"] == alone.report["provenance"]["data_hash"]
    with pytest.raises(BadInputError, match=r"holds report\.json already"):
        evaluate_ensemble([runs["first"]] * 2, TYPED_ALONE, twice.folder, progress=False)


def test_a_bakeoff_reads_it_as_it_reads_a_run(alone: Evaluated, both: Evaluated) -> None:
    found = read_answered({"one": [alone.folder], "two": [both.folder]})
    assert found.values["typed"]["one"].shape == found.values["typed"]["two"].shape == (1, 16)
    report = read_report(both.folder)
    assert report == both.report
    assert found.values["typed"]["two"].mean() == report["tasks"]["typed"]["accuracy"]["value"]


def mean_by_hand(folders: list[Path], interleavers: list[Interleaver], sample: Any) -> np.ndarray:
    """The mean of the members' probabilities of `CANDIDATES`."""
    answers = [Message("assistant", (Text(text),)) for text in CANDIDATES]
    found = []
    for folder, interleaver in zip(folders, interleavers, strict=True):
        (likelihood,) = likelihoods(load_model(folder).model, interleaver, [sample], [answers])
        assert likelihood is not None
        shares = np.exp(-np.array(likelihood.losses))
        found.append(shares / shares.sum())
        np.testing.assert_allclose(found[-1], probabilities(likelihood))
    return np.mean(found, axis=0)


def test_two_members_answer_by_the_mean_of_their_probabilities(
    runs: dict[str, Path], trained: Parts, both: Evaluated
) -> None:
    members = [runs["first"], runs["second"]]
    source = Colours("typed", 8)
    for row in read_answers(both.folder)["typed"]:
        sample = read_sample(source, int(row["id"]), np.random.default_rng(0))
        mean = mean_by_hand(members, [trained[2]] * 2, sample)
        assert row["answer"] == CANDIDATES[int(mean.argmax())]
        assert row["expected"] == reply(sample.messages[-1])


def test_the_page_has_a_row_for_each_member(both: Evaluated) -> None:
    page = (both.folder / "report.md").read_text(encoding="utf-8")
    assert "## Members" in page
    assert "| colours/first, step 20 | " in page
    assert "| colours/second, step 20 | " in page
    assert "the largest mean probability" in page


def test_a_member_without_sound_gets_none_and_the_others_do(runs: dict[str, Path], tmp_path: Path) -> None:
    evaluated = evaluate_ensemble([runs["deaf"], runs["first"]], EVALUATION, tmp_path / "both", progress=False)
    assert evaluated.report["tasks"]["spoken"]["accuracy"]["n"] == 16
    first, second = evaluated.report["ensemble"]["members"]
    assert (first["withheld"], second["withheld"]) == (["audio"], [])
    assert evaluated.report["withheld"] == [], "one of them hears"
    assert "audio_encoder" not in first["model"]["flops"]["by_part"]
    total, parts_of = (
        evaluated.report["model"]["flops"]["by_part"],
        [m["model"]["flops"]["by_part"] for m in (first, second)],
    )
    assert total["audio_encoder"] == parts_of[1]["audio_encoder"]
    assert total["fusion"] == pytest.approx(parts_of[0]["fusion"] + parts_of[1]["fusion"])
    assert evaluated.report["provenance"]["run"] == "ensemble/deaf+first"


def test_what_a_member_lacks_is_taken_out_of_every_turn(trained: Parts) -> None:
    sample = read_sample(Colours("spoken", 2), 0, np.random.default_rng(0))
    member = Member("x", trained[0], trained[2], frozenset({"audio"}))
    held = [item.modality for item in member.view(sample).messages[0].content if isinstance(item, Media)]
    assert held == ["image"]
    assert Member("x", trained[0], trained[2]).view(sample) is sample


def test_members_that_stored_other_questions_are_refused(runs: dict[str, Path], trained: Parts, tmp_path: Path) -> None:
    stored = config()
    stored["evaluation"]["tasks"]["easy_vqa"] = stored["evaluation"]["tasks"]["easy_vqa"] | {"max_samples": 5}
    save_run(tmp_path / "other", trained[0], trained[1], stored=stored)
    with pytest.raises(BadInputError, match=r"other.*: was evaluated on other questions than .*first.*; choose one"):
        evaluate_ensemble([runs["first"], tmp_path / "other"], output=tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    members = [load_model(path) for path in (runs["first"], tmp_path / "other")]
    assert common_evaluation(members, TYPED_ALONE) == TYPED_ALONE, "what is given is asked of all"
    stored["evaluation"] |= {"batch_size": 3}
    stored["evaluation"]["tasks"]["easy_vqa"] |= {"max_samples": 6}
    save_run(tmp_path / "same", trained[0], trained[1], stored=stored)
    members[1] = load_model(tmp_path / "same")
    assert common_evaluation(members, None) == members[0].config.evaluation, "the same questions in other batches"


@pytest.mark.parametrize(
    ("number", "changes", "message"),
    [
        (1, {}, r"checkpoint=\[.*\]: an ensemble has two members or more"),
        (2, {"output": None}, "output=null: an ensemble is no run"),
        (
            2,
            {"evaluation": {"metrics": ["chrf"]}},
            r"evaluation\.metrics=\['chrf'\]: an ensemble is scored by accuracy",
        ),
        (
            2,
            {"evaluation": {"attribution": {"_target_": "evaluation.settings.Attribution"}}},
            r"evaluation\.attribution",
        ),
    ],
)
def test_what_an_ensemble_cannot_do_is_refused(
    number: int, changes: dict[str, Any], message: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    options = {"output": tmp_path / "out", **changes, "evaluation": TYPED_ALONE | changes.get("evaluation", {})}
    with pytest.raises(BadInputError, match=message):
        evaluate_ensemble([runs["first"]] * number, progress=False, **options)


def test_costs_are_added_up_and_unknown_if_one_is() -> None:
    parts_of = [
        {"parameters": 3, "flops": {"training": 1.0, "by_part": {"text": 1}}, "kind": "a"},
        {"parameters": 4, "flops": {"training": None, "by_part": {"text": 2, "audio": 5}}, "kind": "b"},
    ]
    total = {"parameters": 7, "flops": {"training": None, "by_part": {"text": 3, "audio": 5}}, "kind": "a"}
    assert summed(parts_of) == total
    assert json.loads(json.dumps(total)) == total
