"""What evaluate.py and train.py are given is evaluated, or refused before anything is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from data.types import BadInputError
from evaluation.choice import asked_of_checkpoint, check_training
from evaluation.retrieval.evaluate import RetrievalSettings
from evaluation.settings import Settings, build_settings
from tests.evaluation.saved_run import SETTINGS, STORED_TASK

TALK = {"messages": [{"role": "user", "content": "which?"}, {"role": "assistant", "content": "this"}]}
PAIR = {"aligned": [{"type": "text", "text": "a"}, {"type": "sentence", "text": "b"}]}
STORED = OmegaConf.create(
    {"data": {"words": "sentence"}, "evaluation": SETTINGS | {"tasks": {"easy_vqa": STORED_TASK}}}
)


def manifest(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def given(*overrides: str, root: str = "evaluate") -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(root, [*(["checkpoint=x"] if root == "evaluate" else []), *overrides])


def asked(*overrides: str, stored: DictConfig = STORED) -> Any:
    return asked_of_checkpoint(given(*overrides), stored)


def test_the_rows_of_a_file_decide_and_what_was_stored_is_kept(tmp_path: Path) -> None:
    talk, train = manifest(tmp_path / "talk.jsonl", TALK, TALK), manifest(tmp_path / "train.jsonl", TALK)
    settings = build_settings(asked(f"data.evaluation={talk}"))
    assert isinstance(settings, Settings)
    assert {name: len(source) for name, source in settings.tasks.items()} == {"manifest": 2}
    assert (settings.max_new_tokens, settings.breakdown, settings.prior) == (3, ["template"], None)
    settings = build_settings(asked(f"data.evaluation={talk}", f"data.train={train}", "evaluation/robustness=standard"))
    assert str(settings.prior.path) == str(train)
    assert settings.robustness is not None
    pairs = manifest(tmp_path / "pairs.jsonl", PAIR, PAIR, PAIR)
    settings = build_settings(asked(f"data.evaluation={pairs}"))
    assert isinstance(settings, RetrievalSettings)
    assert (len(settings.tasks["manifest"]), settings.batch_size, settings.ridge) == (3, 128, None)
    settings = build_settings(asked(f"data.evaluation={pairs}", f"data.train={train}"))
    assert str(settings.ridge.path) == str(train)


def test_a_stored_prior_is_kept_where_its_file_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk, train = manifest(tmp_path / "talk.jsonl", TALK), manifest(tmp_path / "train.jsonl", TALK)
    prior = {"_target_": "data.sources.manifest.ManifestSource", "path": str(train)}
    of_another_class = OmegaConf.create({"evaluation": SETTINGS | {"tasks": {}, "prior": STORED_TASK}})
    assert len(build_settings(asked(f"data.evaluation={talk}", stored=of_another_class)).prior) == 6
    stored = OmegaConf.create({"evaluation": SETTINGS | {"tasks": {}, "prior": prior}})
    assert build_settings(asked(f"data.evaluation={talk}", stored=stored)).prior is not None
    train.unlink()
    assert build_settings(asked(f"data.evaluation={talk}", stored=stored)).prior is None
    assert "evaluation.prior: left out" in capsys.readouterr().err


def test_a_chosen_evaluation_stays_and_words_follow_the_checkpoint(tmp_path: Path) -> None:
    talk = manifest(tmp_path / "talk.jsonl", TALK)
    assert asked() is None
    assert asked("evaluation=manifest", f"data.evaluation={talk}").tasks.manifest.path == str(talk)
    assert asked("evaluation=retrieval").tasks.emoji.words == "sentence"
    assert asked("evaluation=retrieval", "data.words=text").tasks.emoji.words == "text"
    assert asked("evaluation=retrieval", stored=OmegaConf.create({"data": {}})).tasks.emoji.words == "text"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["evaluation=easy_vqa", "data.evaluation={talk}"],
            r"^data\.evaluation=.*talk\.jsonl: is not read by the chosen",
        ),
        (
            ["data.train={talk}"],
            r"^data\.train=.*: is not read by the evaluation that the checkpoint stored; give it w",
        ),
        (["evaluation=easy_vqa", "data.train={talk}"], r"^data\.train=.*: is not read by the chosen"),
        (["data.words=sentence"], r"^data\.words=sentence: is not read by .*evaluation=retrieval$"),
        (
            ["data.evaluation={talk}", "data.words=text"],
            r"^data\.words=text: is not read by an evaluation of conversat",
        ),
        (
            ["data.evaluation={mixed}"],
            r"mixed\.jsonl: holds 2 conversations and 1 aligned rows, which are scored apart",
        ),
        (["data.evaluation={talk}.none"], r"^data\.evaluation: .*talk\.jsonl\.none: cannot be read: No such file"),
        (["data.evaluation={bad}"], r"^data\.evaluation: .*bad\.jsonl:1: must have either messages or aligned"),
        (["data.evaluation={bad}", "data.on_bad_sample=skip"], r"bad\.jsonl: has no row that can be read"),
    ],
)
def test_what_would_not_be_read_is_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    files = {
        "talk": manifest(tmp_path / "talk.jsonl", TALK),
        "mixed": manifest(tmp_path / "mixed.jsonl", TALK, PAIR, TALK),
        "bad": manifest(tmp_path / "bad.jsonl", {"id": "1"}),
    }
    with pytest.raises(BadInputError, match=message) as refused:
        asked(*(item.format(**files) for item in overrides))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.evaluation=F", "evaluation=retrieval"],
            r"^data\.evaluation=F: is not read by .*retrieval_manifest for al",
        ),
        (
            ["data.validation_file=F", "data.validation.manifest.path=G"],
            r"^data\.validation_file=F: is not read by data",
        ),
        (["data.sources.manifest.source.path=G"], r"^data\.train=T: is not read by data\.sources"),
    ],
)
def test_a_training_refuses_files_that_it_would_not_read(overrides: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        check_training(given("data=manifest", "data.train=T", *overrides, root="train"))


def test_a_training_reads_what_it_should() -> None:
    for overrides in (
        ["data=manifest", "data.train=T", "data.evaluation=F"],
        ["data=manifest", "data.train=T", "data.evaluation=F", "evaluation=retrieval_manifest"],
        ["data=manifest", "data.train=T", "data.evaluation=F", "evaluation.tasks=null"],  # a bake-off's tuning
        ["data=manifest", "data.train=T", "evaluation=retrieval"],
        ["data=easy_vqa"],
        ["data=emoji"],
    ):
        check_training(given(*overrides, root="train"))
