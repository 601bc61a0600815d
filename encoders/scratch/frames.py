"""Sound without an encoder: a few frames of a log-mel spectrogram at a time, embedded by one linear map.

Shape legend: N items (clips), T places in an item (frames, then stacks of frames), m mel bins, I inputs (values of a
stack), C width of the features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import Encoder
from encoders.scratch.audio import sinusoids


class FrameEncoder(Encoder):
    """[N, T, m] -> stacks of `frames_per_token` frames [N, T, I] -> linear -> norm -> + place -> [N, T, C].

    What `PatchEncoder` is to images: no stack sees another. AST (arXiv:2104.01778) embeds square patches of a
    spectrogram in this way; here a stack has all mel bins, so that tokens follow one another in time. The last stack of
    a clip is filled up with zeros. Places are the sinusoids of the convolutional encoder.
    """

    def __init__(self, num_mels: int, frames_per_token: int, d_output: int) -> None:
        super().__init__()
        for name, value in (("num_mels", num_mels), ("frames_per_token", frames_per_token)):
            if value < 1:
                raise ValueError(f"{name}={value} must be 1 or more")
        if d_output < 2 or d_output % 2:
            raise ValueError(f"d_output={d_output} must be positive and even")
        self.num_mels, self.frames_per_token, self.d_output = num_mels, frames_per_token, d_output
        self.example_shape = (2 * frames_per_token, num_mels)
        self.embed = nn.Linear(frames_per_token * num_mels, d_output)
        self.norm = nn.LayerNorm(d_output)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The line of stacks of a spectrogram of `shape` (frames, mel bins)."""
        if len(shape) != 2 or shape[1] != self.num_mels or shape[0] < 1:
            raise ValueError(
                f"a spectrogram of shape {shape} does not fit the encoder, which takes (frames, {self.num_mels})"
            )
        count = -(-shape[0] // self.frames_per_token)
        return Layout(count, ticks=(self.frames_per_token / 2, float(self.frames_per_token)))

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C]."""
        values_NTm = media.values
        lengths_N = media.shapes[:, 0].to(values_NTm.device)
        ended_NT = torch.arange(values_NTm.shape[1], device=values_NTm.device) >= lengths_N[:, None]
        values_NTm = values_NTm.masked_fill(ended_NT[..., None], 0.0)
        missing = -values_NTm.shape[1] % self.frames_per_token
        stacks_NTI = (
            nn.functional.pad(values_NTm, (0, 0, 0, missing)).unflatten(1, (-1, self.frames_per_token)).flatten(2)
        )
        features_NTC = self.norm(self.embed(stacks_NTI))
        return features_NTC + sinusoids(features_NTC.shape[1], self.d_output, features_NTC.device)
