from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from certify import suite
from certify.context import Context
from certify.result import EXACT, Result, at_most
from data.types import BadInputError
from scripts.certify import main


def fails(context: Context) -> Result:
    return at_most("fails", 1, EXACT, "")


@pytest.mark.parametrize("check", [suite.MODEL_CHECKS[-1], fails])
def test_exit_code_and_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], check: suite.Check
) -> None:
    monkeypatch.setattr(suite, "ALL_CHECKS", (suite.MODEL_CHECKS[0], check))
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("certify", overrides=["d_model=32", f"output={tmp_path / 'certificate'}"])
    if check is fails:
        with pytest.raises(SystemExit) as ended:
            main.__wrapped__(config)  # type: ignore[attr-defined]
        assert ended.value.code == 1
    else:
        main.__wrapped__(config)  # type: ignore[attr-defined]
    report = json.loads((tmp_path / "certificate" / "certify.json").read_text(encoding="utf-8"))
    assert report["passed"] is (check is not fails)
    assert (tmp_path / "certificate" / "certify.md").exists()
    assert f"{1 if check is fails else 2} of 2 checks passed" in capsys.readouterr().out
    monkeypatch.setattr(suite, "make_context", pytest.fail)
    with pytest.raises(BadInputError, match=r"^output=.*: holds certify\.json already, and nothing is overwritten"):
        main.__wrapped__(config)  # type: ignore[attr-defined]
