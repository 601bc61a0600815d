"""Objects from `_target_` nodes, with errors that a user can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from data.configuration.schema import checked, require
from data.configuration.signature import Signature
from data.progress import tell
from data.types import BadInputError, NotInstalledError

# How Python says that a call lacks an argument.
MISSING_ARGUMENT = re.compile(r"missing \d+ required [\w-]+ ?\w* arguments?: '(\w+)'")
# How torch says that a tensor is larger than the memory, or than any can be.
TOO_LARGE = re.compile(r"can't allocate memory|[Oo]ut of memory|size calculation overflowed|Overflow when unpacking")


def instantiate(node: Any, key: str, **keywords: Any) -> Any:
    """What the `_target_` of `node` makes, given plain lists and dicts; `key` is the node's place, for messages.

    Raises `BadInputError` of one line for a class that cannot be imported, for an option that it does not have (with
    the nearest valid name), and for an option or value that is missing. It does so, too, for a value of another type
    (see `data.configuration.schema`), and for a value that the constructor refuses (`ValueError`). Any other error of a
    constructor is a bug, and keeps its traceback.
    """
    content = checked(resolved(node, key), key)
    if not isinstance(content, dict) or "_target_" not in content:
        raise BadInputError(f"{key}: must have a _target_, the class to make")
    for place, part in _targets(content, key):
        require(part, place, keywords if place == key else {})
    try:
        return hydra_instantiate(content, _convert_="all", **keywords)
    except (HydraException, ValueError) as error:
        cause = _root(error)
        if is_too_large(cause):
            raise BadInputError(too_large(content, key)) from error
        if isinstance(cause, ValueError | ImportError):
            kind = NotInstalledError if isinstance(cause, NotInstalledError) else BadInputError
            raise kind(f"{key}: {_one_line(cause)}") from error
        raise


def instantiate_source(entry: Mapping[str, Any], key: str) -> Any | None:
    """The source that an entry describes; None, said on the console, for one with `optional: true` that needs a package
    which is not installed.

    Raises as `instantiate`, and `BadInputError` for an `optional` that is not true or false.
    """
    optional = entry.get("optional", False)
    if not isinstance(optional, bool):
        raise BadInputError(f"{key}.optional: {optional!r} must be true or false")
    try:
        return instantiate({name: value for name, value in entry.items() if name != "optional"}, key)
    except NotInstalledError as error:
        if not optional:
            raise
        tell(f"left out: {error}")
        return None


def resolved(node: Any, key: str) -> Any:
    """A config node as plain containers; raises `BadInputError` if a value in it is not given (`???`)."""
    if not OmegaConf.is_config(node):
        return node
    try:
        return OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        raise BadInputError(f"{error.full_key}: must be given") from error
    except InterpolationToMissingValueError as error:
        # The name of the value that is missing stands in the message only, at the end of its first line.
        name = str(error).splitlines()[0].rpartition(" ")[2]
        raise BadInputError(f"{name}: must be given, {error.full_key} needs it") from error
    except InterpolationKeyError as error:
        read = re.search(r"Interpolation key '([^']+)'", str(error))
        name = read[1] if read else "another option"
        raise BadInputError(
            f"{error.full_key}: is read from {name}, which is not there; give {error.full_key}=VALUE"
        ) from error
    except OmegaConfBaseException as error:
        raise BadInputError(f"{key}: {_one_line(error)}") from error


def is_given(source: Mapping[str, Any] | None) -> bool:
    """Whether a source is there: it is not null, and its `path` and `only_held_out`, if it has them, are not null."""
    return source is not None and None not in (source.get("path", ""), source.get("only_held_out", ""))


@contextmanager
def completed(node: Any, key: str) -> Iterator[None]:
    """Where what the `_partial_` nodes of `node` make is called: raises `BadInputError` for an option that one lacks.

    Before the call nobody knows which options the caller supplies. A call that lacks an argument for any other reason
    is a bug.
    """
    try:
        yield
    except TypeError as error:
        name = MISSING_ARGUMENT.search(str(error))
        for place, part in _targets(resolved(node, key), key) if name else ():
            if name and name[1] in Signature.of(part["_target_"], place).required and name[1] not in part:
                raise BadInputError(
                    f"{place}.{name[1]}: must be given, {part['_target_']} has no default for it"
                ) from error
        raise


def too_large(content: Any, key: str) -> str:
    """The line for what does not fit into the memory: it names the largest number in the configuration of that."""
    place, value = max(_numbers(content, key), key=lambda item: item[1], default=(key, 0))
    return f"{place}={value}: does not fit into the memory; make it, or other sizes, smaller"


def _numbers(content: Any, key: str) -> Iterator[tuple[str, float]]:
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _numbers(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _numbers(value, f"{key}[{index}]")
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield key, content


def is_too_large(error: BaseException) -> bool:
    """Whether an error of torch or Python says that a tensor is too large for the memory, or for any."""
    return isinstance(error, MemoryError | OverflowError) or (
        isinstance(error, RuntimeError | TypeError) and TOO_LARGE.search(str(error)) is not None
    )


def _targets(content: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(content, dict):
        if "_target_" in content:
            yield key, content
        for name, value in content.items():
            yield from _targets(value, f"{key}.{name}" if key else str(name))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _targets(value, f"{key}[{index}]")


def _root(error: BaseException) -> BaseException:
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
