"""Retrieval of a model that learned its pairs by heart, and of one that learned nothing; their reports and figures."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from data.batching.collate import collate
from data.batching.packing import pack
from data.types import AlignedSample, BadInputError, BadSampleError, Text
from evaluation.monitors.alignment_monitor import AlignmentMonitor, make_monitor
from evaluation.reports.report import print_table, to_markdown, write_report
from evaluation.retrieval.embedding import embed, read_aligned
from evaluation.retrieval.evaluate import RetrievalSettings, evaluate_retrieval
from evaluation.settings import Bootstrap, build_settings
from fusion.model import FusionModel
from tests.data.memory import MemorySource, tokenizer
from tests.training.aligned import LACKING, AlignedMemory, aligned_model, reader
from tests.training.tiny import tiny_model
from training.objectives.contrastive import InfoNCE
from training.optimizers.groups import muon
from training.steps.accumulation import accumulate

NUM = 12
SETTINGS = {"classes": "parity", "bootstrap": Bootstrap(1000), "cluster": "concept"}


@pytest.fixture(scope="module")
def learned() -> FusionModel:
    """A model that knows the partners of twelve complete samples."""
    model = aligned_model(d_embedding=16)
    samples = read_aligned(AlignedMemory(NUM, ("",)))
    documents = [reader(model).aligned(sample, number=number) for number, sample in enumerate(samples)]
    batch = collate(pack([document for found in documents for document in found], 64))
    optimizer = muon(model, lr=0.02, adamw_lr=1e-2)
    for _ in range(100):
        accumulate(model, InfoNCE(), [batch])
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def settings(lacking: tuple[str, ...] = ("",), num: int = NUM, **options: object) -> RetrievalSettings:
    return RetrievalSettings({"pairs": AlignedMemory(num, lacking)}, **{**SETTINGS, **options})  # type: ignore[arg-type]


def test_embeddings_do_not_depend_on_the_batch(learned: FusionModel) -> None:
    samples = read_aligned(AlignedMemory(NUM, LACKING))
    whole, single = (embed(learned, reader(learned), samples, batch_size=size) for size in (NUM, 1))
    assert list(whole) == ["text", "audio", "image"]
    for name, found in whole.items():
        lacking = [n for n in range(NUM) if LACKING[n % 4] != name]
        assert found.samples.tolist() == single[name].samples.tolist() == lacking
        assert np.allclose(found.values, single[name].values, atol=1e-5)
        assert np.allclose(np.linalg.norm(found.values, axis=1), 1, atol=1e-5)


def test_every_direction_is_asked_and_what_was_learned_is_found(learned: FusionModel) -> None:
    report = evaluate_retrieval(learned, reader(learned), settings(), progress=False)
    names = {f"pairs/{a}_to_{b}" for a in learned.modalities for b in learned.modalities if a != b}
    recalled = {task: scores for task, scores in report["tasks"].items() if "recall@1" in scores}
    assert set(recalled) == names
    for task, scores in recalled.items():
        assert scores["recall@5"]["value"] > 0.9, task
        assert scores["median_rank"]["value"] == 1
        assert scores["recall@1"]["n"] == NUM
        assert report["chance"][task]["recall@1"] == pytest.approx(1 / NUM)
    fresh = aligned_model(seed=3).eval()
    ignorant = evaluate_retrieval(fresh, reader(fresh), settings(), progress=False)["tasks"]
    assert np.mean([ignorant[name]["recall@1"]["value"] for name in names]) < 0.3


def test_candidates_are_all_that_have_the_modality_and_queries_those_that_have_both(learned: FusionModel) -> None:
    report = evaluate_retrieval(learned, reader(learned), settings(LACKING, 40), progress=False)
    task = "pairs/image_to_text"
    assert report["chance"][task]["candidates"] == 30
    assert report["tasks"][task]["recall@1"]["n"] == 20


def test_classes_are_told_by_the_embeddings_of_their_names(learned: FusionModel) -> None:
    options = {"prompt": "number {}"}
    report = evaluate_retrieval(learned, reader(learned), settings(**options), progress=False)
    assert report["tasks"]["pairs/image_to_parity"]["accuracy"]["n"] == NUM
    assert report["audit"]["pairs/image_to_parity"]["largest_class"]["value"] == 0.5
    assert "pairs/text_to_parity" not in report["tasks"]

    class Named(AlignedMemory):
        """The class of each sample is its own text, which the model knows."""

        def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
            sample = super().sample(index, rng)
            return AlignedSample(sample.id, sample.segments, metadata={"parity": str(index)})

    named = RetrievalSettings({"pairs": Named(NUM, ("",))}, **{**SETTINGS, **options})  # type: ignore[arg-type]
    report = evaluate_retrieval(learned, reader(learned), named, progress=False)
    assert report["tasks"]["pairs/image_to_parity"]["accuracy"]["value"] > 0.8
    no_classes = evaluate_retrieval(learned, reader(learned), settings(classes="colour"), progress=False)
    assert "0 values of colour" in str(no_classes["omitted"])


def test_the_gap_tells_partners_from_others(learned: FusionModel) -> None:
    report = evaluate_retrieval(learned, reader(learned), settings(), progress=False)
    gap = report["modality_gap"]["pairs"]["audio-image"]
    assert gap["matched"] > gap["unmatched"] + 0.3
    assert sum(gap["counts"]["matched"]) == NUM
    assert sum(gap["counts"]["unmatched"]) == NUM * (NUM - 1)
    points = report["embedding_map"]["pairs"]["points"]
    assert {name: len(found) for name, found in points.items()} == dict.fromkeys(("text", "audio", "image"), NUM)


def test_a_report_becomes_a_table_and_figures(learned: FusionModel, tmp_path: Path) -> None:
    report = evaluate_retrieval(learned, reader(learned), settings(), progress=False)
    report["train"] = {"seconds": 1.0, "steps": 3, "tokens": 10}
    task = "pairs/image_to_text"
    report["baselines"] = {task: {"ridge": report["tasks"][task]}}
    report["provenance"] |= {"checkpoint_hash": "c0ffee", "step": 3}
    write_report(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["sources"] == ["pairs"]
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert figures == {"embedding_map_pairs.png", "modality_gap_pairs.png", "recall_pairs.png", "scores.png"}
    text = (tmp_path / "report.md").read_text()
    assert "| **pairs/image_to_text** |" in text
    assert text.count("| - ridge regression on the features of the frozen encoders |") == 1
    assert text.count("| - chance, 12 candidates | 8.3 |") == 6
    assert "(figures/embedding_map_pairs.png)" in text
    assert "![Recall at k, pairs](figures/recall_pairs.png)" in text
    assert text == to_markdown(report, dict(_figures(text, tmp_path)))
    shown = io.StringIO()
    print_table(report, Console(width=120, file=shown))
    assert "pairs/audio_to_text" in shown.getvalue()
    assert "chance 8.3" in shown.getvalue()


def _figures(text: str, folder: Path) -> list[tuple[str, Path]]:
    lines = text.splitlines()
    titled = [(lines[n - 2], line) for n, line in enumerate(lines) if line.startswith("![")]
    return [(title.removeprefix("## "), folder / line.rpartition("/")[2].rstrip(")")) for title, line in titled]


def test_what_cannot_be_evaluated_is_one_line(learned: FusionModel) -> None:
    plain = tiny_model().eval()
    with pytest.raises(BadInputError, match=r"no shared space .*train with shared_space=linear"):
        evaluate_retrieval(plain, reader(plain), settings(), progress=False)
    talk = RetrievalSettings({"talk": MemorySource(3)}, **SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(BadSampleError, match=r"memory\.jsonl:1 .*is a conversation; a retrieval needs aligned"):
        evaluate_retrieval(learned, reader(learned), talk, progress=False)

    class Broken(AlignedMemory):
        def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
            sample = super().sample(index, rng)
            bad = (Text("x" * 99), *(item for item in sample.segments if not isinstance(item, Text)))
            return AlignedSample("bad", bad, origin="pairs.jsonl:9") if index == 2 else sample

    broken = RetrievalSettings({"pairs": Broken(NUM, ("",))}, **SETTINGS)  # type: ignore[arg-type]
    with pytest.raises(BadSampleError, match=r"^pairs\.jsonl:9 \(id bad\): aligned\[0\]: takes 99 tokens"):
        evaluate_retrieval(learned, reader(learned), broken, progress=False)
    report = evaluate_retrieval(learned, reader(learned), broken, on_bad_sample="skip", progress=False)
    assert report["data"]["skipped_in_evaluation"] == 1
    counted = report["data"]["tasks"]["pairs"]
    assert (counted["rows"], counted["skipped"]) == (NUM, 1)
    assert counted["first"].startswith("pairs.jsonl:9 (id bad)")
    assert report["chance"]["pairs/image_to_text"]["candidates"] == NUM - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "a photo"}, "prompt='a photo' must hold {}"),
        ({"batch_size": 0}, "batch_size=0 must be at least 1"),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**options)


def test_a_manifest_that_was_not_given_is_nothing_to_evaluate() -> None:
    source = {"_target_": "data.sources.manifest.ManifestSource", "path": None}
    with pytest.raises(BadInputError, match="names no tasks"):
        build_settings({"_target_": "evaluation.retrieval.evaluate.RetrievalSettings", "tasks": {"manifest": source}})


def test_the_monitor_gives_recall_of_every_direction(learned: FusionModel) -> None:
    monitor = make_monitor({"pairs": AlignedMemory(40, ("",))}, tokenizer(), reader(learned))
    metrics = monitor(learned, 1)
    found = {name: value for name, value in metrics.items() if not name.endswith("_chance")}
    assert len(found) == 7
    # All directions have 40 candidates, and chance beside them.
    assert [value for name, value in metrics.items() if name not in found] == [pytest.approx(10 / 40)] * 7
    assert found["val/recall@10"] == pytest.approx(np.mean([v for k, v in found.items() if k.count("/") > 1]))
    assert metrics == AlignmentMonitor({"pairs": AlignedMemory(40, ("",))}, reader(learned))(learned, 2)


def test_the_monitor_asks_each_source_what_it_holds(learned: FusionModel) -> None:
    sources = {"pairs": AlignedMemory(4, ("",)), "talk": MemorySource(3)}
    metrics = make_monitor(sources, tokenizer(), reader(learned), max_new_tokens=2)(learned, 1)
    assert {"val/talk/accuracy", "val/accuracy", "val/recall@10"} <= set(metrics)
    assert torch.is_grad_enabled()
