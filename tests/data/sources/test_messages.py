"""Rows and samples say the same; what a row lacks is named by its place."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from data.sources.messages import format_row, parse_row
from data.types import Absent, AlignedSample, BadSampleError, Media, Message, Sample, Text, ToolCall

FOLDER = Path("/data")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def parse(row: Any) -> Sample | AlignedSample:
    return parse_row(row, FOLDER, "mine", "train.jsonl:12")


def user(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": "yes"}]}


def test_a_conversation_of_all_kinds() -> None:
    sample = parse(
        {
            "id": 7,
            "messages": [
                {"role": "system", "content": "be short"},
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "path": "a/7.png"},
                        {"type": "thermometer", "path": "/elsewhere/7.npy"},
                        {"type": "text", "text": "is it warm?"},
                        {"type": "audio", "data": base64.b64encode(b"sound").decode()},
                    ],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{"id": "c1", "function": {"name": "look", "arguments": '{"deep": true}'}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "21"},
                {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
            ],
            "tools": [TOOL],
            "metadata": {"place": "kitchen", "floor": 2},
        }
    )
    assert isinstance(sample, Sample)
    system, asked, call, result, answer = sample.messages
    assert system == Message("system", (Text("be short"),))
    assert asked.content == (
        Media("image", FOLDER / "a/7.png"),
        Media("thermometer", Path("/elsewhere/7.npy")),
        Text("is it warm?"),
        Media("audio", b"sound"),
    )
    assert call == Message("assistant", (), (ToolCall("look", {"deep": True}, "c1"),))
    assert result == Message("tool", (Text("21"),))
    assert answer == Message("assistant", (Text("yes"),))
    assert (sample.id, sample.source, sample.origin, sample.tools) == ("7", "mine", "train.jsonl:12", (TOOL,))
    assert sample.metadata == {"place": "kitchen", "floor": "2"}


def test_an_absent_medium_is_said_and_comes_back() -> None:
    row = user({"type": "image", "absent": True}, {"type": "text", "text": "?"})
    sample = parse(row)
    assert isinstance(sample, Sample)
    assert sample.messages[0].content == (Absent("image"), Text("?"))
    assert format_row(sample, str)["messages"][0]["content"] == row["messages"][0]["content"]
    for wrong in ({"absent": False}, {"absent": True, "path": "a.png"}, {"absent": True, "type": "text"}):
        with pytest.raises(BadSampleError, match=r"train.jsonl:12: messages\[0\]\.content\[0\]\.absent: must be true"):
            parse(user({"type": "image", **wrong}))


def test_a_row_may_name_choices() -> None:
    sample = parse(user("x") | {"messages": [{"role": "assistant", "content": "yes"}], "choices": ["yes", "no"]})
    assert isinstance(sample, Sample)
    assert sample.choices == ("yes", "no")
    row = format_row(sample, lambda media: "")
    assert row["choices"] == ["yes", "no"]
    assert parse(row) == sample
    assert "choices" not in format_row(parse({"messages": row["messages"]}), lambda media: "")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("yes", "choices: must be a list"),
        (["yes"], "choices: must be two different answers or more"),
        (["yes", "yes"], "choices: must be two different answers or more"),
        (["yes", ""], "choices: must be two different answers or more"),
        (["yes", 1], r"choices\[1\]: must be text"),
    ],
)
def test_wrong_choices_are_named(choices: Any, message: str) -> None:
    with pytest.raises(BadSampleError, match=f"train.jsonl:12: {message}"):
        parse({"messages": [{"role": "assistant", "content": "yes"}], "choices": choices})


def test_arguments_may_be_an_object() -> None:
    call = {"function": {"name": "look", "arguments": {"n": [1, 2]}}}
    sample = parse({"messages": [{"role": "assistant", "tool_calls": [call]}]})
    assert isinstance(sample, Sample)
    assert sample.messages[0].tool_calls == (ToolCall("look", {"n": [1, 2]}),)


def test_an_aligned_row() -> None:
    sample = parse({"aligned": [{"type": "image", "path": "8.png"}, {"type": "text", "text": "a red kangaroo"}]})
    assert isinstance(sample, AlignedSample)
    assert sample.segments == (Media("image", FOLDER / "8.png"), Text("a red kangaroo"))
    assert sample.id == "train.jsonl:12"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "train.jsonl:12: a row must be an object, not []"),
        ({"id": 1}, "train.jsonl:12: must have either messages or aligned"),
        ({"messages": [], "aligned": []}, "train.jsonl:12: must have either messages or aligned"),
        ({"messages": []}, "train.jsonl:12: messages: must not be empty"),
        ({"messages": "hi"}, 'train.jsonl:12: messages: must be a list, not "hi"'),
        ({"messages": [3]}, "train.jsonl:12: messages[0]: must be an object, not 3"),
        ({"messages": [{"content": "hi"}]}, "train.jsonl:12: messages[0].role: is missing"),
        (
            {"messages": [{"role": "bot", "content": "hi"}]},
            "train.jsonl:12: messages[0].role: 'bot' must be one of system, user, assistant, tool",
        ),
        ({"messages": [{"role": "user"}]}, "train.jsonl:12: messages[0].content: is missing"),
        ({"messages": [{"role": "user", "content": ""}]}, "train.jsonl:12: messages[0].content: must not be empty"),
        (
            {"messages": [{"role": "user", "content": None}]},
            "train.jsonl:12: messages[0].content: is missing",
        ),
        (user(), "train.jsonl:12: messages[0].content: must not be empty"),
        (user("hi"), 'train.jsonl:12: messages[0].content[0]: must be an object, not "hi"'),
        (user({"text": "hi"}), "train.jsonl:12: messages[0].content[0].type: is missing"),
        (user({"type": "text"}), "train.jsonl:12: messages[0].content[0].text: is missing"),
        (
            user({"type": "text", "text": "hi", "path": "hi.txt"}),
            "train.jsonl:12: messages[0].content[0].path: a segment of type 'text' holds its text itself, in text",
        ),
        (user({"type": "text", "text": 5}), "train.jsonl:12: messages[0].content[0].text: must be text, not 5"),
        (
            user({"type": "text", "text": "hi"}, {"type": "image"}),
            "train.jsonl:12: messages[0].content[1]: a segment of type 'image' must have exactly one of path, data"
            " and text",
        ),
        (user({"type": "image", "path": ""}), "train.jsonl:12: messages[0].content[0].path: must not be empty"),
        (user({"type": "image", "path": 7}), "train.jsonl:12: messages[0].content[0].path: must be text, not 7"),
        (
            user({"type": "image", "data": "*"}),
            "train.jsonl:12: messages[0].content[0].data: not base64 (Only base64 data is allowed)",
        ),
        ({"id": True, **user()}, "train.jsonl:12: id: must be text or a number, not true"),
        ({"metadata": [], **user()}, "train.jsonl:12: metadata: must be an object, not []"),
        (
            {"messages": [{"role": "user", "content": "hi", "tool_calls": [{}]}]},
            "train.jsonl:12: messages[0].tool_calls: only the assistant calls tools, not role 'user'",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}]},
            "train.jsonl:12: messages[0].tool_calls[0].function.arguments: is missing",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]},
            "train.jsonl:12: messages[0].tool_calls[0].function.arguments: must be an object, not [1]",
        ),
        (
            {"tools": [{"type": "function"}], "messages": [{"role": "assistant", "content": "hi"}]},
            "train.jsonl:12: tools[0].function: is missing",
        ),
        ({"aligned": []}, "train.jsonl:12: aligned: must not be empty"),
    ],
)
def test_what_is_wrong_is_named_by_row_and_field(row: Any, message: str) -> None:
    with pytest.raises(BadSampleError) as caught:
        parse(row)
    assert str(caught.value) == message


def test_broken_json_arguments_are_named() -> None:
    call = {"function": {"name": "f", "arguments": "{"}}
    with pytest.raises(BadSampleError, match=r"messages\[0\]\.tool_calls\[0\]\.function\.arguments: not JSON"):
        parse({"messages": [{"role": "assistant", "tool_calls": [call]}]})


@pytest.mark.parametrize(
    "sample",
    [
        Sample(
            "1",
            (
                Message("user", (Media("image", Path("x.png")), Text('Ünïcode\n"quotes"'))),
                Message("assistant", (Text("a"),), (ToolCall("f", {"x": None}, "id"), ToolCall("g", {}))),
                Message("assistant", (), (ToolCall("g", {"deep": {"list": [1.5]}}),)),
            ),
            tools=(TOOL,),
            source="mine",
            origin="train.jsonl:12",
            metadata={"k": "v"},
        ),
        AlignedSample("2", (Text("t"), Media("radar", Path("r.npy"))), source="other", origin="train.jsonl:12"),
    ],
)
def test_a_sample_comes_back_from_its_row(sample: Sample | AlignedSample) -> None:
    row = json.loads(json.dumps(format_row(sample, lambda media: str(media.source))))
    back = parse_row(row, Path(), "unused", "train.jsonl:12")
    assert back == sample
