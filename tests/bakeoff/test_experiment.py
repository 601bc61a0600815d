"""The configured bake-offs: every override of every training must be one that train.py knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_module

import conf
from bakeoff.methods import Method
from bakeoff.overrides import composable
from bakeoff.prepare import check
from bakeoff.settings import Bakeoff
from bakeoff.trainings.sizes import Size
from bakeoff.trainings.trials import entries, tuning_trial
from certify.small_data import write_small_data
from data.instantiate import instantiate
from fusion.build import build_model

NAMES = sorted(path.stem for path in (Path(str(conf.__file__)).parent / "experiment" / "bakeoff").glob("*.yaml"))
# Experiments on files of one's own, with those that they need.
OWN_FILES = {"manifest": ("train", "evaluation"), "frozen": ("train", "evaluation", "validation_file")}


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
    size = Size(("d_model=64", "feed_forward.expansion=2.5"), dict.fromkeys(bakeoff.budgets, 1e8), 1e9)
    with initialize_config_module("conf", version_base="1.3"):
        sizes = {(method.name, budget): size for method in bakeoff.trained for budget in bakeoff.budgets}
        searched = [(method, values) for method in bakeoff.trained for values in tried(bakeoff, method)]
        trials = [tuning_trial(bakeoff, method, size, values, 1000) for method, values in searched]
        tuned = {method.name: tried(bakeoff, method)[0] for method in bakeoff.trained}
        trials += [entry.trial for entry in entries(one_seed, sizes, tuned) if not entry.members]
        built = set()
        for trial in trials:
            train = compose("train", overrides=composable(trial.overrides))
            key = str((train.fusion, train.d_model, train.encoders))
            if key not in built:
                build_model(train, 300)
            built.add(key)


def tried(bakeoff: Bakeoff, method: Method) -> list[dict[str, Any]]:
    """The start, and all other values of the method's own options, each alone."""
    options = (*(bakeoff.tuning.shared if bakeoff.tuning else ()), *method.tuned)
    start = {option.option: option.start for option in options}
    return [start, *({**start, option.option: value} for option in method.tuned for value in option.values or ())]


@pytest.mark.parametrize("name", NAMES)
def test_a_bakeoff_names_its_contrasts_and_has_five_seeds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_small_data(tmp_path, ("text",)).rename(tmp_path / "rows.jsonl").parent)
    bakeoff = configured(name)
    check(bakeoff)
    assert 1 <= len(bakeoff.primary) <= 12
    assert len(bakeoff.seeds) >= 5
    assert bakeoff.tuning is not None
    assert len(bakeoff.tuning.seeds) >= 2


def test_the_bakeoff_on_easy_vqa_compares_every_method() -> None:
    bakeoff = configured("easy_vqa")
    methods = {path.stem for path in (Path(str(conf.__file__)).parent / "fusion").glob("*.yaml")}
    assert set(bakeoff.methods) == methods
    assert {"early", "late", "concat"} <= set(bakeoff.baselines)
