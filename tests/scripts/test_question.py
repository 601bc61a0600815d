"""What a command line asks a checkpoint: which media, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from data.types import Media, Segment, Text
from scripts.explain import main as explain
from scripts.generate import main as generate
from serving.session import Session
from tests.evaluation.colours import parts
from tests.evaluation.saved_run import config
from tests.scripts.in_process import run_command
from training.runs.checkpoint import CheckpointContents, save

INFONCE = {"_target_": "training.objectives.contrastive.InfoNCE"}
NEXT_TOKEN = {"_target_": "training.objectives.next_token.NextToken"}
BOTH = {
    "_target_": "training.objectives.weighted_sum.WeightedSum",
    "parts": [NEXT_TOKEN, INFONCE],
    "weights": [1, 8],
}


def saved(folder: Path, changes: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Path:
    """A run of an untrained model whose configuration has some `changes`, and that was trained on `data`."""
    model, tokenizer, _ = parts()
    folder.mkdir()
    tokenizer.save(folder / "tokenizer.json")
    contents = CheckpointContents(
        step=1,
        weights=model.state_dict(),
        averaged_weights=None,
        training={},
        config=config() | (changes or {}),
        tokenizer_path=folder / "tokenizer.json",
        data=data,
    )
    save(folder / "checkpoints", contents)
    return folder


def of_data(**changes: Any) -> dict[str, Any]:
    return {"data": config()["data"] | changes}


def sources(*modalities: list[str] | None, changes: tuple[str, ...] = ()) -> dict[str, Any]:
    """What a checkpoint says of its data; the last source is one of the validation."""
    entries = [{"samples": 3, "fingerprint": "x"} | ({"modalities": names} if names else {}) for names in modalities]
    places = [f"data.sources.{number}" for number in range(len(entries) - 1)] + ["data.validation.0"]
    return {"sources": dict(zip(places, entries, strict=True)), "changes": list(changes)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and files to ask it about."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("question")
    saved(folder / "run")
    for name in ("été.png", "a=b.png", "it's, [1].png"):
        Image.new("RGB", (8, 8), (50, 50, 200)).save(folder / name)
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Segment]:
    """The segments that reach the session; it answers at once."""
    segments: list[Segment] = []
    monkeypatch.setattr(Session, "answer", lambda self, *given, **options: segments.extend(given) or "answered")
    return segments


def ask(folder: Path, *typed: str) -> int:
    return run_command(generate, [f"checkpoint={folder / 'run'}", *typed])


@pytest.mark.parametrize("name", ["été.png", "a=b.png", "it's, [1].png"])
def test_what_is_typed_reaches_the_model(name: str, folder: Path, read: list[Segment]) -> None:
    question = "what's the color of ${x}: red, or 3.10?"
    assert ask(folder, f"image={folder / name}", f"text={question}") == 0
    assert read == [Media("image", folder / name), Text(question)]


def test_a_file_in_the_home_folder(folder: Path, read: list[Segment], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert run_command(generate, ["checkpoint=~/run", "image=~/été.png", "text=~/"]) == 0
    assert read == [Media("image", folder / "été.png"), Text("~/")]


def test_the_order_of_the_command_line_is_the_order_of_reading(folder: Path, read: list[Segment]) -> None:
    image = f"image={folder}/été.png"
    assert ask(folder, "text=a", image) == 0
    assert ask(folder, image, "seed=3", "text=a") == 0
    assert ask(folder, f"+media.image={folder}/a", "text=a", image) == 2, "twice, by two names"
    assert [item.modality for item in read] == ["text", "image", "image", "text"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["imge={}/été.png"], "no such option, and the checkpoint has no encoder of 'imge' (it has: audio, image); "
         "the nearest valid name is image"),
        (["txt=hello"], "txt=hello: no such option, and the checkpoint has no encoder of 'txt' (it has: audio, image); "
         "the nearest valid name is text"),
        (["sed=1", "text=a"], "sed=1: no such option, and"),
        (["depth={}/été.png"], "depth={}/été.png: no such option, and the checkpoint has no encoder of 'depth'"),
        (["image={}/none.png"], "image={}/none.png: no such file"),
        (["image="], "image='': must be a path"),
        (["text="], "nothing is asked"),
        (["image=", "text=a"], "image='': must be a path"),
        (["image=" + 300 * "a"], "aaa...: must be a path, of names with at most 255 bytes"),
        (["image={}/été.png", "image={}/a=b.png"], "image: is given 2 times; a question has one of each modality"),
        (["text=a", "text=b"], "text: is given 2 times"),
        (["text=\udcff"], "text=\\udcff: holds bytes that are not UTF-8"),
        (["media=x"], "media=x: must be a mapping"),
        (["text=a", "max_new_tokens=0"], "max_new_tokens=0: must be 1 or more"),
        (["text=a", "max_new_tokens=129"], "max_new_tokens=129: must be at most 128"),
        (["text=a", "temperature=-1"], "temperature=-1: must be 0 or more"),
        (["text=a", "temperature=nan"], "temperature=nan: must be a finite number"),
        (["text=a", "temperature=inf"], "temperature=inf: must be a finite number"),
        (["text=a", "seed=-1"], "seed=-1: must be 0 or more"),
        (["text=a", f"seed={2**64}"], "must be at most 9223372036854775807"),
        (["text=a", "device=gpu"], "device=gpu: must be auto or cpu"),
        (["seed=été"], "seed=été: has characters that need quotes of their own: "),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(
    typed: list[str], expected: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(folder, *(item.format(folder) for item in typed)) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith("error: ")
    assert expected.format(folder) in printed.err


@pytest.mark.parametrize(
    ("changes", "data", "expected"),
    [
        (of_data(modality_dropout={"image": 1.0}), None, "image was withheld from the training"),
        (of_data(modality_dropout={"image": 0.9, "audio": 1.0}), None, None),
        (of_data(processors={"audio": config()["data"]["processors"]["audio"]}), None, "has no processor of 'image'"),
        ({}, sources(["audio"], ["audio"], ["image"]), "the training data held no image: the model saw none"),
        ({}, sources(["audio"], ["image"], ["audio"]), None),
        ({}, sources(["audio"], None, ["audio"]), None),
        ({}, sources(["audio"], ["audio"], ["audio"], changes=("from step 3 on",)), None),
        ({"objective": INFONCE}, None, "cannot answer: it was trained by a contrastive objective alone"),
        ({"objective": NEXT_TOKEN}, None, None),
        ({"objective": BOTH}, None, None),
    ],
)
@pytest.mark.parametrize("main", [generate, explain])
def test_what_the_training_never_saw_is_refused(
    main: Any,
    changes: dict[str, Any],
    data: dict[str, Any] | None,
    expected: str | None,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = saved(tmp_path / "run", changes, data)
    output = [f"output={tmp_path}/picture.png"] if main is explain else []
    code = run_command(main, [f"checkpoint={run}", f"image={folder}/été.png", "text=a", "max_new_tokens=2", *output])
    printed = capsys.readouterr().err
    if expected is None:
        assert (code, printed) == (0, "")
    else:
        assert (code, printed.count("\n")) == (2, 1)
        assert expected in printed
        assert not (tmp_path / "picture.png").exists()


def test_text_may_still_be_asked_of_a_model_that_saw_no_image(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", data=sources(["audio"], ["audio"]))
    assert run_command(generate, [f"checkpoint={run}", "text=a", "max_new_tokens=2"]) == 0
    assert Session.load(run).media == ("audio",)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("{}/été.png", "exists already, and is not overwritten"),
        ("{}/été.png/x.png", "{}/été.png is a file, not a folder"),
        ("{}/" + 300 * "b", "bbb...: must be a path, of names with at most 255 bytes"),
    ],
)
def test_where_the_picture_cannot_go_is_said_before_any_work(
    output: str, expected: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "load", lambda *given: pytest.fail("the checkpoint was loaded"))
    assert run_command(explain, [f"checkpoint={folder / 'run'}", "text=a", f"output={output.format(folder)}"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert expected.format(folder) in printed


def test_an_answer_is_explained_as_typed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, answer in enumerate(["3.10", "what's ${x}, or [y", "true", ""]):
        output = tmp_path / f"é={number}.png"
        typed = [f"checkpoint={folder / 'run'}", "text=a", f"answer={answer}", f"output={output}"]
        assert run_command(explain, typed) == 0
        assert capsys.readouterr().out == f"{answer}\npicture: {output}\n"
        assert output.is_file()
