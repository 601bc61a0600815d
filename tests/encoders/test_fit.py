"""Encoders and projectors that do not fit are refused when the model is built, in one line."""

from functools import partial

import pytest
import torch
from torch import nn

from data.types import Layout
from encoders.base import Encoder, MediaEncoder
from encoders.projector import LinearProjector, Projector


class Patches(Encoder):
    """Two features of `width` an image; it says that they are `d_output` wide and `count`."""

    example_shape = (3, 2, 2)

    def __init__(self, width=6, d_output=6, count=2):
        super().__init__()
        self.linear, self.d_output, self.count = nn.Linear(6, width), d_output, count

    def layout(self, shape):
        return Layout(self.count)

    def forward(self, media):
        return self.linear(media.values.reshape(-1, 2, 6))


class Fixed(Projector):
    """A projector that was written for one width."""

    def __init__(self, d_input, d_model, width=6, d_output=8):
        super().__init__()
        self.linear = nn.Linear(width, d_output)

    def forward(self, features_NTC, counts_N):
        return self.linear(features_NTC)


class Halving(LinearProjector):
    """Makes half as many tokens, and does not say so."""

    def forward(self, features_NTC, counts_N):
        return super().forward(features_NTC, counts_N)[:, ::2]


def test_what_fits_is_built_without_touching_the_generator() -> None:
    torch.manual_seed(0)
    first = MediaEncoder(Patches(), LinearProjector, 8)
    after = torch.rand(1)
    assert first.training
    torch.manual_seed(0)
    Patches(), LinearProjector(6, 8)
    assert torch.equal(after, torch.rand(1))


@pytest.mark.parametrize(
    ("encoder", "projector", "words"),
    [
        (Patches(width=7), LinearProjector, r"Patches makes features \(1, 2, 7\) but promises \(1, 2, 6\)"),
        (Patches(count=3), LinearProjector, r"Patches makes features \(1, 2, 6\) but promises \(1, 3, 6\)"),
        (Patches(), partial(Fixed, width=5), r"Fixed does not fit Patches, whose features are \(1, 2, 6\)"),
        (Patches(), partial(Fixed, d_output=9), r"it makes tokens \(1, 2, 9\) where \(1, 2, 8\) are needed"),
        (Patches(), Halving, r"it makes tokens \(1, 1, 8\) where \(1, 2, 8\) are needed"),
    ],
)
def test_what_does_not_fit_is_refused(encoder, projector, words) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        MediaEncoder(encoder, projector, 8)
    assert "\n" not in str(raised.value)
