"""An evaluation on a terminal of 100 columns: one table a set, the baselines always beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.evaluating.figures import (
    Attribute,
    Bill,
    Compared,
    Evaluation,
    Length,
    Row,
    SetFigures,
    Share,
)
from karat.intervals import Interval
from karat.report.cells import LINE, clean, grid, money
from karat.report.recommendation import plain
from karat.scoring.length_lean import MATCHED

INDENT = "  "


def evaluation_text(made: Evaluation) -> RenderableType:
    """All figures, set by set; warnings first."""
    head = Text.assemble(("reward  ", "bold"), clean(made.reward, LINE), f" by {made.by}")
    if made.against:
        head.append_text(Text.assemble(", against ", clean(made.against, LINE)))
        head.append(f" by {made.against_by}")
    parts: list[RenderableType] = [head]
    parts += [
        Text.assemble(("warning  ", "bold yellow"), clean(text, 5 * LINE)) for text in made.warnings
    ]
    for found in made.sets:
        parts += [Text(), *_set(found, made)]
    if made.overall is not None and len(made.sets) > 1:
        parts += [Text(), _compared([made.overall], made)]
    parts += [Text(), *map(_bill, made.bills)]
    return Group(*parts)


def _set(found: SetFigures, made: Evaluation) -> Iterator[RenderableType]:
    title = Text.assemble((found.name, "bold"), f"  {found.title}: {found.items:,} items")
    title.append(f", {found.prompts:,} prompts, {found.responses:,} responses")
    yield title
    said = [f"{n:,} left out ({clean(why, LINE)})" for why, n in found.left_out.items()]
    said += [f"{found.failed:,} without a score"] if found.failed else []
    said += [f"{found.ties:,} equal scores"] if found.ties else []
    said += found.notes
    said += [f"{clean(name, LINE)} was trained on it" for name in found.trained_on]
    if said:
        yield Text("; ".join(said), "dim")
    yield _rows(found.rows)
    if found.compared:
        yield Text()
        yield _compared(found.compared, made)
    if found.attributes:
        yield Text()
        yield _attributes(found.attributes)
    facts = [*_length(found.length), *_calibration(found)]
    if facts:
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, value in facts:
            table.add_row(name, value)
        yield Text()
        yield table


def _rows(rows: list[Row]) -> Table:
    table = grid("accuracy, %", "n", "", "95%", "random", "longer", "shorter")
    for row in rows:
        style = "bold" if row.level == 0 else "dim" if row.level == 2 else ""
        table.add_row(
            Text(INDENT * row.level + str(clean(row.label, LINE))), f"{row.n:,}",
            percent(row.value.value if row.value else None), ends(row.value),
            percent(row.random), percent(row.longer), percent(row.shorter), style=style,
        )  # fmt: skip
    return table


def _compared(rows: list[Compared], made: Evaluation) -> Table:
    table = grid("both scored, %", "n", "this", "other", "difference", "95%", "alone right", "p")
    for row in rows:
        gap, alone = row.difference, row.discordance
        table.add_row(
            Text(INDENT * row.level + row.label), f"{row.n:,}", percent(row.first),
            percent(row.second), points(gap.value if gap else None), ends(gap, signed=True),
            f"{alone.first:,} : {alone.second:,}" if alone else "",
            p_value(alone.p) if alone else "",
            style="bold" if row.level == 0 else "dim" if row.level == 2 else "",
        )  # fmt: skip
    return table


def _attributes(found: list[Attribute]) -> Table:
    table = grid(
        "against people's ratings", "n", "Pearson", "95%", "Spearman", "κ", "95%", "people"
    )
    for one in found:
        name = one.name if one.name == one.against else f"{one.name} with {one.against}"
        table.add_row(
            name, f"{one.n:,}", _figure(one.pearson), _span(one.pearson), _figure(one.spearman),
            _figure(one.kappa), _span(one.kappa), plain(one.people, 3) if one.people else "",
        )  # fmt: skip
    return table


def _length(found: Length | None) -> Iterator[tuple[str, str]]:
    if found is None:
        return
    people = f"; people {percent(found.people_longer)}" if found.people_longer is not None else ""
    yield "picks the longer", f"{_share(found.picks_longer)}{people}"
    yield "  where it is the worse one", _share(found.picks_longer_worse)
    yield "right where it is the better one", _share(found.right_when_longer)
    yield f"right at about one length (×{MATCHED:g})", _share(found.right_matched)
    if found.slope is not None:
        yield "a doubled length is worth", f"{_figure(found.slope)} σ{_beside(_span(found.slope))}"


def _calibration(found: SetFigures) -> Iterator[tuple[str, str]]:
    one = found.reliability
    if one is not None:
        yield (
            "calibration error, %",
            f"{percent(one.error.value)}{_beside(ends(one.error))}; {percent(one.by_chance)} if it "
            f"were calibrated, n = {one.n:,}",
        )


def _bill(one: Bill) -> Text:
    calls = f"{one.calls:,} requests, " if one.calls else ""
    return Text(
        f"asked   {clean(one.reward, LINE)}: {calls}{money(one.cost_usd)}, {one.seconds:,.1f} s"
    )


# --- cells ---------------------------------------------------------------------------------------


def percent(value: float | None) -> str:
    """A share in percent, one decimal; a dash for none."""
    return "–" if value is None else plain(100 * value, 1)


def points(value: float | None) -> str:
    """A difference of shares in points, with its sign."""
    if value is None:
        return "–"
    told = plain(100 * value, 1)
    return told if told.startswith("−") or told == "0.0" else f"+{told}"


def ends(one: Interval | None, *, signed: bool = False) -> str:
    """Both ends in percent; nothing where neither is known."""
    if one is None or (math.isinf(one.low) and math.isinf(one.high)):
        return ""
    say = points if signed else percent
    return f"{say(one.low)} … {say(one.high)}"


def p_value(value: float) -> str:
    """As many digits as matter."""
    return "<.001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def _share(one: Share) -> str:
    if one.value is None:
        return f"–, n = {one.n:,}"
    return f"{percent(one.value.value)}{_beside(ends(one.value))}, n = {one.n:,}"


def _beside(span: str) -> str:
    """In brackets; nothing where both ends are open."""
    return f" ({span})" if span else ""


def _figure(one: Interval | None) -> str:
    return "–" if one is None else plain(one.value)


def _span(one: Interval | None) -> str:
    if one is None or (math.isinf(one.low) and math.isinf(one.high)):
        return ""
    return f"{plain(one.low)} … {plain(one.high)}"
