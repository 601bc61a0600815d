"""What a command line asks: files of any modality and a text, in the order in which they are given."""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.arguments import typed_overrides

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from data.types import Segment
    from serving.session import Session

LARGEST_SEED = 2**63 - 1
MEDIA = "media."


def load_session(config: DictConfig) -> Session:
    """The checkpoint that is asked, on its device.

    Raises `BadInputError` when nothing is asked, for values that no answer can be made with, and as `Session.load`.
    """
    from data.types import BadInputError
    from serving.session import Session
    from training.distributed import choose_device

    if not any(_given(config).values()):
        raise BadInputError("nothing is asked; give image=FILE, audio=FILE or text=..., or several of them")
    _check_options(config)
    try:
        device = choose_device(config.device)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    session = Session.load(config.checkpoint, device)
    longest = session.interleaver.max_tokens
    if config.max_new_tokens > longest:
        raise BadInputError(
            f"max_new_tokens={config.max_new_tokens}: must be at most {longest}: "
            "no document of the training was longer (data.max_tokens)"
        )
    return session


def asked(config: DictConfig, session: Session) -> list[Segment]:
    """The segments of what is asked, in the order of the command line, else image, audio, other media, text.

    Raises `BadInputError` for a modality that the checkpoint cannot be asked about, and a file that does not exist.
    """
    from data.types import SENTENCE, TEXT, BadInputError, Media, Text

    segments: list[Segment] = []
    for name, value in _given(config).items():
        if name == TEXT:
            segments.append(Text(value))
            continue
        if (reason := session.refusal(name)) is not None:
            unknown = "" if name in config else "no such option, and "
            raise BadInputError(f"{name}={value}: {unknown}{reason}{_nearest(name, config, session)}")
        path = Path(value).expanduser()
        if name != SENTENCE and not (value and path.is_file()):
            raise BadInputError(f"{name}={value}: no such file")
        segments.append(Media(name, value.encode() if name == SENTENCE else path))
    return segments


def _given(config: DictConfig) -> dict[str, str]:
    """What is asked, by modality."""
    from data.types import AUDIO, IMAGE, TEXT, BadInputError

    media = config.media or {}
    if isinstance(media, str | int | float):
        raise BadInputError(f"media={media}: must name modalities, as in depth=FILE or +media.depth=FILE")
    values = {IMAGE: config[IMAGE], AUDIO: config[AUDIO], **media, TEXT: config[TEXT]}
    typed = [override.partition("=")[0].strip("+").removeprefix(MEDIA) for override in typed_overrides()]
    order = [name for name in typed if name in values]
    for name in values:
        if order.count(name) > 1:
            raise BadInputError(f"{name}: is given {order.count(name)} times; a question has one of each modality")
    return {name: str(values[name]) for name in dict.fromkeys([*order, *values]) if values[name] is not None}


def _nearest(name: str, config: DictConfig, session: Session) -> str:
    """A hint for a name that was misspelt."""
    names = [str(key) for key in config if key != "media"] + list(session.media)
    close = difflib.get_close_matches(name, dict.fromkeys(names), n=1)
    return f"; the nearest valid name is {close[0]}" if close and close[0] != name else ""


def _check_options(config: DictConfig) -> None:
    from data.types import BadInputError

    if config.max_new_tokens < 1:
        raise BadInputError(f"max_new_tokens={config.max_new_tokens}: must be 1 or more")
    temperature, seed = config.get("temperature", 0.0), config.get("seed", 0)
    if not 0 <= temperature < math.inf:
        raise BadInputError(f"temperature={temperature}: must be 0 or more, and finite")
    if not 0 <= seed <= LARGEST_SEED:
        raise BadInputError(f"seed={seed}: must be from 0 to {LARGEST_SEED}")
