"""How a report was made, from what it says of itself: the commands, and what else it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluation.page.commands import Command, full

CHANGES = "+changes"


def commands_of(report: Mapping[str, Any]) -> list[Command]:
    """What trained the model, and what evaluated it where that was another command; older reports know fewer."""
    origin = report["provenance"]
    trained = origin.get("trained_on") or {}
    found = []
    if commit := trained.get("commit"):
        found.append(Command("The code of the training", f"git checkout {commit}"))
    train = full(trained["command"]) if trained.get("command") else None
    if train is not None:
        found.append(Command("Train", train))
    if (evaluate := origin.get("command")) is not None and evaluate != train:
        found.append(Command("Evaluate", evaluate))
    return found


def facts_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Seed, seconds, commits and machines, as far as they are known."""
    origin, train = report["provenance"], report["train"]
    trained, machine = origin.get("trained_on") or {}, origin.get("machine") or {}
    changed = " and uncommitted changes" if trained.get("uncommitted_changes") else ""
    commit = str(origin.get("commit") or "")
    found = {
        "seed": origin.get("seed"),
        "training": _seconds(train.get("seconds")),
        "evaluation": _seconds(origin.get("evaluation_seconds")),
        "commit of the training": trained.get("commit") and f"{trained['commit']}{changed}",
        "commit of the evaluation": commit.replace(CHANGES, " and uncommitted changes"),
        "machine of the training": _joined(trained, {"processor": "", "cores": " cores", "device": ""}),
        "machine of the evaluation": _joined(machine, {"platform": "", "cores": " cores", "threads": " threads"}),
    }
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f} s"


def _joined(facts: Mapping[str, Any], units: Mapping[str, str]) -> str:
    """Those of the facts that are known, with their units."""
    return ", ".join(f"{facts[name]}{unit}" for name, unit in units.items() if facts.get(name) is not None)
