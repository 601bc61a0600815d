"""What runs are called when they stand side by side: by what differs among them, and never two alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from data.display.plain_text import label
from evaluation.provenance import NOT_THE_EXPERIMENT

TARGET = "_target_"
# Options in a label, if fewer tell the runs apart; characters of a value.
MOST_OPTIONS, LONGEST_VALUE = 3, 32
MISSING = "none"


def run_labels(
    names: Sequence[str], configs: Sequence[Mapping[str, Any]], fallbacks: Sequence[Sequence[str]]
) -> list[str]:
    """A label for each of several runs (or groups of them): the options that differ between those of one name.

    names: of the experiments; they are left out where all runs have the same. fallbacks: for each run what may tell it
    apart where its options do not, each better than the next; the last ones must be unique.
    """
    parts: list[list[str]] = [[] for _ in names]
    for name in dict.fromkeys(names):
        rivals = [place for place, other in enumerate(names) if other == name]
        found = differences([configs[place] for place in rivals])
        for number, place in enumerate(rivals):
            parts[place] = [f"{key}={found[key][number]}" for key in telling(found, len(rivals))]
    for level in range(len(fallbacks[0])):
        repeated = Counter(zip(names, map(tuple, parts), strict=True))
        for place, key in enumerate([(name, tuple(part)) for name, part in zip(names, parts, strict=True)]):
            if repeated[key] > 1:
                parts[place].append(fallbacks[place][level])
    # What is the same in all rivals says nothing.
    parts = [_without_common(parts, names, place) for place in range(len(parts))]
    alike = len(set(names)) == 1 and all(parts)
    return [_joined("" if alike else name, part) for name, part in zip(names, parts, strict=True)]


def _without_common(parts: Sequence[Sequence[str]], names: Sequence[str], place: int) -> list[str]:
    rivals = [other for other, name in zip(parts, names, strict=True) if name == names[place]]
    common = set.intersection(*map(set, rivals)) if len(rivals) > 1 else set()
    return [part for part in parts[place] if part not in common]


def _joined(name: str, parts: Sequence[str]) -> str:
    words = ", ".join(parts)
    return f"{name} ({words})" if name and words else name or words


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Option -> its value in each configuration, of the options that differ between them.

    A part that was chosen is called by its choice (`fusion=late`); what else differs within it is left out, unless it
    differs between two configurations with the same choice.
    """
    flat = [options(config) for config in configs]
    keys = sorted({key for found in flat for key in found})
    different = {key: values for key in keys if len(set(values := [_value(found, key) for found in flat])) > 1}
    found = {key: values for key, values in different.items() if not _follows(key, values, different)}
    return dict(sorted((_choice(key, values) for key, values in found.items()), key=lambda item: item[0]))


def options(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of a configuration by its dotted name, without what does not belong to the experiment."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not prefix and key in NOT_THE_EXPERIMENT:
            continue
        if isinstance(value, Mapping):
            found |= options(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _value(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return MISSING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _follows(key: str, values: Sequence[str], different: Mapping[str, Sequence[str]]) -> bool:
    """Whether an option follows from the choice of the part that holds it."""
    head = key.rpartition(".")[0]
    while head:
        target = f"{head}.{TARGET}"
        if target in different and target != key:
            pairs = set(zip(different[target], values, strict=True))
            return len(pairs) == len(set(different[target]))
        head = head.rpartition(".")[0]
    return False


def _choice(key: str, values: Sequence[str]) -> tuple[str, list[str]]:
    """`fusion._target_: fusion.methods.late.LateFusion` as `fusion: late`; other values as they are, if not too
    long."""
    head, _, last = key.rpartition(".")
    if last != TARGET:
        shown = [label(value, LONGEST_VALUE) for value in values]
        return key, shown if len(set(shown)) == len(set(values)) else [_both_ends(value) for value in values]
    part = head.rpartition(".")[2]
    names = [_snake(value.rpartition(".")[2]).removesuffix(f"_{part}") for value in values]
    return head, names if len(set(names)) == len(set(values)) else list(values)


def _both_ends(value: str) -> str:
    """A long value by its two ends: paths differ at the end, texts anywhere."""
    half = LONGEST_VALUE // 2
    return label(value, 10**6) if len(value) <= 2 * half else label(f"{value[:half]}…{value[-half:]}", 10**6)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def telling(found: Mapping[str, Sequence[str]], size: int) -> list[str]:
    """All options, if they are few; else as few as tell the runs apart as well as all do."""
    if len(found) <= MOST_OPTIONS:
        return list(found)
    rest, chosen = list(found), list[str]()
    reachable = _kinds(found, rest, size)
    while _kinds(found, chosen, size) < reachable:
        # Of those that tell as much, a choice of a part (no dot) first, then the shorter name.
        best = max(rest, key=lambda key: (_kinds(found, [*chosen, key], size), -key.count("."), -len(key)))
        rest.remove(best)
        chosen.append(best)
    return sorted(chosen)


def _kinds(found: Mapping[str, Sequence[str]], keys: Sequence[str], size: int) -> int:
    return len({tuple(found[key][place] for key in keys) for place in range(size)})
