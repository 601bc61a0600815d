"""A source becomes a folder that is a source again; what is in the way is never overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

import scripts
from data.image import read_image
from data.manifest import ManifestSource
from data.types import Media, Sample, Text
from scripts.prepare_data import main

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


def test_the_command_refuses_to_overwrite_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    command = [sys.executable, str(SCRIPT), "source=easy_vqa_questions", f"output={tmp_path}/out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}/out: exists already, and is not overwritten\n"
    assert list((tmp_path / "out").iterdir()) == []
