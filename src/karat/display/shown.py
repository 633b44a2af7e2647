"""What a notebook and a prompt show of karat's objects: one plain line, or a short piece of HTML.

The HTML takes its colours from the page around it, so it reads on light and on dark without knowing
any front end's themes, and it needs no script and no file. A model can write anything: every cell
is escaped unless karat made it (`Html`), and signs that cannot be seen are shown as marks.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence

from karat.visible import visible

LINE = 60  # characters of a text in a line
CELL = 300  # in a cell
TEXT = 4000  # of a text that is shown for itself
STYLE = (
    "<style>"
    "div.karat{color:inherit;background:transparent;font-size:13px;line-height:1.45;"
    "max-width:100%;overflow-x:auto}"
    "div.karat table{border-collapse:collapse;margin:6px 0;font-size:inherit;"
    "font-variant-numeric:tabular-nums}"
    "div.karat table th,div.karat table td{text-align:left;vertical-align:top;padding:3px 10px 3px"
    " 0;border:0;border-top:1px solid rgba(128,128,128,.35);background:transparent;color:inherit;"
    "white-space:normal;overflow-wrap:anywhere;max-width:34em}"
    "div.karat table thead th{border-top:0;font-weight:600}"
    "div.karat table .n{text-align:right;white-space:nowrap}"
    "div.karat p{margin:4px 0}"
    "div.karat .w{white-space:pre-wrap;overflow-wrap:anywhere}"
    "div.karat small{opacity:.75;font-size:12px}"
    "div.karat .b{display:inline-block;width:90px;height:9px;background:rgba(128,128,128,.25)}"
    "div.karat .b i{display:block;height:9px;background:#b07a1e}"
    "</style>"
)


class Html(str):
    """HTML that karat made itself. Any other text in a cell is escaped."""

    __slots__ = ()


def line(text: str, most: int = LINE) -> str:
    """Others' text as a part of one line: no line ends, nothing unseen, cut where it is long."""
    flat = " ".join(text[: 8 * most].split())
    cut = flat if len(flat) <= most and len(text) <= 8 * most else f"{flat[:most].rstrip()} …"
    return visible(cut)


def cell(value: object, most: int = CELL) -> Html:
    """A value as HTML: escaped, unless it is Html already."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(visible(str(value), most)))


def bold(value: object) -> Html:
    return Html(f"<b>{cell(value)}</b>")


def small(value: object, most: int = 4 * CELL) -> Html:
    return Html(f"<small>{cell(value, most)}</small>")


def paragraph(*parts: object) -> Html:
    """Parts side by side."""
    return Html(f"<p>{' '.join(cell(part) for part in parts)}</p>")


def whole(text: str, most: int = TEXT) -> Html:
    """A text with its own line ends."""
    return Html(f'<div class="w">{cell(text, most)}</div>')


def bar(share: float) -> Html:
    """A bar of a share, 0 to 1; its figure stands beside it."""
    width = 100 * min(1.0, max(0.0, share)) if math.isfinite(share) else 0.0
    return Html(f'<span class="b" aria-hidden="true"><i style="width:{width:.0f}%"></i></span>')


def table(headings: Sequence[str], rows: Iterable[Sequence[object]], figures: str = "") -> Html:
    """A table. `figures` has a letter for each column, n where it holds numbers, such as "-nn"."""
    marks = [' class="n"' if kind == "n" else "" for kind in figures.ljust(len(headings), "-")]
    head = "".join(
        f'<th scope="col"{mark}>{cell(name)}</th>'
        for name, mark in zip(headings, marks, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{mark}>{cell(one)}</td>" for one, mark in zip(row, marks, strict=True))
        + "</tr>"
        for row in rows
    )
    return Html(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def folded(summary: str, *parts: Html) -> Html:
    """Parts that are seen when they are asked for."""
    return Html(f"<details><summary>{cell(summary)}</summary>{''.join(parts)}</details>")


def fragment(*parts: Html) -> str:
    """The whole piece, with the style it needs."""
    return f'{STYLE}<div class="karat">{"".join(parts)}</div>'


def count(number: int, one: str, many: str = "") -> str:
    """1 row; 1,234 rows."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def money(usd: float | None) -> str:
    """Dollars with as many digits as matter; unknown is said, never shown as 0."""
    if usd is None:
        return "price unknown"
    if usd == 0 or usd >= 1:
        return f"${usd:.2f}" if usd else "$0"
    # Four digits from the first that counts, and never an exponent.
    places = min(30, max(1, 3 - math.floor(math.log10(abs(usd)))))
    return f"${usd:.{places}f}".rstrip("0").rstrip(".")


def score(value: float | None) -> str:
    """A score with two digits; – where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.2f}"
