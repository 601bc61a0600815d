"""Rows of every kind that goes wrong, and what is said of each."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

HALF = "\ud800"
GOOD = {"id": "good", "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}
Row = dict[str, Any]


def about(*content: Any, **fields: Any) -> Row:
    return {"messages": [{"role": "user", "content": list(content)}, {"role": "assistant", "content": "x"}], **fields}


def calling(name: str, arguments: Any) -> Row:
    call = {"type": "function", "function": {"name": name, "arguments": arguments}}
    return {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}]}


def image(**source: Any) -> Row:
    return {"type": "image", **source}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


# Name of the case -> the row, and what its error must say after the row's place.
ROWS: dict[str, tuple[Row | str, str]] = {
    "surrogate in an id": ({**GOOD, "id": HALF}, r"id: holds \\ud800, half a surrogate pair"),
    "surrogate in a source": ({**GOOD, "source": HALF}, r"source: holds \\ud800"),
    "surrogate in a path": (about(image(path=f"{HALF}.png")), r"messages\[0\]\.content\[0\]\.path: holds \\ud800"),
    "surrogate in a sentence": (about({"type": "text", "text": f"a {HALF}"}), r"content\[0\]\.text: holds \\ud800"),
    "surrogate in a medium of text": (about({"type": "sentence", "text": HALF}), r"content\[0\]\.text: holds"),
    "surrogate in plain content": ({"messages": [{"role": "user", "content": HALF}]}, r"\[0\]\.content: holds"),
    "surrogate in base64": (about(image(data=HALF)), r"content\[0\]\.data: holds"),
    "surrogate in a role": ({"messages": [{"role": HALF, "content": "x"}]}, r"messages\[0\]\.role: holds"),
    "surrogate in a type": (about({"type": HALF, "path": "x"}), r"content\[0\]\.type: holds"),
    "surrogate in a key of the metadata": ({**GOOD, "metadata": {HALF: 1}}, r"metadata: the name \\ud800: holds"),
    "surrogate in the metadata": ({**GOOD, "metadata": {"kind": HALF}}, r"metadata\.kind: holds \\ud800"),
    "low half of a pair": ({**GOOD, "metadata": {"kind": "\udfff"}}, r"metadata\.kind: holds \\udfff"),
    "surrogate in a tool's name": ({**GOOD, "tools": [{"function": {"name": HALF}}]}, r"tools\[0\]\.function\.name"),
    "surrogate in a tool": ({**GOOD, "tools": [{"function": {"name": "f", "x": [HALF]}}]}, r"function\.x\[0\]: holds"),
    "surrogate in a call's name": (calling(HALF, {}), r"tool_calls\[0\]\.function\.name: holds"),
    "surrogate in arguments": (calling("f", {"a": HALF}), r"function\.arguments\.a: holds"),
    "surrogate in arguments of JSON": (calling("f", json.dumps({"a": [HALF]})), r"function\.arguments\.a\[0\]: holds"),
    "surrogate in an aligned text": ({"aligned": [{"type": "text", "text": HALF}]}, r"aligned\[0\]\.text: holds"),
    "null byte in a path": (about(image(path="a\0b.png")), r"content\[0\]\.path: (file not found|cannot be read)"),
    "name of 300 characters": (about(image(path="x" * 300)), r"\.path: cannot be read \(File name too long\)"),
    "path of 10,000 characters": (about(image(path="x/" * 5000)), r"\.path: cannot be read \(File name too long\)"),
    "base64 beyond ASCII": (about(image(data="é===")), r"content\[0\]\.data: not base64"),
    "whole number of 5,000 digits": ('{"id": 1' + "0" * 5000 + "}", r"not JSON \(a whole number with too many"),
    "such a number in arguments": (calling("f", '{"a": 1' + "0" * 5000 + "}"), r"function\.arguments: not JSON"),
    "nested arguments": (calling("f", '{"a": ' + "[" * 5000 + "]" * 5000 + "}"), r"arguments: not JSON \(nested too"),
    "nested metadata": ({**GOOD, "metadata": {"a": nested(900)}}, "nested too deeply"),
    "nested id": ({**GOOD, "id": nested(900)}, "nested too deeply"),
    "folder": (about(image(path=".")), r"content\[0\]\.path: is a folder, not a file: "),
    "pipe": (about(image(path="pipe")), r"content\[0\]\.path: is a pipe or a device, not a file: "),
    "device": (about(image(path="/dev/zero")), r"content\[0\]\.path: is a pipe or a device, not a file: /dev/zero"),
    "sound that is a pipe": (about({"type": "audio", "path": "pipe"}), r"\.path: is a pipe or a device"),
    "file in a file": (about(image(path="torn.png/x.png")), r"content\[0\]\.path: file not found: "),
    "loop of links": (about(image(path="loop")), r"content\[0\]\.path: cannot be read \(Too many levels of symbolic"),
    "torn picture": (about(image(path="torn.png")), r"content\[0\]: .*torn\.png: not a readable image \("),
    "torn data": (about(image(data="AAAA")), r"\[0\]: image data: not a readable image \(cannot identify image file\)"),
    "huge sound": (about({"type": "audio", "path": "huge.wav"}), r"\[0\]: .*huge\.wav: holds a sample of 1e\+20"),
    "sound that no codec reads": (about({"type": "audio", "path": "x.aiff"}), r"\[0\]: .*not readable sound"),
    "a library's own error": (about({"type": "radar", "path": "torn.png"}), r"content\[0\]: .*torn\.png: KeyError 'x'"),
    "values that are no numbers": (about({"type": "lidar", "path": "torn.png"}), r"torn\.png: becomes values that"),
    "no memory": (about({"type": "sonar", "path": "torn.png"}), r"torn\.png: MemoryError"),
}  # fmt: skip


def write_media(folder: Path) -> None:
    """Beside the rows: a torn picture, a pipe, a link to itself, and two sounds that nobody can read."""
    picture = io.BytesIO()
    Image.effect_noise((50, 50), 50).save(picture, "PNG")
    (folder / "torn.png").write_bytes(picture.getvalue()[:500])
    os.mkfifo(folder / "pipe")
    (folder / "loop").symlink_to("loop")
    soundfile.write(folder / "huge.wav", np.full(100, 1e20), 8000, "FLOAT")
    soundfile.write(folder / "x.aiff", np.zeros(100), 8000, "DWVW_16", format="AIFF")


def lines(*rows: Row | str) -> str:
    """Rows as the text of a manifest."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
