"""Cells of a terminal's tables: money, others' text made safe, and the one form of all tables."""

from __future__ import annotations

import math
import re

from rich.table import Table
from rich.text import Text

# What moves the cursor, turns the direction of text, or no terminal can encode.
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
SHOWN = 600  # characters of one text
LINE = 200  # of a name


def money(usd: float | None) -> str:
    """Dollars with as many digits as matter; unknown is said, never shown as 0."""
    if usd is None:
        return "price unknown"
    if usd == 0 or usd >= 1:
        return f"${usd:.2f}" if usd else "$0"
    # Four digits from the first that counts, and never an exponent.
    places = min(30, max(1, 3 - math.floor(math.log10(abs(usd)))))
    return f"${usd:.{places}f}".rstrip("0").rstrip(".")


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
