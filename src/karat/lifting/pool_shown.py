"""A pool's result: as a type, in a sentence that comes first, as Markdown, and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.intervals import Interval
from karat.lifting.wording import count
from karat.report.cells import LINE, clean, grid
from karat.report.recommendation import plain
from karat.scoring.lift_pool import ModelFigures, Rung

HALF = 0.5  # of all prompts: the largest n that so many have makes the headline
RUNGS = ("best of n", "prompts", "by the reward", "longest", "by people", "wins")
MODELS = ("model", "answers", "people prefer it", "the reward does")


class PoolLift(msgspec.Struct, frozen=True):
    """The result. `trained_on`: files of the pool's name that the reward was trained on, of all
    its `data`, where that is `known`; `seen`: how much of the pool's prompts it was trained on, by
    its own record, None without one."""

    verdict: str
    pool: str
    reward: str
    unit: str
    prompts: int
    answers: int
    alone: int
    ungraded: int
    agreement: Interval
    rungs: list[Rung]
    models: dict[str, ModelFigures]
    trained_on: list[str]
    known: bool
    data: list[str]
    seen: float | None
    made: str
    command: str


def said_first(made: PoolLift) -> str:
    """The first sentence."""
    if not made.rungs:
        return f"Nothing can be said: {made.prompts} prompts are too few."
    rung = next(
        (one for one in reversed(made.rungs) if one.prompts >= HALF * made.prompts), made.rungs[0]
    )
    gain, best = rung.reward.gain, rung.oracle.gain.value
    share = f", {gain.value / best:.0%} of what people's own choice gives" if best > 0 else ""
    what = f"{made.seen:.0%} of these prompts" if made.seen else "".join(made.trained_on[:1])
    known = f" (trained on {what}: it knew those answers)" if what else ""
    figure = (
        f"best-of-{rung.n} by {made.reward}{known} − random = {_said(gain)} of {made.unit}{share}; "
        f"preferred to another answer {_share(rung.reward.wins)} of the time"
    )
    ahead = rung.over_longest
    if ahead.low <= 0 <= ahead.high:
        length = f"that it does better than the longest of {rung.n} was not shown ({_said(ahead)})"
    else:
        word = "better" if ahead.low > 0 else "worse"
        length = f"it does {word} than the longest of {rung.n} ({_said(ahead)})"
    if gain.low > 0:
        return f"Shown: {figure}; {length}."
    if gain.high < 0:
        return f"Shown to be worse: {figure}; {length}."
    return f"Nothing was shown: {figure}; {length}."


def _said(value: Interval) -> str:
    plus = "+" if value.value > 0 else ""
    return f"{plus}{plain(value.value, 3)} ({plain(value.low, 3)} to {plain(value.high, 3)})"


def _share(value: Interval) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


def _facts(made: PoolLift) -> Iterator[str]:
    left = [f"{count(made.alone, 'prompt')} with one answer"] if made.alone else []
    left += [f"{made.ungraded:,} without all scores"] if made.ungraded else []
    more = f"; left out: {', '.join(left)}" if left else ""
    yield f"{made.pool}: {count(made.prompts, 'prompt')}, {count(made.answers, 'answer')}{more}"
    yield f"in people's order: {_share(made.agreement)} of pairs that people do not tie"
    if made.seen is not None:
        yield f"{made.reward} was trained on {made.seen:.1%} of these prompts, by its own record"
        return
    data = f": its data were {', '.join(made.data)}" if made.data and made.known else ""
    yield f"whether {made.reward} was trained on these prompts is not known{data}"


def _rungs(made: PoolLift) -> Iterator[list[str]]:
    for rung in made.rungs:
        ways = (rung.reward.gain, rung.longest.gain, rung.oracle.gain)
        yield [f"{rung.n}", f"{rung.prompts:,}", *map(_said, ways), _share(rung.reward.wins)]


def _models(made: PoolLift) -> Iterator[list[str]]:
    for name, one in made.models.items():
        yield [name, f"{one.answers:,}", _share(one.people), _share(one.reward)]


def _made(made: PoolLift) -> str:
    return (
        f"Values: {made.unit}. Intervals hold 95% of the time, over prompts; best-of-n is the mean "
        "over all subsets (Nakano et al. 2021), less that of random answers; wins: how often "
        "people preferred it to another answer."
    )


def markdown(made: PoolLift) -> str:
    """pool.md."""
    lines = [f"**{made.verdict}**", "", *(f"- {line}" for line in _facts(made))]
    for headings, rows in ((RUNGS, [*_rungs(made)]), (MODELS, [*_models(made)])):
        if rows:
            lines += ["", f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", _made(made), "", f"Made {made.made} by `{made.command}`.", ""]
    return "\n".join(lines)


def print_lines(made: PoolLift) -> list[str]:
    """The Markdown as plain lines."""
    return markdown(made).replace("**", "").splitlines()


def pool_text(made: PoolLift) -> RenderableType:
    """The result on a terminal."""
    parts: list[RenderableType] = [Text(made.verdict, "bold")]
    parts += [clean(f"  {line}", 5 * LINE) for line in _facts(made)]
    # Intervals of the baselines would make it wider than a terminal; pool.md has them.
    short = [
        [cell.partition(" ")[0] if place in (3, 4) else cell for place, cell in enumerate(row)]
        for row in _rungs(made)
    ]
    for headings, rows in ((RUNGS, short), (MODELS, [*_models(made)])):
        if rows:
            parts += [Text(), _table(headings, rows)]
    return Group(*parts, Text(), Text(_made(made), "dim"))


def _table(headings: tuple[str, ...], rows: list[list[str]]) -> Table:
    table = grid(*headings)
    for row in rows:
        table.add_row(*(clean(cell, LINE) for cell in row))
    return table
