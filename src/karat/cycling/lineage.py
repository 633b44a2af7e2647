"""The lineage of a cycle: for each round what taught whom on which data, and what came of it.

cycle.json is written anew after every round, from what lies in the directory; what it says of a
round hangs on nothing but that round's files, so a cycle that was killed ends with the same one.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import orjson

from karat.cycling.charts import charts
from karat.cycling.measures import Guard
from karat.cycling.students import Student
from karat.intervals import Interval
from karat.report.cells import money
from karat.report.pages import render
from karat.report.recommendation import plain
from karat.report.svg import STYLE
from karat.report.whiskers import scale, whisker
from karat.rundir import write_atomic

FEW = 50  # held-out prompts; a difference of 0.2 of its spread needs some 200 (80% power)
FILE, PAGE, CARD = "cycle.json", "cycle.html", "README.md"


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """A round; round 0 is the base, untrained. `reward` is the mean held-out score, `gain` the
    difference to the best round before, prompt by prompt. Costs in dollars, None where a price is
    unknown. `rows`: accepted by its run, of all rounds in its set, human among them."""

    number: int
    reward: Interval
    gain: Interval | None = None
    against: int | None = None
    helps: bool = False
    teacher: str = ""
    seed: int = 0
    recipe_hash: str = ""
    run: str = ""
    rows: dict[str, int] = {}
    human_share: float = 0.0
    student: Student | None = None
    answers: dict[str, float] = {}
    prompts: dict[str, float] = {}
    guard: Guard | None = None
    cost_usd: float | None = 0.0
    seconds: dict[str, float] = {}


class Cycle(msgspec.Struct, kw_only=True):
    """All rounds, the best of them, and why there are no more."""

    name: str
    recipe_hash: str
    base: str
    objective: str
    judge: str
    selected_by: list[str]
    held_out_prompts: int = 0
    held_out_sha: str = ""
    rounds: list[Round] = []
    best: int = 0
    stopped: str = ""

    @property
    def best_round(self) -> Round:
        return self.rounds[self.best]

    def write(self, folder: Path) -> None:
        """cycle.json, cycle.html and README.md. Raises: RunError."""
        tree = msgspec.to_builtins(self)
        write_atomic(folder / FILE, orjson.dumps(_finite(tree), option=orjson.OPT_INDENT_2))
        write_atomic(folder / PAGE, page(self).encode("utf-8", "replace"))
        write_atomic(folder / CARD, card(self).encode("utf-8", "replace"))


def page(found: Cycle) -> str:
    """The rounds as a page: the plot is the column of whiskers on one scale."""
    figures = [_plain(one.reward) for one in found.rounds]
    gains = [None if one.gain is None else _plain(one.gain) for one in found.rounds]
    known = [f for f in figures if f[0] is not None]
    low = min((end for f in known for end in f if end is not None), default=0.0)
    high = max((end for f in known for end in f if end is not None), default=1.0)
    over, across = scale(known, (low, high + 1e-9)), scale(gains, (-0.1, 0.1), 0.1)
    start = known[0][0] if known else 0.0
    lines = [
        {
            **cells(one),
            "reward_drawn": whisker(figure, over, start or 0.0) if figure[0] is not None else "",
            "gain_drawn": whisker(g, across) if g is not None and g[0] is not None else "",
            "best": one.number == found.best and one.number > 0,
            "called": _called(one),
            "links": _links(one),
        }
        for one, figure, g in zip(found.rounds, figures, gains, strict=True)
    ]
    points = [(_called(one), one.reward, one.helps) for one in found.rounds]
    said = "; ".join(f"{name}: {told(reward)}" for name, reward, _ in points)
    return render("cycle.html", {
        "found": found, "lines": lines, "verdict": verdict(found), "style": STYLE,
        "charts": charts(points, found.judge, f"Held-out reward. {said}."),
    })  # fmt: skip


def _called(one: Round) -> str:
    return f"round {one.number}" if one.number else "base"


def _links(one: Round) -> list[tuple[str, str]]:
    """(what, where) of a round's folders, beside the page."""
    found = [("answers", f"round-{one.number}/test/")]
    if one.student is not None:
        found = [("run", f"{one.run}/"), ("student", f"{one.student.folder}/"), *found]
    return found


