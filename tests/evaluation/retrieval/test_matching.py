"""Pairs of vectors that match or do not: neither side alone says which, and the files hold what was embedded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from data.media.vector import VectorProcessor
from data.sources.manifest import ManifestSource
from data.types import BadInputError, BadSampleError, Media, MediaBatch
from encoders.scratch.vector import VectorEncoder
from evaluation.retrieval.matching import Vectors, pairs, write_matching

CONCEPTS = ["a", "a", "a", "b", "c", "c", "d", "e"]


def test_neither_side_alone_says_whether_a_pair_matches() -> None:
    found = pairs(CONCEPTS, rounds=3, seed=0)
    for side in (0, 1):
        counts = Counter((pair[side], pair[2]) for pair in found)
        assert set(counts.values()) == {3}, "each stands in as many pairs of both kinds"
        assert {place for place, _ in counts} == set(range(len(CONCEPTS)))
    for first, second, match in found:
        assert match == (first == second)
        assert match or CONCEPTS[first] != CONCEPTS[second]


def test_rounds_and_seeds_draw_other_partners_and_the_same_seed_the_same() -> None:
    wrong = [[pair[1] for pair in pairs(CONCEPTS * 9, 2, seed) if not pair[2]] for seed in (0, 0, 1)]
    assert wrong[0] == wrong[1] != wrong[2]
    half = len(wrong[0]) // 2
    assert wrong[0][:half] != wrong[0][half:]


@pytest.mark.parametrize("concepts", [["a", "a"], ["a", "a", "b"], []])
def test_a_concept_that_has_no_other_to_stand_with_is_refused(concepts: list[str]) -> None:
    with pytest.raises(BadInputError, match="no concept may have more than half"):
        pairs(concepts, 1, 0)


def test_the_manifest_holds_the_vectors_and_the_answers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((8, 5)), rng.standard_normal((8, 3))
    vectors = Vectors(("image", "sentence"), first, second, [str(n) for n in range(8)], CONCEPTS)
    source = ManifestSource(write_matching(vectors, tmp_path / "out", "train", 1, seed=0))
    read = VectorProcessor()
    assert len(source) == 16
    for place, (left, right, match) in enumerate(pairs(CONCEPTS, 1, 0)):
        sample = source.sample(place, rng)
        picture, words = sample.messages[0].content
        assert (picture.modality, words.modality) == ("image_vector", "sentence_vector")
        assert isinstance(picture, Media)
        assert isinstance(words, Media)
        assert np.array_equal(read(picture).numpy(), first[left].astype(np.float32))
        assert np.array_equal(read(words).numpy(), second[right].astype(np.float32))
        assert sample.messages[1].content[0].text == ("yes" if match else "no")
        assert sample.metadata["image"] == CONCEPTS[left]


def test_a_vector_keeps_its_direction_and_nothing_of_it_is_trained() -> None:
    encoder = VectorEncoder(4)
    values = torch.tensor([[3.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    shapes, documents = torch.tensor([[4], [4]]), torch.tensor([0, 1])
    features = encoder(MediaBatch(values, shapes, documents))
    assert features[0, 0].tolist() == pytest.approx([1.2, 0.0, 1.6, 0.0])
    assert features[1, 0].tolist() == [0.0] * 4
    assert list(encoder.parameters()) == []
    with pytest.raises(ValueError, match=r"shape \(5,\) does not fit the encoder, which takes \(4,\)"):
        encoder.layout((5,))
    with pytest.raises(ValueError, match="size=0 must be 1 or more"):
        VectorEncoder(0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not an array", "is no .npy file"),
        (np.zeros((2, 2), np.float32), "must hold one vector of floats, not float32"),
        (np.zeros(3, np.int64), "must hold one vector of floats, not int64"),
    ],
)
def test_other_files_are_refused_by_name(content: bytes | np.ndarray, said: str, tmp_path: Path) -> None:
    path = tmp_path / "vector.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(BadSampleError, match=said) as refused:
        VectorProcessor()(Media("image_vector", path))
    assert "vector.npy" in str(refused.value)
    with pytest.raises(BadSampleError, match=r"none\.npy"):
        VectorProcessor()(Media("image_vector", tmp_path / "none.npy"))
