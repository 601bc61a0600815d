"""Mistakes in what will be asked are found before the first step, by the name of the option, or file, row and field."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from certify.small_data import write_small_data
from data.build import build_interleaver, build_processors, build_validation, check_kinds
from data.instantiate import instantiate
from data.media.image import ImageProcessor
from data.sources.manifest import ManifestSource
from data.tokenizer import Tokenizer
from data.types import BadInputError, BadSampleError
from evaluation import before_training
from evaluation.before_training import DECODED, check_asked, check_rows
from fusion.build import build_model
from fusion.model import FusionModel
from tests.data.memory import MemorySource
from tests.training.aligned import AlignedMemory

Row = dict[str, Any]
SMALL = ("data=manifest", "data.train=TRAIN", "d_model=16", "fusion.num_layers=1")
PAIRS = ("objective=infonce", "shared_space=linear")
BOTH = ("objective=next_token_infonce", "shared_space=linear")
KINDS = ("text", "sentence")
ANSWER = {"role": "assistant", "content": "this"}


def row(question: Any = "which?", *rest: Row, **fields: Any) -> Row:
    return {"id": "a", "messages": [{"role": "user", "content": question}, *(rest or (ANSWER,))], **fields}


def pair(*texts: str, **fields: Any) -> Row:
    return {"aligned": [{"type": kind, "text": text} for kind, text in zip(KINDS, texts, strict=False)], **fields}


def manifest(path: Path, *rows: Row) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in rows), encoding="utf-8")
    return path


@functools.cache
def built(overrides: tuple[str, ...]) -> tuple[DictConfig, FusionModel, Tokenizer, tuple[str, ...]]:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*SMALL, *overrides])
    tokenizer = Tokenizer.train((), 265)
    return config, build_model(config, tokenizer.vocab_size), tokenizer, instantiate(config.objective, "o").reads


def check(*overrides: str, of_model: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """What is said of a training with these options; models are built once for each `of_model`."""
    _, model, tokenizer, reads = built(of_model)
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", overrides=[*SMALL, *of_model, *overrides])
    interleaver = build_interleaver(
        config.data, tokenizer, build_processors(config.data), model.layouts, model.modalities
    )
    return check_asked(config, build_validation(config.data), model, tokenizer, interleaver, reads)


@pytest.fixture(autouse=True)
def _training_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the blind baselines."""
    monkeypatch.chdir(tmp_path)
    manifest(tmp_path / "TRAIN", row())


def test_nothing_asked_is_nothing_to_check() -> None:
    assert check() == ("", [])


def test_what_is_right_passes_and_is_said(tmp_path: Path) -> None:
    talk = write_small_data(tmp_path / "talk", ("text", "image", "audio"))
    files = (f"data.evaluation={talk}", f"data.validation_file={talk}")
    places = [
        f"{place} (16 rows, the media of 16)" for place in ("data.validation.manifest", "evaluation.tasks.manifest")
    ]
    assert check(*files) == (f"checked before the training: {', '.join(places)}", [])
    pairs = write_small_data(tmp_path / "pairs", ("text", "image", "audio"), kind="aligned")
    for model in (PAIRS, BOTH):
        said, notes = check(f"data.evaluation={pairs}", "evaluation=retrieval_manifest", of_model=model)
        assert "16 rows" in said
        assert not notes


IMAGE = [{"type": "image", "path": "torn.png"}]
CASES: list[tuple[list[Row], str]] = [
    (
        [row(), row("a", {"role": "user", "content": "b"})],
        r"F:2 \(id a\): must end with the assistant's expected",
    ),
    ([row("a", {"role": "assistant", "content": " "})], r"F:1 \(id a\): expects an answer without words"),
    (
        [row(), pair("a", "b")],
        r"F:2 \(id .*\): is aligned.*choose evaluation=retrieval_manifest\)",
    ),
    (
        [row([{"type": "depth", "text": "x"}])],
        r"F:1 \(id a\): messages\[0\]\.content\[0\]: modality 'depth' has n",
    ),
    (
        [row([{"type": "image", "path": "none.png"}])],
        r"F:1: messages\[0\]\.content\[0\]\.path: file not found",
    ),
    ([row(), row(IMAGE)], r"F:2 \(id a\): messages\[0\]\.content\[0\]: .*torn\.png: not a readable image"),
    (
        [row("x" * 2000)],
        r"F:1 \(id a\): takes \d+ tokens where max_tokens=1024; give data\.m",
    ),
    (
        [row(metadata={"asked_in": "image"})],
        r"F:1 \(id a\): metadata\.asked_in: 'image' must be none or in",
    ),
]


