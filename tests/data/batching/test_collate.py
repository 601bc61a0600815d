import numpy as np
import pytest
import torch

from data.batching.collate import collate, collate_prompts
from data.batching.document import Document
from data.types import AUDIO, IMAGE, Media, Message, Sample, Text
from tests.data.memory import interleaver


def document(name, tokens, labels=None, groups=(), media=()):
    """Tokens by hand; a label is (token, group) or None."""
    labels = labels or [None] * len(tokens)
    return Document(
        np.array(tokens),
        np.array([1 if token == 1 else 0 for token in tokens]),
        np.array([-100 if label is None else label[0] for label in labels]),
        np.array([-1 if label is None else label[1] for label in labels]),
        groups,
        media,
        name,
        "s",
    )


A = document("a", [3, 10, 4, 11, 6], [None, None, (11, 0), (6, 0), None], ("s/text",))
B = document("b", [3, 1, 4], [None, (4, 1), (12, 0)], ("s/audio", "s/text"))
C = document("c", [3, 4])


def test_two_rows_by_hand():
    batch = collate([[A, C], [B]])
    assert batch.token_ids.tolist() == [[3, 10, 4, 11, 6, 3, 4, 0], [3, 1, 4, 0, 0, 0, 0, 0]]
    assert batch.modality_ids.tolist() == [[0] * 8, [0, 1, 0, 0, 0, 0, 0, 0]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 0, 0, 1, 1, -1], [2, 2, 2, -1, -1, -1, -1, -1]]
    assert batch.places.tolist() == [[0, 1, 2, 3, 4, 0, 1, 0], [0, 1, 2, 0, 0, 0, 0, 0]]
    assert torch.equal(batch.positions, batch.places[..., None]), "one axis, along which tokens are read"
    assert batch.labels.tolist() == [
        [-100, -100, 11, 6, -100, -100, -100, -100],
        [-100, 4, 12, -100, -100, -100, -100, -100],
    ]
    # Document b counts its groups in another order: what counts is the name.
    assert batch.group_names == ("s/text", "s/audio")
    assert batch.label_groups.tolist() == [[-1, -1, 0, 0, -1, -1, -1, -1], [-1, 0, 1, -1, -1, -1, -1, -1]]
    assert batch.sample_ids == ("a", "c", "b")
    assert batch.num_tokens == 10
    assert batch.num_supervised == 4
    assert batch.packing_efficiency == 10 / 16
    assert {getattr(batch, name).dtype for name in ("token_ids", "labels", "places", "positions")} == {torch.int64}


def test_rows_are_as_wide_as_needed_or_as_asked():
    assert collate([[A, B]]).token_ids.shape == (1, 8)
    assert collate([[A, B, C]]).token_ids.shape == (1, 16)
    assert collate([[A, B, C]], pad_to=13).token_ids.shape == (1, 13)
    with pytest.raises(ValueError, match="pad_to=9 must hold the longest row, of 10 tokens"):
        collate([[A, B, C]], pad_to=9)


def test_media_are_padded_at_the_end_and_keep_row_major_order():
    sounds = [torch.randn(frames, mels) for frames, mels in ((3, 2), (5, 4), (1, 4))]
    picture = torch.randn(3, 4, 6)
    first = document("a", [1, 1], media=((AUDIO, sounds[0]), (IMAGE, picture)))
    second = document("b", [1], media=((AUDIO, sounds[1]),))
    third = document("c", [1], media=((AUDIO, sounds[2]),))
    batch = collate([[first, third], [second]])
    audio = batch.media[AUDIO]
    assert audio.values.shape == (3, 5, 4)
    assert audio.shapes.tolist() == [[3, 2], [1, 4], [5, 4]]
    assert audio.documents.tolist() == [0, 1, 2]
    for item, sound in zip(audio.values, (sounds[0], sounds[2], sounds[1]), strict=True):
        frames, mels = sound.shape
        assert torch.equal(item[:frames, :mels], sound)
        assert item.abs().sum() == sound.abs().sum()
    assert torch.equal(batch.media[IMAGE].values, picture[None])
    assert batch.media[IMAGE].documents.tolist() == [0]
    assert len(audio) == 3


def test_items_that_cannot_be_stacked_are_refused():
    flat = document("a", [1], media=((AUDIO, torch.zeros(4)),))
    deep = document("b", [1], media=((AUDIO, torch.zeros(4, 2)),))
    with pytest.raises(ValueError, match=r"audio items must agree in rank and dtype: found \(4,\).* and \(4, 2\)"):
        collate([[flat, deep]])


def test_no_rows_give_a_row_of_padding():
    batch = collate([], skipped=["train.jsonl:1 is bad"])
    assert batch.token_ids.tolist() == [[0] * 8]
    assert (batch.document_ids == -1).all()
    assert batch.num_supervised == 0
    assert batch.packing_efficiency == 0
    assert batch.media == {}
    assert batch.skipped == ("train.jsonl:1 is bad",)


def test_prompts_keep_their_row_and_are_padded_at_the_right():
    maker = interleaver()
    picture = Media(IMAGE, torch.ones(3, 4, 4))
    samples = [Sample(str(n), (Message("user", (picture, Text("x" * n))),)) for n in (9, 1, 20)]
    prompts = [maker.prompt(sample) for sample in samples]
    batch = collate_prompts(prompts)
    assert batch.sample_ids == ("9", "1", "20")
    for row, prompt in enumerate(prompts):
        assert batch.token_ids[row, : len(prompt)].tolist() == prompt.token_ids.tolist()
        assert (batch.document_ids[row] == row).sum() == len(prompt)
        assert (batch.document_ids[row, len(prompt) :] == -1).all()
    assert batch.media[IMAGE].documents.tolist() == [0, 1, 2]
