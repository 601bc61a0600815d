"""Rows of a manifest as samples, and samples as rows.

    {"id": "7", "messages": [{"role": "user", "content": [{"type": "image", "path": "7.png"}]}, ...], "tools": [...]}
    {"id": "8", "aligned": [{"type": "image", "path": "8.png"}, {"type": "text", "text": "a red kangaroo"}]}

Every type but "text" is a modality with a `path` (relative to the manifest), base64 `data`, or a `text` that an encoder
reads. So a new modality needs no change here. `"absent": true` in place of these says that such a medium is
missing. Tools and tool calls have the shape of OpenAI's API. `source` and `metadata` are optional. All fields stand in
`data/sources/fields.py`; null is the same as absent, but inside of arguments and parameters, which are the user's own.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data.bad_samples import check_text, reason
from data.sources.fields import CALL, CALLED, FUNCTION, MESSAGE, ROW, SEGMENT, TOOL, Level, given, hint
from data.types import (
    ROLES,
    TEXT,
    Absent,
    AlignedSample,
    BadSampleError,
    Media,
    Message,
    Sample,
    Segment,
    Text,
    ToolCall,
)

Row = dict[str, Any]


def parse_row(row: Any, folder: Path, source: str, origin: str) -> Sample | AlignedSample:
    """The sample that a row describes; files are not opened and not looked for.

    folder: what paths are relative to. source: the sample's source where the row names none. origin: where the row
    was read ("train.jsonl:12").
    Raises `BadSampleError` that names the origin and the field, "train.jsonl:12: messages[0].role: ...".
    """
    check_text(row, origin)
    row = given(_typed(row, dict, origin, "a row must be an object"), ROW, f"{origin}: ")
    if ("messages" in row) == ("aligned" in row):
        raise BadSampleError(f"{origin}: must have either messages or aligned")
    metadata = _typed(row.get("metadata", {}), dict, f"{origin}: metadata")
    common: dict[str, Any] = {
        "id": str(_typed(row.get("id", origin), (str, int), f"{origin}: id")),
        "source": _typed(row.get("source", source), str, f"{origin}: source"),
        "origin": origin,
        "metadata": {key: _as_text(value) for key, value in metadata.items() if value is not None},
    }
    if "aligned" in row:
        return AlignedSample(segments=_segments(row["aligned"], folder, f"{origin}: aligned"), **common)
    messages = _typed(row["messages"], list, f"{origin}: messages")
    if not messages:
        raise BadSampleError(f"{origin}: messages: must not be empty")
    parsed = tuple(_message(item, folder, f"{origin}: messages[{i}]") for i, item in enumerate(messages))
    tools = _typed(row.get("tools", []), list, f"{origin}: tools")
    return Sample(
        messages=parsed,
        tools=tuple(_tool(item, f"{origin}: tools[{i}]") for i, item in enumerate(tools)),
        choices=_choices(row.get("choices", []), f"{origin}: choices"),
        **common,
    )


def format_row(sample: Sample | AlignedSample, write: Callable[[Media], str]) -> Row:
    """The row that `parse_row` reads as the same sample; `write` stores a medium and returns its path."""
    row: Row = {"id": sample.id}
    if isinstance(sample, AlignedSample):
        row["aligned"] = [_format_segment(segment, write) for segment in sample.segments]
    else:
        row["messages"] = [_format_message(message, write) for message in sample.messages]
        if sample.tools:
            row["tools"] = [dict(tool) for tool in sample.tools]
        if sample.choices:
            row["choices"] = list(sample.choices)
    if sample.source:
        row["source"] = sample.source
    if sample.metadata:
        row["metadata"] = dict(sample.metadata)
    return row


def named_segments(sample: Sample | AlignedSample) -> Iterator[tuple[str, Segment]]:
    """Every segment of a sample with the name of its field, "messages[0].content[1]" or "aligned[2]"."""
    if isinstance(sample, AlignedSample):
        yield from ((f"aligned[{i}]", segment) for i, segment in enumerate(sample.segments))
        return
    for i, message in enumerate(sample.messages):
        yield from ((f"messages[{i}].content[{j}]", segment) for j, segment in enumerate(message.content))


def _choices(value: Any, where: str) -> tuple[str, ...]:
    texts = [_typed(item, str, f"{where}[{i}]") for i, item in enumerate(_typed(value, list, where))]
    if texts and (len(set(texts)) < 2 or "" in texts or len(set(texts)) < len(texts)):
        raise BadSampleError(f"{where}: must be two different answers or more, none of them empty or twice")
    return tuple(texts)


def _message(value: Any, folder: Path, where: str) -> Message:
    value = _object(value, MESSAGE, where)
    role = _typed(_required(value, "role", where), str, f"{where}.role")
    if role not in ROLES:
        raise BadSampleError(f"{where}.role: {role!r} must be one of {', '.join(ROLES)}{hint(role, ROLES)}")
    for field in ("tool_call_id", "name"):
        _typed(value.get(field, ""), str, f"{where}.{field}")
    calls = _typed(value.get("tool_calls", []), list, f"{where}.tool_calls")
    if calls and role != "assistant":
        raise BadSampleError(f"{where}.tool_calls: only the assistant calls tools, not role {role!r}")
    content = value.get("content") if calls else _required(value, "content", where)
    return Message(
        role,
        () if calls and not content else _segments(content, folder, f"{where}.content"),
        tuple(_tool_call(item, f"{where}.tool_calls[{i}]") for i, item in enumerate(calls)),
    )


def _segments(value: Any, folder: Path, where: str) -> tuple[Segment, ...]:
    if value in ("", []):
        raise BadSampleError(f"{where}: must not be empty")
    if isinstance(value, str):
        return (Text(value),)
    value = _typed(value, list, where, "must be a list of segments, or text")
    return tuple(_segment(item, folder, f"{where}[{i}]") for i, item in enumerate(value))


def _segment(value: Any, folder: Path, where: str) -> Segment:
    value = _object(value, SEGMENT, where)
    kind = _typed(_required(value, "type", where), str, f"{where}.type")
    if not kind:
        raise BadSampleError(f"{where}.type: must not be empty")
    if "absent" in value:
        if value["absent"] is not True or kind == TEXT or {"path", "data", "text"} & set(value):
            raise BadSampleError(f"{where}.absent: must be true, and of a medium without path, data and text")
        return Absent(kind)
    if kind == TEXT:
        for field in ("path", "data"):
            if field in value:
                raise BadSampleError(f"{where}.{field}: a segment of type 'text' holds its text itself, in text")
        return Text(_typed(_required(value, "text", where), str, f"{where}.text"))
    if sum(field in value for field in ("path", "data", "text")) != 1:
        raise BadSampleError(f"{where}: a segment of type {kind!r} must have exactly one of path, data and text")
    if "text" in value:
        return Media(kind, _typed(value["text"], str, f"{where}.text").encode())
    if "path" in value:
        path = _typed(value["path"], str, f"{where}.path")
        if not path:
            raise BadSampleError(f"{where}.path: must not be empty")
        return Media(kind, folder / path)
    try:
        return Media(kind, base64.b64decode(_typed(value["data"], str, f"{where}.data"), validate=True))
    except ValueError as error:  # binascii.Error, or characters beyond ASCII
        raise BadSampleError(f"{where}.data: not base64 ({error})") from error


def _tool(value: Any, where: str) -> Mapping[str, Any]:
    value = _object(value, TOOL, where)
    function = _object(_required(value, "function", where), FUNCTION, f"{where}.function")
    _typed(_required(function, "name", f"{where}.function"), str, f"{where}.function.name")
    return {**value, "function": function}


def _tool_call(value: Any, where: str) -> ToolCall:
    value = _object(value, CALL, where)
    function = _object(_required(value, "function", where), CALLED, f"{where}.function")
    name = _typed(_required(function, "name", f"{where}.function"), str, f"{where}.function.name")
    arguments, field = _required(function, "arguments", f"{where}.function"), f"{where}.function.arguments"
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise BadSampleError(f"{field}: not JSON ({reason(error)})") from error
        check_text(arguments, field, depth=1)
    return ToolCall(name, _typed(arguments, dict, field), _typed(value.get("id", ""), str, f"{where}.id"))


def _as_text(value: Any) -> str:
    """A value of metadata: text as it is, anything else as JSON, with the keys of an object in order."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _object(value: Any, level: Level, where: str) -> dict[str, Any]:
    return given(_typed(value, dict, where), level, f"{where}.")


