"""What stands for an absent medium: one learned token or nothing, and that certification holds with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module

from certify.suite import MODEL_CHECKS, make_context, run
from data.batching.absence import without
from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.types import ABSENT_SHAPE, Absent, BadSampleError, Message, Sample, Text
from fusion.missing import MissingTokens
from tests.evaluation.colours import Colours, parts, tiny_model

SAMPLE = Colours("spoken", 4).sample(0, np.random.default_rng(0))


def interleavers(kind: str) -> tuple[torch.nn.Module, Interleaver]:
    """The tiny model with the given kind of missing tokens, and an interleaver that asks it."""
    _, tokenizer, plain = parts()
    model = tiny_model(tokenizer.vocab_size, missing_token=kind)
    return model, Interleaver(tokenizer, plain._processors, model.layouts, model.modalities, 128)


def test_an_absent_medium_is_one_token_or_none() -> None:
    learned, none = (
        interleavers(kind)[1].document(without(SAMPLE, ["image", "audio"])) for kind in ("learned", "none")
    )
    full = interleavers("learned")[1].document(SAMPLE)
    assert [m for m, _ in full.media] == ["image", "audio"]
    assert (learned.modality_ids < 0).sum() == 2
    assert learned.modality_ids[1:3].tolist() == [-2, -1], "image then sound, as in the sample"
    assert not none.modality_ids.any()
    assert len(learned) == len(none) + 2
    assert learned.media == none.media == ()
    np.testing.assert_array_equal(np.delete(learned.labels, [1, 2]), none.labels)
    assert learned.group_names == ("colours/audio",), "the question was a sound, though it cannot be heard"


def test_absence_of_a_modality_that_the_model_lacks_is_named() -> None:
    _, interleaver = interleavers("learned")
    sample = Sample("x", (Message("user", (Absent("smell"), Text("?"))), SAMPLE.messages[1]), origin="row 3")
    with pytest.raises(BadSampleError, match=r"row 3.*content\[0\].*'smell' has no encoder"):
        interleaver.document(sample)


def test_the_learned_vector_is_what_the_model_reads_there() -> None:
    model, interleaver = interleavers("learned")
    batch = collate([[interleaver.document(without(SAMPLE, ["audio"]))]])
    place = int((batch.modality_ids[0] < 0).nonzero()[0, 0])
    embedded = model.embed(batch)
    assert embedded.modality_ids[0, place] == model.modalities.index("audio")
    vector = model.missing.embedding.weight[model.modalities.index("audio") - 1]
    expected = vector / vector.square().mean().sqrt() + model.modality_embedding.weight[embedded.modality_ids[0, place]]
    torch.testing.assert_close(embedded.hidden[0, place], expected, rtol=1e-5, atol=1e-5)
    other = replace(batch, token_ids=batch.token_ids.clone())
    other.token_ids[0, place] = 77
    torch.testing.assert_close(model.embed(other).hidden, embedded.hidden, rtol=0, atol=0)


def test_the_vectors_join_the_graph_of_every_batch() -> None:
    model, interleaver = interleavers("learned")
    for absent, moved in (([], []), (["audio"], [0]), (["audio", "image"], [0, 1])):
        model.zero_grad()
        model(collate([[interleaver.document(without(SAMPLE, absent))]])).states.square().sum().backward()
        gradient = model.missing.embedding.weight.grad
        assert gradient is not None
        assert (gradient != 0).any(dim=1).nonzero().flatten().tolist() == moved


def test_without_learned_tokens_there_is_no_parameter() -> None:
    model, interleaver = interleavers("none")
    assert list(model.missing.parameters()) == []
    assert model.layouts["image"](ABSENT_SHAPE).count == 0
    with pytest.raises(ValueError, match="missing_token='zeros' must be one of learned, none"):
        MissingTokens("zeros", 2, 8)
    media_free = Sample("x", (Message("user", (Absent("image"), Text("?"))), SAMPLE.messages[1]))
    plain = Sample("x", (Message("user", (Text("?"),)), SAMPLE.messages[1]))
    found, expected = (interleaver.document(sample) for sample in (media_free, plain))
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)


def test_a_model_with_learned_tokens_is_certified() -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", ["missing_token=learned", "d_model=32", "fusion.num_layers=2"])
    context = make_context(config)
    assert sum((document.modality_ids < 0).any() for document in context.documents()) == 2
    failed = [f"{r.name}: {r.deviation:.1e} ({r.detail})" for r in run(context, MODEL_CHECKS) if not r.passed]
    assert not failed, "\n".join(failed)
