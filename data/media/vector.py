"""Vectors on disk as media: one NumPy file each, as `scripts/match_pairs.py` writes them.

Shape legend: C width of the features.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.storage.files import read_file
from data.types import BadSampleError, Media


class VectorProcessor:
    """A file .npy with one vector -> float32 [C]; never augmented."""

    augments = False

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """The vector. Raises `BadSampleError` for a file that is missing or holds anything else."""
        source = media.source
        if isinstance(source, Tensor):
            return source.float()
        if not isinstance(source, Path | bytes):
            raise BadSampleError(f"a vector must be a file or its bytes, not {type(source).__name__}")
        content = source if isinstance(source, bytes) else read_file(source)
        try:
            values = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise BadSampleError(f"{media.name}: is no .npy file") from error
        if values.ndim != 1 or values.dtype.kind != "f":
            raise BadSampleError(
                f"{media.name}: must hold one vector of floats, not {values.dtype} {list(values.shape)}"
            )
        return torch.from_numpy(values.astype(np.float32))
