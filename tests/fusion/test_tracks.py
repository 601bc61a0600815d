"""A segment of several tracks in a model: features reach the runs that their times give them."""

import pytest
import torch

from data.batching.collate import collate
from data.batching.document import Turn, assemble
from data.batching.tracks import Track
from data.types import Sample
from fusion.model import FusionModel
from tests.fusion.builders import IMAGE_SIZE, NUM_MELS, small_model
from tests.fusion.positions.test_positions import METHODS

FRAMES = 24


def film(model: FusionModel, last: float = 0.0):
    """Two frames and their sound, then text; the second frame is brighter by `last`."""
    generator = torch.Generator().manual_seed(0)
    frames = [torch.randn(3, IMAGE_SIZE, IMAGE_SIZE, generator=generator) + n * last for n in range(2)]
    sound = torch.randn(FRAMES, NUM_MELS, generator=generator)
    tracks = [Track("image", x, model.layouts["image"](tuple(x.shape)), start=float(n)) for n, x in enumerate(frames)]
    tracks.append(Track("audio", sound, model.layouts["audio"](tuple(sound.shape)), step=2 / FRAMES))
    turn = Turn()
    turn.add([2])
    turn.add_tracks(tracks, 1, model.modalities)
    turn.add([3, 4])
    return collate([[assemble(Sample("film", ()), [turn])]])


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_a_later_frame_moves_no_sound_before_it(name: str) -> None:
    model = small_model(fusion=METHODS[name][0]).eval()
    batch = film(model)
    second = int((batch.modality_ids[0] == model.modalities.index("image")).nonzero()[-1]) + 1
    second -= model.layouts["image"]((3, IMAGE_SIZE, IMAGE_SIZE)).count
    audio = (batch.modality_ids[0] == model.modalities.index("audio")).nonzero()[:, 0]
    assert int(audio[0]) < second < int(audio[-1])
    before, after = model(batch).states[0], model(film(model, last=3.0)).states[0]
    torch.testing.assert_close(after[:second], before[:second], rtol=1e-5, atol=1e-6)
    assert (after[second:] - before[second:]).abs().max() > 1e-2
