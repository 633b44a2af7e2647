"""Paired bootstrap intervals: how far a figure could lie elsewhere on other prompts of the kind.

Prompts differ more than models do. So whole prompts are drawn, each with what every candidate did
on it, and two candidates are compared draw by draw: what a hard prompt takes from both cancels.
Every figure is a function of sums over prompts (a mean, a cost per accepted row, a ratio of two of
these), so one matrix of draws serves all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Figure = Callable[[Floats], Floats]  # sums_..K → one value each
Undefined = Literal["worst", "out"]  # what a draw on which a figure is NaN counts as

RESAMPLES = 10_000
LEVEL = 0.95
POWER = 0.8
CHUNK = 1_000  # resamples turned into floats at once
_NORMAL = NormalDist()


class Interval(msgspec.Struct, frozen=True):
    """A figure and where it lies with the level's confidence; an end that is open is infinite."""

    value: float
    low: float
    high: float


class Resamples:
    """Draws of `rows` prompts out of `rows`, with replacement; the same for every figure.

    draws_BP counts how often each prompt is in each draw: one byte each, 10 MB for 1,000 prompts.
    """

    def __init__(self, rows: int, seed: int, resamples: int = RESAMPLES) -> None:
        self.rows = rows
        random = np.random.default_rng(seed % 2**64)
        self._draws_BP = np.empty((resamples, rows), np.uint8)
        for start in range(0, resamples, CHUNK):
            part = self._draws_BP[start : start + CHUNK]
            count = len(part)
            drawn = random.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
            part[:] = np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows)

    def mean(self, values: Floats, level: float = LEVEL) -> Interval:
        """The interval of a mean over prompts."""
        return self.interval([values, np.ones(self.rows)], _quotient, level)

    def ratio(self, over: Floats, under: Floats, level: float = LEVEL) -> Interval:
        """The interval of Σover / Σunder, infinite where a draw has nothing under the line."""
        return self.interval([over, under], _quotient, level)

    def interval(
        self, columns: Sequence[Floats], figure: Figure, level: float = LEVEL,
        undefined: Undefined = "worst",
    ) -> Interval:  # fmt: skip
        """The BCa interval of a figure that depends on the columns' sums alone.

        A draw on which the figure is undefined (NaN) counts as the `worst`, as a cost per nothing
        should, or is left `out`, as the agreement of a constant grader should: the figure itself
        is then NaN where it is undefined, and with fewer than half the draws left the ends are
        open.

        The nominal level is widened for few rows, whose bootstrap spread is √((n−1)/n) too small
        and normal where it should be Student's t: at 20 prompts .93 would be covered, not .95.
        Source: Efron 1987 (JASA 82, 171–185); the widening: Hesterberg 2015 (The American
        Statistician 69, 371–386) §3.
        """
        columns_PK = np.stack(columns, axis=1).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            sums_K = columns_PK.sum(axis=0)
            value = float(_defined(figure(sums_K[None]), undefined)[0])
            if self.rows < 3 or math.isnan(value):
                return Interval(value, -math.inf, math.inf)
            drawn_B = _defined(figure(self._sums(columns_PK)), undefined)
            drawn_B = np.sort(drawn_B[~np.isnan(drawn_B)])
            if 2 * len(drawn_B) < len(self._draws_BP):
                return Interval(value, -math.inf, math.inf)
            without_P = figure(sums_K - columns_PK)
        tail = _NORMAL.cdf(-math.sqrt(self.rows / (self.rows - 1)) * _t(level, self.rows - 1))
        low, high = _bca(drawn_B, value, without_P, tail)
        # Of values that are equal but for rounding, the ends may miss the figure by as little.
        return Interval(value, min(low, value), max(high, value))

    def _sums(self, columns: Floats) -> Floats:
        parts = [
            self._draws_BP[start : start + CHUNK].astype(np.float64) @ columns
            for start in range(0, len(self._draws_BP), CHUNK)
        ]
        return np.concatenate(parts)


