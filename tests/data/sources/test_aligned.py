"""Aligned samples as documents: one for each segment, in batches beside conversations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data.batching.collate import collate
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.batching.packing import pack
from data.randomness import Draws
from data.types import AUDIO, IMAGE, AlignedSample, BadSampleError, Media, Text
from tests.data.memory import MemorySource, interleaver, tokenizer
from tests.training.aligned import LACKING, AlignedMemory


def aligned(*segments: Media | Text) -> AlignedSample:
    return AlignedSample("7", segments, source="pairs", origin="pairs.jsonl:3")


PICTURE, CLIP = Media(IMAGE, torch.ones(3, 4, 4)), Media(AUDIO, torch.ones(6, 3))


def test_each_segment_is_a_document_of_its_own() -> None:
    text, image, sound = interleaver().aligned(aligned(Text("abc"), PICTURE, CLIP), number=5)
    assert text.token_ids.tolist() == tokenizer().encode("abc")
    assert [set(d.modality_ids.tolist()) for d in (text, image, sound)] == [{0}, {2}, {1}]
    assert [len(d) for d in (text, image, sound)] == [3, 4, 3]
    assert [[name for name, _ in d.media] for d in (text, image, sound)] == [[], [IMAGE], [AUDIO]]
    assert all((d.labels == -100).all() and d.aligned == 5 for d in (text, image, sound))


def test_media_are_augmented_only_with_a_generator() -> None:
    sample = aligned(Text("a"), PICTURE)
    plain, drawn = (interleaver().aligned(sample, draws)[1].media[0][1] for draws in (None, Draws(0, 0)))
    assert torch.equal(plain, torch.ones(3, 4, 4))
    assert not torch.equal(drawn, plain)


@pytest.mark.parametrize(
    ("segments", "message"),
    [
        ((Text("a"),), "aligned: must have segments of two modalities or more"),
        ((Text("a"), Text("b")), "aligned: must have segments of two modalities or more"),
        ((Text("a"), Text("b"), PICTURE), r"aligned: has a modality twice \(text, text, image\)"),
        ((Text(""), PICTURE), r"aligned\[0\]: takes 0 tokens, must take 1 to max_tokens=64"),
        ((PICTURE, Text("x" * 65)), r"aligned\[1\]: takes 65 tokens"),
        ((Text("a"), Media(AUDIO, b"x")), r"aligned\[1\]: .*no such file"),
        ((Text("a"), Media("smell", b"x")), r"aligned\[1\]: modality 'smell' has no encoder"),
    ],
)
def test_what_cannot_be_aligned_is_named(segments: tuple[Media | Text, ...], message: str) -> None:
    with pytest.raises(BadSampleError, match=rf"^pairs\.jsonl:3 \(id 7\): {message}"):
        interleaver().aligned(aligned(*segments))


def test_a_batch_says_which_documents_belong_together() -> None:
    reader = interleaver()
    documents = reader.aligned(aligned(Text("abcdefghij"), PICTURE), number=12)
    documents += reader.aligned(aligned(CLIP, Text("k"), PICTURE), number=4)
    talk = reader.document(MemorySource(1).sample(0, np.random.default_rng(0)))
    batch = collate(pack([talk, *documents], 64))
    assert batch.alignment is not None
    found = set()
    entries = zip(*(ids.tolist() for ids in vars(batch.alignment).values()), strict=True)
    for document, sample, modality, _ in entries:
        inside = batch.document_ids == document
        assert set(batch.modality_ids[inside].tolist()) == {modality}
        found.add((sample, modality, int(inside.sum())))
    # Sample 0 is number 4, sample 1 number 12; modalities are text, audio, image.
    assert found == {(0, 0, 1), (0, 1, 3), (0, 2, 4), (1, 0, 10), (1, 2, 4)}
    assert (batch.num_samples, batch.alignment.num_samples) == (3, 2)
    assert batch.num_supervised > 0


def test_a_stream_holds_both_kinds_where_the_objective_reads_both() -> None:
    mixture = Mixture({"talk": (MemorySource(6), 1.0), "pairs": (AlignedMemory(6), 1.0)}, seed=0)
    stream = BatchStream(mixture, interleaver(), 8, reads=("messages", "aligned"))
    batch = stream[0]
    assert batch.alignment is not None
    assert batch.num_samples == 8
    assert set(batch.group_names) <= {"talk/audio", "talk/text"}
    names = [mixture.locate(position)[0] for position in range(8)]
    assert batch.alignment.num_samples == names.count("pairs") > 0


def test_a_sample_with_one_bad_segment_is_skipped_whole() -> None:
    class Broken(AlignedMemory):
        def sample(self, index, rng):
            sample = super().sample(index, rng)
            bad = (Text("a"), Media(AUDIO, b"x"))
            return AlignedSample("bad", bad, origin="pairs.jsonl:9") if index == 2 else sample

    mixture = Mixture({"pairs": (Broken(4, LACKING), 1.0)}, seed=0)
    stream = BatchStream(mixture, interleaver(), 4, reads=("aligned",), on_bad_sample="skip")
    batch = stream[0]
    assert len(batch.skipped) == 1
    assert "pairs.jsonl:9 (id bad): aligned[1]" in batch.skipped[0]
    assert batch.num_samples == 3
