"""What a harness asks (a text, perhaps with media) as a conversation of this project.

A harness writes one text: the context, then the answer that it goes on with. This project writes turns, with marks
that no text holds. So the context becomes the user's turn and the answer the assistant's. No token spans the border
between them, or that between a text and a medium. White space at a border is what one text would need there to keep
words apart. It is left out, since no training had it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from data.chat import ChatTokenizer
from data.media.given import Content, given
from data.media.pixels import Colour
from data.types import AUDIO, IMAGE, TEXT, BadInputError, Message, Modality, Segment, Text

# Where in a context a medium stands, as harnesses write it.
PLACEHOLDERS = {"<image>": IMAGE, "<audio>": AUDIO}
_PLACES = re.compile("(" + "|".join(PLACEHOLDERS) + ")")
# Begins a context that `write_turns` wrote. A control character, so that no text of a data set begins like it.
_TURNS = "\x02turns\x02"


def write_turns(history: Sequence[Mapping[str, str]]) -> str:
    """Turns, each with `role` and `content`, as the one text that a harness passes on; `conversation` reads it."""
    return _TURNS + json.dumps([{"role": turn["role"], "content": turn["content"]} for turn in history])


def conversation(context: str, media: Mapping[Modality, Sequence[Content]], background: Colour) -> tuple[Message, ...]:
    """The turns before the answer; none for an empty context without media.

    media: in reading order, by modality. They take the places that `<image>` and `<audio>` name. Without any such
    place they come first in the last user turn, before its text. background: shows where a picture is transparent.

    Raises:
        BadInputError: there are places for other numbers of media than are given, or a medium cannot be read.
    """
    turns = _read_turns(context)
    # Without media a placeholder is plain text.
    found = [PLACEHOLDERS[mark] for _, text in turns for mark in _PLACES.findall(text)] if media else []
    _check_places(found, media)
    waiting = {modality: iter(items) for modality, items in media.items()}

    def segment(part: str) -> Segment:
        modality = PLACEHOLDERS.get(part) if found else None
        return Text(part.strip()) if modality is None else given(modality, next(waiting[modality]), background)

    messages = []
    for role, text in turns:
        parts = [segment(part) for part in (_PLACES.split(text) if found else [text])]
        messages.append(Message(role, tuple(part for part in parts if part != Text(""))))
    if media and not found:
        first = tuple(given(modality, item, background) for modality, items in media.items() for item in items)
        last = max(place for place, message in enumerate(messages) if message.role == "user")
        messages[last] = replace(messages[last], content=(*first, *messages[last].content))
    return tuple(message for message in messages if message.content)


def shortened(messages: Sequence[Message], excess: int, tokenizer: ChatTokenizer) -> tuple[Message, ...]:
    """The conversation without about `excess` tokens of the text that comes first; media stay.

    The same messages if they hold no text.
    """
    kept = []
    for message in messages:
        content: list[Segment] = []
        for segment in message.content:
            if excess > 0 and isinstance(segment, Text):
                ids = tokenizer.encode(segment.text)
                # The rest of a character that was cut is no text.
                segment = Text(tokenizer.decode(ids[excess:]).lstrip("\ufffd").strip())
                excess -= len(ids)
            if segment != Text(""):
                content.append(segment)
        if content:
            kept.append(replace(message, content=tuple(content)))
    return tuple(kept)


def has_text(messages: Sequence[Message]) -> bool:
    """Whether anything can be left out of it."""
    return any(segment.modality == TEXT for message in messages for segment in message.content)


def _read_turns(context: str) -> list[tuple[str, str]]:
    if not context.startswith(_TURNS):
        return [("user", context)]
    turns = [(turn["role"], turn["content"]) for turn in json.loads(context.removeprefix(_TURNS))]
    if turns and turns[-1][0] == "assistant":
        raise BadInputError(
            "gen_prefix: an answer of this model begins with its turn; leave out either that or --apply_chat_template"
        )
    return turns


def _check_places(found: Sequence[Modality], media: Mapping[Modality, Sequence[Content]]) -> None:
    """Raises `BadInputError` if there are places, and not one for each medium."""
    for mark, modality in PLACEHOLDERS.items():
        places, items = found.count(modality), len(media.get(modality, ()))
        if found and places != items:
            raise BadInputError(
                f"a context holds {mark} {places} times, where {items} of {modality} are given; "
                "a harness gives the media of the question alone, so examples before it (num_fewshot) must have none"
            )
