"""A table of samples as one self-contained page: pictures are shown, clips are played, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from training.trackers.base import AudioCell, Cell, ImageCell
from training.trackers.media import encode_audio, encode_image

STYLE = """
body { font: 13px system-ui, sans-serif; margin: 8px; color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; }
th, td { border: 1px solid #ddd; padding: 4px 8px; text-align: left; vertical-align: middle; }
th { background: #f4f4f4; }
img { min-width: 72px; image-rendering: pixelated; display: block; }
audio { width: 130px; height: 32px; display: block; }
small { color: #666; }
"""


def html_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """The page; all text is escaped, so that a sample's own text cannot become markup."""
    head = "".join(f"<th>{escape(str(column))}</th>" for column in columns)
    body = "\n".join("<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (
        f'<!doctype html>\n<html><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body><table>\n<tr>{head}</tr>\n{body}\n</table></body></html>\n"
    )


def _cell(cell: Cell) -> str:
    if isinstance(cell, ImageCell):
        source = _data_uri("image/png", encode_image(cell.image))
        return f'<img src="{source}" alt="{escape(cell.caption)}">{_caption(cell.caption)}'
    if isinstance(cell, AudioCell):
        source = _data_uri("audio/flac", encode_audio(cell.samples, cell.rate, "FLAC"))
        return f'<audio controls src="{source}"></audio>{_caption(cell.caption)}'
    return "" if cell is None else escape(str(cell))


def _caption(text: str) -> str:
    return f"<small>{escape(text)}</small>" if text else ""


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
