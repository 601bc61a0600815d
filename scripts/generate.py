"""Ask a checkpoint about an image, a sound and a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scripts.entry import entry_point

if TYPE_CHECKING:
    from omegaconf import DictConfig


@entry_point("generate")
def main(config: DictConfig) -> None:
    """Prints the answer; image, sound and text are read in this order."""
    from pathlib import Path

    from data.types import AUDIO, IMAGE, BadInputError, Media, Segment, Text
    from serving.session import Session

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
    session = Session.load(config.checkpoint, config.device)
    answer = session.answer(
        *segments, max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed
    )
    print(answer)


if __name__ == "__main__":
    main()
