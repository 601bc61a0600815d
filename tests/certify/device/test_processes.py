"""Parts in processes of their own: one that crashes or hangs is reported, and the others are carried out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from certify.device import parts, processes
from certify.device.found import Found
from scripts import gpu_check
from tests.scripts.in_process import run_command

# In place of scripts/gpu_check.py: one part passes, one fails, one is killed, one never ends.
PROGRAM = """
import json, os, sys, time
options = dict(argument.split("=", 1) for argument in sys.argv[1:])
name, folder = options["part"], options["output"]
if name == "compiled":
    os.kill(os.getpid(), 11)
os.makedirs(folder, exist_ok=True)
checks = [{"name": "fast = slow", "deviation": 1e-6, "tolerance": 5e-5, "passed": name == "tests"}]
found = {"name": name, "passed": name == "tests", "reason": "", "checks": checks,
         "figures": {"training, tokens/s": {"cpu": 10.0, "cuda": 900.0}}, "finished": name != "speed"}
with open(f"{folder}/{name}.json", "w") as file:
    json.dump(found, file)
if name == "speed":
    time.sleep(60)
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    monkeypatch.setattr(processes, "SCRIPT", path)
    for name, (function, _) in list(parts.PARTS.items()):
        monkeypatch.setitem(parts.PARTS, name, (function, 5.0 if name == "speed" else 60.0))
    return path


def test_every_part_is_in_the_report(
    program: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out put"
    monkeypatch.chdir(tmp_path)
    assert run_command(gpu_check.main, ["device=cpu", f"output={output}"]) == 1
    report = json.loads((output / "gpu_check.json").read_text(encoding="utf-8"))
    assert (report["passed"], report["device"]) == (False, "cpu")
    assert report["torch"]
    reasons = {part["name"]: (part["passed"], part["reason"]) for part in report["parts"]}
    assert list(reasons) == ["tests", "certificate", "compiled", "speed"]
    assert reasons["tests"] == (True, "")
    assert reasons["compiled"] == (False, "its process ended with code -11; what it printed stands above")
    assert reasons["speed"] == (False, "stopped after 5 s, which is its limit")
    assert report["parts"][3]["figures"], "what it had found until then stays"
    assert [path.name for path in output.iterdir()] == ["gpu_check.json"]
    printed = capsys.readouterr().out
    assert "1 of 4 parts passed" in printed
    assert "900" in printed
    assert run_command(gpu_check.main, ["device=cpu", f"output={output}"]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


def test_one_part_alone_writes_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(parts.PARTS, "speed", (lambda config, device, keep: Found("speed", True), 1.0))
    assert run_command(gpu_check.main, ["device=cpu", "part=speed", f"output={tmp_path / 'part'}"]) == 0
    assert Found.read(tmp_path / "part", "speed") == Found("speed", True, finished=True)
    assert run_command(gpu_check.main, ["device=cpu", "part=tset"]) == 2
    assert "error: part=tset: must be" in capsys.readouterr().err
