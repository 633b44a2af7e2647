"""select: of many rows, keep some: the good ones, the different ones, or both.

Whether choosing pays is an open question, so nothing is chosen without its controls: beside the
method's own figures the report has those of random choices and of the longest rows. At the scale
of a million rows most selectors that score rows by themselves do no better than chance (2410.09335,
2503.01807), and the longest 1,000 are hard to beat (2402.04833); below some ten thousand rows DEITA
and NovelSum report gains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from karat.columns import Decision, Table
from karat.context import Context
from karat.curation.arms import Pool, against_random
from karat.curation.facility_location import facility_location
from karat.curation.k_center import k_center
from karat.curation.novelselect import POWER, novelselect
from karat.curation.repr_filter import repr_filter
from karat.curation.selection import Floats, Ints, drawn, highest, nearest_chosen, quotas
from karat.step import Positive, ScoreKey, step
from karat.steps._by_part import by_part
from karat.steps._ranking import refuse_absolute
from karat.steps._selecting import On, Rows, read_rows

Part = Annotated[float, msgspec.Meta(gt=0, le=1)]
Method = Literal[
    "random", "longest", "quality", "deita", "facility_location", "k_center", "novelsum"
]
BY_SCORE = ("quality", "deita")
BY_VECTOR = ("deita", "facility_location", "k_center", "novelsum")
Choice = tuple[Ints, dict[int, str]]  # the places chosen; why others were left out


@step
def select(
    table: Table,
    ctx: Context,
    *,
    n: Positive | None = None,
    share: Part | None = None,
    method: Method = "facility_location",
    by: ScoreKey | None = None,
    complexity: ScoreKey | None = None,
    top_share: Part | None = None,
    per: list[str] = [],  # noqa: B006  (read from a recipe, never written to)
    on: On = "prompt",
    most_similar: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.9,
    density: Annotated[float, msgspec.Meta(ge=0, le=1)] = POWER,
) -> Decision:
    """Keeps `n` rows, or a `share` of them; with `per` as large a part of every stratum, which is
    rows alike in these fields of `meta`.

    `random`; `longest`, by characters of the response; `quality`, the best by the score `by`;
    `deita`, the best by `by` (times `complexity`, where one is named) that are at most
    `most_similar` to a better one, fewer than n where no more are; `facility_location`, rows that
    stand in for all others; `k_center`, rows that none is far from; `novelsum`, each as novel as
    can be beside those before, times how dense the rows are around it to the power `density`. The
    last three choose by variety alone: `top_share: 0.5` lets only the better half by `by` in each
    stratum take part.

    A row's score is that of its best response. What is compared is the last turn of the prompt, the
    first kept response, or the whole conversation, by static embeddings: what texts are about,
    hardly how they are put. Where rows tie, the first in the file stays; what is random hangs on
    the run's seed and the row's id.

    At the scale of a million rows most methods that score rows by themselves do no better than
    chance, so the notes have figures of what `random`, `longest` and the method keep, all three of
    the rows that can take part; `between` is where 95% of random choices lie. Memory is 2 KB a row
    and 8 bytes a word; CPU seconds are in benchmarks/curation_select.py. Source: those of
    karat.curation.arms and of each method's module.
    """
    refuse_absolute(ctx, absolute_uses(by=by, complexity=complexity))
    keys = [key for key in (by, complexity) if key is not None]
    rows = read_rows(table, on, keys, per)
    rows.strata.warn(ctx)
    left_out = _ineligible(rows, method, top_share, by)
    pool = np.delete(np.arange(len(rows.ids)), list(left_out))
    wanted = n if share is None else ceil(share * len(rows.ids) - 1e-9)
    count = min(wanted or 0, len(pool))
    _warn(ctx, len(rows.ids), len(pool), wanted or 0)
    seed = ctx.seed()
    chooser = _Chooser(rows, pool, count, seed, most_similar, density)
    chosen, reasons = chooser.choose(method)
    notes: dict[str, Any] = {"method": method, "rows": len(rows.ids), "kept": len(chosen)}
    if method == "deita" and len(chosen) < count:
        ctx.warn(
            f"deita found {len(chosen):,} rows that differ enough where {count:,} were wanted; "
            f"raise most_similar above {most_similar:g} for more"
        )
    if len(chosen) and len(chosen) < len(pool):
        measured = rows.score_N if np.isfinite(rows.score_N).any() else None
        notes |= _arms(ctx, rows, pool, measured, chooser, method, chosen)
    if per:
        notes["strata"] = _strata(rows, chosen)
    dropped = rows.by_part(left_out | reasons)
    return Decision(each=by_part([Decision(drop=drop) for drop in dropped]), notes=notes)


@select.rule
def _rule(
    *, n: int | None, share: float | None, method: str, by: str | None, complexity: str | None,
    top_share: float | None, **_: Any,
) -> str | None:  # fmt: skip
    if (n is None) == (share is None):
        return "needs either n, the rows to keep, or share, for example share: 0.5"
    if by is None:
        for name, value in (("complexity", complexity), ("top_share", top_share)):
            if value is not None:
                return f"{name} needs by, the score of quality, for example by: helpsteer2.reward"
        if method in BY_SCORE:
            return f"method: {method} needs by, the score to rank by, for example helpsteer2.reward"
    return None


@select.absolute
def absolute_uses(*, by: str | None, complexity: str | None, **_: Any) -> list[tuple[str, str]]:
    """(parameter, score) of every use that compares a score across prompts."""
    uses = {"by": by, "complexity": complexity}
    return [(name, key) for name, key in uses.items() if key is not None]


class _Chooser:
    """Chooses `count` of the rows at the places `pool`, stratum by stratum."""

    def __init__(
        self, rows: Rows, pool: Ints, count: int, seed: int, most: float, density: float
    ) -> None:
        self._rows, self._seed, self._most, self._density = rows, seed, most, density
        code = rows.code_N[pool]
        sizes_S = np.bincount(code, minlength=len(rows.strata.names))
        self._parts = [pool[code == s] for s in range(len(sizes_S))]
        self._quotas: list[int] = quotas(sizes_S, count).tolist()

    def choose(self, method: str) -> Choice:
        """What a method keeps, in file order, and why it leaves each other row of the pool out."""
        chosen, reasons = [np.zeros(0, np.int64)], dict[int, str]()
        for part, quota in zip(self._parts, self._quotas, strict=True):
            order = self._order(method, part, quota)
            kept = part[order[:quota]]
            if method == "deita":
                kept, near = self._filtered(part[order], quota)
                reasons |= near
            chosen.append(kept)
            if method in BY_VECTOR and method != "deita":
                reasons |= self._stand_ins(part, kept)
            else:
                reasons |= _ranked(part[order], kept, reasons)
        return np.sort(np.concatenate(chosen)), reasons

    def draw(self, number: int) -> Ints:
        """A random choice; number 0 is that of the method `random`."""
        return self._first(lambda part: self._drawn(part, self._seed + number))

    def longest(self) -> Ints:
        """What the method `longest` keeps."""
        return self._first(lambda part: highest(self._rows.length_N[part]))

    def _first(self, order: Callable[[Ints], Ints]) -> Ints:
        parts = zip(self._parts, self._quotas, strict=True)
        kept = [part[order(part)[:quota]] for part, quota in parts]
        return np.concatenate([np.zeros(0, np.int64), *kept])

    def _drawn(self, part: Ints, seed: int) -> Ints:
        return drawn([self._rows.ids[place] for place in part], seed)

    def _order(self, method: str, part: Ints, quota: int) -> Ints:
        """Positions in `part`, those to keep first."""
        if method in BY_SCORE:
            return highest(self._rows.score_N[part])
        if method == "longest":
            return highest(self._rows.length_N[part])
        order = self._drawn(part, self._seed)
        if method == "random" or not quota:
            return order
        vectors = self._rows.vectors[part]
        if method == "facility_location":
            return facility_location(vectors, quota)
        if method == "k_center":
            return k_center(vectors, quota, int(order[0]))
        return novelselect(vectors, quota, int(order[0]), self._density)

    def _filtered(self, order: Ints, quota: int) -> Choice:
        found = repr_filter(self._rows.vectors, order, quota, self._most)
        ids = self._rows.ids
        to = zip(found.to.places.tolist(), found.to.similarity.tolist(), strict=True)
        near = zip(found.near.tolist(), to, strict=True)
        return found.chosen, {
            row: f"too similar (to {ids[other]}, {similarity:.2f})"
            for row, (other, similarity) in near
        }

    def _stand_ins(self, part: Ints, kept: Ints) -> dict[int, str]:
        """Of each row left out, the kept row that is most like it."""
        others = np.setdiff1d(part, kept)
        near = nearest_chosen(self._rows.vectors, kept, others)
        found = zip(others.tolist(), near.places.tolist(), near.similarity.tolist(), strict=True)
        return {
            row: f"not selected (nearest kept: {self._rows.ids[place]}, {similarity:.2f})"
            if place >= 0 else "not selected (no place for its stratum)"
            for row, place, similarity in found
        }  # fmt: skip


def _ranked(order: Ints, kept: Ints, known: Mapping[int, str]) -> dict[int, str]:
    """Ranks of the rows left out, from 1, where they have no other reason."""
    stay = set(kept.tolist())
    return {
        row: f"not selected (rank {rank} of {len(order)})"
        for rank, row in enumerate(order.tolist(), 1)
        if row not in stay and row not in known
    }


def _ineligible(rows: Rows, method: str, top_share: float | None, by: str | None) -> dict[int, str]:
    """Rows that take no part, and why."""
    left_out: dict[int, str] = {}
    score_N = rows.score_N
    if method in BY_SCORE or top_share is not None:
        for place in np.flatnonzero(np.isnan(score_N)).tolist():
            left_out[place] = f"not graded (by {by})"
    if method in BY_VECTOR:
        for place in np.flatnonzero(~rows.vectors.any(axis=1)).tolist():
            left_out.setdefault(place, "no words to compare")
    if top_share is not None:
        for code in range(len(rows.strata.names)):
            part = np.flatnonzero((rows.code_N == code) & ~np.isnan(score_N))
            stay = ceil(top_share * len(part) - 1e-9)
            for place in part[highest(score_N[part])][stay:].tolist():
                left_out.setdefault(place, f"below the top share ({score_N[place]:.2f})")
    return left_out


def _arms(
    ctx: Context, rows: Rows, pool: Ints, score_N: Floats | None, chooser: _Chooser, method: str,
    chosen: Ints,
) -> dict[str, Any]:  # fmt: skip
    """What the method keeps beside what `random` and `longest` would."""
    measures = Pool(rows.vectors, rows.bigrams, rows.length_N, score_N, pool)
    random, between = measures.random(chooser.draw)
    arms = {"random": random, "longest": measures.figures(chooser.longest())}
    if method not in arms:
        arms[method] = measures.figures(chosen)
    against = {
        name: against_random(figures, between) for name, figures in arms.items() if name != "random"
    }
    if "above" not in against.get(method, {"": "above"}).values():
        ctx.warn(
            f"{method} keeps rows no better and no more varied, by any measure here, than a random "
            "choice of as many: method: random does as well, and is not biased"
        )
    return {"arms": arms, "between": between, "against_random": against}


def _strata(rows: Rows, chosen: Ints) -> dict[str, Any]:
    kept_N = np.zeros(len(rows.ids), np.bool_)
    kept_N[chosen] = True
    return rows.strata.shares(rows.strata.counts(rows.code_N, kept_N), None)


def _warn(ctx: Context, rows: int, pool: int, wanted: int) -> None:
    if wanted > pool:
        fewer = "" if pool == rows else f", {rows - pool:,} more cannot be compared or ranked"
        ctx.warn(f"{wanted:,} rows were wanted and there are {pool:,}{fewer}: all of them stay")
