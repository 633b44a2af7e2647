"""Two rewards on the same items: how far apart, and whether that could be chance.

Benchmarks are small, and two rewards mostly agree on what is easy. Only items that both scored
count, and only those on which they differ say anything.

Source: McNemar 1947 (Psychometrika 12, 153–157), the exact form; the paired bootstrap: see
karat.intervals.
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from karat.scoring.tallies import Floats, Tally


class Discordance(msgspec.Struct, frozen=True):
    """On how many items the first or the second alone is right, or righter; p by the exact sign
    test, which of pairs is McNemar's. It takes items as independent of each other."""

    first: int
    second: int
    p: float


def discordance(first_I: Floats, second_I: Floats) -> Discordance:
    """Of two rewards' credit on the same items; NaN where either has none."""
    gap_I = first_I - second_I
    better, worse = int((gap_I > 0).sum()), int((gap_I < 0).sum())
    return Discordance(better, worse, exact_sign_test(better, worse))


def exact_sign_test(better: int, worse: int) -> float:
    """Two-sided p of so many against so many, where both are equally likely."""
    n, least = better + worse, min(better, worse)
    if better == worse:
        return 1.0
    logs = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(log - n * math.log(2)) for log in logs))


def difference(first: Tally, second: Tally) -> Tally:
    """The first statistic less the second, both of the same prompts: a draw draws both."""
    split = first.sums.shape[1]

    def figure(sums: Floats) -> Floats:
        gap: Floats = first.figure(sums[..., :split]) - second.figure(sums[..., split:])
        return gap

    return Tally(np.concatenate([first.sums, second.sums], axis=1), figure)
