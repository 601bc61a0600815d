"""One line for every error: None for one that the user cannot put right, which `unexpected_line` then names."""

from __future__ import annotations

import difflib
import errno
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationKeyError,
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

import conf
from data.configuration.overrides import MANIFESTS, composed, quoted
from scripts.choices import NONE

CONF = Path(str(conf.__file__)).parent
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
# Libraries that write checkpoints turn a full disk into errors of their own.
FULL_DISK = re.compile(r"No space left on device|Disk quota exceeded|PytorchStreamWriter failed writing")

# What a value may not hold unless it is quoted.
UNUSUAL = re.compile(r"[^\w/\\+.$%*@?|,=:(){}\[\]-]|[^\x00-\x7f]")
LONGEST, LONGEST_NAME = 300, 120
# Names of launchers that come with an extra begin so.
LAUNCHERS = ("joblib", "submitit")


def run_line(error: BaseException) -> str | None:
    """The line for an error that a script met while it ran."""
    types = sys.modules.get("data.types")
    if types is not None and isinstance(error, types.BadInputError):
        return _joined(error)
    if isinstance(error, MissingMandatoryValue | InterpolationToMissingValueError):
        name = re.search(r"[Mm]issing mandatory value: ([\w./]+)", str(error))
        key = name[1] if name else error.full_key
        return f"{key}: has no value; give {key}=VALUE"
    if isinstance(error, InterpolationKeyError):
        place = error.full_key or (re.search(r"full_key: (\S+)", str(error)) or ["", "an option"])[1]
        return f"{place}: {str(error).splitlines()[0]}"
    if (disk := _disk_line(error)) is not None:
        return disk
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return f"{str(error.filename)[:LONGEST_NAME]}...: {error.strerror}"
    root = _root(error)
    if isinstance(root, ValueError) and (root is not error or _raised_by_constructor(root)):
        return _joined(root)
    return None


def composition_line(error: Exception, config_name: str, arguments: list[str]) -> str | None:
    """The line for an error that Hydra met while it put the configuration together."""
    if isinstance(error, OverrideParseException):
        return _unreadable(error)
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        return f"{mark.name}:{mark.line + 1}: not valid YAML: {error.problem}" if mark else _joined(error)
    if isinstance(error, HydraException):
        unknown = re.search(r"Could not override '([^']+)'|Could not delete from config\. '([^']+)'", str(error))
        if unknown:
            return _unknown_option(unknown[1] or unknown[2], config_name, arguments)
        return _joined(error)
    return _joined(error) if isinstance(error, OmegaConfBaseException) else None


def unexpected_line(error: BaseException) -> str:
    """The line for a bug."""
    root = _root(error)
    return f"unexpected {type(root).__name__}: {_joined(root)[:LONGEST]}; HYDRA_FULL_ERROR=1 shows where"


def _unreadable(error: OverrideParseException) -> str:
    reason = next(line for line in error.message.splitlines() if not line.startswith("Error parsing"))
    name, equals, value = error.override.partition("=")
    if equals and UNUSUAL.search(value) and not value.startswith(("'", '"', "[", "{")):
        remedy = shlex.quote(f"{name}={quoted(value)}")
        return f"{error.override}: has characters that need quotes of their own: {remedy}"
    return f"{error.override}: cannot be read as name=value ({reason})"


def _unknown_choice(error: MissingConfigException) -> str:
    missing = re.search(r"Could not (?:find|load) '([^']+)'", str(error))
    if missing is None:
        return _joined(error)
    group, _, choice = missing[1].rpartition("/")
    # Hydra names the choices, those of a search path too, unless several of a group were asked for.
    choices = sorted(error.options or (path.stem for path in (CONF / group).glob("*.yaml")))
    choices = [item for item in choices if item != NONE]
    if not group or not choices:
        return f"{missing[1]}: no such configuration"
    if group == "hydra/launcher" and choice.startswith(LAUNCHERS):
        return f"{group}={choice}: is not installed: pip install 'interfuse[sweep]'"
    nearest = difflib.get_close_matches(choice, choices, n=1, cutoff=0.0)[0]
    return f"{group}={choice}: no such choice; the nearest is {nearest}, all are {', '.join(choices)}"


def _unknown_option(name: str, config_name: str, arguments: list[str]) -> str:
    others = [item for item in arguments if not item.startswith("-") and item.split("=")[0].strip("+~") != name]
    config = _composed(config_name, others) or _composed(config_name, [])
    names = _names(config) if config is not None else []
    group, _, rest = name.partition(".")
    choice = rest.partition(".")[0]
    if f"{group}.{choice}" not in names and (CONF / group / f"{choice}.yaml").is_file():
        return f"{name}: no such option before {choice} is chosen, in the list {group}=[{choice},..]"
    if name in groups():
        return f"{name}: nothing is chosen here that could change; add it with +{name}=CHOICE"
    if name in MANIFESTS:  # which other data sets would not read
        return (
            f"{name}: no such option without data=manifest; evaluate.py checkpoint=RUN data.evaluation=FILE asks a run"
        )
    if name in names:
        return f"{name}: is null, so that there is nothing to take away"
    nearest = _nearest(name, [*names, *groups()])
    hint = f"the nearest valid name is {nearest}" if nearest else "--help lists all"
    return f"{name}: no such option; {hint}"


def _nearest(name: str, names: list[str]) -> str | None:
    """The closest name next to `name`, or else the closest last part anywhere, or else the closest of all."""
    parent, _, last = name.rpartition(".")
    beside = [item for item in names if item.rpartition(".")[0] == parent]
    for candidates, cutoff in ((beside, 0.6), (names, 0.85)):
        by_last = {item.rpartition(".")[2]: item for item in reversed(candidates)}
        if found := difflib.get_close_matches(last, by_last, n=1, cutoff=cutoff):
            return by_last[found[0]]
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return found[0] if found else None


def _composed(config_name: str, overrides: list[str]) -> DictConfig | None:
    try:
        return composed(config_name, overrides)
    except Exception:  # a second mistake among the arguments; the first one is reported
        return None


def _names(node: Any, prefix: str = "") -> list[str]:
    """Dotted names of everything in a config, parents first."""
    found = []
    for key in map(str, node) if isinstance(node, DictConfig) else ():
        found.append(f"{prefix}{key}")
        if not OmegaConf.is_missing(node, key) and not OmegaConf.is_interpolation(node, key):
            found += _names(node[key], f"{prefix}{key}.")
    return found


def groups() -> list[str]:
    """The groups of `conf/`."""
    return sorted({path.parent.relative_to(CONF).as_posix() for path in CONF.glob("*/**/*.yaml")})


def _disk_line(error: BaseException) -> str | None:
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            place = f"{cause.filename}: " if cause.filename else ""
            return f"{place}{cause.strerror}; what was written before is untouched"
        if isinstance(cause, Exception) and FULL_DISK.search(str(cause)):
            return "No space left on device; what was written before is untouched"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def _root(error: BaseException) -> BaseException:
    """What a constructor raised, out of the errors that Hydra wraps around it."""
    while isinstance(error, HydraException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _raised_by_constructor(error: BaseException) -> bool:
    """Constructors validate what the configuration says, so their ValueErrors are the user's to put right."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        frames = frames.tb_next
    return frames is not None and frames.tb_frame.f_code.co_name in ("__init__", "__post_init__")


def _joined(error: object) -> str:
    lines: Iterable[str] = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith(("See http", "Set the environment")))
