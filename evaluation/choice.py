"""Which evaluation a command line asks for: what it gives is evaluated, or refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from data.build import KINDS
from data.configuration.overrides import composed
from data.progress import tell
from data.sources.base import ALIGNED, MESSAGES
from data.sources.manifest import ManifestSource
from data.types import TEXT, BadInputError
from evaluation.settings import OPTIONAL_SOURCES, has_tasks

# The evaluation of a manifest, by the kind of its rows.
BY_KIND = {MESSAGES: "manifest", ALIGNED: "retrieval_manifest"}
FILE, TRAIN, WORDS, VALIDATION = "data.evaluation", "data.train", "data.words", "data.validation_file"
BY_FILE = "evaluation=manifest for conversations, evaluation=retrieval_manifest for aligned rows"
# What may be given with a checkpoint, and how it is read.
REMEDIES = {
    FILE: f"leave evaluation out, and the rows of the file decide; or choose {BY_FILE}",
    TRAIN: f"give it with {FILE}=FILE or evaluation=manifest",
    WORDS: "give it with evaluation=retrieval",
}


def asked_of_checkpoint(config: DictConfig, stored: DictConfig, name: str = "the chosen evaluation") -> Any:
    """The `evaluation` node that a configuration of evaluate.py asks for; None for what the checkpoint stored.

    Where `data.evaluation` is given alone, its rows decide which it is. It has the settings that the checkpoint stored,
    if these are of that kind. stored: the configuration of the checkpoint. name: what the chosen evaluation is called
    in messages.

    Raises `BadInputError` for a value that the evaluation would not read, and a file with rows of both kinds or none.
    """
    given = config.get("evaluation")
    is_chosen = given is not None and "tasks" in given
    OmegaConf.set_struct(config, False)
    if config.data.get("evaluation") is not None and not is_chosen:
        kind = _kind(config)
        config.evaluation = _evaluation_of_file(config, stored, composed(f"evaluation/{BY_KIND[kind]}").evaluation)
        given, name = config.evaluation, f"an evaluation of {KINDS[kind]}"
    elif not is_chosen:
        name = "the evaluation that the checkpoint stored"
    for key, remedy in REMEDIES.items():
        _refuse_unread(config, key, given, name, remedy)
    if config.data.get("words") is None:
        config.data.words = OmegaConf.select(stored, WORDS) or TEXT
    return given


def check_training(config: DictConfig, name: str = "the chosen evaluation") -> None:
    """Raises `BadInputError` if train.py is given a file that neither training, validation nor evaluation would read.

    config: as composed, for a resolved one does not say any more what it read.
    """
    composed_here = refers(config.data.get("sources"))
    if composed_here:
        _refuse_unread(config, TRAIN, config.data.get("sources"), "data.sources", "name it in a source")
    if composed_here and config.data.get("validation"):
        _refuse_unread(config, VALIDATION, config.data.validation, "data.validation", "name it in a source")
    if composed_here and has_tasks(config.get("evaluation")):
        _refuse_unread(config, FILE, config.evaluation, name, f"choose {BY_FILE}")


def reads(node: Any, key: str) -> bool:
    """Whether a value of a config node is taken from `key`."""
    pattern = re.compile(rf"\$\{{[^}}]*\b{re.escape(key)}\b")
    return any(pattern.search(text) for text in _texts(node))


def refers(node: Any) -> bool:
    """Whether a config node takes any value from elsewhere; one that was resolved does not, and says nothing of it."""
    return any("${" in text for text in _texts(node))


def _texts(plain: Any) -> Iterator[str]:
    plain = OmegaConf.to_container(plain, resolve=False) if OmegaConf.is_config(plain) else plain
    if isinstance(plain, str):
        yield plain
    elif isinstance(plain, Mapping | list):
        for value in plain.values() if isinstance(plain, Mapping) else plain:
            yield from _texts(value)


def _refuse_unread(config: DictConfig, key: str, node: Any, name: str, remedy: str) -> None:
    value = OmegaConf.select(config, key, throw_on_missing=False)
    if value is not None and not reads(node, key):
        raise BadInputError(f"{key}={value}: is not read by {name}; {remedy}")


def _kind(config: DictConfig) -> str:
    """Of the rows of `data.evaluation`. Raises `BadInputError` if it has both kinds or none."""
    path = config.data.evaluation
    try:
        kinds = ManifestSource(str(path), config.data.on_bad_sample).kinds()
    except BadInputError as error:
        raise type(error)(f"{FILE}: {error}") from error
    if not kinds:
        raise BadInputError(f"{FILE}={path}: has no row that can be read")
    if len(kinds) > 1:
        counts = " and ".join(f"{count:,} {KINDS[kind]}" for kind, count in sorted(kinds.items(), reverse=True))
        raise BadInputError(
            f"{FILE}={path}: holds {counts}, which are scored apart; make two files of it, or choose {BY_FILE}, "
            "with data.on_bad_sample=skip for the others"
        )
    return next(iter(kinds))


def _evaluation_of_file(config: DictConfig, stored: DictConfig, base: DictConfig) -> DictConfig:
    """`base` with what the checkpoint stored and the command line gives laid over it."""
    kept = stored.get("evaluation") or {}
    kept = {key: kept[key] for key in kept if key != "tasks"} if kept.get("_target_") == base["_target_"] else {}
    OmegaConf.set_struct(base, False)
    for name in OPTIONAL_SOURCES:
        source = kept.pop(name, None)
        if config.data.get("train") is None:
            base[name] = None if source is None else _still_there(name, source)  # not merged: it has other options
        elif name in base and base[name] is None:
            as_asked = next(iter(OmegaConf.to_container(base.tasks, resolve=False).values()))  # type: ignore[union-attr]
            base[name] = as_asked | {"path": f"${{{TRAIN}}}", "on_bad_sample": "skip"}
    return OmegaConf.merge(base, kept, config.get("evaluation") or {})  # type: ignore[return-value]


def _still_there(name: str, source: Any) -> Any:
    """The source; None, said on the console, if its file is gone, as it may be where a checkpoint is carried away."""
    path = source.get("path")
    if path is None or Path(path).expanduser().is_file():
        return source
    tell(f"evaluation.{name}: left out, for {path} is not there any more; {TRAIN}=FILE gives it")
    return None
