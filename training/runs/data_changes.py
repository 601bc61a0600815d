"""What the sources of a training hold, kept in its checkpoints, so that a resume notices other data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.build import Sources
from data.sources.base import Source
from data.sources.fingerprint import fingerprint
from data.types import BadInputError
from fusion.checkpoint import read_manifest

OPTION = "resume_with_changed_data"


def describe(sources: Sources, validation: Mapping[str, Source]) -> dict[str, Any]:
    """What a checkpoint keeps of the data: `sources`, by their place in the config, and their `changes`.

    Of a source it keeps the number of samples, the fingerprint, and the modalities of its media if it says them.
    """
    places = {f"data.sources.{name}": source for name, (source, _) in sources.items()}
    places |= {f"data.validation.{name}": source for name, source in validation.items()}
    return {"sources": {place: _described(source) for place, source in places.items()}, "changes": []}


def compare(data: dict[str, Any], step_folder: Path, goes_on: bool) -> tuple[dict[str, Any], list[str]]:
    """`data` with the changes that its past has seen, and what is to be said about it.

    Raises `BadInputError`, in one line that names the sources, if the checkpoint was made from others and `goes_on` is
    false.
    """
    manifest = read_manifest(step_folder)
    before = manifest.get("data")
    if before is None:
        return data, ["the checkpoint is old and does not say what its data were: not compared"]
    found = differences(before["sources"], data["sources"])
    if not found:
        return data | {"changes": before["changes"]}, []
    said = "; ".join(found)
    if not goes_on:
        raise BadInputError(f"{step_folder.name} was trained on other data: {said} ({OPTION}=true goes on with them)")
    change = f"from step {manifest['step']} on with other data: {said}"
    return data | {"changes": [*before["changes"], change]}, [change]


def _described(source: Source) -> dict[str, Any]:
    held = {"samples": len(source), "fingerprint": fingerprint(source)}
    modalities = getattr(source, "modalities", None)
    return held | {"modalities": sorted(modalities)} if modalities else held


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """How the sources differ, one entry each."""
    return [
        f"{place} {how}"
        for place in sorted(before.keys() | now.keys())
        if (how := _difference(before.get(place), now.get(place)))
    ]


def _difference(before: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> str | None:
    if before is None or now is None:
        return "is new" if before is None else "is gone"
    if before["samples"] != now["samples"]:
        return f"has {now['samples']:,} samples, had {before['samples']:,}"
    if before["fingerprint"] != now["fingerprint"]:
        return f"holds other contents (fingerprint {now['fingerprint']}, was {before['fingerprint']})"
    return None
