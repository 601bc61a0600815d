"""A source becomes a folder that is a source again; what is in the way is never overwritten."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from PIL import Image

import scripts
from data.inspection.pages import figures
from data.media.image import read_image
from data.sources.manifest import ManifestSource
from data.types import AlignedSample, BadInputError, Media, Sample, Text
from scripts.prepare_data import main
from tests.data.emoji_packages import fill_cache
from tests.data.inspection.made import asked, picture, save_picture, save_sound, segment, sentence, speech, write_rows

SCRIPT = Path(str(scripts.__file__)).parent / "prepare_data.py"


def prepare(*overrides: str) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("prepare_data", overrides=list(overrides))
    main.__wrapped__(config)  # type: ignore[attr-defined]


@pytest.mark.parametrize("source", ["easy_vqa", "easy_vqa_questions"])
def test_a_source_becomes_a_manifest(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["source.spoken=0"] if source == "easy_vqa" else []
    prepare(f"source={source}", f"output={tmp_path}/out", "max_samples=7", *typed)
    path = tmp_path / "out" / "manifest.jsonl"
    assert capsys.readouterr().out == f"wrote {path}\n"
    written = ManifestSource(path)
    assert len(written) == 7
    for index in range(7):
        sample = written.sample(index)
        assert isinstance(sample, Sample)
        image, question = sample.messages[0].content
        assert isinstance(image, Media)
        assert read_image(image).shape == (3, 64, 64)
        assert isinstance(question, Text)
        assert question.text.endswith("?")
        assert sample.source == "easy_vqa"


def test_emoji_become_a_manifest_for_each_split(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INTERFUSE_CACHE", str(tmp_path / "cache"))
    fill_cache()
    prepare("source=emoji", f"output={tmp_path}/out", "source.spoken=false", "source.repeats=2")
    names = ("train", "validation", "test")
    assert capsys.readouterr().out.splitlines() == [f"wrote {tmp_path}/out/{name}.jsonl" for name in names]
    concepts = {}
    for name in names:
        source = ManifestSource(tmp_path / "out" / f"{name}.jsonl")
        samples = [source.sample(index) for index in range(len(source))]
        concepts[name] = {sample.metadata["concept"] for sample in samples}
        for sample in samples:
            assert isinstance(sample, AlignedSample)
            image, text = sample.segments
            assert isinstance(image, Media)
            assert read_image(image).shape == (3, 64, 64)
            assert isinstance(text, Text)
            assert text.text.startswith(sample.metadata["label"])
    assert not concepts["train"] & concepts["test"]
    assert not concepts["train"] & concepts["validation"]


def test_emoji_without_npm_are_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "source=emoji", f"output={tmp_path}/out"]
    environment = {**os.environ, "INTERFUSE_CACHE": str(tmp_path / "cache"), "PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "npm, which fetches it, is not installed; give the path of its tarball instead" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_to_overwrite_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(SCRIPT), "source=easy_vqa_questions", f"output={tmp_path}/out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}/out: exists already, and is not overwritten\n"
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """Two files of strange names with a leak, a near leak, a missing file, and text that other programs would read."""
    rows: dict[str, list[object]] = {"train": [], "$x^$ [bold]": []}
    for number in range(6):
        save_picture(tmp_path / f"$_{number}.png", picture(number))
        save_sound(tmp_path / f"{number}.wav", speech(sentence(number)))
        image, text = segment("image", f"$_{number}.png"), segment("text", "what costs $20 for 3% of $30, $x^$?")
        rows["train"].append(asked(str(number), r"$\\frac{1}{$" if number % 2 else "[/red]" * 200, image, text))
        rows["train"].append({"id": f"a{number}", "aligned": [segment("audio", f"{number}.wav"), image]})
    save_picture(tmp_path / "again.jpg", picture(2), quality=70)
    save_sound(tmp_path / "again.wav", 0.3 * speech(sentence(2)))
    image = segment("image", "again.jpg")
    rows["$x^$ [bold]"] += [
        rows["train"][0],
        asked("near", "\x1b[31m\n| `a` |", image, segment("text", "\u202e?")),
        {"aligned": [segment("audio", "again.wav"), segment("image", "gone.png")]},
    ]
    for name, found in rows.items():
        write_rows(tmp_path / f"{name}.jsonl", found)
    return tmp_path


def test_a_check_says_what_leaks_and_leaves_a_report_with_pictures(
    manifests: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    prepare(f"check={manifests}")
    said = capsys.readouterr().out
    folder = manifests / "train-check"
    assert "leaks: 1; near leaks: 2 (rows of a later file with what an earlier one has; order: train, $x^$" in said
    assert said.endswith(f"wrote {folder}\n")
    assert "\x1b[31m" not in said
    report = json.loads((folder / "report.json").read_text())
    assert (report["leaks"], report["near_leaks"]) == (1, 2)
    assert report["manifests"]["train"]["rows"] == 12
    assert report["manifests"]["train"]["kinds"] == {"conversations": 6, "aligned rows": 6}
    assert report["manifests"]["train"]["pictures"]["width"]["median"] == 96
    assert report["manifests"]["train"]["sounds"]["rates"] == {"16000": 6}
    findings = [json.loads(line) for line in (folder / "findings.jsonl").read_text().splitlines()]
    assert [(found["kind"], found["split"], found["line"]) for found in findings] == [
        ("leaked_row", "$x^$ [bold]", 1),
        ("near_leak", "$x^$ [bold]", 2),
        ("near_leak", "$x^$ [bold]", 3),
        ("missing_file", "$x^$ [bold]", 3),
    ]
    markdown = (folder / "report.md").read_text("utf-8")
    assert "**leaks: 1; near leaks: 2" in markdown.split("## Odd")[0]
    names = {"answers", "lengths", "pictures", "sounds", "twin_pictures", "twin_sounds"}
    assert {path.stem for path in (folder / "figures").iterdir()} == names
    assert all(f"(figures/{name}.png)" in markdown for name in names)
    for path in (folder / "figures").iterdir():
        with Image.open(path) as figure:
            assert max(figure.size) < 2500, "no label makes a picture grow"
    assert caplog.records == [], "every figure could be drawn"


def test_nothing_is_overwritten_by_a_check(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("train-check", "train-check-2"):
        prepare(f"check={manifests}/train.jsonl")
        assert f"wrote {manifests}/{name}\n" in capsys.readouterr().out
    with pytest.raises(BadInputError, match=r"output=.*train-check: exists already, and is not overwritten"):
        prepare(f"check={manifests}/train.jsonl", f"output={manifests}/train-check")


def test_a_figure_that_fails_is_a_warning(
    manifests: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "draw_answers", fails)
    prepare(f"check={manifests}/train.jsonl", f"output={manifests}/out")
    (record,) = caplog.records
    assert "picture 'Answers' is left out (RuntimeError: no ink)" in record.getMessage()
    assert (manifests / "out" / "report.json").is_file()
    assert not (manifests / "out" / "figures" / "answers.png").exists()


def test_cleaning_leaves_no_leaked_row(manifests: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (manifests / "$x^$ [bold].jsonl").rename(manifests / "test.jsonl")
    prepare(f"clean={manifests}/train.jsonl", f"against={manifests}/test.jsonl", f"output={manifests}/new/clean.jsonl")
    assert f"wrote {manifests}/new/clean.jsonl: 11 of 12 rows\n" in capsys.readouterr().out
    prepare(f"check=[{manifests}/new/clean.jsonl,{manifests}/test.jsonl]", f"output={manifests}/checked")
    # The picture of the row that went stands in another row too, and this is said.
    report = json.loads((manifests / "checked" / "report.json").read_text())
    assert {name: item["count"] for name, item in report["findings"].items() if "leak" in name} == {
        "leaked_medium": 1,
        "near_leak": 2,
    }


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["check=a.jsonl", "clean=a.jsonl"], "check and clean are given; one command does one of them"),
        (["check=a.jsonl", "source=emoji"], "check and source are given; one command does one of them"),
        (["check=gone.jsonl"], "check: gone.jsonl: no such file"),
        (["clean=a.jsonl"], "output: has no value; give output=NEW.jsonl"),
        (["clean=gone.jsonl", "output=b.jsonl"], "clean: gone.jsonl: no such file"),
        (
            ["check=a.jsonl", "against=b.jsonl"],
            "against: goes with clean=FILE; to compare files give check=[TRAIN.jsonl,TEST.jsonl]",
        ),
        (["check=a.jsonl", "max_samples=3"], "max_samples: is of an export; check reads every row"),
        (["check=empty.jsonl"], "empty.jsonl: holds no rows"),
        (["source=easy_vqa"], "output: has no value; give output=FOLDER to export, or check=FILE, or clean=FILE"),
        (
            ["~source"],
            "nothing to do; give source=NAME to export, check=FILE, or clean=FILE output=NEW.jsonl",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.jsonl", [asked("1", "b", segment("text", "a"))])
    (tmp_path / "empty.jsonl").write_text("\n")
    monkeypatch.setattr(sys, "argv", ["prepare_data.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "empty.jsonl"]
