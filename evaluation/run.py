"""One evaluation from checkpoint to report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from data.batching.without import removed_modalities
from data.build import build_interleaver, build_processors
from data.device import choose_device
from data.display.drawing import attempt
from data.instantiate import resolved
from data.sources.base import MESSAGES
from data.storage.run_log import METRICS
from data.tokenizer import Tokenizer
from data.types import BadInputError
from evaluation.answering.answer_metrics import AnswerMetric
from evaluation.answering.predict import Prediction
from evaluation.costs import training_flops
from evaluation.page.commands import running_command
from evaluation.page.examples import Example, examples_of, with_probabilities
from evaluation.provenance import (
    config_hashes,
    environment,
    json_hash,
    skipped_in_training,
    training_data,
    training_environment,
    training_facts,
)
from evaluation.reports.answers import answer_rows
from evaluation.reports.report import choose_folder, write_report
from evaluation.retrieval.evaluate import RetrievalSettings, evaluate_retrieval
from evaluation.scoring import evaluate
from evaluation.settings import build_settings
from evaluation.timing import answering_time
from fusion.checkpoint import LoadedModel, load_model, resolve


@dataclass(frozen=True)
class Evaluated:
    """A report, and the folder that it lies in."""

    report: dict[str, Any] = field(repr=False)
    folder: Path


def evaluate_checkpoint(
    path: str | Path,
    evaluation: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    which: str = "newest",
    on_bad_sample: str | None = None,
    progress: bool = True,
    in_run_folder: bool = False,
) -> Evaluated:
    """Evaluates a run's checkpoint (`which`: newest or best) or a given step, and writes the report.

    `evaluation` is the config node, and `on_bad_sample` "error" or "skip"; None takes the one that the checkpoint was
    trained with. An evaluation without tasks is laid over that one. `report.choose_folder` says where the report goes;
    `in_run_folder` that it is the report of the run, whichever of its checkpoints was chosen.

    Raises:
        BadInputError: the checkpoint, the evaluation or a sample cannot be used, or a report would be overwritten.
    """
    started = time.perf_counter()
    loaded = load_model(path, chosen_device(device), which=which)
    config = loaded.config
    chosen = chosen_evaluation(evaluation, config.get("evaluation"))
    removed, evaluation_hash = removed_modalities(config.data), json_hash(resolved(chosen, "evaluation"))
    settings = build_settings(chosen, removed)
    if not isinstance(settings, RetrievalSettings):
        check_answers(loaded)
    # Absolute, so that `checkpoint=.` or a path inside the run has parents.
    run_folder, step = loaded.step_folder.resolve().parent.parent, int(loaded.manifest["step"])
    checkpoint_hash = json_hash(loaded.manifest)
    newest = in_run_folder or resolve(run_folder).resolve() == loaded.step_folder.resolve()
    where = None if output is None else Path(output).expanduser()
    folder = choose_folder(run_folder, step, checkpoint_hash, list(settings.tasks), newest, where, evaluation_hash)
    tokenizer = Tokenizer.load(loaded.tokenizer_path)
    interleaver = build_interleaver(
        config.data, tokenizer, build_processors(config.data), loaded.model.layouts, loaded.model.modalities
    )
    handling = on_bad_sample or config.data.get("on_bad_sample", "error")
    answers: list[dict[str, Any]] = []
    examples: list[Example] = []
    if isinstance(settings, RetrievalSettings):
        report = evaluate_retrieval(
            loaded.model, interleaver, settings, handling, progress, answers.extend, examples.extend
        )
    else:

        def keep(task: str, predictions: Sequence[Prediction], metrics: Sequence[AnswerMetric]) -> None:
            answers.extend(answer_rows(task, predictions, metrics))
            examples.extend(attempt(f"examples of {task}", lambda: examples_of(task, predictions, metrics)) or [])

        report = evaluate(loaded.model, tokenizer, interleaver, settings, handling, progress, keep)
        report["inference"] = answering_time(loaded.model, tokenizer, interleaver, settings)
        asked = attempt("probabilities of examples", lambda: with_probabilities(loaded.model, interleaver, examples))
        examples = asked or examples
    metrics = run_folder / METRICS
    report["without"] = sorted(removed)
    report["train"] = training_facts(metrics, step)
    report["model"]["flops"]["training"] = training_flops(run_folder)
    report["data"]["skipped"] = skipped_in_training(metrics, step)
    report["provenance"] |= origin(loaded, run_folder, step, checkpoint_hash, tokenizer)
    report["provenance"]["evaluation_hash"] = evaluation_hash
    report["provenance"]["evaluation_seconds"] = round(time.perf_counter() - started, 1)
    report["provenance"]["command"] = running_command()
    write_report(report, folder, metrics, answers, examples)
    return Evaluated(report, folder)


def chosen_evaluation(given: Mapping[str, Any] | None, stored: Any) -> Any:
    """What is given; where that names no tasks (only, say, corruption curves), laid over what is stored."""
    if given is None or "tasks" in given:
        return stored if given is None else given
    return OmegaConf.merge(stored or {}, given)


def check_answers(loaded: LoadedModel) -> None:
    """Raises `BadInputError` for a checkpoint that was trained by an objective which never read a conversation."""
    if not loaded.learned_from(MESSAGES):
        raise BadInputError(
            f"{loaded.step_folder}: cannot answer, for its objective learned from aligned rows alone; give aligned "
            "rows, or another evaluation (evaluation=retrieval_manifest)"
        )


def origin(
    loaded: LoadedModel, run_folder: Path, step: int, checkpoint_hash: str, tokenizer: Tokenizer
) -> dict[str, Any]:
    """The part of the provenance that the checkpoint decides."""
    config = OmegaConf.to_container(loaded.config, resolve=True)
    assert isinstance(config, dict)
    plain = {str(key): value for key, value in config.items()}
    return {
        "run": f"{run_folder.parent.name}/{run_folder.name}",
        "checkpoint": f"checkpoints/{loaded.step_folder.name}",
        "step": step,
        "weights": "moving average" if loaded.uses_ema else "last",
        "seed": plain.get("seed"),
        "checkpoint_hash": checkpoint_hash,
        **config_hashes(plain),
        "tokenizer_hash": tokenizer.fingerprint,
        **environment(),
        "trained_on": training_environment(run_folder),
        **training_data(loaded.manifest),
    }


def chosen_device(name: str) -> str:
    """`auto` is the accelerator of this machine if it has one.

    Raises:
        BadInputError: there is no such device.
    """
    try:
        return str(choose_device(name))
    except ValueError as error:
        raise BadInputError(str(error)) from error
