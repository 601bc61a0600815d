"""A segment of several tracks: runs of placeholders alternate by time."""

import numpy as np
import pytest
import torch

from data.batching.collate import collate
from data.batching.document import Turn, assemble, dump
from data.batching.tracks import Run, Track, alternate
from data.types import AUDIO, IMAGE, Layout, Sample
from tests.data.memory import LAYOUTS, MODALITIES, tokenizer

MEDIA = 1


def film() -> list[Track]:
    """Frames at 0, 1 and 2 seconds, 4 patches each, and 3 seconds of sound: 12 steps, so 6 tokens."""
    pictures = [torch.full((3, 4, 4), float(second)) for second in range(3)]
    frames = [Track(IMAGE, picture, LAYOUTS[IMAGE](picture.shape), start=n) for n, picture in enumerate(pictures)]
    sound = torch.arange(36.0).view(12, 3)
    return [*frames, Track(AUDIO, sound, LAYOUTS[AUDIO](sound.shape), step=0.25)]


def test_tokens_of_sound_stand_between_the_frames_of_their_seconds() -> None:
    tracks = film()
    assert tracks[3].seconds.tolist() == [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]
    assert alternate(tracks) == [Run(0, 4), Run(3, 2), Run(1, 4), Run(3, 2), Run(2, 4), Run(3, 2)]


def test_of_equal_times_the_earlier_track_comes_first() -> None:
    item, layout = torch.zeros(4, 3), Layout(2, ticks=(1.0, 2.0))
    assert alternate([Track(AUDIO, item, layout), Track(IMAGE, item, layout)]) == [Run(n, 1) for n in (0, 1, 0, 1)]


def test_a_medium_alone_is_one_run() -> None:
    assert alternate(film()[3:]) == [Run(0, 6)]


def test_such_a_segment_goes_through_document_and_batch() -> None:
    turn = Turn()
    turn.add([3])
    turn.add_tracks(film(), MEDIA, MODALITIES)
    turn.add([9, 9], supervised=False)
    document = assemble(Sample("1", ()), [turn])
    image, audio = MODALITIES.index(IMAGE), MODALITIES.index(AUDIO)
    runs = [image] * 4 + [audio] * 2
    assert document.modality_ids.tolist() == [0, *(3 * runs), 0, 0]
    assert (document.token_ids == MEDIA).sum() == 18
    assert [name for name, _ in document.media] == [IMAGE, AUDIO, IMAGE, IMAGE]
    batch = collate([[document]])
    assert batch.media[IMAGE].values[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert len(batch.media[AUDIO]) == 1
    np.testing.assert_array_equal(batch.modality_ids[0, : len(document)], document.modality_ids)
    shown = [line.split(maxsplit=1)[1] for line in dump(document, tokenizer()).splitlines()[1:7]]
    assert shown == ["<|media|> image", "<|media|> audio"] * 3


def test_tracks_of_one_modality_may_not_alternate() -> None:
    item, layout = torch.zeros(4, 3), Layout(2, ticks=(1.0, 2.0))
    with pytest.raises(ValueError, match="those of audio alternate"):
        alternate([Track(AUDIO, item, layout), Track(AUDIO, item, layout, start=0.5)])
    assert alternate([Track(AUDIO, item, layout, start=9.0), Track(AUDIO, item, layout)]) == [Run(1, 2), Run(0, 2)]
    with pytest.raises(ValueError, match="step=0"):
        Track(AUDIO, item, layout, step=0)
