"""How far apart two data sets are on the prompts that both have, with paired intervals.

Prompts differ more than runs do, so a difference is taken prompt by prompt and whole prompts are
drawn. Beyond some thousands the prompts are put into blocks at random and blocks are drawn, which
says the same of a million prompts in a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.intervals import LEVEL, Interval, Resamples, prompts_needed
from karat.report.recommendation import about, decimals, plain, said
from karat.report.side import Floats, Side

BLOCKS = 2_000  # of prompts, where there are more
DRAWS = 4_000
LEAST = 3  # prompts of which anything is said


class Apart(msgspec.Struct, frozen=True):
    """One figure on the prompts that both sides have it for: both means and the second less the
    first. `needed` prompts would tell it from none; None where no number would."""

    name: str
    prompts: int
    a: float
    b: float
    apart: Interval
    needed: int | None

    @property
    def shown(self) -> bool:
        """Whether the interval leaves out that there is no difference."""
        return self.prompts >= LEAST and not self.apart.low <= 0 <= self.apart.high

    @property
    def said(self) -> str:
        """In words, for who must decide."""
        if self.prompts < LEAST:
            return f"too few to tell: only {self.prompts} prompts in common"
        digits = decimals(self.apart)
        if self.shown:
            more = "higher" if self.apart.value > 0 else "lower"
            size = self.apart if self.apart.value > 0 else _turned(self.apart)
            low, high = plain(size.low, digits), plain(size.high, digits)
            return f"B is {more} by {plain(size.value, digits)} ({low} to {high})"
        if self.apart.low == self.apart.high == 0:
            return "no difference: the same on every prompt"
        needed = ""
        if self.needed is not None and self.needed > self.prompts:
            needed = f"; about {about(self.needed):,} prompts in common would tell"
        return f"no clear difference: {said(self.apart, digits)}{needed}"


def _turned(one: Interval) -> Interval:
    return Interval(-one.value, -one.high, -one.low)


def apart(
    one: Side, other: Side, places: NDArray[np.int64], names: Sequence[str], seed: int = 0
) -> list[Apart]:
    """Of the figures `names`, on the matched rows at `places` (see report.differences.matched)."""
    drawn: dict[int, Resamples] = {}
    found = []
    for name in names:
        first_P = one.numbers[name][places[:, 0]]
        second_P = other.numbers[name][places[:, 1]]
        both = np.isfinite(first_P) & np.isfinite(second_P)
        first_P, second_P = first_P[both], second_P[both]
        count = len(first_P)
        if not count:
            continue
        gaps_P = second_P - first_P
        found.append(
            Apart(
                name, count, float(first_P.mean()), float(second_P.mean()),
                _interval(gaps_P, seed, drawn),
                prompts_needed(gaps_P, LEVEL) if count > 1 else None,
            )
        )  # fmt: skip
    return found


def _interval(gaps_P: Floats, seed: int, drawn: dict[int, Resamples]) -> Interval:
    """Of the mean of the gaps."""
    rows = min(len(gaps_P), BLOCKS)
    if rows not in drawn:
        drawn[rows] = Resamples(rows, seed, DRAWS)
    if rows == len(gaps_P):
        return drawn[rows].mean(gaps_P)
    block_P = np.random.default_rng(seed).permutation(len(gaps_P)) % BLOCKS
    sums: Floats = np.bincount(block_P, gaps_P, BLOCKS).astype(np.float64)
    return drawn[rows].ratio(sums, np.bincount(block_P, minlength=BLOCKS).astype(np.float64))
