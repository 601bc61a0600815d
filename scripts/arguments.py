"""What a person types as Hydra understands it: text and paths are taken literally, without a second pair of quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from data.configuration.overrides import quoted

ASSIGNMENT = re.compile(r"(\+{0,2})([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
NULL, MISSING = "null", "???"


class ArgumentError(ValueError):
    """An argument that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Literals:
    """The options of a command that are taken literally.

    texts: options that hold text. paths: options that hold a file or a folder; `~` at the start is the home folder.
    lists: paths that may also be several, as [A,B]. media: whether any other plain name is a modality and its value a
    file; it then becomes an entry of the option `media`.
    """

    texts: Sequence[str] = ()
    paths: Sequence[str] = ()
    lists: Sequence[str] = ()
    media: bool = False


def hydra_arguments(arguments: Sequence[str], literals: Literals, root: Path) -> list[str]:
    """The same arguments, with the values of literal options quoted; `root` is the file with the command's options.

    `null` stays null. Raises `ArgumentError` for bytes that are not UTF-8 and for `???`, which stands for no value.
    """
    for argument in arguments:
        if SURROGATE.search(argument):
            raise ArgumentError(f"{argument}: holds bytes that are not UTF-8")
    options = _options(root) if literals.media else ()
    return [_argument(argument, literals, options) for argument in arguments]


def typed_overrides() -> list[str]:
    """The options of the command that runs, in their order, as Hydra reads them; none outside a command."""
    if not HydraConfig.initialized():
        return []
    # Unresolved: a quoted value may hold what looks like a reference.
    found = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return [str(override) for override in found or ()]


def _argument(argument: str, literals: Literals, options: Iterable[str]) -> str:
    found = ASSIGNMENT.fullmatch(argument)
    if found is None:
        return argument
    sign, name, value = found.groups()
    if value == NULL:
        return argument
    read = partial(_literal, name)
    if name in literals.lists and value.startswith("[") and value.endswith("]"):
        parts = [part.strip() for part in value[1:-1].split(",")]
        return f"{sign}{name}=[{','.join(read(_home(part)) for part in parts if part)}]"
    if name in literals.paths or name in literals.lists:
        return f"{sign}{name}={read(_home(value))}"
    if name in literals.texts:
        return f"{sign}{name}={read(value)}"
    if literals.media and not sign and "." not in name and name not in options:
        return f"+media.{name}={read(value)}"
    return argument


def _literal(name: str, value: str) -> str:
    if value == MISSING:
        raise ArgumentError(f"{name}={MISSING}: stands for a value that is not given; add a space or a word")
    return quoted(value)


def _home(path: str) -> str:
    return str(Path(path).expanduser()) if path.startswith("~") else path


def _options(root: Path) -> tuple[str, ...]:
    return tuple(yaml.safe_load(root.read_text(encoding="utf-8")))
