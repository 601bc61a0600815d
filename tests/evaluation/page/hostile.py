"""Texts of data that would like to be something else than text, and a page that has them everywhere."""

from __future__ import annotations

from pathlib import Path

import torch

from data.types import Media, Text
from evaluation.page.commands import Command
from evaluation.page.examples import Example
from evaluation.page.write import write_page
from evaluation.reports.markdown import escaped, table

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></script><img src=x onerror=alert(1)>",
    '"><svg/onload=alert(1)> {{ 7*7 }} {% raw %}',
    "![x](https://example.org/x.png) [y](javascript:alert(1)) <https://example.org>",
)
TONE = torch.sin(torch.arange(12_000) / 10) / 2  # 0.75 s at 16 kHz


def hostile_page(path: Path) -> Path:
    """A page with such a text wherever one of data can stand."""
    rows = [[text, f"{number}.5 [1.0, 2.0]"] for number, text in enumerate(HOSTILE)]
    lines = [f"# {escaped(HOSTILE[0])}", "", *table([HOSTILE[1], HOSTILE[2]], rows), "", "raw: " + HOSTILE[0]]
    for text in HOSTILE:
        lines += ["", f"## {escaped(text)}", "", escaped(text)]
    media = [Media("image", torch.full((3, 20, 30), 99, dtype=torch.uint8)), Media("audio", TONE)]
    examples = [
        Example(text, text, {text: [*media, Text(text)]}, {"question": text, "given answer": text}) for text in HOSTILE
    ]
    commands = [Command(text, text) for text in HOSTILE]
    assert write_page(path, "\n".join(lines), commands=commands, facts={"a": HOSTILE[0]}, examples=examples) == path
    return path
