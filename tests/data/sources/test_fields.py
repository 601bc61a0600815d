"""The fields of a manifest: the table of docs/data_reference.md is what the code accepts, and a slip is named."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import conf
from data.batching.interleave import Interleaver
from data.build import check_encoders
from data.sources.fields import CALL, CALLED, FUNCTION, MESSAGE, ROW, SEGMENT, TOOL, nearest
from data.sources.messages import parse_row
from data.types import AlignedSample, BadInputError, BadSampleError, Layout, Media, Sample
from evaluation.answering.context import ASKED_IN, QUESTION
from evaluation.scoring import FAMILY
from tests.data.memory import tokenizer

REPOSITORY = Path(__file__).resolve().parents[3]
HEADING = "## Every field of a manifest"
# How the table writes a level's fields.
PREFIXES = {
    "": ROW,
    "messages[].": MESSAGE,
    "segment.": SEGMENT,
    "tool_calls[].": CALL,
    "tool_calls[].function.": CALLED,
    "tools[].": TOOL,
    "tools[].function.": FUNCTION,
}
# Folders of code that may read a sample's metadata.
READERS = ("data", "evaluation", "training", "serving", "bakeoff", "certify")


def table() -> dict[str, dict[str, str]]:
    """Field -> column -> cell of the table of all fields."""
    section = (REPOSITORY / "docs" / "data_reference.md").read_text("utf-8").split(HEADING + "\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    found = {}
    for line in lines[2:]:
        cells = dict(zip(head, (cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))), strict=True))
        found[cells["field"].strip("`")] = cells
    return found


TABLE = table()


def parse(row: Any) -> Sample | AlignedSample:
    return parse_row(row, Path("/data"), "mine", "train.jsonl:12")


def full() -> dict[str, Any]:
    """A row with everything that a conversation may have."""
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"x": None}}}
    function = {"name": "look", "description": "d", "parameters": {"default": None}, "strict": True}
    return {
        "id": "7",
        "source": "zoo",
        "metadata": {"k": "v"},
        "tools": [{"type": "function", "function": function}],
        "messages": [
            {"role": "user", "name": "Ann", "content": [{"type": "image", "path": "7.png"}]},
            {"role": "assistant", "content": "so", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "21"},
        ],
    }


def objects(row: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """An object of each level of a row, by the prefix of its fields."""
    call, tool = row["messages"][1]["tool_calls"][0], row["tools"][0]
    return {
        "": row,
        "messages[].": row["messages"][2],
        "segment.": row["messages"][0]["content"][0],
        "tool_calls[].": call,
        "tool_calls[].function.": call["function"],
        "tools[].": tool,
        "tools[].function.": tool["function"],
    }


def metadata_that_is_read() -> set[str]:
    """Keys of metadata that the code or a configuration names, and those that the built-in sources write."""
    keys = {ASKED_IN, QUESTION, FAMILY}
    for path in sorted(Path(str(conf.__file__)).parent.glob("evaluation/*.yaml")):
        settings = yaml.safe_load(path.read_text("utf-8")) or {}
        keys |= {settings[key] for key in ("cluster", "classes") if settings.get(key)}
        keys |= set(settings.get("breakdown") or ())
    for folder in READERS:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            keys |= set(_literal_keys(ast.parse(path.read_text("utf-8"))))
    return keys


def _literal_keys(tree: ast.AST) -> Iterator[str]:
    """`x.metadata["key"]`, `metadata.get("key")`, `"key" in x.metadata`, and keys of `metadata = {...}`, `|= {...}`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _is_metadata(node.value):
            yield from _words(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _is_metadata(node.func.value):
            yield from _words(*node.args[:1])
        elif isinstance(node, ast.Compare) and any(map(_is_metadata, node.comparators)):
            yield from _words(node.left)
        elif isinstance(node, ast.Assign | ast.AugAssign) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == "metadata" for target in targets):
                yield from _words(*filter(None, node.value.keys))


