"""The emoji of npm packages as one array store: pictures, labels, tags and groups.

Pictures come from the sets that `emoji-datasource-google` and its siblings (apple, twitter, facebook) hold, one style
each, words from `emojibase-data`. Pictures are laid on white, since emoji are transparent and read on paper.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.progress import with_progress
from data.storage.array_store import ArrayStore, build_once, write_store
from data.storage.cache import cache_folder
from data.storage.npm import tarball
from data.types import BadInputError

SIDE = 64
VERSION = 1  # of what is stored; a change makes stores anew
PICTURE = re.compile(r"package/img/([\w-]+)/64/([\w-]+)\.png")
TABLES = {"package/emoji.json": "emoji", "package/en/data.json": "words", "package/en/messages.json": "groups"}
SKIN_TONES = {f"1F3F{digit}" for digit in "BCDEF"}
# Of a person, whether man or woman; a direction; how a character is drawn.
VARIANTS = {*SKIN_TONES, "200D", "FE0F", "2640", "2642", "27A1"}
PEOPLE = {"1F468": "1F9D1", "1F469": "1F9D1", "1F466": "1F9D2", "1F467": "1F9D2", "1F474": "1F9D3", "1F475": "1F9D3"}
COUPLES = {"1F46C": "1F46B", "1F46D": "1F46B"}
COMPONENT = "component"


@dataclass(frozen=True)
class Entry:
    """One emoji. concept: equal for emoji that differ in skin tone, gender or direction alone.

    pictures: style -> places of its pictures in the store, the plain one first, then its skin tones.
    """

    hexcode: str
    concept: str
    label: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    pictures: dict[str, list[int]]


@dataclass(frozen=True)
class EmojiSet:
    """All emoji of some packages, and the store of their pictures, uint8 [3, 64, 64] each."""

    emoji: list[Entry]
    styles: tuple[str, ...]
    store: ArrayStore


def emoji_set(packages: Sequence[str]) -> EmojiSet:
    """The emoji of tarballs (see `data.storage.npm.tarball`): one with words, one or more with pictures, in the given
    order.

    Read once into the user's cache folder. Raises `BadInputError` that names the tarball which is none, or what lacks.
    """
    paths = [tarball(package) for package in packages]
    digests = [_digest(path) for path in paths]
    fingerprint = hashlib.sha256(json.dumps([VERSION, digests]).encode()).hexdigest()[:12]
    folder = cache_folder() / "emoji" / fingerprint
    build_once(folder, lambda temporary: _build(temporary, paths))
    store = ArrayStore(folder)
    rows = [Entry(**{**row, "tags": tuple(row["tags"])}) for row in store.metadata["emoji"]]
    return EmojiSet(rows, tuple(store.metadata["styles"]), store)


def concept_of(hexcode: str) -> str:
    """The code with its variants removed: all skin tones and genders of a runner are one concept."""
    first, *rest = [PEOPLE.get(part, part) for part in hexcode.split("-")]
    kept = [COUPLES.get(first, first), *(part for part in rest if part not in VARIANTS)]
    return "-".join(kept)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _build(folder: Path, paths: Sequence[Path]) -> None:
    tables: dict[str, Any] = {}
    pictures: dict[str, dict[str, bytes]] = {}
    for path in paths:
        found = list(_members(path))
        if not any(kind == "words" or isinstance(kind, tuple) for kind, _ in found):
            raise BadInputError(
                f"{path}: holds neither pictures (img/STYLE/64) nor words (en/data.json) of emoji; "
                "give tarballs of emoji-datasource-* and emojibase-data"
            )
        for kind, content in found:
            if isinstance(kind, tuple):
                pictures.setdefault(kind[0], {})[kind[1]] = content
            else:
                tables[kind] = _json(path, content)
    lacking = [name for name in ("words", "groups", "emoji") if name not in tables]
    if lacking or not pictures:
        raise BadInputError(
            "source.packages: need one package with words (emojibase-data) and one with pictures "
            f"(emoji-datasource-google); found {', '.join(sorted([*tables, *pictures])) or 'nothing'}"
        )
    files: list[tuple[str, str]] = []
    rows = [asdict(entry) for entry in _entries(tables, pictures, files)]
    contents = ((pictures[style][name], f"{style}/{name}.png") for style, name in with_progress(files, "emoji, once"))
    arrays = (_pixels(content, name) for content, name in contents)
    write_store(folder, arrays, np.uint8, (SIDE, SIDE), {"emoji": rows, "styles": list(pictures)})


def _members(path: Path) -> Iterator[tuple[str | tuple[str, str], bytes]]:
    """The files of a tarball that are needed: the name of a table, or style and name of a picture, and the content."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                picture = PICTURE.fullmatch(member.name)
                kind = (picture[1], picture[2]) if picture else TABLES.get(member.name)
                if kind is not None and (file := archive.extractfile(member)) is not None:
                    yield kind, file.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BadInputError(f"{path}: not a tarball of npm ({error})") from error


def _json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise BadInputError(f"{path}: holds a table that is not JSON ({error})") from error


def _entries(
    tables: dict[str, Any], pictures: dict[str, dict[str, bytes]], files: list[tuple[str, str]]
) -> Iterator[Entry]:
    """Every emoji that has words and a picture; styles and names of the pictures are added to `files`."""
    try:
        words = {_plain(row["hexcode"]): row for row in tables["words"]}
        groups = {row["order"]: row for row in tables["groups"]["groups"]}
        subgroups = {row["order"]: row for row in tables["groups"]["subgroups"]}
        for row in tables["emoji"]:
            hexcode = _plain(row["unified"])
            known = words.get(hexcode, {})
            if known.get("group") not in groups or groups[known["group"]]["key"] == COMPONENT:
                continue
            variants = [item for _, item in sorted((row.get("skin_variations") or {}).items())]
            names = [Path(item["image"]).stem for item in (row, *variants)]
            places: dict[str, list[int]] = {}
            for style, found in pictures.items():
                # Without the plain picture, what is there of an emoji would be its variants alone.
                kept = [name for name in names if name in found] if names[0] in found else []
                if kept:
                    places[style] = list(range(len(files), len(files) + len(kept)))
                    files += [(style, name) for name in kept]
            if places:
                yield Entry(
                    hexcode=hexcode,
                    concept=concept_of(hexcode),
                    label=known["label"],
                    tags=tuple(tag for tag in known.get("tags", ()) if tag != known["label"]),
                    group=groups[known["group"]]["message"],
                    subgroup=subgroups[known["subgroup"]]["message"],
                    pictures=places,
                )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"source.packages: their tables have another layout than expected ({type(error).__name__}: {error})"
        ) from error


def _plain(hexcode: str) -> str:
    """Without the selector of the coloured form, which packages write at different places."""
    return "-".join(part for part in hexcode.upper().split("-") if part != "FE0F")


def _pixels(content: bytes, name: str) -> np.ndarray:
    """uint8 [3, 64, 64], on white."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            drawn = image.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise BadInputError(f"{name}: not a readable image ({error})") from error
    if drawn.size != (SIDE, SIDE):
        drawn = drawn.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", drawn.size, "white")
    return np.asarray(Image.alpha_composite(paper, drawn).convert("RGB")).transpose(2, 0, 1)
