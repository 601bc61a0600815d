"""Where a run goes: no run is written over another, whatever begins at the same time."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from data.types import BadInputError
from training.runs.run_folder import new_run_folder


def test_runs_without_a_name_that_begin_in_the_same_second_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs of a parallel sweep over anything but the seed ended in an error."""
    monkeypatch.setattr("training.runs.run_folder.time.strftime", lambda form: "20300101-000000")
    config = OmegaConf.create({"runs": str(tmp_path), "name": "sweep", "run": None, "seed": 3})
    folders = [new_run_folder(config) for _ in range(3)]
    name = "20300101-000000-seed3"
    assert [folder.name for folder in folders] == [name, f"{name}-2", f"{name}-3"]
    assert all((folder / "config.yaml").is_file() for folder in folders)


def test_a_name_that_is_taken_is_refused(tmp_path: Path) -> None:
    config = OmegaConf.create({"runs": str(tmp_path), "name": "sweep", "run": "one", "seed": 3})
    made = new_run_folder(config)
    with pytest.raises(BadInputError, match=f"^{made} exists and is never overwritten: choose another name with run="):
        new_run_folder(config)
