import json
from dataclasses import replace
from pathlib import Path

import pytest

from bakeoff.methods import Terms
from bakeoff.settings import Bakeoff, Tuning
from bakeoff.trainings.execute import ENDED, Runner
from bakeoff.trainings.sizes import Size, costs
from bakeoff.trainings.trials import Trial, entries, size_trial, tuning_trial
from data.types import BadInputError
from evaluation.costs import training_flops

CONTRAST = {"method": "late", "against": "early", "task": "manifest", "budget": "flops"}
RATE = {"option": "optimizer.lr", "start": 0.01, "factor": 2, "least": 0.001, "most": 0.1}
SETTINGS = Bakeoff(
    base=["data=manifest"],
    methods={
        "early": ["fusion=early"],
        "late": ["fusion=late"],
        "dropped": {"like": "early", "overrides": ["data.modality_dropout={image: 0.1}"], "lengths": ["short"]},
        "half": {"like": "late", "share": 0.5},
        "both": {"members": ["half", "late"]},
    },
    tuning=Tuning([RATE], length="short"),
    baselines=["early", "late"],
    lengths={"short": 1e12, "long": 4e12},
    points=4,
    seeds=[0, 1],
)
COSTS = {"flops": 1e8, "parameters": 2e6}
SIZES = {
    (name, budget): Size((f"d_model={width}",), COSTS, flops)
    for name, width, flops in (("early", 128, 1e10), ("late", 144, 1.1e10), ("dropped", 128, 1e10), ("half", 64, 5e9))
    for budget in ("flops", "parameters")
}
TUNED = {name: {"optimizer.lr": 0.02 if name in ("late", "half") else 0.01} for name in SETTINGS.all_methods}
METHODS = SETTINGS.all_methods


def test_methods_differ_by_method_size_and_tuned_value_alone_and_have_the_same_operations() -> None:
    found = [e for e in entries(SETTINGS, SIZES, TUNED) if (e.terms, e.seed) == (Terms("flops", "long"), 1)]
    assert [entry.trial.overrides for entry in found if not entry.members] == [
        (
            *("data=manifest", "fusion=early", "d_model=128", "optimizer.lr=0.01"),
            *("trainer.max_steps=400", "trainer.evaluate_every=100", "seed=1"),
        ),
        (
            *("data=manifest", "fusion=late", "d_model=144", "optimizer.lr=0.02"),
            *("trainer.max_steps=364", "trainer.evaluate_every=91", "seed=1"),
        ),
        (
            *("data=manifest", "fusion=late", "d_model=64", "optimizer.lr=0.02"),
            *("trainer.max_steps=800", "trainer.evaluate_every=200", "seed=1"),
        ),
    ]
    short = [e for e in entries(SETTINGS, SIZES, TUNED) if (e.method, e.terms.length) == ("dropped", "short")]
    assert {"fusion=early", "data.modality_dropout={image: 0.1}", "trainer.max_steps=100"} <= set(
        short[0].trial.overrides
    )


def test_the_reference_is_trained_once_for_all_budgets_and_so_is_what_is_added_to_it() -> None:
    found = entries(SETTINGS, SIZES, TUNED)
    names = {entry.trial.name for entry in found if not entry.members}
    assert len(names) == 2 * (2 * (1 + 2 + 2) + 1)
    budgets = {e.terms.budget for e in found if e.trial.name == "early-short-seed0"}
    assert (
        budgets == {e.terms.budget for e in found if e.trial.name == "dropped-short-seed0"} == {"flops", "parameters"}
    )
    assert {e.terms.length for e in found if e.method == "dropped"} == {"short"}


def test_an_ensemble_comes_last_and_names_the_runs_of_its_members() -> None:
    found = entries(SETTINGS, SIZES, TUNED)
    ensembles = [entry for entry in found if entry.members]
    assert found[-len(ensembles) :] == ensembles
    assert len(ensembles) == 2 * 2 * 2
    first = ensembles[0]
    assert first.members == ("half-flops-short-seed0", "late-flops-short-seed0")
    assert set(first.members) <= {entry.trial.name for entry in found}


