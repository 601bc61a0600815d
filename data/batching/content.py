"""What a segment holds as one number, so that equal captions, pictures and clips are known as equal.

In training a picture is augmented, so that two looks of one picture differ: there it is what was read from the source
that counts. Everything else is compared as the model sees it: a caption by its tokens, a medium by its values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from data.storage.feature_store import media_key
from data.types import Media


def content_key(content: bytes) -> int:
    """A number of 64 bits with a sign, as tensors hold it; different bytes share one by accident only."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)


def tokens_key(token_ids: Sequence[int]) -> int:
    """Of a text."""
    return content_key(np.asarray(token_ids, dtype=np.int64).tobytes())


def values_key(values: Tensor) -> int:
    """Of a medium, by the values that its encoder reads."""
    plain = values.detach().cpu().contiguous()
    return content_key(f"{plain.dtype}{tuple(plain.shape)}".encode() + plain.numpy().tobytes())


def source_key(media: Media) -> int:
    """Of a medium, by what its source holds before it is augmented. Raises `BadSampleError` if it cannot be read."""
    return content_key(media_key(media).encode())
