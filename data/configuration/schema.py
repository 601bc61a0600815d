"""The schema of a configuration: the annotations of a constructor are the types of its node's options.

A node with a `_target_` is checked against the signature of what it names, and a node without one against a pydantic
model (`scripts/options.py` has those of the commands). Values are read as pydantic reads them, with these differences:
true and false are no numbers, a number is a text where text is meant, and numbers are finite.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    TypeAdapter,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from data.configuration.signature import Signature
from data.types import BadInputError

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}
LONGEST_VALUE = 60
MOST = 2**63 - 1


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("int_from_bool", "true and false are no numbers")
    return value


def _number(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("float_from_bool", "true and false are no numbers")
    number = read(value)
    return value if isinstance(value, int) else number  # 50 stays 50, and its hash in a cache of features the same


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float | Path) else value


def _made_by_target(value: Any) -> Any:
    """A node with a `_target_`, or an object that was made already."""
    plain = value is None or isinstance(value, bool | int | float | str | list | tuple)
    if plain or (isinstance(value, dict) and "_target_" not in value):
        raise PydanticCustomError("part", "no _target_")
    return value


Whole = Annotated[int, BeforeValidator(_whole), Field(ge=-MOST, le=MOST)]
Number = Annotated[float, Field(allow_inf_nan=False), WrapValidator(_number)]
Seed = Annotated[Whole, Field(ge=0, lt=2**32)]  # what all generators take
Text = Annotated[str, BeforeValidator(_as_text)]
Part = Annotated[Any, AfterValidator(_made_by_target)]

_TYPES: dict[Any, Any] = {int: Whole, float: Number, str: Text, Path: Text, bool: bool, Any: Any, type(None): None}
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
_PHRASES = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "part": "a mapping with a _target_, the class to make",
    "literal_error": "{expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
}


def checked(content: Any, place: str = "", beside: Mapping[str, Any] = MappingProxyType({})) -> Any:
    """A copy of plain content: the options of every `_target_` node have the types of its signature.

    `beside` has the types of further options, which are not in the signature of a node. They are for whoever has it
    made.

    Raises `BadInputError` of one line for a class that cannot be imported, an option that it does not have, and a
    value of another type. Options that are absent are left to `require`.
    """
    if isinstance(content, list):
        return [checked(value, f"{place}[{index}]", beside) for index, value in enumerate(content)]
    if not isinstance(content, dict):
        return content
    content = {name: checked(value, _inside(place, name), beside) for name, value in content.items()}
    if "_target_" not in content or "_args_" in content:
        return content
    found = Signature.of(content["_target_"], f"{place}._target_" if place else "_target_")
    for name in content.keys() - HYDRA_KEYS:
        annotation = found.annotation(name) or beside.get(name)
        if annotation is None:
            nearest = difflib.get_close_matches(name, found.options, n=1, cutoff=0.0)
            hint = f"; the nearest valid name is {nearest[0]}" if nearest else ", which takes none"
            raise BadInputError(f"{_inside(place, name)}: is not an option of {content['_target_']}{hint}")
        content[name] = coerced(content[name], annotation, _inside(place, name))
    return content


def require(content: Mapping[str, Any], place: str, given: Collection[str] = ()) -> None:
    """Raises `BadInputError` if a node lacks an option without a default that is not `given` by who makes it."""
    if content.get("_partial_") or "_args_" in content:
        return
    for name in Signature.of(content["_target_"], f"{place}._target_" if place else "_target_").required:
        if name not in content and name not in given:
            raise BadInputError(f"{_inside(place, name)}: must be given, {content['_target_']} has no default for it")


def coerced(value: Any, annotation: Any, place: str) -> Any:
    """The value as `annotation` reads it, with lists for tuples. Raises `BadInputError` of one line."""
    try:
        return _plain(_adapter(annotation).validate_python(value))
    except ValidationError as error:
        line = refusal(error, value, place, lambda steps: not steps and allows_null(annotation))
        raise BadInputError(line) from error


def refusal(error: ValidationError, value: Any, place: str, nullable: Callable[[list[int | str]], bool]) -> str:
    """One line for the first thing that is wrong in a value: its place, what is there, and what would be right.

    `nullable` says whether null would be right at the end of some steps into the value.
    """
    errors = error.errors(include_url=False)
    first = _steps(errors[0]["loc"], value)
    inside = [item for item in errors if _steps(item["loc"], value)[: len(first)] == first]
    # Where a member of a union fits in kind, such as a list, what is wrong is inside.
    errors.insert(0, max(inside, key=lambda item: len(_steps(item["loc"], value))))
    steps = _steps(errors[0]["loc"], value)
    same = [item for item in errors if _steps(item["loc"], value) == steps]
    for step in steps:
        place, value = (f"{place}[{step}]" if isinstance(step, int) else _inside(place, step)), value[step]
    if errors[0]["type"] == "missing":
        name = _inside(place, errors[0]["loc"][-1])
        return f"{name}: has no value; give {name}=VALUE"
    wanted = " or ".join(dict.fromkeys(_phrase(item) for item in same))
    return f"{place}={shown(value)}: must be {wanted}{', or null' if nullable(steps) else ''}"


def shown(value: Any) -> str:
    """A value as one writes it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        text = f"[{','.join(shown(item) for item in value)}]"
    elif isinstance(value, dict):
        text = f"{{{','.join(f'{name}: {shown(item)}' for name, item in value.items())}}}"
    else:
        text = " ".join(str(value).split()) or "''"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def allows_null(annotation: Any) -> bool:
    """Whether null is a value of the type."""
    if get_origin(annotation) in (typing.Union, types.UnionType, Annotated):
        return any(allows_null(item) for item in get_args(annotation))
    return annotation is type(None) or annotation is None


def pydantic_type(annotation: Any) -> Any:
    """The annotation with the types of this module in it; what cannot stand in a configuration becomes `Part`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[pydantic_type(arguments[0]), *arguments[1:]]
    if origin is Literal:
        return annotation
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(pydantic_type(item) for item in arguments)]  # noqa: UP007 of a list of types
    kind = origin or annotation
    if kind is tuple and arguments and arguments[-1] is not ...:
        return types.GenericAlias(tuple, tuple(pydantic_type(item) for item in arguments))
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return types.GenericAlias(dict, tuple(pydantic_type(item) for item in arguments or (Any, Any)))
    if kind in _LISTS:
        return types.GenericAlias(list, (pydantic_type(arguments[0]) if arguments else Any,))
    if isinstance(kind, typing.NewType):
        return pydantic_type(kind.__supertype__)
    return _TYPES.get(kind, Part) if isinstance(kind, typing.Hashable) else Part


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(pydantic_type(annotation))


def _steps(location: tuple[int | str, ...], value: Any) -> list[int | str]:
    """The part of pydantic's location that leads into the value; the rest names members of unions."""
    steps: list[int | str] = []
    for step in location:
        inside = (isinstance(value, dict) and step in value) or (
            isinstance(value, list | tuple) and isinstance(step, int) and step < len(value)
        )
        if inside:
            steps.append(step)
            value = value[step]
    return steps


def _phrase(error: ErrorDetails) -> str:
    """What would be right."""
    kind = error["type"]
    phrase = _PHRASES.get(kind) or _PHRASES.get(kind.partition("_")[0])  # int_type, int_parsing, int_from_float, ..
    return phrase.format(**error.get("ctx", {})) if phrase else error["msg"].removeprefix("must be ")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {name: _plain(item) for name, item in value.items()} if isinstance(value, dict) else value


def _inside(place: str, name: Any) -> str:
    return f"{place}.{name}" if place else str(name)