def test_tuning_has_seeds_of_its_own_the_compared_length_and_no_test_split() -> None:
    trial = tuning_trial(SETTINGS, METHODS["late"], SIZES["late", "flops"], {"optimizer.lr": 0.02}, 1001)
    compared = next(e for e in entries(SETTINGS, SIZES, TUNED) if e.trial.name == "late-flops-short-seed0")
    apart = set(trial.overrides) ^ set(compared.trial.overrides)
    assert apart == {"seed=1001", "seed=0", "evaluation.tasks=null"}
    assert trial.name == "tune-late-lr0.02-seed1001"


def test_a_size_is_found_by_one_step_without_the_test_split() -> None:
    trial = size_trial(SETTINGS, METHODS["late"], "parameters", {"fusion.x": None}, ("target.parameters=5",))
    assert trial.name == "size-late-parameters-xNone"
    assert {"target.parameters=5", "fusion.x=null", "evaluation.tasks=null"} <= set(trial.overrides)


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
        ({"baselines": ["mid"]}, "baselines: mid must be one of methods, which are early, late, dropped"),
        ({"budgets": ["seconds"]}, "'seconds' must be one of flops, fusion_flops, parameters"),
        ({"seeds": [0, 1000]}, r"tuning.seeds=\[1000, 1001\] must have none of seeds, which have 1000"),
        ({"lengths": {"short": 0}}, "lengths.short=0 must be above 0"),
        ({"lengths": {"long": 1}}, "methods.dropped.lengths: short must be one of long"),
        ({"points": 0}, "points=0 must be at least 1"),
        ({"reference": "half"}, "reference: half must be a method of its own"),
        ({"methods": {**SETTINGS.methods, "late": {"like": "mid"}}}, "methods.late.like: mid must be one of early, d"),
        (
            {"methods": {**SETTINGS.methods, "late": {"like": "half"}}},
            "methods.late.like: half must be a method of its",
        ),
        ({"methods": {**SETTINGS.methods, "late": {"shar": 1}}}, "methods.late.shar: must be one of overrides, tuned,"),
        ({"methods": {**SETTINGS.methods, "late": {"share": 2}}}, "methods.late.share=2 must be above 0 and at most 1"),
        ({"methods": {**SETTINGS.methods, "both": {"members": ["late"]}}}, "must name two or more"),
        (
            {"methods": {**SETTINGS.methods, "both": {"members": ["late", "dropped"]}}},
            "methods.both.members: dropped does not take part in flops/long",
        ),
        (
            {"methods": {**SETTINGS.methods, "late": {"tuned": [{"option": "a"}]}}},
            r"methods.late.tuned\[0\]: {'option': 'a'} must have option, start",
        ),
        ({"seeds": []}, "must each name at least one"),
        ({"contrasts": [CONTRAST] * 13}, "contrasts names 13; it may name at most 12"),
        (
            {"contrasts": [{"method": "late"}]},
            r"contrasts\[0\]={'method': 'late'} must have method, against, task and budget",
        ),
        ({"contrasts": [{**CONTRAST, "p": "0"}]}, "and nothing else"),
        (
            {"contrasts": [CONTRAST, {**CONTRAST, "method": "mid"}]},
            r"contrasts\[1\]: method=mid must be one of early, l",
        ),
        (
            {"contrasts": [{**CONTRAST, "against": "mid"}]},
            r"contrasts\[0\]: against=mid must be one of early, late, dro",
        ),
        ({"contrasts": [{**CONTRAST, "against": "late"}]}, "method and against are both late; they must differ"),
        ({"contrasts": [{**CONTRAST, "budget": "seconds"}]}, "budget=seconds must be one of flops, parameters"),
        ({"contrasts": [{**CONTRAST, "length": "mid"}]}, "length=mid must be one of short, long"),
        ({"contrasts": [{**CONTRAST, "method": "dropped"}]}, "dropped does not take part in flops/long"),
        ({"contrasts": [CONTRAST, {**CONTRAST, "method": "early", "against": "late"}]}, "compared in it a second time"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SETTINGS, **changes)