def place_of(case: str, path: Path) -> str:
    return case.replace("F", str(path).replace(".", r"\."), 1)


@pytest.mark.parametrize("asked", ["data.evaluation", "data.validation_file"])
@pytest.mark.parametrize(("rows", "message"), CASES)
def test_a_bad_row_is_named(rows: list[Row], message: str, asked: str, tmp_path: Path) -> None:
    path = manifest(tmp_path / "rows.jsonl", *rows)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    where = "evaluation.tasks" if asked == "data.evaluation" else "data.validation"
    with pytest.raises(BadSampleError, match=rf"^{where}\.manifest: {place_of(message, path)}") as refused:
        check(f"{asked}={path}")
    assert "\n" not in str(refused.value)
    if asked == "data.validation_file":
        return
    manifest(path, *(item for item in rows if item != row()))
    with pytest.raises(BadSampleError, match=rf"^{where}\.manifest: no row can be used; the first: "):
        check(f"{asked}={path}", "data.on_bad_sample=skip")


@pytest.mark.parametrize(
    ("options", "of_model", "rows", "message"),
    [
        (["evaluation=retrieval_manifest"], PAIRS, [row()], r"is a conversation; .*choose evaluation=manifest\)"),
        (["evaluation=retrieval_manifest"], (), [pair("a", "b")], r"the model has no shared space .*space=linear"),
        ([], PAIRS, [row()], r"asks for answers, and the objective learns .*=retrieval_manifest"),
        (["evaluation=retrieval_manifest"], PAIRS, [pair("a")], r"no row has two modalities"),
        (["evaluation=retrieval_manifest"], PAIRS, [pair("a", "b")], r"aligned\[1\]: modality 'sentence' has no"),
        (["data.processors.audio=null"], (), [row([{"type": "audio", "text": "x"}])], r"'audio' has no processor"),
        (["evaluation.max_new_tokens=0"], (), [row()], r"max_new_tokens=0 must be at least 1"),
        (["evaluation.batchsize=3"], (), [row()], r"batchsize: is not an option of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_model_objective_or_options_is_refused(
    options: list[str], of_model: tuple[str, ...], rows: list[Row], message: str, tmp_path: Path
) -> None:
    path = manifest(tmp_path / "rows.jsonl", *rows)
    options = [f"+{item}" if "batchsize" in item else item for item in options]
    with pytest.raises(BadInputError, match=message) as refused:
        check(f"data.evaluation={path}", *options, of_model=of_model)
    assert str(refused.value).startswith("evaluation")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read: No such file"), ("\n", "holds no rows")])
def test_a_file_that_is_missing_or_empty_is_named(content: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(BadInputError, match=rf"^evaluation\.tasks\.manifest: .*rows\.jsonl: {message}"):
        check(f"data.evaluation={path}")


def test_a_validation_of_the_other_kind_than_the_objective_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^data\.validation\.manifest: asks for answers.*give aligned rows"):
        check(f"data.validation_file={manifest(tmp_path / 'a.jsonl', row())}", of_model=PAIRS)
    pairs = write_small_data(tmp_path / "pairs", ("text", "image"), kind="aligned")
    with pytest.raises(BadInputError, match=r"^data\.validation\.manifest: the model has no shared space"):
        check(f"data.validation_file={pairs}")
    _, notes = check(f"data.validation_file={pairs}", of_model=("shared_space=linear",))
    assert [note.partition("; ")[0] for note in notes] == [
        "data.validation.manifest: asks a shared space that the objective does not train"
    ]


def test_rows_that_are_skipped_are_counted(tmp_path: Path) -> None:
    rows = [row(), pair("a", "b"), row("x" * 2000), row()]
    path = manifest(tmp_path / "rows.jsonl", *rows)
    _, notes = check(f"data.evaluation={path}", "data.on_bad_sample=skip")
    assert len(notes) == 1
    assert notes[0].startswith("evaluation.tasks.manifest: at least 2 of 4 rows cannot be used, and will be skipped; ")
    assert f"{path}:2" in notes[0]


def test_answers_that_are_too_long_and_fields_that_no_row_has_are_told(tmp_path: Path) -> None:
    long = {"role": "assistant", "content": "x" * 70}
    path = manifest(tmp_path / "rows.jsonl", row(), row("a", long, metadata={"speaker": "b"}))
    _, notes = check(f"data.evaluation={path}", "evaluation.cluster=speeker")
    assert notes == [
        "evaluation.cluster=speeker: no row has this field of metadata; the nearest is speaker",
        "evaluation.tasks.manifest: 1 of 2 expected answers have more tokens than evaluation.max_new_tokens=64, and "
        "none of these can be given; evaluation.max_new_tokens=71 has room for all",
    ]
    assert check(f"data.evaluation={path}", "evaluation.cluster=speaker", "evaluation.max_new_tokens=71")[1] == []
    pairs = write_small_data(tmp_path / "pairs", ("text", "image"), kind="aligned")
    options = (f"data.evaluation={pairs}", "evaluation=retrieval_manifest", "evaluation.classes=animal")
    assert check(*options, of_model=PAIRS)[1] == [
        "evaluation.classes=animal: no row has this field of metadata; the rows have no metadata"
    ]


def test_media_of_a_large_file_are_not_all_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_small_data(tmp_path / "data", ("text", "image"), num_samples=2)
    picture = json.loads(data.read_text(encoding="utf-8").splitlines()[1])
    path = manifest(data.parent / "many.jsonl", *[picture] * 100, row("x" * 2000))
    read, seen = ImageProcessor.__call__, []
    monkeypatch.setattr(ImageProcessor, "__call__", lambda self, *given: seen.append(1) or read(self, *given))
    with pytest.raises(BadSampleError, match=r"many\.jsonl:101 "):
        check(f"data.evaluation={path}")
    manifest(path, *[picture] * 100)
    said, _ = check(f"data.evaluation={path}")
    assert f"100 rows, the media of {DECODED}" in said
    assert len(seen) <= 2 * DECODED


def test_of_a_source_that_is_code_some_samples_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(before_training, "LOOKED_AT", 3)
    config, model, tokenizer, reads = built(())
    interleaver = build_interleaver(config.data, tokenizer, {}, model.layouts, model.modalities)
    source, read = MemorySource(9), []
    monkeypatch.setattr(source, "sample", lambda index, rng: read.append(index) or MemorySource(9).sample(index, rng))
    with pytest.raises(BadSampleError, match=r"^data\.validation\.talk: memory\.jsonl:1 .* has no processor"):
        check_asked(config, {"talk": source}, model, tokenizer, interleaver, reads)
    assert read == [0, 0, 4, 8], "the first says the kind"


@pytest.mark.parametrize(
    ("kinds", "reads", "message"),
    [
        (
            "messages",
            ("aligned",),
            r"^data\.sources\.a: holds conversations only, .*objective=next_token for",
        ),
        ("aligned", ("messages",), r"^data\.sources\.a: holds aligned rows only, .*objective=infonce for aligned rows"),
        (
            "both",
            ("messages",),
            r"^data\.sources\.a: holds 1 aligned rows among others, .*on_bad_sample=skip$",
        ),
        (
            "messages",
            ("messages", "aligned"),
            r"^data\.sources: hold no aligned rows, which the objective learns",
        ),
    ],
)
def test_an_objective_needs_rows_of_its_kind(kinds: str, reads: tuple[str, ...], message: str, tmp_path: Path) -> None:
    rows = {"messages": [row()], "aligned": [pair("a", "b")], "both": [row(), pair("a", "b"), row()]}[kinds]
    path = manifest(tmp_path / "rows.jsonl", *rows)
    for handling in ("error", "skip"):
        source = ManifestSource(path, handling)
        if kinds == "both" and handling == "skip":
            check_kinds({"a": (source, 1.0)}, reads, handling)
            continue
        with pytest.raises(BadInputError, match=message):
            check_kinds({"a": (source, 1.0)}, reads, handling)


def test_an_objective_is_given_what_it_reads(tmp_path: Path) -> None:
    both = ManifestSource(manifest(tmp_path / "rows.jsonl", row(), pair("a", "b")))
    for sources, reads in (
        ({"a": both}, ("messages", "aligned")),
        ({"a": MemorySource(3)}, ("messages",)),
        ({"a": AlignedMemory(3)}, ("aligned",)),
        ({"a": AlignedMemory(3), "b": MemorySource(3)}, ("aligned", "messages")),
    ):
        check_kinds({name: (source, 1.0) for name, source in sources.items()}, reads)


def test_rows_are_checked_without_a_model_too(tmp_path: Path) -> None:
    tasks = {"mine": {"_target_": "data.sources.manifest.ManifestSource", "path": str(tmp_path / "rows.jsonl")}}
    evaluation = {"_target_": "evaluation.settings.Settings", "tasks": tasks}
    write: Callable[..., Path] = functools.partial(manifest, tmp_path / "rows.jsonl")
    write(row())
    check_rows(evaluation)
    write(row(), pair("a", "b"))
    with pytest.raises(BadSampleError, match=r"^evaluation\.tasks\.mine: .*:2 .*evaluation=retrieval_manifest"):
        check_rows(evaluation)
    check_rows(evaluation, "skip")
    assert torch.is_grad_enabled()
