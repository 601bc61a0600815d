"""A run that is killed, interrupted or resumed leaves no trace in its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from data.batching.loader import loader
from data.storage.run_log import read_metrics
from data.types import BadInputError
from fusion.checkpoint import read_weights, resolve
from tests.training.tiny import same_metrics, tiny_model, tiny_stream, tiny_trainer
from tests.training.worker import OPTIONS, evaluate, signalling
from training.runs import interruption
from training.runs.interruption import StopSignals, TrainingInterrupted


def killed(run, batch, *flags):
    """A training in a process of its own that dies when it asks for `batch`."""
    command = [sys.executable, "-m", "tests.training.worker", "train", str(run), "--kill-at", str(batch), *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return ended.returncode == -signal.SIGKILL


def same_weights(one, other):
    for averaged in (False, True):
        first, second = (read_weights(resolve(run), averaged) for run in (one, other))
        if any(not torch.equal(first[name], second[name]) for name in first):
            return False
    return True


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """24 batches in 12 updates; checkpoints at 3, 6, 9, 12, a log line every 2, an evaluation every 4."""
    run = tmp_path_factory.mktemp("unbroken")
    tiny_trainer(run, evaluate=evaluate, **OPTIONS).fit()
    return run


def test_killed_hard_and_resumed_twice_equals_unbroken(tmp_path, unbroken):
    run = tmp_path / "run"
    # Batch 11 belongs to update 6: the lines of steps 4 (log and evaluation) are behind the checkpoint of step 3.
    assert killed(run, 11)
    assert resolve(run).name == "step_3"
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == 4
    assert killed(run, 21, "--resume")
    assert resolve(run).name == "step_9"
    tiny_trainer(run, resume=run, evaluate=evaluate, **OPTIONS).fit()
    logged, expected = read_metrics(run / "metrics.jsonl"), read_metrics(unbroken / "metrics.jsonl")
    assert same_metrics(logged, expected)
    assert len(expected) == 9
    assert same_weights(run, unbroken)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_says_how_to_go_on_and_leaves_no_trace(tmp_path, unbroken, capsys, number):
    stream = tiny_stream(tiny_model())
    load = signalling(lambda start, stop: loader(stream, start, stop), 9, number)
    with pytest.raises(TrainingInterrupted) as stopped:
        tiny_trainer(tmp_path, load=load, evaluate=evaluate, **OPTIONS).fit()
    assert stopped.value.code == 128 + number
    assert f"stopped at step 5; go on with: resume={tmp_path}" in capsys.readouterr().out
    assert resolve(tmp_path).name == "step_5"
    tiny_trainer(tmp_path, resume=tmp_path, evaluate=evaluate, **OPTIONS).fit()
    assert same_metrics(read_metrics(tmp_path / "metrics.jsonl"), read_metrics(unbroken / "metrics.jsonl"))
    assert same_weights(tmp_path, unbroken)


def test_a_signal_to_the_whole_group_leaves_the_workers_alive_until_all_is_saved(tmp_path):
    """As a scheduler stops a job: every process of it is told, some of them twice."""
    command = [sys.executable, "-m", "tests.training.worker", "train", str(tmp_path), "--steps", "100000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([*command, "--workers", "2"], env=environment, start_new_session=True, **pipes)
    try:
        while last_step(tmp_path) < 4 and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        os.killpg(process.pid, signal.SIGTERM)
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    step = int(resolve(tmp_path).name.removeprefix("step_"))
    assert f"stopped at step {step}; go on with: resume={tmp_path}" in out
    assert errors.strip().splitlines()[-1].startswith("stopping: this step is finished and saved first")
    assert "Traceback" not in errors
    assert process.returncode == 128 + signal.SIGTERM


def last_step(run):
    path = run / "metrics.jsonl"
    return read_metrics(path)[-1]["step"] if path.exists() and read_metrics(path) else 0


def test_an_echo_of_a_signal_is_not_a_second_one():
    with StopSignals() as signals:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT


def test_a_second_signal_is_obeyed_at_once(monkeypatch):
    monkeypatch.setattr(interruption, "ECHO_SECONDS", 0.0)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_workers_change_nothing(tmp_path, unbroken):
    tiny_trainer(tmp_path, evaluate=evaluate, num_workers=1, **OPTIONS).fit()
    assert same_metrics(read_metrics(tmp_path / "metrics.jsonl"), read_metrics(unbroken / "metrics.jsonl"))


def test_evaluation_changes_nothing(tmp_path, unbroken):
    tiny_trainer(tmp_path, **OPTIONS).fit()
    assert same_weights(tmp_path, unbroken)


def test_a_finished_run_has_nothing_left_to_do(unbroken):
    before = read_metrics(unbroken / "metrics.jsonl")
    result = tiny_trainer(unbroken, resume=unbroken, evaluate=evaluate, **OPTIONS).fit()
    assert result.step == 12
    assert result.metrics["validation/score"] == before[-1]["validation/score"]
    assert read_metrics(unbroken / "metrics.jsonl") == before


def test_seconds_and_tokens_add_up_over_resumes(tmp_path):
    first = tiny_trainer(tmp_path, max_seconds=1e-6).fit()
    assert first.step == 1
    second = tiny_trainer(tmp_path, resume=tmp_path).fit()
    assert second.step == 12
    assert second.tokens > first.tokens
    assert second.seconds > first.seconds > 0
    lines = read_metrics(tmp_path / "metrics.jsonl")
    assert [line["tokens"] for line in lines] == sorted(line["tokens"] for line in lines)


def test_the_schedule_refers_to_max_steps_when_time_runs_out(tmp_path):
    tiny_trainer(tmp_path, max_seconds=1e-6).fit()
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["train/learning_rate"] == pytest.approx(0.01)


def test_a_step_that_the_run_has_left_behind_is_refused(tmp_path):
    tiny_trainer(tmp_path).fit()
    with pytest.raises(BadInputError, match="step_12 is newer than step_9"):
        tiny_trainer(tmp_path, resume=tmp_path / "checkpoints" / "step_9")


def test_same_seed_gives_the_same_bits(tmp_path):
    for name in ("one", "other"):
        tiny_trainer(tmp_path / name, max_steps=4, log_every=1).fit()
    one, other = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "other"))
    assert same_metrics(one, other)
