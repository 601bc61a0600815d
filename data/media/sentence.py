"""Whole texts as media, for pretrained text encoders: the ids of their own tokenizer.

Text that the fusion model itself reads and writes has the project's tokenizer. A pretrained text encoder has another
vocabulary. So its text is a medium like an image: {"type": "sentence", "text": "a red kangaroo"} in a manifest.

Shape legend: L tokens in a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.configuration.locate import first_line, library, locate
from data.storage.files import read_file
from data.types import BadSampleError, Media


class SentenceProcessor:
    """UTF-8 text (a file or bytes) -> token ids [L] with the tokenizer's own marks around them; never augmented.

    model: a name on the hub, a folder with the tokenizer's files, or `package:NAME/FOLDER`. max_tokens: what is longer
    is refused. Raises `ValueError` if the model has no tokenizer.
    """

    augments = False

    def __init__(self, model: str, max_tokens: int = 256) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens={max_tokens} must be 1 or more")
        transformers = library("transformers")
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(locate(model) or model)
        except Exception as error:  # the library and the hub fail in many ways, and none is a bug of this project
            raise ValueError(f"model={model!r} has no tokenizer: {first_line(error)}") from error
        self.max_tokens = max_tokens

    def __call__(self, media: Media, rng: np.random.Generator | None = None) -> Tensor:
        """Token ids, int64 [L]. Raises `BadSampleError` for a text that is missing, not UTF-8, empty or too long."""
        text = _read(media)
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        if len(ids) > self.max_tokens:
            raise BadSampleError(f"a text of {len(ids)} tokens, more than max_tokens={self.max_tokens}: {text[:40]!r}")
        return torch.tensor(ids, dtype=torch.long)


def _read(media: Media) -> str:
    source = media.source
    if not isinstance(source, Path | bytes):
        raise BadSampleError(f"a sentence must be a file or UTF-8 bytes, not {type(source).__name__}")
    name = media.name if isinstance(source, Path) else "sentence"
    try:
        text = (source if isinstance(source, bytes) else read_file(source)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadSampleError(f"{name}: not UTF-8 ({error.reason} at byte {error.start})") from error
    if not text.strip():
        raise BadSampleError(f"{name}: holds no text")
    return text
