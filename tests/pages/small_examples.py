"""Commands of the documentation made cheap: fewer steps, samples and questions of a smaller model, and nothing else."""

from __future__ import annotations

from pathlib import Path

MODEL = ["d_model=16", "mixer.num_heads=2", "mixer.num_kv_heads=1", "fusion.num_layers=2", "compute_threads=1"]
TRAINING = [
    *("trainer.max_steps=1", "trainer.evaluate_every=1", "trainer.checkpoint_every=1", "trainer.device=cpu"),
    *("data.samples_per_batch=4", "data.num_workers=0", "tracker=[]"),
]
FEW = "{max_samples:4}"
DATA_AND_EVALUATION = ("data.validation", "evaluation.tasks")
EASY_VQA = [
    f"++evaluation.tasks={{easy_vqa/typed:{FEW},easy_vqa/spoken:{FEW},easy_vqa/spoken_piper:{FEW}}}",
    *("++evaluation.prior.max_samples=40", "evaluation.audit_samples=4", "evaluation.bootstrap.resamples=1000"),
]
EASY_VQA_TRAINING = [
    f"++data.validation={{easy_vqa/typed:{FEW},easy_vqa/spoken:{FEW},easy_vqa/spoken_flite:{FEW}}}",
    *EASY_VQA,
]
TYPED_TRAINING = [
    f"++data.validation={{easy_vqa/typed:{FEW}}}",
    *(f"++evaluation.tasks={{easy_vqa/typed:{FEW}}}", *EASY_VQA[1:]),
]
KINDS = ("redundant", "picture", "sound", "sum", "equal", "larger", "conflict", "absent")
INTERACTIONS = [
    *(f"++{node}={{{','.join(f'interactions/{kind}:{FEW}' for kind in KINDS)}}}" for node in DATA_AND_EVALUATION),
    *("++evaluation.prior.max_samples=40", "evaluation.audit_samples=4", "evaluation.bootstrap.resamples=1000"),
]
OWN = ["evaluation.bootstrap.resamples=1000"]


def small(words: list[str]) -> list[str]:
    """The arguments of a script with what makes them cheap; an option that is given twice is given once, smaller."""
    script, given = Path(words[1]).name, words[2:]
    if "--help" in given:
        return given
    if "-m" in given:
        given = two_jobs(given)
    options = [*given, *amounts(script, given)]
    return list({option.partition("=")[0].lstrip("+~"): option for option in options}.values())


def amounts(script: str, given: list[str]) -> list[str]:
    """Options that make a command cheap and leave alone what it shows."""
    names = {option.partition("=")[0] for option in given}
    if script == "prepare_data.py":
        return [] if names & {"check", "clean"} else ["max_samples=4"]
    if script == "evaluate.py":
        chosen = EASY_VQA if "evaluation=easy_vqa" in given else OWN if "evaluation" in names else []
        curves = {f"evaluation/{kind}": f"evaluation.{kind}.max_samples=2" for kind in ("robustness", "attribution")}
        return [*chosen, *(curves[name] for name in names & set(curves))]
    if script not in ("train.py", "certify.py"):
        return []
    if "resume" in names:
        return ["trainer.max_steps=2"]
    if "experiment=easy_vqa_typed" in given:
        return [*MODEL, *TRAINING, *TYPED_TRAINING]
    if "experiment=interactions" in given:
        return [*MODEL, *TRAINING, *INTERACTIONS]
    own = "data.train" in names or "emoji" in " ".join(given)
    chosen = OWN if own else EASY_VQA_TRAINING
    if "experiment=easy_vqa_quick" in given:  # which does not ask Piper
        chosen = [option.replace(f",easy_vqa/spoken_piper:{FEW}", "") for option in chosen]
    return [*MODEL, *TRAINING, *chosen]


def two_jobs(given: list[str]) -> list[str]:
    """A sweep with two values of its first option, and one of the others."""
    jobs, swept = [], 0
    for option in given:
        name, _, value = option.partition("=")
        if "," in value and value[0] not in "[{":
            swept += 1
            option = f"{name}={','.join(value.split(',')[: 2 if swept == 1 else 1])}"
        jobs.append(option)
    return jobs
