"""The one check of types: over the whole composed configuration, before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, get_args

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from data.configuration.schema import allows_null, refusal
from data.configuration.schema import checked as checked_nodes
from data.instantiate import is_given
from data.types import BadInputError
from scripts.choices import NONE
from scripts.options import ROOTS, Options

# Of a source: whether it is left out where it is not installed (`data.instantiate.instantiate_source`); of an encoder:
# whether it is where the data hold no such media (`training.preparation.encoder_choice`).
BESIDE = {"optional": bool, "if_held": bool}
# Of an evaluation; one that is null is left out, as a source of the validation is.
TASKS = "tasks"


def checked(config: DictConfig, config_name: str) -> DictConfig:
    """The configuration with every value in the type that the schema has for it, and null for what is absent.

    The schema is `scripts/options.py` for the root `config_name`, and the signature of what they make for nodes with a
    `_target_`. Values that are still missing, or refer to one that is, are left to whoever reads them.

    Raises:
        BadInputError: a value of another type or out of its range, in one line `option=value: must be ...`.
    """
    config = _without_refused_groups(config)
    checked_nodes(_given(config, references=False), beside=BESIDE)  # a wrong value is named where it stands
    content = _given(config)
    if config_name in ROOTS:
        content = _validated(content, ROOTS[config_name])
    config = config.copy()
    with open_dict(config):
        _write(config, checked_nodes(content, beside=BESIDE))
    return config


def _without_refused_groups(config: DictConfig) -> DictConfig:
    """Where `GROUP=null` was chosen, null also in place of what an experiment adds to the group."""
    if not HydraConfig.initialized():
        return config
    config = config.copy()
    with open_dict(config):
        for group, choice in HydraConfig.get().runtime.choices.items():
            key = str(group).replace("/", ".")
            if choice == NONE and OmegaConf.select(config, key):
                OmegaConf.update(config, key, None)
    return config


def _validated(content: dict[str, Any], schema: type[Options]) -> dict[str, Any]:
    """Content in the types of a root, with the default of what is absent there."""
    try:
        found = schema.model_validate(content)
    except ValidationError as error:
        raise BadInputError(refusal(error, content, "", partial(_nullable, schema))) from error
    defaults = {name: field.default for name, field in schema.model_fields.items() if not field.is_required()}
    return defaults | found.model_dump(exclude_unset=True)


def _nullable(schema: type[Options], steps: Sequence[int | str]) -> bool:
    """Whether null is a value of the option that the steps lead to."""
    field = schema.model_fields.get(str(steps[0]))
    if field is None:
        return False
    if len(steps) == 1:
        return allows_null(field.annotation)
    inner = node_schema(field.annotation)
    return inner is not None and _nullable(inner, steps[1:])


def node_schema(annotation: Any) -> type[Options] | None:
    """The schema of the node that an option holds, if it has one: `annotation` itself, or its part next to null."""
    kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
    return next((kind for kind in kinds if issubclass(kind, Options)), None)


def _given(node: DictConfig, references: bool = True) -> dict[str, Any]:
    """What can be read of a node, as plain containers, without what is not made.

    What is not made may hold anything: a source if its file is not given, tasks that are null, and an evaluation
    without tasks.
    """
    content = {}
    for name in map(str, node):
        try:
            if not OmegaConf.is_missing(node, name) and (references or not OmegaConf.is_interpolation(node, name)):
                value = _given(node[name], references) if isinstance(node[name], DictConfig) else _resolved(node[name])
                if name == TASKS and isinstance(value, dict):
                    value = {task: source for task, source in value.items() if source is not None}
                if not (isinstance(value, dict) and "_target_" in value) or (is_given(value) and _has_tasks(value)):
                    content[name] = value
        except OmegaConfBaseException:  # it refers to what is missing
            continue
    return content


def _has_tasks(value: dict[str, Any]) -> bool:
    """False for an evaluation that asks nothing, as in the tuning of a bake-off."""
    return value.get(TASKS, {}) is not None


def _resolved(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if OmegaConf.is_list(value) else value


def _write(node: DictConfig, content: dict[str, Any]) -> None:
    """Puts what differs into a node; a reference to another value stays, for that value is written itself."""
    for name, value in content.items():
        if OmegaConf.is_interpolation(node, name) or OmegaConf.is_missing(node, name):
            continue
        if isinstance(value, dict) and isinstance(node.get(name), DictConfig):
            _write(node[name], value)
        elif name not in node or not _same(_resolved(node[name]), value):
            node[name] = value


def _same(one: Any, other: Any) -> bool:
    """Whether two plain values are equal, and of one type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)
