"""What a class or function takes, by the names that a configuration gives."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable
from typing import Any

from hydra.errors import HydraException
from hydra.utils import get_object

from data.types import BadInputError

_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """What a class or function takes by name: its `options` with their annotations, and those that are `required`.

    Where a constructor passes keywords on (`**stack`), its options are also those of the next class in the method
    resolution order. `rest` is the annotation of keywords that are passed to nobody known; None if there are none.
    """

    def __init__(self, target: Any) -> None:
        self.options: dict[str, Any] = {}
        self.required: list[str] = []
        self.rest: Any = None
        for function in _constructors(target):
            parameters, hints = inspect.signature(function).parameters, _hints(function)
            for name, item in parameters.items():
                if item.kind in _NAMED and name != "self" and name not in self.options:
                    self.options[name] = hints.get(name, Any)
                    if item.default is item.empty:
                        self.required.append(name)
            passed_on = [name for name, item in parameters.items() if item.kind is item.VAR_KEYWORD]
            self.rest = hints.get(passed_on[0], Any) if passed_on else None
            if not passed_on:
                break

    def annotation(self, name: str) -> Any:
        """The type of an option; None if there is no such option."""
        return self.options.get(name, self.rest)

    @classmethod
    def of(cls, target: str, place: str) -> Signature:
        """The signature of what `target` names. Raises `BadInputError` if it cannot be imported or called."""
        try:
            return cls(get_object(target))
        except Exception as error:  # a module may fail in any way while it is imported
            cause: BaseException = error
            while isinstance(cause, HydraException) and cause.__cause__ is not None:
                cause = cause.__cause__
            reason = " ".join(str(cause).split()) or type(cause).__name__
            raise BadInputError(f"{place}: {target} cannot be imported: {reason}") from error


def _constructors(target: Any) -> Iterable[Callable[..., Any]]:
    if not inspect.isclass(target):
        return [target]
    return [vars(kind)["__init__"] for kind in target.__mro__[:-1] if "__init__" in vars(kind)]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types; none where they name what is there for type checkers only."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, AttributeError, TypeError):
        return {}
