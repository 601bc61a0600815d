"""Shared options of a bake-off reach train.py as they were given, whatever they hold."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_module

from bakeoff.overrides import composable, flattened

OPTIONS = {
    "data": {"train": "my data/a=b, 'c' ${x}.jsonl", "evaluation": "été.jsonl", "validation_file": None},
    "trainer": {"max_steps": 7, "best_metric": None},
    "evaluation": {"breakdown": ["a b", "c,d"], "audit": False, "cluster": "it's"},
    "d_model": 32,
    "optimizer": "adamw",
}


def test_files_are_literal_for_the_command_and_quoted_for_hydra() -> None:
    overrides = ["data=manifest", *flattened(OPTIONS)]
    assert "data.train=my data/a=b, 'c' ${x}.jsonl" in overrides
    assert "data.validation_file=null" in overrides
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", composable(overrides))
    for name in ("train", "evaluation", "validation_file"):
        assert config.data[name] == OPTIONS["data"][name]
    assert config.evaluation.breakdown == OPTIONS["evaluation"]["breakdown"]
    assert (config.evaluation.audit, config.evaluation.cluster, config.d_model) == (False, "it's", 32)
    assert config.optimizer._target_.endswith("adamw")


@pytest.mark.parametrize("value", ["a b", "[x", "$x$", "3.10", "null", ""])
def test_a_text_stays_a_text(value: str) -> None:
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("train", composable(["data=manifest", *flattened({"evaluation": {"cluster": value}})]))
    assert config.evaluation.cluster == value
