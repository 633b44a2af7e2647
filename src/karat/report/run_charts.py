"""Charts of a run as SVG text: one form for the report file and for the dashboard's pages.

Their colours come from the page they lie in, once for all of them, so that a page can choose its
theme and paper can stay white. Charts whose marks are links are no images to a screen reader but
groups, or else nobody who listens would find the links.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from karat.report import grading_plots, survey_map, svg
from karat.report.svg import Drawing, figure, words

DARK = "@media(prefers-color-scheme:dark)"
_OWN = re.compile(r"<style>[^<]*</style>")
STYLES = (svg.STYLE, survey_map.STYLE, grading_plots.STYLE)

# For a page that has no style sheet of its own: both themes, and light ones on paper.
STYLE = "".join(STYLES) + (
    f"@media print{{{''.join(style.partition(DARK)[0] for style in STYLES)}}}"
)

Pair = tuple[str, str]  # of a wide window, and of a narrow one


def drawn(panel: Drawing, title: str, told: str, key: str, *, linked: bool = False) -> str:
    """One picture without its colours; `told` says in words what it shows."""
    picture = bare(figure([panel], title, told, key=key))
    return picture.replace('role="img"', 'role="group"', 1) if linked else picture


def linked(marks: str, href: str, said: str) -> str:
    """Marks of a chart as a link, whose words are read out; as they are where `href` is empty."""
    return f'<a href="{words(href)}" aria-label="{words(said)}">{marks}</a>' if href else marks


def bare(picture: str) -> str:
    """Without its own style sheet. No text can hold the tag: what comes from outside is escaped."""
    return _OWN.sub("", picture)


def pair(
    draw: Callable[[float], Drawing], widths: Sequence[float], title: str, told: str, key: str, *,
    linked: bool = False,
) -> Pair:  # fmt: skip
    """The same twice: letters in a picture that is made smaller become too small to read."""
    wide, narrow = (
        drawn(draw(width), title, told, f"{key}-{width:.0f}", linked=linked) for width in widths
    )
    return wide, narrow
