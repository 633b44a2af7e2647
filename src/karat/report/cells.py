"""Cells of a terminal's tables: money, others' text made safe, and the one form of all tables."""

from __future__ import annotations

import re

from rich.table import Table
from rich.text import Text

from karat.display.shown import money as money

# What moves the cursor, turns the direction of text, or no terminal can encode.
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
SHOWN = 600  # characters of one text
LINE = 200  # of a name


def clock(seconds: float) -> str:
    """1:05, or 2:03:09."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def size(count: int) -> str:
    """Bytes as a person reads them."""
    number, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 1000 or unit == "TB":
            break
        number /= 1000
    return f"{count:,} B" if unit == "B" else f"{number:,.1f} {unit}"


def clean(text: str, length: int = SHOWN, style: str = "") -> Text:
    """Others' text made safe for a terminal: no control codes, no markup, no endless lines."""
    cut = CONTROL.sub("�", text[: length + 1].replace("\t", "    "))
    return Text(cut if len(text) <= length else cut[:length] + " …", style=style)


def grid(*headings: str) -> Table:
    """A table without lines, its first column to the left and figures to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, heading in enumerate(headings):
        left = place == 0 or heading in ("why dropped", "model")
        # A figure broken over two lines reads as another figure.
        table.add_column(
            heading, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    return table
