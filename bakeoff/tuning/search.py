"""The search for a method's options: one after the other, as far as the best value lies inside of what was tried.

Every option has values in an order. A setting is a place in each of these orders; the start is place 0 everywhere. For
each option in turn both neighbours of the best setting are tried, and the search goes on in the direction that is
better. So a grid that is too narrow widens by itself. It ends when no neighbour is better, or when `most` settings have
been tried. It is a function of the scores alone: a search that was broken off is done again from what was scored.

This is coordinate descent. It finds a best setting along each option, and no better one that two options would have to
change for at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Setting = tuple[int, ...]


@dataclass(frozen=True)
class TunedOption:
    """An option of train.py that is tuned.

    Either numbers on a grid, `start * factor^k` from `least` to `most`; or `values` in their order, from `start` on.
    """

    option: str
    start: Any
    factor: float | None = None
    least: float = 0.0
    most: float = math.inf
    values: Sequence[Any] | None = None

    def __post_init__(self) -> None:
        if (self.factor is None) == (self.values is None):
            raise ValueError(f"{self.option}: give either factor or values")
        if self.values is not None and self.start not in self.values:
            raise ValueError(f"{self.option}: start={self.start} must be one of values={list(self.values)}")
        if self.values is not None and len(set(map(str, self.values))) < len(self.values):
            raise ValueError(f"{self.option}: values={list(self.values)} names a value twice")
        if self.factor is not None and self.factor <= 1:
            raise ValueError(f"{self.option}: factor={self.factor} must be above 1")
        if self.factor is not None and not 0 < self.least <= self.start <= self.most:
            raise ValueError(f"{self.option}: must be 0 < least={self.least} <= start={self.start} <= most={self.most}")

    def value(self, place: int) -> Any:
        """The value at a place. Raises `IndexError` where there is none."""
        if self.values is not None:
            index = list(self.values).index(self.start) + place
            if not 0 <= index < len(self.values):
                raise IndexError(place)
            return self.values[index]
        assert self.factor is not None
        # Four digits, so that names and overrides are short, and the same on every machine.
        found = float(f"{self.start * self.factor**place:.4g}")
        if not self.least * 0.999 <= found <= self.most * 1.001:
            raise IndexError(place)
        return found

    def has(self, place: int) -> bool:
        """Whether there is a value at a place."""
        try:
            self.value(place)
        except IndexError:
            return False
        return True


@dataclass(frozen=True)
class Found:
    """Where a search stands.

    best: the best setting so far. wanted: what is to be scored next; nothing when it has ended. unsettled: options with
    a neighbour of the best value that was not tried, for want of settings. edges: options with the best value at the
    end of the grid.
    """

    best: Setting
    wanted: tuple[Setting, ...]
    unsettled: tuple[str, ...]
    edges: tuple[str, ...]


def search(options: Sequence[TunedOption], scores: Mapping[Setting, float], most: int) -> Found:
    """What to try next, given the scores of what was tried; higher is better, and NaN is worst.

    most: settings that may be tried in all.
    """
    best: Setting = (0,) * len(options)
    if best not in scores:
        return Found(best, (best,), (), ())
    place = unmoved = 0
    while unmoved < len(options):
        before, option = best, place % len(options)
        while True:
            line = neighbours(options, best, option)
            wanted = [setting for setting in line if setting not in scores][: max(most - len(scores), 0)]
            if wanted:
                return Found(best, tuple(wanted), (), ())
            better = max((best, *(s for s in line if s in scores)), key=lambda setting: _finite(scores[setting]))
            if better == best:
                break
            best = better
        unmoved, place = (unmoved + 1 if best == before else 0), place + 1
    untried = [any(s not in scores for s in neighbours(options, best, k)) for k in range(len(options))]
    unsettled = tuple(option.option for option, missing in zip(options, untried, strict=True) if missing)
    edges = tuple(
        option.option
        for option, index in zip(options, best, strict=True)
        if option.factor is not None and not (option.has(index - 1) and option.has(index + 1))
    )
    return Found(best, (), unsettled, edges)


def neighbours(options: Sequence[TunedOption], setting: Setting, option: int) -> list[Setting]:
    """The settings that differ in one option by one place."""
    found = []
    for step in (1, -1):
        place = setting[option] + step
        if options[option].has(place):
            found.append((*setting[:option], place, *setting[option + 1 :]))
    return found


def _finite(score: float) -> float:
    return score if math.isfinite(score) else -math.inf
