"""Samples as JSON, in the conventions of chat templates and of OpenAI's tool calls, and back.

    {"id": "7", "messages": [{"role": "user", "content": [{"type": "image", "path": "7.png"}, ...]}, ...]}
    {"id": "8", "aligned": [{"type": "image", "path": "8.png"}, {"type": "text", "text": "a red kangaroo"}]}

Every complaint begins with where: file, row and field.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.types import ROLES, TEXT, AlignedSample, BadSampleError, Media, Message, Sample, Segment, Text, ToolCall


def sample_from_json(row: Any, folder: Path, origin: str) -> Sample | AlignedSample:
    """The sample of one row of a manifest that lies in `folder`; `origin` names file and row.

    Media are not opened here. Raises `BadSampleError` naming the field.
    """
    row = _mapping(row, origin)
    identity = str(row.get("id", origin.rpartition(":")[2]))
    metadata = {str(key): str(value) for key, value in _mapping(row.get("metadata", {}), f"{origin}: metadata").items()}
    if "messages" in row and "aligned" in row:
        raise BadSampleError(f"{origin}: has both 'messages' and 'aligned'; a row is one or the other")
    if "aligned" in row:
        where = f"{origin}: aligned"
        parts = tuple(_segment(part, folder, f"{where}[{i}]") for i, part in enumerate(_list(row["aligned"], where)))
        return AlignedSample(identity, parts, origin=origin, metadata=metadata)
    if "messages" not in row:
        raise BadSampleError(f"{origin}: lacks the field 'messages' (or 'aligned')")
    where = f"{origin}: messages"
    messages = tuple(_message(item, folder, f"{where}[{i}]") for i, item in enumerate(_list(row["messages"], where)))
    if not messages:
        raise BadSampleError(f"{where}: is empty")
    where = f"{origin}: tools"
    tools = tuple(_mapping(tool, f"{where}[{i}]") for i, tool in enumerate(_list(row.get("tools", []), where)))
    return Sample(identity, messages, tools=tools, origin=origin, metadata=metadata)


def sample_to_json(sample: Sample | AlignedSample, paths: Mapping[int, str]) -> dict[str, Any]:
    """The row of a sample; `paths` gives the file of each medium by `id(segment)`."""
    row: dict[str, Any] = {"id": sample.id}
    if isinstance(sample, AlignedSample):
        row["aligned"] = [_segment_to_json(segment, paths) for segment in sample.segments]
    else:
        row["messages"] = [_message_to_json(message, paths) for message in sample.messages]
        if sample.tools:
            row["tools"] = [dict(tool) for tool in sample.tools]
    if sample.metadata:
        row["metadata"] = dict(sample.metadata)
    return row


def _message(item: Any, folder: Path, where: str) -> Message:
    item = _mapping(item, where)
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise BadSampleError(f"{where}.role: {role!r} must be one of {', '.join(ROLES)}")
    if content is None:
        content = []
    elif isinstance(content, str):
        content = [{"type": TEXT, "text": content}]
    parts = tuple(
        _segment(part, folder, f"{where}.content[{i}]") for i, part in enumerate(_list(content, f"{where}.content"))
    )
    calls = _list(item.get("tool_calls") or [], f"{where}.tool_calls")
    tool_calls = tuple(_tool_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))
    if not parts and not tool_calls:
        raise BadSampleError(f"{where}.content: is empty")
    return Message(role, parts, tool_calls)


def _segment(part: Any, folder: Path, where: str) -> Segment:
    part = _mapping(part, where)
    kind = part.get("type")
    if not isinstance(kind, str) or not kind:
        raise BadSampleError(f"{where}.type: {kind!r} must be the name of a modality, such as text or image")
    if kind == TEXT:
        text = part.get("text")
        if not isinstance(text, str) or not text:
            raise BadSampleError(f"{where}.text: {text!r} must be a non-empty string")
        return Text(text)
    path, data = part.get("path"), part.get("data")
    if isinstance(path, str) and path:
        return Media(kind, folder / path)
    if isinstance(data, str) and data:
        try:
            return Media(kind, base64.b64decode(data, validate=True))
        except binascii.Error as error:
            raise BadSampleError(f"{where}.data: is not base64 ({error})") from error
    raise BadSampleError(f"{where}: lacks 'path' (relative to the manifest) or 'data' (base64)")


def _tool_call(call: Any, where: str) -> ToolCall:
    call = _mapping(call, where)
    function = _mapping(call.get("function", call), f"{where}.function")
    name, arguments = function.get("name"), function.get("arguments", {})
    if not isinstance(name, str) or not name:
        raise BadSampleError(f"{where}.function.name: {name!r} must be a non-empty string")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise BadSampleError(f"{where}.function.arguments: not JSON ({error})") from error
    return ToolCall(name, _mapping(arguments, f"{where}.function.arguments"), str(call.get("id", "")))


def _message_to_json(message: Message, paths: Mapping[int, str]) -> dict[str, Any]:
    item: dict[str, Any] = {"role": message.role}
    item["content"] = [_segment_to_json(segment, paths) for segment in message.content]
    if message.tool_calls:
        item["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(dict(call.arguments), ensure_ascii=False)},
            }
            for call in message.tool_calls
        ]
    return item


def _segment_to_json(segment: Segment, paths: Mapping[int, str]) -> dict[str, str]:
    if isinstance(segment, Text):
        return {"type": TEXT, "text": segment.text}
    return {"type": segment.modality, "path": paths[id(segment)]}


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadSampleError(f"{where}: must be a JSON object, not {type(value).__name__}")
    return value


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadSampleError(f"{where}: must be a list, not {type(value).__name__}")
    return value
