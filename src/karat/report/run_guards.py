"""What guards a data set against collapse: people's share, their rare words, unfinished answers.

Scores rise while a set collapses, so none of these looks at one. A guard that was not set up is
shown too, as one that says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from karat.curation.collapse import MARGINS
from karat.report.build import CUT_OFF_WARNING, LEAST_HUMAN_SHARE
from karat.report.recommendation import plain
from karat.report.whiskers import scale, whisker

# Of the guard's figures, in words; above 1 is worse for the first, better for the others.
FIGURES = {
    "surprise": "surprise at human text", "rare_words": "rare human words it has",
    "word_pairs": "human word pairs it has", "words": "human words it has",
    "entropy": "entropy of words", "types": "different words", "vendi": "variety of meaning",
}  # fmt: skip
MOST = 3.0  # of a ratio that is drawn
BESIDE = {"human": "beside as much human text", "previous": "beside the round before"}


class Guard(NamedTuple):
    """`state`: good, bad, or none where nothing was measured. `rows` are (figure, a drawing of its
    ratio, the ratio and its interval, whether it is worse)."""

    name: str
    state: str
    value: str
    said: str
    rows: list[tuple[str, str, str, bool]]


def guards(report: dict[str, Any]) -> list[Guard]:
    """All of them."""
    accepted = report["rows"]["accepted"]
    if not accepted:
        return []
    human = report["human_share"]
    low = human < LEAST_HUMAN_SHARE
    cut = report.get("cut_off_share", 0.0)
    return [
        Guard(
            "Human share", "bad" if low else "good", f"{human:.0%}",
            "of the accepted rows have a prompt and an answer that people wrote"
            + (f"; at least {LEAST_HUMAN_SHARE:.0%} are advised: add a mix step" if low else ""),
            [],
        ),
        *_collapse(report),
        Guard(
            "Cut off", "bad" if cut > CUT_OFF_WARNING else "good", f"{cut:.0%}",
            "of the accepted answers stopped at max_tokens, in the middle"
            + ("; raise it, or ask for shorter answers" if cut > CUT_OFF_WARNING else ""), [],
        ),
    ]  # fmt: skip


def _collapse(report: dict[str, Any]) -> Iterator[Guard]:
    found = [
        (step["label"], name, figures)
        for step in report["funnel"]
        for name, figures in step.get("notes", {}).get("guard", {}).items()
    ]
    if not found:
        yield Guard(
            "Collapse", "none", "not measured",
            "no mix step compared this set with human text; add one, with the human rows you have",
            [],
        )  # fmt: skip
    for label, name, figures in found:
        over = scale([_inside(one) for one in figures.values()], (0.5, 1.5), 0.25)
        rows = [
            (
                FIGURES.get(key, key), whisker(_inside(one), over, 1.0), _said(one),
                is_worse(key, one),
            )
            for key, one in figures.items()
        ]  # fmt: skip
        worse = [row[0] for row in rows if row[3]]
        yield Guard(
            f"Collapse, {label}", "bad" if worse else "good",
            ", ".join(worse) or "no sign of it",
            f"{BESIDE.get(name, name)}: ratios with 95% intervals, 1 is as good"
            + ("; rare words are being lost: raise share, keep earlier rounds" if worse else ""),
            rows,
        )  # fmt: skip


def _inside(figure: dict[str, Any]) -> tuple[float, float, float | None]:
    """(ratio, low, high) within what is drawn; an end that is open, as JSON has infinity, stays."""
    low, high = figure["interval"]
    ends = [min(max(end, 0.0), MOST) for end in (figure["ratio"], low or 0.0)]
    return ends[0], ends[1], None if high is None else min(max(high, 0.0), MOST)


def _said(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return (
        f"{plain(figure['ratio'])} ({plain(low or 0.0)} … {'∞' if high is None else plain(high)})"
    )


def is_worse(name: str, figure: dict[str, Any]) -> bool:
    """As karat.curation.collapse judges: beyond the interval and a margin."""
    margin = MARGINS.get(name)
    if margin is None:
        return False
    low, high = figure["interval"]
    if margin > 1:
        return low is not None and bool(low > margin)
    return high is not None and bool(high < margin)
