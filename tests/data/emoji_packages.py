"""Tarballs with the layout of `emoji-datasource-*` and `emojibase-data`, holding a few drawn squares."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from PIL import Image

from data.sources.emoji import PACKAGES
from data.storage.npm import cached

TONES = ("1F3FB", "1F3FF")
GROUPS = ("smileys & emotion", "components", "animals & nature")
SINGLE = 60  # emoji without variants, after the people


def emoji_rows():
    """(hexcode, label, tags, group, variants): two people with skin tones, then single emoji, and a component."""
    rows = [
        ("1F468-200D-1F680", "man astronaut", ["rocket", "space"], 0, TONES),
        ("1F469-200D-1F680", "woman astronaut", ["rocket", "space"], 0, TONES),
        ("2764-FE0F", "red heart", ["love", "heart"], 0, ()),
        ("1F9B0", "red hair", ["hair"], 1, ()),
    ]
    rows += [(f"1F{400 + n}", f"animal number {n}", [f"tag{n}", "zoo"], 2, ()) for n in range(SINGLE)]
    return rows


def picture(number, style, transparent=True):
    """A PNG of one colour with a transparent border."""
    shade = {"google": 0, "twitter": 90}.get(style, 150)
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0 if transparent else 255))
    image.paste((number * 3 % 256, shade, 200, 255), (16, 16, 48, 48))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_tarball(path: Path, files: dict[str, bytes]) -> Path:
    """As npm packs it: everything in a folder `package`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def picture_package(path: Path, style: str = "google") -> Path:
    """`emoji-datasource-STYLE`."""
    table, files = [], {}
    for number, (hexcode, label, _, _, tones) in enumerate(emoji_rows()):
        names = {"": hexcode.lower(), **{tone: f"{hexcode.lower()}-{tone.lower()}" for tone in tones}}
        files |= {f"img/{style}/64/{name}.png": picture(number, style) for name in names.values()}
        variants = {tone: {"unified": f"{hexcode}-{tone}", "image": f"{names[tone]}.png"} for tone in tones}
        row = {"name": label.upper(), "unified": hexcode, "image": f"{names['']}.png"}
        table.append({**row, "skin_variations": variants} if tones else row)
    files["img/google/sheets/64.png"] = b"not read"
    return write_tarball(path, {"emoji.json": json.dumps(table).encode(), **files})


def word_package(path: Path) -> Path:
    """`emojibase-data`; it writes hexcodes without the selector of the coloured form."""
    words = [
        {"label": label, "hexcode": hexcode.replace("-FE0F", ""), "tags": tags, "group": group, "subgroup": group}
        for hexcode, label, tags, group, _ in emoji_rows()
    ]
    words.append({"label": "regional indicator A", "hexcode": "1F1E6"})
    groups = [
        {"key": "component" if name == "components" else name, "message": name, "order": order}
        for order, name in enumerate(GROUPS)
    ]
    messages = {"groups": groups, "subgroups": [{**group, "message": f"sub {group['message']}"} for group in groups]}
    return write_tarball(
        path, {"en/data.json": json.dumps(words).encode(), "en/messages.json": json.dumps(messages).encode()}
    )


def fill_cache() -> None:
    """The default packages, where `npm pack` would put them."""
    pictures, words = PACKAGES
    picture_package(cached(pictures))
    word_package(cached(words))
