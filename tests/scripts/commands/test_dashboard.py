"""The dashboard serves what was logged, says where, and ends without noise."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
DASHBOARD = [sys.executable, str(REPOSITORY / "scripts" / "dashboard.py"), "open_browser=false"]
LOG = """
import sys
from pathlib import Path
from training.trackers.trackio import TrackioTracker
tracker = TrackioTracker(Path(sys.argv[1]) / "early" / "one")
tracker.start("early/one", {})
tracker.log(3, {"train/loss": 0.5})
tracker.finish()
"""


def ordered(patterns: list[str]) -> list[str]:
    """Groups of plots in the order of the page: that of the first pattern of each."""
    return list(dict.fromkeys(pattern.partition("/")[0] for pattern in patterns))


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_it_serves_the_runs_until_ctrl_c(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LOG, str(tmp_path)], check=True)
    port = free_port()
    command = [*DASHBOARD, f"runs={tmp_path}", f"port={port}"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith(f"dashboard: http://127.0.0.1:{port}/?project=interfuse")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?project=interfuse", timeout=120) as page:
            assert b"<html" in page.read()
        question = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/get_runs_for_project",
            json.dumps({"project": "interfuse"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(question, timeout=120) as answer:
            assert "early-one" in answer.read().decode()
        settings = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/get_settings", b"{}", {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(settings, timeout=120) as answer:
            order = json.loads(answer.read())
        assert ordered(order.get("data", order)["plot_order"])[:3] == ["overview", "val", "train"]
        assert ordered(order.get("data", order)["plot_order"])[-1] == "attention"
        second = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert (second.returncode, second.stderr) == (2, f"error: port={port}: in use; choose another one\n")
    finally:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=120)
    assert (running.returncode, errors) == (0, "")


def test_a_folder_without_runs_is_named(tmp_path: Path) -> None:
    done = subprocess.run([*DASHBOARD, f"runs={tmp_path}"], capture_output=True, text=True, timeout=180)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path}: no run has been logged here yet; try 'make quick'\n"
