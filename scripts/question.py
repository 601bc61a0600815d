"""What a command line asks: files of any modality and a text, in the order that they are given in."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scripts.arguments import typed_overrides

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from data.types import Segment
    from evaluation.insight.explanation import Explanation
    from serving.session import Session

MEDIA = "media."


def load_session(config: DictConfig) -> Session:
    """The checkpoint that is asked, on its device.

    Raises `BadInputError` when nothing is asked, for values that no answer can be made with, and as `Session.load` and
    `Session.check_answer`.
    """
    from data.device import choose_device
    from data.types import BadInputError
    from serving.session import Session

    if not any(_given(config).values()):
        raise BadInputError("nothing is asked; give image=FILE, audio=FILE or text=..., or several of them")
    session = Session.load(config.checkpoint, choose_device(config.device))
    session.check_answer(config.max_new_tokens)
    return session


def asked(config: DictConfig, session: Session) -> list[Segment]:
    """The segments of what is asked, in the order of the command line, else image, audio, other media, text.

    Raises `BadInputError` for a modality that the checkpoint cannot be asked about, and a file that does not exist.
    """
    from data.media.given import typed
    from data.types import TEXT, BadInputError

    segments: list[Segment] = []
    for name, value in _given(config).items():
        if name != TEXT and (reason := session.refusal(name)) is not None:
            unknown = "" if name in config else "no such option, and "
            raise BadInputError(f"{name}={value}: {unknown}{reason}{_nearest(name, config, session)}")
        segments.append(typed(name, value))
    return segments


def explained(session: Session, segments: Sequence[Segment], answer: str | None, max_new_tokens: int) -> Explanation:
    """What an answer rests on; None: the model's own.

    Raises `BadSampleError` when a medium cannot be read, or the question leaves no room for the answer.
    """
    from data.types import Message, Sample, Text
    from evaluation.insight.explanation import explain

    if answer is None:
        answer = session.answer(*segments, max_new_tokens=max_new_tokens)
    messages = (Message("user", tuple(segments)), Message("assistant", (Text(answer),)))
    return explain(session.model, session.tokenizer, session.interleaver, Sample("question", messages), answer)


def _given(config: DictConfig) -> dict[str, str]:
    """What is asked, by modality."""
    from data.types import AUDIO, IMAGE, TEXT, BadInputError

    media = config.media or {}
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
