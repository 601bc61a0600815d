"""The evaluation of several runs as one: from their checkpoints to a report as a single run has it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from data.build import build_interleaver, build_processors
from data.instantiate import resolved
from data.tokenizer import Tokenizer
from data.types import BadInputError, Sample
from evaluation.answering.answer_metrics import METRICS, AnswerMetric, score
from evaluation.answering.audit import expected_answer
from evaluation.answering.predict import Prediction
from evaluation.answering.questions import read_samples
from evaluation.answering.reply import canonical
from evaluation.costs import training_flops
from evaluation.ensemble.averaging import RULE
from evaluation.ensemble.facts import OF_MEMBER, origin_of_all, origins, run_folder, summed, training
from evaluation.ensemble.members import Member, TogetherAsker
from evaluation.metrics.metric_names import ACCURACY
from evaluation.provenance import json_hash
from evaluation.reports.answers import answer_rows
from evaluation.reports.report import choose_folder, write_report
from evaluation.run import Evaluated, check_answers, chosen_device, chosen_evaluation
from evaluation.scoring import evaluate, model_facts
from evaluation.settings import Settings, build_settings
from fusion.checkpoint import LoadedModel, load_model


def evaluate_ensemble(
    paths: Sequence[str | Path],
    evaluation: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    device: str = "auto",
    which: str = "newest",
    on_bad_sample: str | None = None,
    progress: bool = True,
) -> Evaluated:
    """Evaluates runs as one that answers by the mean of their probabilities, and writes its report to `output`.

    Options are those of `evaluation.run.evaluate_checkpoint`; `output` must be given. The tasks are those of
    `evaluation`, or what the members stored. Each member reads what it was trained to read: one that was trained
    without sound gets none. Costs are sums over the members. The report also says what each member answers alone, by
    the same rule. It has no audit, for which modality counts is said by the reports of the members.

    Raises:
        BadInputError: there are fewer than two members, a checkpoint or a sample cannot be used, members stored other
            questions than the first, a task expects free text, or a report would be overwritten.
    """
    started = time.perf_counter()
    if len(paths) < 2:
        raise BadInputError(f"checkpoint=[{','.join(map(str, paths))}]: an ensemble has two members or more")
    if output is None:
        raise BadInputError("output=null: an ensemble is no run; name a folder for its report")
    loaded = [load_model(path, chosen_device(device), which=which) for path in paths]
    for member in loaded:
        check_answers(member)
    chosen = common_evaluation(loaded, evaluation)
    settings, evaluation_hash = _settings(chosen), json_hash(resolved(chosen, "evaluation"))
    folder = choose_folder(Path(), 0, "", list(settings.tasks), False, Path(output).expanduser())
    asked = _Ensemble(loaded, settings)
    report = asked.report(on_bad_sample or loaded[0].config.data.get("on_bad_sample", "error"), progress)
    report["provenance"]["evaluation_hash"] = evaluation_hash
    report["provenance"]["evaluation_seconds"] = round(time.perf_counter() - started, 1)
    write_report(report, folder, None, asked.answers)
    return Evaluated(report, folder)


def common_evaluation(members: Sequence[LoadedModel], given: Mapping[str, Any] | None) -> Any:
    """The evaluation that all members answer: what is given, or what the first one stored.

    Raises `BadInputError` for a member that stored other questions.
    """
    nodes = [chosen_evaluation(given, member.config.get("evaluation")) for member in members]
    first = resolved(nodes[0], "evaluation")
    for node, member in zip(nodes[1:], members[1:], strict=True):
        if resolved(node, "evaluation") != first and _questions(node) != _questions(nodes[0]):
            raise BadInputError(
                f"{member.step_folder}: was evaluated on other questions than {members[0].step_folder}; choose one "
                "evaluation for all members, with evaluation=NAME or data.evaluation=FILE"
            )
    return nodes[0]


def _questions(node: Any) -> dict[str, list[tuple[str, str]]]:
    """What is asked in each task, by name, and the answers that are expected."""
    tasks = build_settings(node).tasks
    return {
        name: [(sample.id, canonical(expected_answer(sample))) for sample in read_samples(source, [])]
        for name, source in tasks.items()
    }


def _settings(node: Any) -> Settings:
    """The settings of the evaluation, by accuracy and without an audit. Raises `BadInputError` for what has neither."""
    settings = build_settings(node)
    if not isinstance(settings, Settings):
        raise BadInputError("evaluation: an ensemble answers questions, and has no embeddings to search with")
    for name in ("robustness", "attribution"):
        if getattr(settings, name) is not None:
            raise BadInputError(f"evaluation.{name}: an ensemble has no such curves; evaluate its members for them")
    if ACCURACY not in (settings.metrics or (ACCURACY,)):
        raise BadInputError(
            f"evaluation.metrics={list(settings.metrics or ())}: an ensemble is scored by accuracy alone"
        )
    return replace(settings, audit=False, metrics=(ACCURACY,))


def _member(loaded: LoadedModel) -> Member:
    data, model = loaded.config.data, loaded.model
    interleaver = build_interleaver(
        data, Tokenizer.load(loaded.tokenizer_path), build_processors(data), model.layouts, model.modalities
    )
    folder = run_folder(loaded)
    removed = OmegaConf.to_container(data.without) if data.get("without") else []
    assert isinstance(removed, list)
    return Member(f"{folder.parent.name}/{folder.name}", model, interleaver, frozenset(map(str, removed)))


@dataclass
class _Ensemble:
    """Members that are asked. answers: the rows of answers.jsonl; alone: what each member says in each task."""

    loaded: Sequence[LoadedModel]
    settings: Settings
    answers: list[dict[str, Any]] = field(default_factory=list)
    alone: dict[str, Sequence[Sequence[Prediction]]] = field(default_factory=dict)
    clusters: dict[str, list[str]] = field(default_factory=dict)
    costs: list[dict[str, Any]] = field(default_factory=list)

    def report(self, on_bad_sample: str, progress: bool) -> dict[str, Any]:
        """Everything in the report but how the evaluation itself went."""
        self.members = [_member(item) for item in self.loaded]
        first, tokenizer = self.members[0], Tokenizer.load(self.loaded[0].tokenizer_path)
        asker = partial(TogetherAsker, members=self.members, tell=self._told)
        report = evaluate(
            first.model,
            tokenizer,
            first.interleaver,
            self.settings,
            on_bad_sample,
            progress,
            self._keep,
            asker,
            self._facts,
        )
        report["long_answers"] = {}  # nothing is generated, so no answer is too long
        report["withheld"] = sorted(frozenset.intersection(*(member.lacks for member in self.members)))
        report["train"], report["data"]["skipped"] = training(self.loaded)
        found = origins(self.loaded)
        report["provenance"] |= origin_of_all(found)
        report["ensemble"] = {
            "rule": RULE,
            "members": [self._of_member(place, where) for place, where in enumerate(found)],
        }
        return report

    def _told(self, stage: str, found: Sequence[Sequence[Prediction]]) -> None:
        if stage in self.settings.tasks:
            self.alone[stage] = found

    def _keep(self, task: str, predictions: Sequence[Prediction], metrics: Sequence[AnswerMetric]) -> None:
        self.answers += answer_rows(task, predictions, metrics)
        self.clusters[task] = [item.cluster for item in predictions]

    def _facts(self, model: Any, interleaver: Any, tasks: Sequence[Sequence[Sample]]) -> dict[str, Any]:
        """The costs of all members together, each with its own view of the samples."""
        for member, item in zip(self.members, self.loaded, strict=True):
            views = [[member.view(sample) for sample in samples] for samples in tasks]
            self.costs.append(model_facts(member.model, member.interleaver, views))
            self.costs[-1]["flops"]["training"] = training_flops(run_folder(item))
        return summed(self.costs)

    def _of_member(self, place: int, where: Mapping[str, Any]) -> dict[str, Any]:
        """What the report says of one member."""
        scores = {}
        for task, of_members in self.alone.items():
            known = [item for item in of_members[place] if not item.skipped]
            tagged = [replace(item, cluster=own) for item, own in zip(known, self.clusters[task], strict=True)]
            scores[task] = {ACCURACY: score(tagged, METRICS[ACCURACY], self.settings.bootstrap)}
        return {
            **{key: where[key] for key in OF_MEMBER},
            "withheld": sorted(self.members[place].lacks),
            "model": self.costs[place],
            "tasks": scores,
        }
