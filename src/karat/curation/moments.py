"""Count, mean and spread of numbers that come in parts, without keeping them.

Merging deviations stays exact where a sum of squares would cancel: rewards on a scale of thousands
that differ by hundredths do occur.
"""

from __future__ import annotations

import math


class Moments:
    """Count, mean and sum of squared deviations.

    Source: Chan, Golub and LeVeque 1979, whose formula runs backwards as well.
    """

    def __init__(self, n: int = 0, mean: float = 0.0, m2: float = 0.0) -> None:
        self.n, self.mean, self.m2 = n, mean, m2

    def merge(self, n: int, mean: float, m2: float) -> None:
        """Takes in `n` > 0 more numbers of this mean and sum of squared deviations."""
        gap, before = mean - self.mean, self.n
        self.n += n
        self.mean += gap * n / self.n
        self.m2 += m2 + gap * gap * before * n / self.n

    def add(self, value: float) -> None:
        """Takes in one more number."""
        self.merge(1, value, 0.0)

    def without(self, part: Moments) -> Moments:
        """What is left when a part of the numbers is taken out again."""
        n = self.n - part.n
        if n <= 0:
            return Moments()
        mean = (self.n * self.mean - part.n * part.mean) / n
        gap = part.mean - mean
        return Moments(n, mean, max(0.0, self.m2 - part.m2 - gap * gap * n * part.n / self.n))

    @property
    def sigma(self) -> float:
        """The standard deviation of exactly these numbers."""
        return math.sqrt(self.m2 / self.n) if self.n else 0.0

    @property
    def sample(self) -> tuple[int, float, float]:
        """(count, mean, unbiased variance), as intervals.difference takes it."""
        return self.n, self.mean, self.m2 / (self.n - 1) if self.n > 1 else 0.0
