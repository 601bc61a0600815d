"""The command that compares."""

import copy
import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from data.types import BadInputError
from scripts.compare import main
from tests.evaluation.conftest import made_up_report


def compare(*overrides: str) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        main.__wrapped__(compose("compare", list(overrides)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    report = made_up_report()
    for seed in range(2):
        changed = copy.deepcopy(report)
        changed["provenance"] |= {"seed": seed, "experiment_hash": "same", "run": f"fuse/{seed}"}
        (folder / f"seed{seed}").mkdir()
        (folder / f"seed{seed}" / "report.json").write_text(json.dumps(changed), encoding="utf-8")
    return folder


@pytest.mark.parametrize("named", ["[{0}/seed0,{0}/seed1]", "[{0}/*]", "{0}/seed?"])
def test_runs_may_be_listed_or_matched(
    named: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(f"runs={named.format(runs)}", f"output={tmp_path / 'out'}")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        f"compare.{end}" for end in ("html", "json", "md", "png")
    ]
    content = json.loads((tmp_path / "out" / "compare.json").read_text(encoding="utf-8"))
    assert [group["seeds"] for group in content["groups"]] == [[0, 1]]
    assert "fuse" in capsys.readouterr().out


def test_a_run_without_a_report_stops_it_and_writes_nothing(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "untested").mkdir()
    with pytest.raises(BadInputError, match=r"untested: has no report\.json"):
        compare(f"runs=[{runs}/seed0,{tmp_path}/untested]", f"output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
