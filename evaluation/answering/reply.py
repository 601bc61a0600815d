"""An assistant's turn as one text, the words and then each tool call, and when two of them are the same answer.

A call is written as in the token stream, `<|tool_call|>{"arguments": .., "name": ..}`. What only looks like its mark is
text, and is escaped: the mark of a call comes from its token alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from data.batching.interleave import call_json
from data.chat import ChatTokenizer
from data.tokenizer import TOOL_CALL
from data.types import Message, Sample, Text
from evaluation.metrics.scores import normalise

ESCAPED = TOOL_CALL.replace("|", "\\|")


def reply(message: Message) -> str:
    """An assistant's turn; its media are left out."""
    words = "".join(segment.text for segment in message.content if isinstance(segment, Text))
    return _joined([words, *map(call_json, message.tool_calls)])


def decoded(tokenizer: ChatTokenizer, ids: Sequence[int]) -> str:
    """The turn that a model generated, from its tokens without the end."""
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == tokenizer.call_id:
            parts.append([])
        else:
            parts[-1].append(token)
    return _joined(tokenizer.decode(part) for part in parts)


def same_reply(answer: str, expected: str) -> bool:
    """Whether two turns say and call the same.

    Words are equal but for case and white space. Calls are equal in number, order, name and arguments, compared as
    JSON: the order of keys and the white space between them do not matter, everything else does.
    """
    return canonical(answer) == canonical(expected)


def canonical(answer: str) -> str:
    """The form that is the same for the same answer."""
    words, *calls = answer.split(TOOL_CALL)
    return TOOL_CALL.join([normalise(words), *map(_canonical_call, calls)])


def may_call(sample: Sample) -> bool:
    """Whether a model may answer with a call: the sample names tools, or its conversation calls them."""
    return bool(sample.tools) or any(message.tool_calls for message in sample.messages)


def answer_length(tokenizer: ChatTokenizer, message: Message) -> int:
    """Tokens that a model must generate to give this turn, without the end."""
    texts = [segment.text for segment in message.content if isinstance(segment, Text)]
    calls = [len(tokenizer.call(call_json(call))) for call in message.tool_calls]
    return sum(len(tokenizer.encode(text)) for text in texts) + sum(calls)


def _joined(parts: Iterable[str]) -> str:
    words, *calls = (part.replace(TOOL_CALL, ESCAPED) for part in parts)
    return TOOL_CALL.join([words, *map(_canonical_call, calls)])


def _canonical_call(text: str) -> str:
    """Name and arguments with sorted keys; what is not such a call, as it is."""
    try:
        call = json.loads(text, parse_float=_number, parse_constant=_refused)
        return json.dumps({key: call[key] for key in ("arguments", "name")}, ensure_ascii=False, sort_keys=True)
    except (ValueError, TypeError, KeyError, RecursionError):
        return text


def _number(text: str) -> int | float:
    """1.0 is the number 1."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
