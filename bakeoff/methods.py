"""The methods of a bake-off, as its configuration lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from bakeoff.tuning.search import TunedOption

# The name of the one length where none is given.
WHOLE = "whole"


@dataclass(frozen=True, order=True)
class Terms:
    """On what terms methods are compared: what is made equal, and how long they are trained."""

    budget: str
    length: str = WHOLE

    def __str__(self) -> str:
        return self.budget if self.length == WHOLE else f"{self.budget}/{self.length}"


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    overrides: of train.py, that make the method. tuned: its own options, which are tuned within the same number of
    settings as everybody's. share: of the cost of the reference that it gets. like: another method; its overrides come
    first, and the values that were tuned for it are taken; with the same share, its size too. So what is added to it,
    a training option for instance, is the only difference. lengths: the lengths in which it is compared; None: all.
    budgets: the same for budgets. members: no training of its own, but the average of the answers of these methods.
    """

    name: str
    overrides: tuple[str, ...] = ()
    tuned: tuple[TunedOption, ...] = ()
    share: float = 1.0
    like: str | None = None
    lengths: tuple[str, ...] | None = None
    budgets: tuple[str, ...] | None = None
    members: tuple[str, ...] = ()

    def takes_part(self, terms: Terms) -> bool:
        """Whether it is compared on these terms."""
        return all(
            allowed is None or own in allowed
            for allowed, own in ((self.budgets, terms.budget), (self.lengths, terms.length))
        )


OPTIONS = tuple(field.name for field in fields(Method) if field.name != "name")


def read_methods(given: Mapping[str, Any]) -> dict[str, Method]:
    """Methods by name; each is given as a list of overrides, or as a mapping of the fields of `Method`.

    Raises `ValueError` for a field that does not exist, and for a method that refers to one that cannot be taken.
    """
    found = {name: _read(name, value) for name, value in given.items()}
    for method in found.values():
        for role, others in (("like", [method.like] if method.like else []), ("members", method.members)):
            for other in others:
                if other not in found or other == method.name:
                    names = ", ".join(name for name in found if name != method.name)
                    raise ValueError(f"methods.{method.name}.{role}: {other} must be one of {names}")
                if found[other].members or (role == "like" and found[other].like):
                    raise ValueError(f"methods.{method.name}.{role}: {other} must be a method of its own")
        if method.members and (method.overrides or method.tuned or method.like):
            raise ValueError(f"methods.{method.name}: has members, so it can have no overrides, tuned or like")
        if len(method.members) == 1:
            raise ValueError(f"methods.{method.name}.members={list(method.members)} must name two or more")
    return {name: _complete(method, found) for name, method in found.items()}


def _read(name: str, given: Any) -> Method:
    if not isinstance(given, Mapping):
        return Method(name, tuple(given))
    for key in given:
        if key not in OPTIONS:
            raise ValueError(f"methods.{name}.{key}: must be one of {', '.join(OPTIONS)}")
    values = dict(given)
    for key in ("overrides", "members", "lengths", "budgets"):
        if values.get(key) is not None:
            values[key] = tuple(values[key])
    values["tuned"] = read_options(given.get("tuned") or (), f"methods.{name}.tuned")
    method = Method(name, **values)
    if not 0 < method.share <= 1:
        raise ValueError(f"methods.{name}.share={method.share} must be above 0 and at most 1")
    return method


def read_options(given: Sequence[Mapping[str, Any]], where: str) -> tuple[TunedOption, ...]:
    """Raises `ValueError` for an option that cannot be tuned, with the place where it is given."""
    found = []
    for place, entry in enumerate(given):
        known = [field.name for field in fields(TunedOption)]
        try:
            if not {"option", "start"} <= set(entry) <= set(known):
                raise ValueError(f"{dict(entry)} must have option, start, and factor or values; and of {known}")
            found.append(TunedOption(**entry))
        except ValueError as error:
            raise ValueError(f"{where}[{place}]: {error}") from error
    return tuple(found)


def _complete(method: Method, methods: Mapping[str, Method]) -> Method:
    if method.like is None:
        return method
    return replace(method, overrides=(*methods[method.like].overrides, *method.overrides))
