import json
from dataclasses import replace
from pathlib import Path

import pytest

from bakeoff.execute import ENDED, Runner
from bakeoff.run import count
from bakeoff.settings import Bakeoff, Tuning
from bakeoff.trials import Trial, costs, entries, tuning_trials
from data.types import BadInputError
from evaluation.costs import training_flops

CONTRAST = {"method": "late", "against": "early", "task": "manifest", "budget": "flops"}
TARGETS = {"flops": 1e8, "parameters": 2e6}
SETTINGS = Bakeoff(
    base=["data=manifest"],
    methods={"early": ["fusion=early"], "late": ["fusion=late"], "concat": ["fusion=concat"]},
    tuning=Tuning("optimizer.lr", [0.01, 0.02], ["trainer.max_steps=9"]),
    baselines=["early", "late"],
    seeds=[0, 1],
)
SIZES = {"late": ["d_model=144"], "concat": ["d_model=112", "feed_forward.expansion=2.5"]}
TUNED = {"early": 0.01, "late": 0.02, "concat": 0.01}


def test_methods_differ_by_method_size_and_tuned_value_alone() -> None:
    found = [entry for entry in entries(SETTINGS, TUNED, SIZES, TARGETS) if (entry.budget, entry.seed) == ("flops", 1)]
    assert [entry.trial.overrides for entry in found] == [
        ("data=manifest", "fusion=early", "optimizer.lr=0.01", "seed=1"),
        ("data=manifest", "fusion=late", "d_model=144", "optimizer.lr=0.02", "seed=1"),
        (
            *("data=manifest", "fusion=concat", "d_model=112", "feed_forward.expansion=2.5"),
            *("optimizer.lr=0.01", "seed=1"),
        ),
    ]
    other = [e for e in entries(SETTINGS, TUNED, SIZES, TARGETS) if (e.method, e.budget) == ("late", "parameters")]
    assert "target.parameters=2000000" in other[0].trial.overrides


def test_the_reference_is_trained_once_for_all_budgets() -> None:
    found = entries(SETTINGS, TUNED, SIZES, TARGETS)
    assert len(found) == 3 * 2 * 2
    names = {entry.trial.name for entry in found}
    assert len(names) == 2 * (1 + 2 * 2)
    assert count(SETTINGS) == len(names) + 3 * 2
    assert {entry.budget for entry in found if entry.trial.name == "early-seed0"} == {"flops", "parameters"}


def test_tuning_is_the_same_for_all_on_a_seed_of_its_own_and_without_the_test_split() -> None:
    for method in SETTINGS.methods:
        trials = tuning_trials(SETTINGS, method, TARGETS)
        assert list(trials) == [0.01, 0.02]
        for value, trial in trials.items():
            assert {"trainer.max_steps=9", f"optimizer.lr={value}", "seed=1000", "evaluation.tasks=null"} <= set(
                trial.overrides
            )


def test_a_trial_that_was_made_with_other_options_is_refused(tmp_path: Path) -> None:
    """Whether it has ended or was killed on the way."""
    runner, trial = Runner(tmp_path, "b"), Trial("early-seed0", ("seed=0",))
    runner.run_folder(trial).mkdir(parents=True)
    (tmp_path / "b" / "logs").mkdir()
    (tmp_path / "b" / "logs" / "early-seed0.overrides").write_text("seed=0\n")
    for _ in ("killed", "ended"):
        with pytest.raises(BadInputError, match="was begun with other options"):
            runner.run([replace(trial, overrides=("seed=1",))])
        (runner.run_folder(trial) / ENDED).write_text("trained\n")
    runner.run([trial])  # nothing is left to do
    assert runner.has_ended(trial)
    assert not runner.diverged(trial)


def test_costs_are_read_from_old_and_new_summaries(tmp_path: Path) -> None:
    """A run used to call the operations of its forward pass those of training, and had no others."""
    cases = (
        ({"flops_per_training_sample": 5.0}, 5.0, None),
        ({"flops/inference": 6.0, "flops/training": 20.0}, 6.0, 20.0),
    )
    for summary, inference, training in cases:
        (tmp_path / "summary.json").write_text(json.dumps(summary | {"parameters/total": 7}))
        assert costs(tmp_path) == {"flops": inference, "parameters": 7.0}
        assert training_flops(tmp_path) == training
    (tmp_path / "summary.json").write_text('{"parameters/total": 7}')
    with pytest.raises(BadInputError, match=r"summary\.json: lacks flops/inference"):
        costs(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"baselines": ["mid"]}, "baselines: mid must be one of methods, which are early, late, concat"),
        ({"budgets": ["seconds"]}, "'seconds' must be one of flops, parameters"),
        ({"seeds": [0, 1000]}, r"tuning.seed=1000 must not be one of seeds=\[0, 1000\]"),
        ({"seeds": []}, "must each name at least one"),
        ({"contrasts": [CONTRAST] * 13}, "contrasts names 13; it may name at most 12"),
        (
            {"contrasts": [{"method": "late"}]},
            r"contrasts\[0\]={'method': 'late'} must have method, against, task and bu",
        ),
        ({"contrasts": [{**CONTRAST, "p": "0"}]}, "and nothing else"),
        (
            {"contrasts": [CONTRAST, {**CONTRAST, "method": "mid"}]},
            r"contrasts\[1\]: method=mid must be one of early, l",
        ),
        (
            {"contrasts": [{**CONTRAST, "against": "mid"}]},
            r"contrasts\[0\]: against=mid must be one of early, late, con",
        ),
        ({"contrasts": [{**CONTRAST, "against": "late"}]}, "method and against are both late; they must differ"),
        ({"contrasts": [{**CONTRAST, "budget": "seconds"}]}, "budget=seconds must be one of flops, parameters"),
        ({"contrasts": [CONTRAST, {**CONTRAST, "method": "early", "against": "late"}]}, "compared in it a second time"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)
