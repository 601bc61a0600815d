"""What a command line asks: an image, a sound and a text, in any combination."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from data.types import Segment


def asked(config: DictConfig) -> list[Segment]:
    """The segments of `config.image`, `config.audio` and `config.text`, read in this order.

    Raises `BadInputError` when a file does not exist or nothing is asked.
    """
    from data.types import AUDIO, IMAGE, BadInputError, Media, Text

    segments: list[Segment] = []
    for modality in (IMAGE, AUDIO):
        if config[modality] is not None:
            path = Path(str(config[modality]))
            if not path.is_file():
                raise BadInputError(f"{modality}={path}: no such file")
            segments.append(Media(modality, path))
    if config.text is not None:
        segments.append(Text(str(config.text)))
    if not segments:
        raise BadInputError("nothing is asked; give image=FILE, audio=FILE or text=..., or several of them")
    return segments
