"""Sound: strided convolutions over a log-mel spectrogram, then a bidirectional transformer.

Shape legend: N items (clips), T places in an item (frames, then features), m mel bins, C width of the features.
The layout is that of Whisper's encoder (arXiv:2212.04356), with more and stronger strides, and with every
convolution masked to the true length of its clip, so that padding changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from data.types import Layout, MediaBatch
from encoders.base import Encoder, check_convolutions
from encoders.scratch.precision import full_precision_on_cpu
from encoders.transformer import BidirectionalTransformer

NUM_BUCKETS = 4


def sinusoids(length: int, width: int, device: torch.device) -> Tensor:
    """Fixed sinusoidal places [length, width] of Vaswani et al. (arXiv:1706.03762); any length works.

    In float32, of angles in float64, which not every device has: the CPU computes them.
    """
    rates = torch.exp(torch.linspace(0.0, -9.2103, width // 2, dtype=torch.float64))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1).to(device, torch.float32)


class TimeConvolution(nn.Module):
    """One convolution over time (kernel 3 or more), normalised per frame: [N, T, C] -> [N, ceil(F / stride), C']."""

    def __init__(self, d_input: int, d_output: int, stride: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(d_input, d_output, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(d_output)

    def forward(self, x_NTC: Tensor) -> Tensor:
        """Frames after the convolution."""
        with full_precision_on_cpu(x_NTC):
            x = self.convolution(x_NTC.transpose(1, 2)).transpose(1, 2)
        return nn.functional.gelu(self.norm(x))


class AudioEncoder(Encoder):
    """[N, T, m] -> convolutions -> [N, T, C] -> + place -> transformer -> [N, T, C], T = ceil(F / strides).

    `channels`, `strides` and `kernels` name one convolution an entry.
    """

    def __init__(
        self,
        num_mels: int,
        channels: Sequence[int],
        strides: Sequence[int],
        kernels: Sequence[int],
        num_layers: int,
        num_heads: int,
    ) -> None:
        super().__init__()
        check_convolutions(channels, strides, kernels)
        if num_mels < 1:
            raise ValueError(f"num_mels={num_mels} must be 1 or more")
        if channels[-1] % 2:
            raise ValueError(f"channels[-1]={channels[-1]} must be even")
        self.num_mels, self.strides = num_mels, tuple(strides)
        # Two features: bfloat16 convolutions over a single frame have wrong gradients on some processors.
        self.example_shape = (2 * math.prod(strides), num_mels)
        self.d_output = channels[-1]
        inputs = [num_mels, *channels[:-1]]
        self.convolutions = nn.ModuleList(
            TimeConvolution(i, o, s, k) for i, o, s, k in zip(inputs, channels, strides, kernels, strict=True)
        )
        self.transformer = BidirectionalTransformer(self.d_output, num_layers, num_heads)

    def layout(self, shape: tuple[int, ...]) -> Layout:
        """The line of features of a spectrogram of `shape` (frames, mel bins); the first lies on the first frame."""
        if len(shape) != 2 or shape[1] != self.num_mels or shape[0] < 1:
            raise ValueError(
                f"a spectrogram of shape {shape} does not fit the encoder, which takes (frames, {self.num_mels})"
            )
        length = shape[0]
        for stride in self.strides:
            length = (length - 1) // stride + 1
        return Layout(length, ticks=(0.5, float(math.prod(self.strides))))

    def forward(self, media: MediaBatch) -> Tensor:
        """Features [N, T, C]."""
        lengths_N = media.shapes[:, 0]
        order_N = lengths_N.argsort()
        parts = []
        # Clips of similar length together, because a frame of padding costs as much as a frame of sound.
        for bucket in order_N.split(-(-len(order_N) // NUM_BUCKETS)):
            frames = int(lengths_N[bucket].max())
            parts.append(self._encode(media.values[bucket.to(media.values.device), :frames], lengths_N[bucket]))
        longest = max(part.shape[1] for part in parts)
        padded = [nn.functional.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts]
        return torch.cat(padded)[order_N.argsort().to(media.values.device)]

    def _encode(self, x_NTC: Tensor, lengths_N: Tensor) -> Tensor:
        lengths_N = lengths_N.to(x_NTC.device)
        for layer, stride in zip(self.convolutions, self.strides, strict=True):
            x_NTC, lengths_N = layer(x_NTC), (lengths_N - 1) // stride + 1
            padding_NT = torch.arange(x_NTC.shape[1], device=x_NTC.device) >= lengths_N[:, None]
            x_NTC = x_NTC.masked_fill(padding_NT[..., None], 0.0)
        x_NTC = x_NTC + sinusoids(x_NTC.shape[1], self.d_output, x_NTC.device)
        return self.transformer(x_NTC, padding_NT)
