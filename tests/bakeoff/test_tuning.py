"""The tuning, with runs that are written down in place of trained: who is tried, at which size, and what is taken."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bakeoff.settings import Bakeoff, Tuning
from bakeoff.trainings.execute import DIVERGED, ENDED, OutOfTimeError, Runner
from bakeoff.trainings.trials import Trial
from bakeoff.tuning.tune import Sizer, tune
from data.types import BadInputError

RATE = {"option": "optimizer.lr", "start": 0.01, "factor": 2, "least": 0.0001, "most": 1.0}
BEST = {"early": 0.01, "late": 0.08, "gates": 0.0025}
LAYERS = {"option": "fusion.fusion_layer", "start": 2, "values": [0, 1, 2, 3]}
WEIGHT = {"option": "balance.weight", "start": 0.5, "values": [0.25, 0.5, 1.0]}
SETTINGS = Bakeoff(
    base=[],
    methods={
        "early": ["fusion=early"],
        "late": {"overrides": ["fusion=late"], "tuned": [LAYERS]},
        "gates": {"overrides": ["balance=gates"], "like": "early", "tuned": [WEIGHT]},
        "half": {"like": "late", "share": 0.5},
    },
    tuning=Tuning([RATE], settings=12),
    budgets=["flops", "parameters"],
)


class Written(Runner):
    """Writes what train.py would, with a score that is best at the method's best rate."""

    def __init__(self, folder: Path, noise: float = 0.0) -> None:
        super().__init__(folder, "b", visible=False)
        self.trained: list[Trial] = []
        self.noise = noise

    def run(self, trials: Iterable[Trial], what: str = "trainings", may_diverge: bool = False) -> None:
        for trial in trials:
            if not self.has_ended(trial):
                self.trained.append(trial)
                self.write(trial, dict(item.split("=", 1) for item in trial.overrides))

    def write(self, trial: Trial, given: dict[str, str]) -> None:
        folder = self.run_folder(trial)
        folder.mkdir(parents=True)
        target = float(given.get("target.flops", given.get("target.parameters", 1e8)))
        layer = int(given.get("fusion.fusion_layer", 0))
        width = int(given.get("d_model", 64 + 8 * layer + target / 1e7))
        data = {"samples_per_batch": 8}
        config = {"d_model": width, "data": data, "trainer": {"accumulation_steps": 1}}
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
        method, rate = trial.name.split("-")[1], float(given.get("optimizer.lr", 0.01))
        score = -abs(math.log2(rate / BEST.get(method, 0.01))) + 0.1 * layer
        score += self.noise * (1 if given["seed"] == "1000" else -1)
        costs = {"flops/inference": target, "flops/inference/fusion": 1.0, "parameters/total": target}
        (folder / "summary.json").write_text(json.dumps({**costs, "flops/training": 3e8, "val/accuracy": score}))
        (folder / ENDED).write_text("trained\n")


def tuned(folder: Path, settings: Bakeoff = SETTINGS, noise: float = 0.0):
    runner = Written(folder, noise)
    sizer = Sizer(settings, runner)
    return tune(settings, sizer, runner), sizer, runner


def test_every_method_finds_its_own_best_by_the_mean_over_seeds(tmp_path: Path) -> None:
    found, _, runner = tuned(tmp_path, noise=5.0)
    assert found["early"].values == {"optimizer.lr": 0.01}
    assert found["late"].values == {"optimizer.lr": 0.08, "fusion.fusion_layer": 3}
    assert found["late"].edges == found["late"].unsettled == ()
    tries = Counter(trial.name.split("-")[1] for trial in runner.trained if trial.name.startswith("tune"))
    assert all(number <= 12 * 2 for number in tries.values())
    assert tries["early"] == 3 * 2
    assert tries["late"] == 2 * len(found["late"].tried)


def test_what_is_like_another_method_takes_its_values_and_its_size(tmp_path: Path) -> None:
    found, sizer, runner = tuned(tmp_path)
    assert found["gates"].values == {"optimizer.lr": 0.01, "balance.weight": 0.5}
    assert {key for values, _ in found["gates"].tried for key in values} == {"balance.weight"}
    assert found["half"].values == found["late"].values
    assert found["half"].tried == ()
    methods = SETTINGS.all_methods
    early, gates = (sizer.size(methods[name], found[name].values, "flops") for name in ("early", "gates"))
    assert early.overrides == gates.overrides
    late, half = (sizer.size(methods[name], found[name].values, "flops") for name in ("late", "half"))
    assert (late.costs["flops"], half.costs["flops"]) == (1e8, 5e7)
    assert not any("tune-half" in trial.name for trial in runner.trained)


def test_an_option_that_changes_the_cost_has_a_size_of_its_own(tmp_path: Path) -> None:
    """Each of its values is tried at the cost of the reference."""
    _, _, runner = tuned(tmp_path)
    sizes = {trial.name for trial in runner.trained if trial.name.startswith("size-late-flops")}
    assert {f"size-late-flops-fusion_layer{layer}" for layer in (1, 2, 3)} <= sizes
    tries = [trial for trial in runner.trained if trial.name.startswith("tune-late")]
    widths = {o for trial in tries for o in trial.overrides if o.startswith("d_model=")}
    assert len(widths) >= 3
    assert not any(o.startswith("target") for trial in tries for o in trial.overrides)


def test_without_tuning_only_sizes_are_found(tmp_path: Path) -> None:
    settings = Bakeoff(**{**vars_of(SETTINGS), "tuning": None})
    found, sizer, runner = tuned(tmp_path, settings)
    assert all(item.values == {} for item in found.values())
    assert runner.trained == []
    sizer.find((settings.all_methods["late"], {}, budget) for budget in settings.budgets)
    assert [trial.name for trial in runner.trained] == ["size-early", "size-late-flops", "size-late-parameters"]


def vars_of(settings: Bakeoff) -> dict:
    return {name: getattr(settings, name) for name in settings.__dataclass_fields__}


def test_a_broken_off_tuning_goes_on_where_it_was(tmp_path: Path) -> None:
    class Breaking(Written):
        def write(self, trial: Trial, given: dict[str, str]) -> None:
            if len(self.trained) > 9:
                raise OutOfTimeError("time is over")
            super().write(trial, given)

    runner = Breaking(tmp_path)
    with pytest.raises(OutOfTimeError):
        tune(SETTINGS, Sizer(SETTINGS, runner), runner)
    found, _, again = tuned(tmp_path)
    assert found == tuned(tmp_path / "unbroken")[0]
    assert not {t.name for t in runner.trained[:-1]} & {t.name for t in again.trained}, "nothing is trained twice"


def test_a_method_that_diverges_with_every_value_ends_the_bakeoff(tmp_path: Path) -> None:
    class Diverging(Written):
        def write(self, trial: Trial, given: dict[str, str]) -> None:
            super().write(trial, given)
            if trial.name.startswith("tune-late"):
                (self.run_folder(trial) / ENDED).write_text(DIVERGED, encoding="utf-8")

    runner = Diverging(tmp_path)
    message = r"^late diverged with every value of optimizer.lr, fusion.fusion_layer that was tried; give"
    with pytest.raises(BadInputError, match=message):
        tune(SETTINGS, Sizer(SETTINGS, runner), runner)


def test_a_metric_that_no_run_has_is_named(tmp_path: Path) -> None:
    settings = Bakeoff(**{**vars_of(SETTINGS), "tuning": Tuning([RATE], metric="val/loss")})
    with pytest.raises(BadInputError, match=r"summary\.json has no 'val/loss', which tuning.metric names"):
        tuned(tmp_path, settings)