def _quotient(sums: Floats) -> Floats:
    found: Floats = sums[..., 0] / sums[..., 1]
    return found


def _defined(values: Floats, undefined: Undefined) -> Floats:
    """0/0 is a cost of nothing for nothing: it counts as the worst, like every x/0."""
    return np.where(np.isnan(values), np.inf, values) if undefined == "worst" else values


def _bca(drawn: Floats, value: float, without: Floats, tail: float) -> tuple[float, float]:
    """Both ends, from the sorted draws; `tail` is the share beyond each where nothing is skewed."""
    count = len(drawn)
    left, right = (
        np.searchsorted(drawn, value, "left"),
        np.searchsorted(drawn, value, "right"),
    )
    below = float(left + right) / (2 * count)  # draws that equal the figure count half
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / count), 1 - 0.5 / count))
    skew = _acceleration(without)
    ends = []
    for z in (_NORMAL.inv_cdf(tail), -_NORMAL.inv_cdf(tail)):
        shifted = bias + (bias + z) / max(1 - skew * (bias + z), 1e-3)
        place = math.floor(_NORMAL.cdf(shifted) * count)
        ends.append(float(drawn[min(max(place, 0), count - 1)]))
    return ends[0], ends[1]


def _acceleration(without: Floats) -> float:
    """How fast the spread changes with the figure: the jackknife values' skewness / 6."""
    if not np.isfinite(without).all():
        return 0.0
    gaps_P = without.mean() - without
    squares = float((gaps_P**2).sum())
    # Below this all values are equal but for rounding.
    if squares <= len(gaps_P) * (1e-12 * max(1e-300, float(np.abs(without).max()))) ** 2:
        return 0.0
    return float((gaps_P**3).sum()) / (6 * math.pow(squares, 1.5))


def _t(level: float, freedom: float) -> float:
    """The two-sided quantile of Student's t: within .01 of it from 4 degrees of freedom on.

    Source: Abramowitz and Stegun 26.7.5.
    """
    z = _NORMAL.inv_cdf((1 + level) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / math.pow(freedom, power) for power, term in enumerate(terms, 1))


def difference(
    these: tuple[int, float, float], those: tuple[int, float, float], level: float = LEVEL
) -> Interval | None:
    """The interval of the mean of `these` less that of `those`: two sets of other prompts, each as
    (how many, mean, unbiased variance). None where either has fewer than three.

    Source: Welch 1947 (Biometrika 34, 28–35), with his degrees of freedom.
    """
    if min(these[0], those[0]) < 3:
        return None
    errors = [variance / count for count, _, variance in (these, those)]
    gap, error = these[1] - those[1], sum(errors)
    if error <= 0:
        return Interval(gap, gap, gap)
    freedom = error**2 / sum(
        part**2 / (count - 1) for part, (count, _, _) in zip(errors, (these, those), strict=True)
    )
    half = _t(level, freedom) * math.sqrt(error)
    return Interval(gap, gap - half, gap + half)


def share(count: int, rows: int, level: float = LEVEL) -> Interval:
    """The interval of count / rows. Draws of rows that are all alike would say it is certain.

    Source: Wilson 1927 (JASA 22, 209–212).
    """
    z = _NORMAL.inv_cdf((1 + level) / 2)
    value, extra = count / rows, z * z / rows
    middle = (value + extra / 2) / (1 + extra)
    half = math.sqrt(value * (1 - value) * extra + extra * extra / 4) / (1 + extra)
    return Interval(value, max(0.0, min(middle - half, value)), min(1.0, max(middle + half, value)))


def prompts_needed(differences: Floats, level: float = LEVEL, power: float = POWER) -> int | None:
    """Prompts on which a paired difference of this mean and spread would be told from none.

    None where no number would do: the mean is 0. Source: the normal approximation, which gives
    196 for a mean of .2 standard deviations at 80% power.
    """
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if mean == 0 or not math.isfinite(spread):
        return None
    z = _NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(power)
    return max(2, math.ceil((z * spread / mean) ** 2 - 1e-9))
