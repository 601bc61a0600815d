"""Five hundred bad inputs in one process, and twenty through the real commands: each is refused in one line, or works.

A refusal ends with 2 and one line that says what is wrong. Anything else is a fault: a traceback, a line that was made
of whatever error came up, a process that ended in another way.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bad_input.case import LIMIT_SECONDS, Case, Outcome, faults, run_here
from tests.bad_input.checkpoints import checkpoints
from tests.bad_input.configurations import configurations
from tests.bad_input.manifests import manifests
from tests.bad_input.media import media
from tests.bad_input.small import good_data, training

REPOSITORY = Path(__file__).resolve().parents[2]
SEED = int(os.environ.get("BAD_INPUT_SEED", "0"))
NUMBERS = {"configurations": 200, "manifests": 130, "media": 100, "checkpoints": 70}
BY_COMMAND = 20


@functools.cache
def trained() -> Path:
    """A run of one step with a report, made when it is first asked for."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="interfuse-run-"))
    asks = ("data.evaluation=good/manifest.jsonl", "evaluation.audit=false")
    case = Case("good", "train", lambda folder: training("good/manifest.jsonl", *asks), good_data)
    outcome = run_here(case, folder)
    assert outcome.code == 0, outcome
    return folder / "runs" / "default" / "small"


def generated() -> list[tuple[str, Case]]:
    """Kind and case, the same for the same seed."""
    makers = {"configurations": configurations, "manifests": manifests, "media": media}
    makers["checkpoints"] = functools.partial(checkpoints, run=trained)
    return [
        (name, case)
        for place, (name, number) in enumerate(NUMBERS.items())
        for case in makers[name](np.random.default_rng([SEED, place]), number)
    ]


GENERATED = generated()
CASES = [
    pytest.param(case, id=f"{kind}: {case}".encode("ascii", "backslashreplace").decode()) for kind, case in GENERATED
]


@pytest.mark.parametrize("case", CASES)
def test_in_one_process(case: Case, tmp_path: Path) -> None:
    outcome = run_here(case, tmp_path)
    assert faults(case, outcome) == [], f"{case}\n{outcome.out[-500:]}\n{outcome.errors[-2000:]}"


@pytest.mark.parametrize("case", CASES[:: len(CASES) // BY_COMMAND])
def test_through_the_command(case: Case, tmp_path: Path) -> None:
    case.prepare(tmp_path)
    command = [sys.executable, str(REPOSITORY / "scripts" / f"{case.script}.py"), *case.arguments(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert faults(case, outcome) == [], f"{case}\n{outcome.errors[-2000:]}"


def test_the_numbers_are_those_that_are_claimed() -> None:
    assert len(CASES) == 500
    assert len(CASES[:: len(CASES) // BY_COMMAND]) == BY_COMMAND
    assert {kind for kind, _ in GENERATED} == set(NUMBERS)
