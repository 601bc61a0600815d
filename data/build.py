"""The parts of a data pipeline from the `data` node of the config.

    sources -> tokenizer -> interleaver -> stream of batches

Everything here raises `BadInputError` of one line, with the place in the config, for what cannot be used.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig

from data.batching.absence import withheld
from data.batching.interleave import Interleaver
from data.batching.loader import BatchStream
from data.batching.mixture import Mixture, block_counts
from data.batching.one_medium import OneMedium
from data.batching.without import removed_modalities, stripped
from data.chat import ChatTokenizer
from data.instantiate import instantiate, instantiate_source, is_given, resolved
from data.sources.aligned import is_aligned
from data.sources.base import ALIGNED, MESSAGES, Source
from data.sources.fields import hint
from data.tokenizer import Tokenizer
from data.types import AUDIO, IMAGE, TEXT, BadInputError, LayoutOf, Modality, Processor

Sources = dict[str, tuple[Source, float]]
KINDS = {MESSAGES: "conversations", ALIGNED: "aligned rows"}
FITS = (
    "choose objective=next_token for conversations, objective=infonce for aligned rows, objective=next_token_infonce "
    "for both"
)
# Every configuration of train.py chooses the encoder of these media; that of any other is added to it.
CHOSEN = (IMAGE, AUDIO)


def build_sources(config: DictConfig) -> Sources:
    """The training sources, name -> (source, weight), checked to be a mixture that can be drawn from.

    They are without the media of `data.without`, as are those of `build_validation`.
    """
    sources: Sources = {}
    removed = removed_modalities(config)
    for name, entry in _entries(config, "sources"):
        key = f"data.sources.{name}"
        unknown = set(entry) - {"source", "weight"}
        if unknown or "source" not in entry or "weight" not in entry:
            raise BadInputError(f"{key}: must have exactly `weight` and `source`, has {', '.join(map(str, entry))}")
        try:
            weight = float(entry["weight"])
        except (TypeError, ValueError) as error:
            raise BadInputError(f"{key}.weight: {entry['weight']!r} must be a number above 0") from error
        sources[name] = (stripped(instantiate(entry["source"], f"{key}.source"), removed), weight)
    block_counts(sources)
    return sources


def build_validation(config: DictConfig) -> dict[str, Source]:
    """The sources that are evaluated during training, by name; none if the config names none.

    A source with a `path` of null, a file that was not given, is left out. An optional source that is not installed is
    left out, too.
    """
    sources: dict[str, Source] = {}
    for name, entry in _entries(config, "validation"):
        source = instantiate_source(entry, f"data.validation.{name}") if is_given(entry) else None
        if source is None:
            continue
        if len(source) == 0:
            raise BadInputError(f"data.validation.{name}: the source has no samples")
        sources[name] = stripped(source, removed_modalities(config))
    return sources


def build_processors(config: DictConfig) -> dict[Modality, Processor]:
    """How each modality's media become values."""
    return {name: instantiate(entry, f"data.processors.{name}") for name, entry in _entries(config, "processors")}


def build_tokenizer(config: DictConfig, sources: Sources) -> Tokenizer:
    """A tokenizer trained from the text of all training sources; the same sources give the same tokenizer."""
    texts = (text for name in sorted(sources) for text in sources[name][0].texts())
    with _refusals("data.tokenizer"):
        return Tokenizer.train(texts, _value(config, "tokenizer")["vocab_size"])


def build_interleaver(
    config: DictConfig,
    tokenizer: ChatTokenizer,
    processors: Mapping[Modality, Processor],
    layouts: Mapping[Modality, LayoutOf],
    modalities: Sequence[Modality],
) -> Interleaver:
    """An interleaver for a model; `layouts` and `modalities` are attributes of the model."""
    with _refusals("data"):
        return Interleaver(
            tokenizer,
            processors,
            layouts,
            modalities,
            max_tokens=_value(config, "max_tokens"),
            on_long_sample=_value(config, "on_long_sample"),
            withheld=withheld(resolved(config.get("modality_dropout"), "data.modality_dropout")),
        )


