"""One generator for each purpose: what one option draws, no other option moves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture
from data.media.image import ImageProcessor
from data.randomness import Draws, generator, seed_of
from data.sources.easy_vqa import EasyVqa
from data.types import AUDIO, IMAGE, Media
from tests.data.memory import LAYOUTS, MODALITIES, MemorySource, RawProcessor, tokenizer


def test_any_difference_gives_another_generator() -> None:
    """Zeros at the end, words that could be joined, and large numbers that numpy would split included."""
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 0), (0, "a", 0, 0), (0, "a", 1), (0, "a", "b"), (0, "ab")]
    keys += [(0, "a", 2**32 + 1), (0, "a", 1, 1), (0, "a", "1, 1"), (0, 'a", "1')]
    assert len({seed_of(*key) for key in keys}) == len({generator(*key).random() for key in keys}) == len(keys)
    assert seed_of(0, "a", np.int64(3)) == seed_of(0, "a", 3)


def test_a_position_draws_what_a_generator_of_its_purpose_draws() -> None:
    assert Draws(3, 7)("order", 2).random() == generator(3, "order", 7, 2).random()


def stream(**options) -> BatchStream:
    processors = {IMAGE: RawProcessor(), AUDIO: RawProcessor()}
    reader = Interleaver(tokenizer(), processors, LAYOUTS, MODALITIES, 64)
    return BatchStream(Mixture({"memory": (MemorySource(12), 1.0)}, 0), reader, 8, **options)


def test_modality_dropout_that_never_happens_changes_no_bit_of_a_batch() -> None:
    """Neither questions nor augmentation."""
    plain, never = stream()[3], stream(modality_dropout={"image": 1e-9, "audio": 1e-9})[3]
    assert torch.equal(plain.token_ids, never.token_ids)
    for modality in (IMAGE, AUDIO):
        assert torch.equal(plain.media[modality].values, never.media[modality].values)


def sounds(batch) -> dict[str, torch.Tensor]:
    """Sample -> its augmented sound; where a document is packed depends on its length."""
    media = batch.media[AUDIO]
    names = [batch.sample_ids[document] for document in media.documents]
    return dict(zip(names, media.values, strict=True))


def test_what_is_dropped_leaves_the_augmentation_of_the_rest() -> None:
    plain, blind = stream()[3], stream(modality_dropout={"image": 0.999999})[3]
    assert IMAGE not in blind.media
    expected, found = sounds(plain), sounds(blind)
    assert len(found) > 1
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], sound) for name, sound in expected.items())


def asked(source: EasyVqa, position: int) -> list[tuple[str, str]]:
    """The modality of each question in a conversation, and its text or the clip that says it."""
    sample = source.sample(5, Draws(0, position)("sample"))
    last = [message.content[-1] for message in sample.messages if message.role == "user"]
    return [(item.modality, str(item.source.index) if isinstance(item, Media) else item.text) for item in last]


@pytest.mark.parametrize("changed", [{"spoken": 0.7}, {"describe": 1.0}, {"transcribe": 1e-9}, {"turns": 3}])
def test_an_option_of_easy_vqa_moves_no_other_draw(changed: dict[str, float]) -> None:
    pytest.importorskip("espeakng_loader")
    one, other = EasyVqa(spoken=0.5), EasyVqa(**{"spoken": 0.5, **changed})
    same = spoken = 0
    for position in range(20):
        for (modality, words), (other_modality, other_words) in zip(
            asked(one, position), asked(other, position), strict=False
        ):
            if modality == other_modality:
                assert words == other_words
                same, spoken = same + 1, spoken + (modality == AUDIO)
    assert same > 40
    assert spoken > 10


def test_mirroring_does_not_move_the_shift() -> None:
    pixels = torch.arange(3 * 8 * 8, dtype=torch.uint8).reshape(3, 8, 8)
    pixels = torch.maximum(pixels, pixels.flip(-1))  # equal to its mirror image, so that only the shift shows
    shifted, both = ImageProcessor(8, shift=0.25), ImageProcessor(8, shift=0.25, mirror=True)
    places = [Draws(0, position) for position in range(20)]
    one, other = ([process(Media(IMAGE, pixels), draws("x")) for draws in places] for process in (shifted, both))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert any(not torch.equal(a, b) for a, b in itertools.combinations(one, 2))
