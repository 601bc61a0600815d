"""A document that sees one medium alone is the one that is rendered without the other media."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from data.batching.absence import without
from data.batching.collate import collate
from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.batching.one_medium import OneMedium
from data.batching.packing import pack
from data.randomness import Draws
from data.types import AUDIO, IMAGE, Absent, Layout, Media, Message, Sample, Text
from tests.data.memory import LAYOUTS, MODALITIES, MemorySource, RawProcessor, tokenizer

# With a learned token for what is absent, and without.
WITHOUT_TOKEN = {name: lambda shape, own=own: own(shape) if shape else Layout(0) for name, own in LAYOUTS.items()}
KINDS = {"learned": LAYOUTS, "none": WITHOUT_TOKEN}
OTHER = {IMAGE: AUDIO, AUDIO: IMAGE}


def image(value: float) -> Media:
    return Media(IMAGE, torch.full((3, 4, 4), value))


def clip(value: float, frames: int = 6) -> Media:
    return Media(AUDIO, torch.full((frames, 3), value))


def said(*segments) -> Message:
    return Message("assistant", segments)


def asked(*segments) -> Message:
    return Message("user", segments)


CONVERSATIONS = {
    "one of each": (asked(image(1.0), clip(2.0)), said(Text("yes"))),
    "several next to one another": (asked(clip(1.0), clip(2.0, 4), image(3.0), image(4.0)), said(Text("no"))),
    "text between": (asked(Text("what"), image(1.0), Text("is"), clip(2.0), Text("it")), said(Text("a red circle"))),
    "several turns": (
        asked(image(1.0), clip(2.0)),
        said(Text("yes")),
        asked(clip(3.0, 8)),
        said(Text("no")),
        asked(Text("who speaks")),
        said(Text("it")),
    ),
    "some are absent": (asked(Absent(IMAGE), image(1.0), clip(2.0), Absent(AUDIO)), said(Text("yes"))),
}


def reader(kind: str, **options) -> Interleaver:
    processors = {IMAGE: RawProcessor(), AUDIO: RawProcessor()}
    return Interleaver(tokenizer(), processors, KINDS[kind], MODALITIES, 64, **options)


def assert_same(found, expected) -> None:
    for name in ("token_ids", "modality_ids", "labels", "label_groups"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.group_names == expected.group_names
    assert [name for name, _ in found.media] == [name for name, _ in expected.media]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(found.media, expected.media, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("modality", [IMAGE, AUDIO])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_it_is_the_document_of_the_sample_without_the_others(name, modality, kind):
    """Augmented as it is in the whole document, too."""
    sample, draws = Sample("a", CONVERSATIONS[name], source="s"), Draws(0, 7)
    whole = reader(kind).document(sample, draws)
    expected = reader(kind).document(without(sample, {OTHER[modality]}), draws)
    assert len(expected) < len(whole)
    assert_same(OneMedium(MODALITIES, KINDS[kind]).only(whole, modality), expected)


def test_media_of_an_assistant_go_too_and_every_target_stays():
    """The token after a hidden medium is predicted from what stands before the medium."""
    turns = (asked(image(1.0)), said(clip(2.0), Text("yes"), clip(3.0), Text("no")))
    shown = (asked(image(1.0)), said(Text("yes"), Text("no")))
    whole, expected = (reader("none").document(Sample("a", item, source="s")) for item in (turns, shown))
    found = OneMedium(MODALITIES, WITHOUT_TOKEN).only(whole, IMAGE)
    assert_same(found, expected)
    assert (found.labels >= 0).sum() == (whole.labels >= 0).sum() == len("yesno") + 1


def test_a_truncated_document_keeps_its_targets():
    """Without the sound there would be room for a turn more."""
    turns = (*CONVERSATIONS["one of each"], asked(Text("a" * 38)), said(Text("b" * 10)))
    short = Interleaver(tokenizer(), reader("none")._processors, WITHOUT_TOKEN, MODALITIES, 62, "truncate")
    whole = short.document(Sample("a", turns, source="s"))
    found = OneMedium(MODALITIES, WITHOUT_TOKEN).only(whole, IMAGE)
    assert (found.labels >= 0).sum() == (whole.labels >= 0).sum()
    assert len(short.document(Sample("a", without(Sample("a", turns), {AUDIO}).messages))) > len(found)


def stream(dropout=None) -> BatchStream:
    return BatchStream(
        Mixture({"memory": (MemorySource(12), 1.0)}, seed=0),
        reader("learned"),
        6,
        modality_dropout=dropout,
        one_medium=OneMedium(MODALITIES, LAYOUTS),
    )


@pytest.mark.parametrize("dropout", [None, {AUDIO: 0.5, IMAGE: 0.3}])
def test_a_batch_holds_what_would_be_rendered_of_its_samples_with_several_media(dropout):
    """What modality dropout leaves one medium of is not seen again."""
    batches = stream(dropout)
    seen = 0
    for index in range(4):
        batch, rendered = batches[index], {IMAGE: [], AUDIO: []}
        for position in batches.positions(index):
            name, sample, draws = batches.mixture.at(position)
            sample = batches.modality_dropout(replace(sample, source=name), draws)
            if {segment.modality for segment in sample.messages[0].content if isinstance(segment, Media)} == {
                IMAGE,
                AUDIO,
            }:
                for modality, documents in rendered.items():
                    shown = without(sample, {OTHER[modality]})
                    documents.append(batches.interleaver.document(shown, draws))
        assert list(batch.alone) == [AUDIO, IMAGE]
        for modality, documents in rendered.items():
            expected, found = collate(pack(documents, 64)), batch.alone[modality]
            assert found.sample_ids == expected.sample_ids
            assert list(found.media) == ([modality] if documents else [])
            for name in ("token_ids", "modality_ids", "document_ids", "places", "positions", "labels", "label_groups"):
                assert torch.equal(getattr(found, name), getattr(expected, name)), name
            for name, items in found.media.items():
                assert torch.equal(items.values, expected.media[name].values)
                assert torch.equal(items.documents, expected.media[name].documents)
            seen += len(documents)
    assert seen > 4


def test_the_rest_of_a_batch_is_as_without_the_option():
    plain, other = stream(), stream()
    plain.one_medium = None
    for index in range(3):
        one, two = plain[index], other[index]
        assert one.alone == {}
        assert all(
            torch.equal(getattr(one, name), getattr(two, name)) for name in ("token_ids", "labels", "document_ids")
        )
        assert one.sample_ids == two.sample_ids


def test_a_model_with_one_medium_has_nothing_to_see_alone():
    document = reader("learned").document(Sample("a", (asked(image(1.0)), said(Text("yes"))), source="s"))
    assert OneMedium(MODALITIES, LAYOUTS)([document]) == {AUDIO: [], IMAGE: []}


def test_it_moves_with_its_batch():
    moved = stream()[0].to("meta")
    assert moved.alone
    assert {part.token_ids.device.type for part in moved.alone.values()} == {"meta"}
