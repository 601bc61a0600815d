"""Which manifests are meant: one file, several, or a folder of them, each with a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.types import BadInputError

# The files of a folder are read in this order: what is in an earlier one is a leak in a later one.
USUAL_ORDER = ("train", "training", "validation", "valid", "val", "dev", "test")

# What `clean=` left out, next to the file that it wrote; no manifest.
REMOVED = ".removed.jsonl"


def one_manifest(value: Any, option: str) -> Path:
    """The file of an option that takes one. Raises `BadInputError` that names the option otherwise."""
    found = list(named_manifests(value, option).values())
    if len(found) > 1:
        raise BadInputError(f"{option}: takes one manifest, not {len(found)}; give the others as against=[A.jsonl,..]")
    return found[0]


def named_manifests(value: Any, option: str) -> dict[str, Path]:
    """Name -> file of what an option gives: a path, a folder, a list of paths, or a mapping of names to paths.

    Names are those of the files; where two are equal, with their folders' before them.
    Raises `BadInputError` that names the option when there is no file, or one is given twice.
    """
    if isinstance(value, Mapping):
        found = [(str(name), _path(path, option)) for name, path in value.items()]
    else:
        given = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = _named([path for item in given for path in _files(_path(item, option))])
    if not found:
        raise BadInputError(f"{option}: names no file; give a manifest, several as [A.jsonl,B.jsonl], or a folder")
    places = [path.resolve() for _, path in found]
    for _, path in found:
        if not path.is_file():
            raise BadInputError(f"{option}: {path}: no such file")
        if places.count(path.resolve()) > 1:
            raise BadInputError(f"{option}: {path}: is given twice")
    return dict(found)


def _path(value: Any, option: str) -> Path:
    if not isinstance(value, str | Path | int | float) or isinstance(value, bool) or not str(value):
        raise BadInputError(f"{option}: {value!r} must be the path of a manifest")
    return Path(str(value)).expanduser()


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    names = [file for file in path.glob("*.jsonl") if not file.name.endswith(REMOVED)]
    files = sorted(names, key=lambda file: (_place(file.stem), file.name))
    if not files:
        raise BadInputError(f"{path}: the folder holds no manifest (*.jsonl)")
    return files


def _place(name: str) -> int:
    return USUAL_ORDER.index(name) if name in USUAL_ORDER else len(USUAL_ORDER)


def _named(paths: Sequence[Path]) -> list[tuple[str, Path]]:
    stems = [path.stem for path in paths]
    names = [
        stem if stems.count(stem) == 1 else f"{path.resolve().parent.name}/{stem}"
        for stem, path in zip(stems, paths, strict=True)
    ]
    return [(name if names.count(name) == 1 else str(path), path) for name, path in zip(names, paths, strict=True)]
