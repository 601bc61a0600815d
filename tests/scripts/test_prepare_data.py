"""A source becomes a folder that is a source again; what is in the way is never overwritten."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

import scripts
from data.image import read_image
from data.manifest import ManifestSource
from data.types import AlignedSample, Media, Sample, Text
from scripts.prepare_data import main
from tests.data.emoji_packages import fill_cache

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
