"""A comparison as a person reads it: a table on a terminal, a page with charts in a browser.

The page is one file with no script and nothing to fetch: it can be mailed, and opened in ten years.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.comparison.candidates import Candidate, Comparison
from karat.intervals import Interval
from karat.report.cells import LINE, clean, money
from karat.report.frontier import NARROW, WIDE, charts, in_words
from karat.report.pages import render
from karat.report.recommendation import about, decimals, plain, rounded, said, seconds
from karat.report.svg import figure

Cell = tuple[str, str]  # a figure, and its interval or what else belongs to it
Column = tuple[str, str, Callable[[Candidate], Cell]]  # heading, what stands below it, cells
NONE: Cell = ("–", "")


def columns(found: Comparison) -> list[Column]:
    """The columns of the table beside the names, in both media."""
    kept = "the best answer" if found.best == 1 else f"the best {found.best} answers"
    cells: list[Column] = [
        (f"best of {found.n}", f"quality of {kept}", lambda c: _quality(c.quality)),
        ("all answers", "their mean quality", lambda c: _quality(c.quality_all)),
        ("accepted", f"of {found.prompts} prompts", _accepted),
        ("$ per accepted row", "what is paid for one", _per_row),
        ("$ in all", "for these answers", lambda c: (_usd(c, c.cost_usd), "")),
        ("a prompt takes", f"until its {found.n} are there", _seconds),
        ("a call takes", "median, then 95%", _call),
    ]
    return [column for column in cells if column[0] != "all answers" or found.n > 1]


def _quality(interval: Interval | None) -> Cell:
    if interval is None:
        return NONE
    digits = decimals(Interval(0.0, 0.0, interval.high - interval.low))
    digits = min(digits, 3)
    ends = f"{plain(interval.low, digits)} to {plain(interval.high, digits)}"
    return plain(interval.value, digits), ends


def _accepted(c: Candidate) -> Cell:
    share = c.accepted_share
    return f"{c.accepted:,}", f"{share.low:.0%} to {share.high:.0%}"


def _usd(c: Candidate, usd: float | None) -> str:
    return "price unknown" if c.cost_usd is None else "–" if usd is None else rounded(usd)


def _per_row(c: Candidate) -> Cell:
    cost = c.cost_per_accepted
    if cost is None:
        return _usd(c, None), "" if c.cost_usd is None else "none accepted"
    if cost.high == 0:
        return money(0), ""
    if math.isinf(cost.high):
        return rounded(cost.value), f"{rounded(cost.low)} or more"
    return rounded(cost.value), f"{rounded(cost.low)} to {rounded(cost.high)}"


def _seconds(c: Candidate) -> Cell:
    if c.seconds is None:
        return NONE
    return seconds(c.seconds.value), f"{seconds(c.seconds.low)} to {seconds(c.seconds.high)}"


def _call(c: Candidate) -> Cell:
    if c.p50_s is None or c.p95_s is None:
        return NONE
    return seconds(c.p50_s), seconds(c.p95_s)


def marks(found: Comparison, c: Candidate) -> list[str]:
    """What a candidate is among the others."""
    said_of = ["recommended"] if c.name == found.pick else []
    if c.frontier_cost and c.frontier_time:
        said_of.append("on both frontiers")
    elif c.frontier_cost:
        said_of.append("on the cost frontier")
    elif c.frontier_time:
        said_of.append("on the time frontier")
    return said_of


def differences(found: Comparison) -> list[tuple[str, str, str]]:
    """(candidate, how far behind the best, what to think of that), best first."""
    lines = []
    for pair in found.pairs:
        if pair.first == found.leader:
            tied = pair.apart.low <= 0
            needed = f"; about {about(pair.needed):,} prompts would" if pair.needed else ""
            more = f", which cannot be told from none{needed}" if tied else ""
            lines.append((pair.second, said(pair.apart, decimals(pair.apart)), more))
    return lines


def method(found: Comparison) -> list[str]:
    """How the figures were made, as far as a reader must know to trust them."""
    kept = "its best answer" if found.best == 1 else f"its best {found.best} answers"
    lines = [
        f"Quality is {found.by}, on a scale of {found.scale[0]:g} to {found.scale[1]:g}. Of each "
        f"prompt, {kept} of {found.n} decides: that is what is trained on.",
        f"Intervals hold {found.level:.0%} of the time: BCa bootstrap, {found.resamples:,} draws "
        f"of {found.prompts:,} prompts, the same for all candidates (seed {found.seed}); Wilson's "
        "for the share accepted.",
    ]
    if len(found.pairs) > 1:
        lines.append(
            f"Differences are of {len(found.pairs)} pairs, each at {found.pair_level:.1%}, so "
            f"that all of them together hold {found.level:.0%} of the time (Bonferroni)."
        )
    lines.append(
        "Costs are those of a candidate's own calls, failed ones among them; times are of calls "
        "under the load of this run, one candidate after another."
    )
    if found.shared_usd is None:
        lines.append("The price of prompts and grading is unknown; all candidates share them.")
    elif found.shared_usd:
        lines.append(
            f"Prompts and grading cost {rounded(found.shared_usd)} more, in all, whichever is "
            "taken."
        )
    return lines


# --- on a terminal -----------------------------------------------------------------------------


def comparison_table(found: Comparison, width: int = 120) -> RenderableType:
    """The recommendation, the figures, the differences and the notes."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("candidate", overflow="fold")
    shown = _fitting(found, width)
    for heading, _, _ in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for c in found.candidates:
        name = clean(c.name, LINE, "bold" if c.name == found.pick else "")
        table.add_row(name, *("\n".join(filter(None, cell(c))) for _, _, cell in shown))
    parts: list[RenderableType] = [
        clean(found.recommendation, 20 * LINE, "bold"), Text(), table, Text(),
    ]  # fmt: skip
    parts += [
        Text.assemble(clean(c.name, LINE), f": {', '.join(said_of)}")
        for c in found.candidates
        if (said_of := marks(found, c))
    ]
    parts += [
        Text.assemble(
            clean(name, LINE), f": {apart} behind ", clean(found.leader or "", LINE), more
        )
        for name, apart, more in differences(found)
    ]
    parts += [Text(), *(Text(line, style="dim") for line in method(found))]
    parts += [clean(f"note: {note}", 10 * LINE, "yellow") for note in found.notes]
    return Group(*parts)