def card(found: Cycle) -> str:
    """README.md of the directory."""
    best = found.best_round
    where = best.student.folder if best.student else f"the base itself ({found.base})"
    head = "| round | held-out reward | against the best before | rows | human | cost |"
    lines = [head, "|---|---|---|---|---|---|"]
    for one in found.rounds:
        cell = cells(one)
        lines.append(
            f"| {cell['round']} | {cell['reward']} | {cell['gain']} | {cell['rows']} "
            f"| {cell['human']} | {cell['cost']} |"
        )
    about = (
        f"Each round generates with the student before it (the first with the recipe's own "
        f"teacher), adds what is kept to what all rounds before kept, and trains {found.base} anew "
        f"on all of it ({found.objective}). The reward is that of `{found.judge}` on "
        f"{found.held_out_prompts:,} held-out prompts, with 95% intervals over prompts; it "
        f"selected nothing. Selected by: {', '.join(found.selected_by) or 'no reward'}. cycle.json "
        "has the lineage."
    )
    title = f"# A cycle of {found.name}"
    return "\n".join([title, "", verdict(found), "", f"Best: {where}", "", *lines, "", about, ""])


def verdict(found: Cycle) -> str:
    """How it ended, in a sentence or two."""
    if not found.rounds:
        return ""
    best = found.best_round
    said = (
        f"Round {best.number} is the best: {told(best.reward)}"
        if best.number
        else f"No round was shown to be better than the base: {told(best.reward)}"
    )
    tried = len(found.rounds) - 1
    many = (
        f" {tried} rounds were tried, each with one chance in forty to look better without being "
        "so."
        if best.number and tried > 1 else ""
    )  # fmt: skip
    few = (
        f" {found.held_out_prompts:,} held-out prompts are few: a gain of less than the interval's "
        "width cannot be seen; name more in --held-out."
        if found.held_out_prompts < FEW else ""
    )  # fmt: skip
    return f"{said}. {found.stopped}{many}{few}".strip()


def cells(one: Round) -> dict[str, str]:
    """A round's figures in words, for tables."""
    guard = one.guard
    collapse = (
        "" if guard is None else guard.says or ("none seen" if guard.figures else "too short")
    )
    gain = "" if one.gain is None else f"{told(one.gain, sign=True)} to round {one.against}"
    return {
        "round": "base" if one.number == 0 else str(one.number),
        "reward": told(one.reward),
        "gain": gain,
        "rows": "" if not one.rows else f"{one.rows['set']:,} ({one.rows['accepted']:,} new)",
        "human": "" if not one.rows else f"{one.human_share:.0%}",
        "prompts": _number(one.prompts.get("vendi_embedding")),
        "answers": _number(one.answers.get("vendi_embedding")),
        "self_bleu": _number(one.answers.get("self_bleu")),
        "collapse": collapse,
        "cost": money(one.cost_usd),
        "seconds": f"{sum(one.seconds.values()):,.0f} s",
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def told(one: Interval, *, sign: bool = False) -> str:
    """`+0.076 (−0.010 to 0.162)`."""
    if math.isnan(one.value):
        return "no score"
    plus = "+" if sign and one.value > 0 else ""
    return f"{plus}{plain(one.value, 3)} ({plain(one.low, 3)} to {plain(one.high, 3)})"


def _plain(one: Interval) -> tuple[float | None, float | None, float | None]:
    value, low, high = (x if math.isfinite(x) else None for x in (one.value, one.low, one.high))
    return value, low, high


def _finite(tree: Any) -> Any:
    """JSON has no infinity: an open end is null."""
    if isinstance(tree, float):
        return tree if math.isfinite(tree) else None
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    return [_finite(value) for value in tree] if isinstance(tree, list | tuple) else tree
