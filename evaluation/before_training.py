"""What can be known of a validation and an evaluation before a training begins, so that no mistake comes out after it.

The questions are read as the evaluation itself reads them. Of a manifest that is every row, with its text and the names
of its files; media are decoded of some rows only. A source that is code, not a file, is looked at in some samples.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np
from omegaconf import DictConfig

from data.batching.absence import aligned_without, without_places
from data.batching.interleave import Interleaver
from data.batching.without import Without, removed_modalities
from data.chat import ChatTokenizer
from data.sources.aligned import is_aligned
from data.sources.base import ALIGNED, MESSAGES, Source
from data.sources.fingerprint import spread
from data.sources.manifest import ManifestSource
from data.types import TEXT, AlignedSample, BadInputError, BadSampleError, Media, Sample
from evaluation.answering.questions import long_answers, read_samples
from evaluation.retrieval.embedding import check_shared_space, read_aligned
from evaluation.retrieval.evaluate import RetrievalSettings, possible_directions
from evaluation.retrieval.frozen_baseline import frozen_modalities
from evaluation.settings import build_settings, has_tasks
from fusion.model import FusionModel

# Of so many rows of a source the media are decoded.
DECODED = 32
# Of a source that is code so many samples are looked at.
LOOKED_AT = 64
AnySample = TypeVar("AnySample", Sample, AlignedSample)


def check_asked(
    config: DictConfig,
    validation: Mapping[str, Source],
    model: FusionModel,
    tokenizer: ChatTokenizer,
    interleaver: Interleaver,
    reads: Collection[str],
) -> tuple[str, list[str]]:
    """Reads everything that will be asked; returns which rows were looked at, and what a person should know.

    config: of the training; validation: its sources. reads: the kinds of samples that the objective learns from.

    Raises:
        BadInputError: what is asked does not fit the model or the objective, a file or an option cannot be used, or a
            row cannot, unless `data.on_bad_sample` is "skip"; then such rows are counted.
    """
    handling = config.data.get("on_bad_sample", "error")
    check = _Check(model, interleaver, reads, handling == "skip")
    for name, source in validation.items():
        check.source(f"data.validation.{name}", source, ALIGNED if is_aligned(source) else MESSAGES)
    if not has_tasks(config.get("evaluation")):
        return check.said()
    settings = build_settings(config.evaluation, removed_modalities(config.data))
    tasks = {name: check.source(f"evaluation.tasks.{name}", *asked) for name, asked in _tasks(settings).items()}
    everything = [sample for samples in tasks.values() for sample in samples]
    check.notes += unknown_fields(settings, everything)
    if isinstance(settings, RetrievalSettings):
        if settings.ridge is not None and len(frozen_modalities(model)) > 1:
            read_aligned(settings.ridge, [] if handling == "skip" else None)
        return check.said()
    for name, samples in tasks.items():
        found = long_answers(name, samples, tokenizer, settings.max_new_tokens)
        check.notes += [_long_answers_line(name, item) for item in found.values()]
    return check.said()


def check_rows(evaluation: Any, on_bad_sample: str = "error") -> None:
    """The part of `check_asked` that needs no model: the files of an evaluation are there and hold what it asks for.

    Raises as `check_asked` does.
    """
    for name, (source, kind) in _tasks(build_settings(evaluation)).items():
        _read(f"evaluation.tasks.{name}", source, kind, [] if on_bad_sample == "skip" else None)


def unknown_fields(settings: Any, samples: Sequence[Sample | AlignedSample]) -> list[str]:
    """A line for each field of metadata that was chosen and that no sample has, with the nearest that one has."""
    present, lines = {key for sample in samples for key in sample.metadata}, []
    for option in fields(settings):
        name = getattr(settings, option.name) if option.name in ("cluster", "classes") else None
        if name is None or name in present or name == (option.default if option.default is not MISSING else None):
            continue
        nearest = difflib.get_close_matches(name, sorted(present), n=1, cutoff=0.0)
        hint = f"the nearest is {nearest[0]}" if nearest else "the rows have no metadata"
        lines.append(f"evaluation.{option.name}={name}: no row has this field of metadata; {hint}")
    return lines


def _long_answers_line(name: str, found: Mapping[str, int]) -> str:
    return (
        f"evaluation.tasks.{name}: {found['count']:,} of {found['n']:,} expected answers have more tokens than "
        f"evaluation.max_new_tokens={found['max_new_tokens']}, and none of these can be given; "
        f"evaluation.max_new_tokens={found['longest'] + 1} has room for all"
    )


def _tasks(settings: Any) -> dict[str, tuple[Source, str]]:
    """The source of each task, and the kind of samples that it must hold."""
    kind = ALIGNED if isinstance(settings, RetrievalSettings) else MESSAGES
    return {name: (source, kind) for name, source in settings.tasks.items()}


def _read(place: str, source: Source, kind: str, skipped: list[str] | None) -> Any:
    """The samples as the evaluation reads them. Raises `BadSampleError`, which names `place`, if there is none."""
    read: Callable[..., Any] = read_aligned if kind == ALIGNED else read_samples
    try:
        samples = read(source, skipped)
    except BadSampleError as error:
        raise BadSampleError(f"{place}: {error}") from error
    if not samples:
        raise BadSampleError(f"{place}: no row can be used{f'; the first: {skipped[0]}' if skipped else ''}")
    return samples


class _Check:
    """What is known of the training, and what was found."""

    def __init__(self, model: FusionModel, interleaver: Interleaver, reads: Collection[str], skips: bool) -> None:
        self.model, self.interleaver, self.reads, self.skips = model, interleaver, reads, skips
        self.looked_at: list[str] = []
        self.notes: list[str] = []

    def said(self) -> tuple[str, list[str]]:
        """What was looked at, and the notes."""
        return f"checked before the training: {', '.join(self.looked_at)}" if self.looked_at else "", self.notes

    def source(self, place: str, source: Source, kind: str) -> Any:
        """The samples of one source that can be used, as far as can be known without decoding all of their media."""
        self._check_kind(place, kind)
        skipped: list[str] = []
        read = source.source if isinstance(source, Without) else source
        is_whole = isinstance(read, ManifestSource) or len(source) <= LOOKED_AT
        samples = _read(place, source if is_whole else _Some(source), kind, skipped if self.skips else None)
        decoded = set(spread(len(samples), DECODED))
        usable = [
            sample for number, sample in enumerate(samples) if self._fits(place, sample, number in decoded, skipped)
        ]
        if not usable:
            raise BadSampleError(f"{place}: no row can be used; the first: {skipped[0]}")
        if kind == ALIGNED and not possible_directions(usable, self.interleaver.modalities):
            raise BadSampleError(f"{place}: no row has two modalities, so that none can be asked for another")
        if skipped:
            self.notes.append(
                f"{place}: at least {len(skipped):,} of {len(source):,} rows cannot be used, and will be skipped; "
                f"the first: {skipped[0]}"
            )
        if is_whole:
            self.looked_at.append(f"{place} ({len(source):,} rows, the media of {len(decoded):,})")
        return usable

    def _check_kind(self, place: str, kind: str) -> None:
        """Raises `BadInputError` where the model will not have learned to do what is asked."""
        if kind == MESSAGES and MESSAGES not in self.reads:
            raise BadInputError(
                f"{place}: asks for answers, and the objective learns from aligned rows alone, which teach none; "
                + ("give aligned rows" if place.startswith("data.") else "choose evaluation=retrieval_manifest")
                + ", or an objective that generates too (objective=next_token_infonce)"
            )
        if kind == ALIGNED:
            try:
                check_shared_space(self.model)
            except BadInputError as error:
                raise BadInputError(f"{place}: {error}") from error
            if ALIGNED not in self.reads:
                self.notes.append(
                    f"{place}: asks a shared space that the objective does not train; objective=infonce or "
                    "objective=next_token_infonce does"
                )

    def _fits(self, place: str, sample: Sample | AlignedSample, is_decoded: bool, skipped: list[str]) -> bool:
        try:
            _check_sample(self.interleaver, sample, is_decoded)
        except BadSampleError as error:
            if not self.skips:
                raise BadSampleError(f"{place}: {error}{_remedy(error)}") from error
            skipped.append(str(error))
            return False
        return True


def _check_sample(interleaver: Interleaver, sample: Sample | AlignedSample, is_decoded: bool) -> None:
    """Raises `BadSampleError` as the evaluation would; where media are not decoded, as far as follows from the rest."""
    if isinstance(sample, AlignedSample):
        for place, item in enumerate(aligned_without(sample, interleaver.withheld).segments):
            if isinstance(item, Media):
                interleaver.check_media(item.modality, f"{sample.name}: aligned[{place}]")
        media = {item.modality for item in sample.segments if item.modality != TEXT}
        interleaver.segments(sample if is_decoded else aligned_without(sample, media))
        return
    media_places = set()
    for number, message in enumerate(sample.messages[:-1]):
        for place, item in enumerate(message.content):
            if isinstance(item, Media):
                media_places.add((number, place))
                if not (message.role == "user" and item.modality in interleaver.withheld):
                    interleaver.check_media(item.modality, f"{sample.name}: messages[{number}].content[{place}]")
    interleaver.prompt(sample if is_decoded else without_places(sample, media_places))


def _remedy(error: BadSampleError) -> str:
    return "; give data.max_tokens=MORE, or data.on_bad_sample=skip" if "max_tokens=" in str(error) else ""


class _Some:
    """Some samples of a source, evenly spread over it."""

    def __init__(self, source: Source) -> None:
        self.source, self.places = source, spread(len(source), LOOKED_AT)

    def __len__(self) -> int:
        return len(self.places)

    def sample(self, index: int, rng: np.random.Generator) -> Sample | AlignedSample:
        """One of them."""
        return self.source.sample(self.places[index], rng)

    def texts(self) -> Any:
        """Of the whole source."""
        return self.source.texts()
