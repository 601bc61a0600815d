"""The ridge baseline in a report: it is the regression on the frozen encoders' features, computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from data.batching.interleave import Interleaver
from data.types import AUDIO, IMAGE, SENTENCE, AlignedSample, Media, MediaBatch
from evaluation.answering.clusters import clusters_of
from evaluation.metrics.ranking import retrieval_scores
from evaluation.reports.report import print_table, to_markdown
from evaluation.retrieval.embedding import Embedded, embed, read_aligned
from evaluation.retrieval.evaluate import RetrievalSettings, evaluate_retrieval
from evaluation.retrieval.frozen_baseline import frozen_modalities, pooled_features, ridge_directions
from evaluation.retrieval.ridge import ridge_ranks
from evaluation.settings import Bootstrap
from fusion.model import FusionModel
from tests.data.memory import RawProcessor, tokenizer
from tests.training.aligned import SPACE, AlignedMemory, aligned_model, reader
from tests.training.tiny import CONFIG, tiny_model

NUM_TRAIN, NUM_TEST = 60, 24


class Meaning(AlignedMemory):
    """Image and sound of the same three numbers, in noise; sample i is number `first` + i."""

    def __init__(self, num_samples: int, first: int = 0, lacking: tuple[str, ...] = ("",)) -> None:
        super().__init__(num_samples, lacking)
        self.first = first

    def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
        drawn = np.random.default_rng(self.first + index)
        meaning = torch.tensor(drawn.standard_normal(3), dtype=torch.float32)
        values = {
            IMAGE: meaning[:, None, None] + 0.1 * torch.tensor(drawn.standard_normal((3, 4, 4)), dtype=torch.float32),
            AUDIO: meaning.expand(2 + index % 5, 3) * torch.tensor([1.0, -1.0, 2.0]),
        }
        lacking = self.lacking[index % len(self.lacking)]
        segments = tuple(Media(name, item) for name, item in values.items() if name != lacking)
        return AlignedSample(str(index), segments, origin=f"pairs.jsonl:{index + 1}")


def with_frozen(*names: str) -> FusionModel:
    """A tiny model whose encoders of these media are not trained."""
    model = aligned_model().eval()
    for name in names:
        model.media_encoders[name].encoder.requires_grad_(False)  # type: ignore[union-attr]
    return model


def evaluated(model: FusionModel, lacking: tuple[str, ...] = ("",), **options: Any) -> dict[str, Any]:
    tasks = {"pairs": Meaning(NUM_TEST, first=1000, lacking=lacking)}
    options = {"ridge": Meaning(NUM_TRAIN), "classes": None, "bootstrap": Bootstrap(1000), **options}
    report = evaluate_retrieval(model, reader(model), RetrievalSettings(tasks, **options), progress=False)
    report["train"] = {"seconds": 1.0, "steps": 3, "tokens": 10}
    return report


def by_hand(model: FusionModel, source: Meaning, name: str) -> np.ndarray:
    """Features of every item, alone and so without padding: the mean over its tokens."""
    rows = []
    for sample in read_aligned(source):
        (values,) = (segment.source for segment in sample.segments if segment.modality == name)
        media = MediaBatch(values[None], torch.tensor([list(values.shape)]), torch.zeros(1, dtype=torch.long))
        with torch.no_grad():
            features_NTC: Tensor = model.media_encoders[name].encoder(media)  # type: ignore[union-attr,operator]
        rows.append(features_NTC[0].mean(dim=0).numpy())
    return np.stack(rows)


def test_the_report_has_the_regression_on_features_computed_by_hand() -> None:
    model = with_frozen(IMAGE, AUDIO)
    report = evaluated(model)
    assert set(report["baselines"]) == {"pairs/image_to_audio", "pairs/audio_to_image"}
    for first, second in ((IMAGE, AUDIO), (AUDIO, IMAGE)):
        train, test = Meaning(NUM_TRAIN), Meaning(NUM_TEST, first=1000)
        features = [by_hand(model, source, name) for source in (train, test) for name in (first, second)]
        placed = ridge_ranks(*features)
        clusters = clusters_of(read_aligned(test), "concept").names
        expected = {name: score.to_json() for name, score in retrieval_scores(placed, clusters, 1000, 0).items()}
        assert report["baselines"][f"pairs/{first}_to_{second}"] == {"ridge": expected}
        assert expected["recall@5"]["value"] > 2.5 * 5 / NUM_TEST  # it does learn what the two have in common
    assert "ridge regression" not in str(report["omitted"])


def test_padding_and_batches_do_not_change_features() -> None:
    model = with_frozen(AUDIO)
    source = Meaning(NUM_TEST)
    samples = read_aligned(source)
    for size in (1, 7, NUM_TEST):
        found = pooled_features(model, reader(model), samples, range(NUM_TEST), [AUDIO], batch_size=size)
        assert list(found) == [AUDIO]
        assert found[AUDIO].samples.tolist() == list(range(NUM_TEST))
        np.testing.assert_allclose(found[AUDIO].values, by_hand(model, source, AUDIO), atol=1e-5)


def test_queries_and_candidates_are_those_of_the_model() -> None:
    report = evaluated(with_frozen(IMAGE, AUDIO), lacking=("", AUDIO, "", IMAGE))
    for task, found in report["baselines"].items():
        assert found["ridge"]["recall@1"]["n"] == report["tasks"][task]["recall@1"]["n"] == NUM_TEST // 2
        assert report["chance"][task]["candidates"] == 3 * NUM_TEST // 4


def test_a_candidate_without_a_partner_counts() -> None:
    rng = np.random.default_rng(0)
    first, mix = rng.standard_normal((50, 4)), rng.standard_normal((4, 5))
    train = {
        "a": Embedded(first, np.arange(50), np.arange(50)),
        "b": Embedded(first @ mix, np.arange(50), np.arange(50)),
    }
    query = rng.standard_normal((1, 4))
    # The partner is the opposite of what the regression expects, and the candidate of another sample just that.
    test = {
        "a": Embedded(query, np.array([7]), np.array([7])),
        "b": Embedded(np.concatenate([-query, query]) @ mix, np.array([7, 9]), np.array([7, 9])),
    }
    placed, asked = ridge_directions(train, test)["a_to_b"]
    assert (placed.tolist(), asked.tolist()) == ([2.0], [7])
    placed, asked = ridge_directions(train, test)["b_to_a"]
    assert (placed.tolist(), asked.tolist()) == ([1.0], [7])


@pytest.mark.parametrize(
    ("frozen", "reason"), [((), "no frozen encoders"), ((AUDIO,), "only one frozen encoder, that of audio")]
)
def test_without_frozen_encoders_the_report_says_so(frozen: tuple[str, ...], reason: str) -> None:
    model = with_frozen(*frozen)
    assert frozen_modalities(model) == list(frozen)
    report = evaluated(model)
    assert report["baselines"] == {}
    assert report["omitted"]["pairs"]["ridge regression"] == reason
    assert f"- pairs, ridge regression left out: {reason}" in to_markdown(report, {})
    assert "ridge" not in str(evaluated(model, ridge=None)["omitted"])


def test_training_pairs_without_both_media_teach_nothing() -> None:
    report = evaluated(with_frozen(IMAGE, AUDIO), ridge=Meaning(NUM_TRAIN, lacking=(AUDIO, IMAGE)))
    assert report["baselines"] == {}
    assert "have no two of audio, image" in report["omitted"]["pairs"]["ridge regression"]


def test_tables_show_it_between_the_model_and_chance(tmp_path) -> None:
    report = evaluated(with_frozen(IMAGE, AUDIO))
    value = report["baselines"]["pairs/image_to_audio"]["ridge"]["recall@10"]["value"]
    lines = to_markdown(report, {}).splitlines()
    start = next(n for n, line in enumerate(lines) if "**pairs/image_to_audio**" in line)
    assert lines[start + 1].startswith("| - ridge regression on the features of the frozen encoders |")
    assert f"| {100 * value:.1f} [" in lines[start + 1]
    assert lines[start + 2].startswith("| - chance, 24 candidates |")
    with (tmp_path / "out.txt").open("w+", encoding="utf-8") as file:
        print_table(report, Console(width=80, file=file))
        file.seek(0)
        shown = file.read()
    assert f"ridge {100 * value:.1f}" in shown
    assert "…" not in shown


class Letters:
    """UTF-8 bytes -> [letters, 3], so that a sound encoder can read sentences."""

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        assert isinstance(media.source, bytes)
        letters = torch.tensor(list(media.source * 2), dtype=torch.float32)
        return torch.stack([(letters * factor).sin() for factor in (0.3, 0.7, 1.1)], dim=1)


class Named(AlignedMemory):
    """Image and sentence of a number."""

    def sample(self, index: int, rng: np.random.Generator) -> AlignedSample:
        whole = super().sample(index, rng)
        segments = (whole.segments[0], Media(SENTENCE, f"number {index}".encode()))
        return AlignedSample(whole.id, segments, metadata=whole.metadata)


def test_classes_are_named_by_sentences_where_samples_have_no_text() -> None:
    encoders: Any = CONFIG["encoders"]
    encoders = {"image": encoders["image"], "sentence": encoders["audio"], "text": encoders["text"]}
    model = tiny_model(encoders=encoders, shared_space=SPACE).eval()
    read = Interleaver(tokenizer(), {IMAGE: RawProcessor(), SENTENCE: Letters()}, model.layouts, model.modalities, 64)
    options: dict[str, Any] = {"classes": "parity", "prompt": "is {}", "bootstrap": Bootstrap(1000)}
    report = evaluate_retrieval(model, read, RetrievalSettings({"x": Named(12, ("",))}, **options), progress=False)
    assert set(report["tasks"]) == {"x/image_to_sentence", "x/sentence_to_image", "x/image_to_parity"}
    prompts = [AlignedSample(name, (Media(SENTENCE, f"is {name}".encode()),)) for name in "01"]
    classes = embed(model, read, prompts)[SENTENCE].values
    images = embed(model, read, read_aligned(Named(12, ("",))))[IMAGE].values
    expected = ((images @ classes.T).argmax(axis=1) == np.arange(12) % 2).mean()
    assert report["tasks"]["x/image_to_parity"]["accuracy"]["value"] == pytest.approx(expected)
