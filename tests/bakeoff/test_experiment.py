"""The configured bake-offs: every override of every training must be one that train.py knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

import conf
from bakeoff.overrides import composable
from bakeoff.prepare import configuration, prepared
from bakeoff.settings import Bakeoff
from bakeoff.trials import entries, tuning_trials
from certify.small_data import write_small_data
from data.instantiate import instantiate
from fusion.build import build_model

NAMES = sorted(path.stem for path in (Path(str(conf.__file__)).parent / "experiment" / "bakeoff").glob("*.yaml"))
# Experiments on files of one's own, with those that they need.
OWN_FILES = {"manifest": ("train", "evaluation"), "frozen": ("train", "evaluation", "validation_file")}
TARGETS = {"flops": 1e8, "parameters": 2e6}


def configured(name: str) -> Bakeoff:
    """The settings of an experiment, with files where it needs some."""
    files = [f"data.{kind}=rows.jsonl" for kind in OWN_FILES.get(name, ())]
    with initialize_config_module("conf", version_base="1.3"):
        config = compose("compare", overrides=[f"experiment=bakeoff/{name}", *files])
    found = instantiate(config.bakeoff, "bakeoff")
    assert isinstance(found, Bakeoff)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_training_of_a_bakeoff_can_be_composed_and_built(name: str) -> None:
    bakeoff = configured(name)
    one_seed = replace(bakeoff, seeds=bakeoff.seeds[:1])  # seeds differ in nothing else
    with initialize_config_module("conf", version_base="1.3"):
        sizes = dict.fromkeys(bakeoff.methods, ("d_model=64", "feed_forward.expansion=2.5"))
        tuned = dict.fromkeys(bakeoff.methods, bakeoff.tuning.values[0])
        trials = [trial for m in bakeoff.methods for trial in tuning_trials(bakeoff, m, TARGETS).values()]
        trials += [entry.trial for entry in entries(one_seed, tuned, sizes, TARGETS)]
        built = set()
        for trial in trials:
            train = compose("train", overrides=composable(trial.overrides))
            key = str((train.fusion, train.d_model))
            if key not in built:
                build_model(train, 300)
            built.add(key)
    assert len(bakeoff.seeds) >= 3
    assert set(bakeoff.budgets) == {"flops", "parameters"}


@pytest.mark.parametrize("name", NAMES)
def test_a_bakeoff_names_its_contrasts_and_tunes_under_the_schedule_that_it_compares(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_small_data(tmp_path, ("text",)).rename(tmp_path / "rows.jsonl").parent)
    bakeoff = prepared(configured(name))
    assert 1 <= len(bakeoff.primary) <= 12
    value = bakeoff.tuning.values[0]
    for method in bakeoff.methods:
        compared = configuration([*bakeoff.shared, *bakeoff.methods[method]])
        tuning = configuration(tuning_trials(bakeoff, method, TARGETS)[value].overrides)
        factors = []
        for config in (tuning, compared):
            schedule, steps = instantiate(config["schedule"], "schedule"), config["trainer"]["max_steps"]
            values = [schedule(step, steps) for step in range(steps)]
            assert max(values) == 1.0
            # The factor at a hundred places of the training, wherever its steps lie.
            factors.append(np.interp(np.linspace(0, 1, 100), (np.arange(steps) + 0.5) / steps, values))
        assert len(set(map(len, factors))) == 1
        assert factors[0] == pytest.approx(factors[1], abs=0.05)


def test_the_bakeoff_on_easy_vqa_compares_every_method() -> None:
    bakeoff = configured("easy_vqa")
    methods = {path.stem for path in (Path(str(conf.__file__)).parent / "fusion").glob("*.yaml")}
    assert set(bakeoff.methods) == methods
    assert {"early", "late", "concat"} <= set(bakeoff.baselines)