def build_stream(
    config: DictConfig,
    seed: int,
    sources: Sources,
    interleaver: Interleaver,
    rank: int = 0,
    world_size: int = 1,
    reads: Collection[str] = (MESSAGES,),
    one_medium: OneMedium | None = None,
) -> BatchStream:
    """The training batches of one process, a pure function of `seed` and the number of the batch.

    reads: the kinds of samples that the objective learns from. one_medium: makes batches with each medium alone.
    """
    with _refusals("data"):
        mixture = Mixture(sources, seed, _value(config, "samples_per_batch"))
        return BatchStream(
            mixture,
            interleaver,
            samples_per_batch=_value(config, "samples_per_batch"),
            rank=rank,
            world_size=world_size,
            on_bad_sample=_value(config, "on_bad_sample"),
            pad_to=config.get("pad_to"),
            modality_dropout=resolved(config.get("modality_dropout"), "data.modality_dropout"),
            reads=reads,
            one_medium=one_medium,
        )


def check_encoders(sources: Sources, validation: Mapping[str, Source], modalities: Sequence[Modality]) -> None:
    """Refuses sources that say that they hold media which the model has no encoder for.

    Otherwise a training would find out at the first such sample, perhaps after hours.
    """
    for place, modality in _held_media(sources, validation):
        if modality not in modalities:
            known = ", ".join(item for item in modalities if item != TEXT) or "none"
            raise BadInputError(
                f"{place}: holds media of modality {modality!r}, for which the model has no encoder "
                f"(it has: {known}{hint(modality, modalities)}); "
                f"add one with {'' if modality in CHOSEN else '+'}encoders/{modality}=NAME"
            )


def check_kinds(sources: Sources, reads: Collection[str], on_bad_sample: str = "error") -> None:
    """Refuses sources if an objective that learns from the kinds `reads` could read nothing of them, or not every row.

    A manifest says what kinds of rows it holds; of any other source the first sample does. Other rows may be there
    where they are skipped.
    """
    held: set[str] = set()
    for name, (source, _) in sources.items():
        place, kinds = f"data.sources.{name}", _kinds(source)
        others = [kind for kind in kinds if kind not in reads]
        if others and len(others) == len(kinds):
            raise BadInputError(
                f"{place}: holds {KINDS[others[0]]} only, from which the objective learns nothing; {FITS}"
            )
        if others and on_bad_sample == "error":
            raise BadInputError(
                f"{place}: holds {kinds[others[0]]:,} {KINDS[others[0]]} among others, from which the objective learns "
                f"nothing; {FITS}, or data.on_bad_sample=skip"
            )
        held |= kinds.keys()
    for kind in reads:
        if held and kind not in held:
            raise BadInputError(f"data.sources: hold no {KINDS[kind]}, which the objective learns from too; {FITS}")


def _kinds(source: Source) -> Mapping[str, int]:
    known = getattr(source, "kinds", None)
    return known() if known is not None else {ALIGNED if is_aligned(source) else MESSAGES: len(source)}


def check_processors(
    sources: Sources, validation: Mapping[str, Source], processors: Mapping[Modality, Processor]
) -> None:
    """Refuses sources that say that they hold media which the data has no processor for."""
    for place, modality in _held_media(sources, validation):
        if modality not in processors:
            raise BadInputError(f"{place}: media of modality {modality!r} need data.processors.{modality}")


def _held_media(sources: Sources, validation: Mapping[str, Source]) -> Iterator[tuple[str, Modality]]:
    """The place in the config of each source that has `modalities`, with each of them.

    Rows that a source skips where they cannot be used are skipped, and counted, for this reason too.
    """
    places = {f"data.sources.{name}": source for name, (source, _) in sources.items()}
    places |= {f"data.validation.{name}": source for name, source in validation.items()}
    for place, source in places.items():
        if getattr(source, "on_bad_sample", "error") == "skip":
            continue
        for modality in sorted(getattr(source, "modalities", ())):
            yield place, modality


@contextmanager
def _refusals(key: str) -> Iterator[None]:
    """Turns the `ValueError` of a constructor into the user's error, with the place in the config."""
    try:
        yield
    except BadInputError:
        raise
    except ValueError as error:
        raise BadInputError(f"{key}: {error}") from error


def _value(config: DictConfig, name: str) -> Any:
    if config.get(name) is None:
        raise BadInputError(f"data.{name}: must be given")
    return config[name]


def _entries(config: DictConfig, name: str) -> list[tuple[str, Any]]:
    """The named entries of a part of the config; an entry of null is left out, so that one may be switched off."""
    entries = resolved(config.get(name), f"data.{name}")
    if entries is None:
        return []
    if not isinstance(entries, dict) or not all(entry is None or isinstance(entry, dict) for entry in entries.values()):
        raise BadInputError(f"data.{name}: must map names to entries")
    return [(name, entry) for name, entry in entries.items() if entry is not None]