def _is_metadata(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        # The metadata of an array store are its own.
        return node.attr == "metadata" and ast.unparse(node.value).split(".")[-1] not in ("store", "part", "clips")
    return isinstance(node, ast.Name) and node.id == "metadata"


def _words(*nodes: ast.AST) -> Iterator[str]:
    yield from (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


# Of features, not of samples: what an array store says of itself, and of a row's own object.
NOT_OF_SAMPLES = {"header", "keys"}


def test_the_table_has_every_field_that_the_code_accepts_and_no_other() -> None:
    accepted = {f"{prefix}{field}" for prefix, level in PREFIXES.items() for field in level.fields}
    assert {name for name in TABLE if not name.startswith("metadata.")} == accepted


def test_the_table_has_every_key_of_metadata_that_the_code_reads_and_no_other() -> None:
    told = {name.removeprefix("metadata.") for name in TABLE if name.startswith("metadata.")}
    assert told == metadata_that_is_read() - NOT_OF_SAMPLES


def test_every_example_of_the_table_is_json() -> None:
    for name, cells in TABLE.items():
        json.loads("{" + cells["example"].strip("`").replace("\\|", "|") + "}")
        assert f'"{name.rpartition(".")[2]}"' in cells["example"]
        assert cells["required"] in ("yes", "no", "one of them", "yes, but with `tool_calls`")


@pytest.mark.parametrize("name", [name for name, cells in TABLE.items() if not name.startswith("metadata.")])
def test_null_is_absent_and_what_is_required_is_missed(name: str) -> None:
    prefix, _, field = name.rpartition(".")
    prefix = f"{prefix}." if prefix else ""
    with_null, without = full(), full()
    objects(with_null)[prefix][field] = None
    objects(without)[prefix].pop(field, None)
    results = []
    for row in (with_null, without):
        try:
            results.append(parse(row))
        except BadSampleError as error:
            results.append(str(error))
    assert results[0] == results[1]
    in_this_row = name in ("messages", "segment.path", "messages[].content")  # the ones that `full` has
    assert isinstance(results[0], str) == (TABLE[name]["required"] == "yes" or in_this_row)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_misspelt_key_of_every_level_is_named_with_the_nearest(prefix: str) -> None:
    level = PREFIXES[prefix]
    for field in level.fields:
        if level.is_open and len(field) == 2:
            continue  # see data/sources/fields.py
        row = full()
        slip = field[:-2] + field[-1] + field[-2] if len(field) > 4 else field + field[-1]
        item = objects(row)[prefix]
        item[slip] = item.pop(field, "x")
        with pytest.raises(
            BadSampleError, match=rf"^train.jsonl:12: .*{slip}: is no field of .*; the nearest is {field}$"
        ):
            parse(row)


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"mesages": []}, "mesages: is no field of a row; the nearest is messages"),
        ({"metdata": {}, "messages": []}, "metdata: is no field of a row; the nearest is metadata"),
        ({"Messages": []}, "Messages: is no field of a row; the nearest is messages"),
        (
            {"messages": [{"role": "assistent", "content": "hi"}]},
            "messages[0].role: 'assistent' must be one of system, user, assistant, tool; the nearest is assistant",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "pth": "a.png"}]}]},
            "messages[0].content[0].pth: is no field of a segment; the nearest is path",
        ),
        (
            {"aligned": [{"type": "image", "image_url": {"url": "a.png"}}]},
            "aligned[0].image_url: is no field of a segment; it may have type, path, data, text, absent",
        ),
        (
            {"messages": [{"role": "assistant", "content": "hi", "weight": 0}]},
            "messages[0].weight: is no field of a message; it may have role, content, tool_calls, tool_call_id, name",
        ),
        (
            {"messages": [{"role": "tool", "content": "hi", "tool_call_id": 7}]},
            "messages[0].tool_call_id: must be text, not 7",
        ),
    ],
)
def test_a_slip_ends_in_one_line(row: Any, line: str) -> None:
    with pytest.raises(BadSampleError) as caught:
        parse(row)
    assert str(caught.value) == f"train.jsonl:12: {line}"


def test_keys_of_other_programs_beside_the_fields_of_a_row_are_let_be() -> None:
    row = full() | {"license": "cc", "url": None, "split": "train", "idx": 3, "meta": {}, "image": "7.png"}
    assert parse(row) == parse(full())


def test_what_a_tool_says_beyond_its_fields_is_read_too() -> None:
    row = full()
    row["tools"][0]["function"]["return"] = {"type": "string"}
    sample = parse(row)
    assert isinstance(sample, Sample)
    assert sample.tools[0]["function"]["return"] == {"type": "string"}
    assert sample.tools[0]["function"]["parameters"] == {"default": None}, "the user's own nulls stay"
    assert sample.messages[1].tool_calls[0].arguments == {"x": None}, "the user's own nulls stay"


def test_metadata_are_free_and_become_text() -> None:
    values = {"n": 2, "x": 2.5, "yes": True, "no": False, "text": "2.50", "list": ["ä", 1, None], "nothing": None}
    sample = parse(full() | {"metadata": {**values, "nested": {"b": 1, "a": None}, "anser_type": "a"}})
    assert sample.metadata == {
        "n": "2",
        "x": "2.5",
        "yes": "true",
        "no": "false",
        "text": "2.50",
        "list": '["ä", 1, null]',
        "nested": '{"a": null, "b": 1}',
        "anser_type": "a",
    }


def test_a_type_that_no_encoder_reads_is_named_with_the_nearest() -> None:
    interleaver = Interleaver(tokenizer(), {}, {"image": lambda shape: Layout(1)}, ("text", "image"), 100)
    segment = {"type": "imag", "path": "a.png"}
    sample = parse({"messages": [{"role": "user", "content": [segment]}, {"role": "assistant", "content": "b"}]})
    with pytest.raises(
        BadSampleError, match=r"modality 'imag' has no encoder .*configured: image; the nearest is image"
    ):
        interleaver.document(sample)

    class Holds:
        modalities = ("txt",)

    source: Any = Holds()
    with pytest.raises(BadInputError, match=r"'txt', .*\(it has: image; the nearest is text\)"):
        check_encoders({}, {"mine": source}, ["text", "image"])
    assert sample.messages[0].content == (Media("imag", Path("/data/a.png")),)  # type: ignore[union-attr]


def test_what_is_far_from_every_name_has_no_nearest() -> None:
    assert nearest("license", ROW.fields) is None
    assert nearest("IMAGE", ["image", "audio"]) == "image"