def _fitting(found: Comparison, width: int) -> list[Column]:
    """The columns that a terminal has room for beside the names; the page has all of them."""
    kept = columns(found)
    names = min(40, max(len(c.name) for c in found.candidates))

    def needs(column: Column) -> int:
        cells = [text for c in found.candidates for text in column[2](c)]
        return 2 + max(len(text) for text in (column[0], *cells))

    for heading in ("$ in all", "all answers", "a call takes", "a prompt takes"):
        if names + sum(map(needs, kept)) > width:
            kept = [column for column in kept if column[0] != heading]
    return kept


def print_comparison(console: Console, found: Comparison) -> None:
    """The comparison, and the paths of its files, never wrapped."""
    console.print(comparison_table(found, console.width))
    width = max((len(name) for name in found.files), default=0)
    lines = "\n".join(f"{name:<{width}}  {path}" for name, path in found.files.items())
    if "png" not in found.files:
        lines += "\nno png  (needs `pip install 'karat[plots]'` and a font)"
    console.print("\n" + clean(lines, 100 * LINE).plain, soft_wrap=True, markup=False)


# --- in a browser ------------------------------------------------------------------------------


def page(found: Comparison) -> str:
    """The whole page. Charts are drawn twice, for wide and for narrow windows: letters in a
    picture that is made smaller become too small to read."""
    drawn: list[tuple[str, str]] = []
    wide, narrow = charts(found, WIDE), charts(found, NARROW)
    for place, (one, other) in enumerate(zip(wide, narrow, strict=True)):
        told_of = in_words(found)
        drawn.append(
            (
                figure([one], one.title, told_of, key=f"wide{place}"),
                figure([other], one.title, told_of, key=f"narrow{place}"),
            )
        )  # fmt: skip
    values: dict[str, Any] = {
        "found": found, "charts": drawn, "columns": columns(found), "marks": marks,
        "method": method(found),
    }  # fmt: skip
    return render("compare.html", values)