def _required(value: Mapping[str, Any], field: str, where: str) -> Any:
    if field not in value:
        raise BadSampleError(f"{where}.{field}: is missing")
    return value[field]


def _typed(value: Any, kind: type | tuple[type, ...], where: str, rule: str = "") -> Any:
    """`value` if it is of `kind`; JSON's true and false are no numbers."""
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    names = {dict: "an object", list: "a list", str: "text", int: "a number"}
    kinds = kind if isinstance(kind, tuple) else (kind,)
    rule = rule or f"must be {' or '.join(names[item] for item in kinds)}"
    raise BadSampleError(f"{where}: {rule}, not {json.dumps(value, ensure_ascii=False)[:40]}")


def _format_message(message: Message, write: Callable[[Media], str]) -> Row:
    row: Row = {"role": message.role, "content": [_format_segment(segment, write) for segment in message.content]}
    if message.tool_calls:
        row["tool_calls"] = [_format_call(call) for call in message.tool_calls]
    return row


def _format_segment(segment: Segment, write: Callable[[Media], str]) -> Row:
    if isinstance(segment, Text):
        return {"type": TEXT, "text": segment.text}
    if isinstance(segment, Absent):
        return {"type": segment.modality, "absent": True}
    return {"type": segment.modality, "path": write(segment)}


def _format_call(call: ToolCall) -> Row:
    arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
    row: Row = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return {"id": call.id, **row} if call.id else row
