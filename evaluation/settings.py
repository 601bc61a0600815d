"""What an evaluation asks and how it scores: the `evaluation` node of the config."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from data.batching.without import stripped
from data.configuration.schema import Seed
from data.instantiate import instantiate, instantiate_source, is_given, resolved
from data.media.corruptions import Corruption
from data.sources.base import Source
from data.types import BadInputError, Modality
from evaluation.metrics.metric_names import ANSWER_METRICS

# Sources that an evaluation does without.
OPTIONAL_SOURCES = ("prior", "ridge")


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed: see `evaluation.metrics.scores.bootstrap`."""

    resamples: Annotated[int, Field(le=1_000_000)] = 2000
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.resamples < 1000:
            raise ValueError(f"resamples={self.resamples} must be at least 1000 for an interval of 95 %")


@dataclass(frozen=True)
class Robustness:
    """Which corruption curves are measured (see `evaluation.robustness`).

    corruptions: name -> corruption; those of a modality that a task does not have are passed over.
    max_samples: questions per point of a curve, drawn at random; None takes all.
    seed: of what is drawn for the damage, and of the choice of questions.
    """

    corruptions: Mapping[str, Corruption]
    max_samples: int | None = 500
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.corruptions:
            raise ValueError("corruptions is empty; name at least one, or choose evaluation/robustness=null")
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"max_samples={self.max_samples} must be at least 1, or null for all")


@dataclass(frozen=True)
class Attribution:
    """How attributions are checked by deletion (see `evaluation.insight.deletion`).

    shares: of the regions of a medium that are deleted. random_orders: how many are averaged, to compare with.
    max_samples: questions, drawn at random; None takes all.
    """

    shares: Sequence[float] = (0.1, 0.2, 0.3, 0.5, 0.7)
    random_orders: int = 4
    max_samples: int | None = 200
    seed: Seed = 0

    def __post_init__(self) -> None:
        if not self.shares or any(not 0 < share <= 1 for share in self.shares):
            raise ValueError(f"shares={list(self.shares)} must be at least one number above 0 and up to 1")
        for name in ("random_orders", "max_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")


@dataclass(frozen=True)
class AgreementOptions:
    """How forms of the same questions are compared (see `evaluation.agreement`).

    max_samples: conflicts that are made of two forms, as many agreeing samples, and rows of several carriers that are
    asked with each alone; at random, None takes all. admits: answers that say that something is wrong, such as
    "unknown"; how often they are given is then reported.
    """

    max_samples: int | None = 300
    admits: Sequence[str] = ()
    seed: Seed = 0

    def __post_init__(self) -> None:
        if self.max_samples is not None and self.max_samples < 1:
            raise ValueError(f"max_samples={self.max_samples} must be at least 1, or null for all")


@dataclass(frozen=True)
class Settings:
    """One evaluation.

    tasks: name -> source of questions; the last message of each sample is the expected answer.
    prior: training questions and answers. The blind baselines are counted from them; None leaves them out.
    audit_samples: questions per condition of the audit, drawn at random; None takes all.
    metrics: some of `evaluation.answering.answer_metrics`, the main one first. Audit, breakdowns and curves are
        scored by the main one.
        None chooses by the answers that a task expects (see `evaluation.answering.metric_choice`).
    choices: candidates of a question that names none, for the metric `choice`.
    breakdown: scores are split by these fields of a sample's metadata.
    cluster: a field of metadata. Samples with equal values of it are drawn together for intervals; samples without it
        are, if their questions are about an equal medium (see `evaluation.answering.clusters`).
    agreement: how forms of the same questions are compared, where rows say that they are such (see
        `evaluation.agreement`).
    robustness: corruption curves; attribution: deletion curves; None leaves any of the three out.
    """

    tasks: Mapping[str, Source]
    prior: Source | None = None
    batch_size: int = 128
    max_new_tokens: int = 16
    audit: bool = True
    audit_samples: int | None = 2000
    metrics: Sequence[str] | None = None
    choices: int = 4
    bootstrap: Bootstrap = Bootstrap()
    breakdown: Sequence[str] = ("answer_type", "template")
    cluster: str = "image"
    agreement: AgreementOptions | None = AgreementOptions()
    robustness: Robustness | None = None
    attribution: Attribution | None = None

    def __post_init__(self) -> None:
        check_tasks(self.tasks)
        for name in ("batch_size", "max_new_tokens", "audit_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.choices < 2:
            raise ValueError(f"choices={self.choices} must be at least 2")
        check_metrics(self.metrics)


def check_metrics(metrics: Sequence[str] | None) -> None:
    """Raises `ValueError` for metrics that do not exist, are named twice, or are none."""
    if metrics is None:
        return
    known = ", ".join(ANSWER_METRICS)
    if isinstance(metrics, str) or not metrics:
        raise ValueError(
            f"metrics={metrics!r} must be a list of some of {known}, or null for those that fit the answers"
        )
    for place, name in enumerate(metrics):
        if name not in ANSWER_METRICS:
            raise ValueError(f"metrics: {name!r} must be one of {known}")
        if name in metrics[:place]:
            raise ValueError(f"metrics: {name!r} stands there twice")


def check_tasks(tasks: Mapping[str, Source]) -> None:
    """Raises `ValueError` if there are no tasks, or one has no samples."""
    if not tasks:
        raise ValueError("tasks is empty; an evaluation needs at least one")
    for name, source in tasks.items():
        if len(source) == 0:
            raise ValueError(f"tasks.{name}: the source has no samples")


def build_settings(config: Any, removed: Collection[Modality] = ()) -> Any:
    """The settings that the `evaluation` node describes, `Settings` or those of another kind of evaluation.

    Sources with a `path` that is null, a file that was not given, are left out. Optional tasks that are not installed
    are left out, too. removed: modalities; no source holds media of these (`data.without` of the training).

    Raises:
        BadInputError: there is nothing to evaluate, or an option is unknown or refused, in one line.
    """
    content = resolved(config, "evaluation") or {}
    entries = given_tasks(content)
    if not entries:
        raise BadInputError("evaluation: names no tasks; choose one, for instance evaluation=easy_vqa")
    tasks = {name: instantiate_source(entry, f"evaluation.tasks.{name}") for name, entry in entries.items()}
    given = {key: value for key, value in content.items() if key not in ("tasks", *OPTIONAL_SOURCES)}
    sources = {
        key: stripped(instantiate(content[key], f"evaluation.{key}"), removed)
        for key in OPTIONAL_SOURCES
        if is_given(content.get(key))
    }
    asked = {name: stripped(task, removed) for name, task in tasks.items() if task is not None}
    return instantiate(given, "evaluation", tasks=asked, **sources)


def has_tasks(config: Any) -> bool:
    """Whether there is anything to evaluate."""
    return bool(given_tasks(resolved(config, "evaluation") or {}))


def given_tasks(content: Mapping[str, Any]) -> dict[str, Any]:
    """The tasks with a source that is there."""
    return {name: source for name, source in (content.get("tasks") or {}).items() if is_given(source)}
