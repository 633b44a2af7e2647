"""Sums of numbers, and of their squares, that come out the same however the numbers are cut up.

Numbers of a table are added part by part, on whatever machines the parts are. Sums of floats hang
on the order in the last bits, and a limit of mean + 1σ then keeps a row on one machine that it
drops on ten. Here each number is taken for what it is, an integer times a power of two, and the
integers are added: nothing is rounded before the end, and differences of large sums lose nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOWEST = 1073  # below the exponent of every float there is; 2 ** -LOWEST / 2 ** 53 is one unit
HALF = float(1 << 27)  # splits a float of 53 bits into two whose products are exact
AT_ONCE = 1 << 15  # values summed together; halves of up to 28 bits stay exact as floats to 1 << 25


class Exact:
    """Count, mean and spread of finite numbers, exact until they are asked for.

    Some 35 CPU ns a number; 600 bytes, and up to half a megabyte of numbers that wait.
    """

    def __init__(self) -> None:
        self.n = 0
        self._sum = self._squares = 0  # in units of 2 ** -(LOWEST + 53), and of its square
        self._waiting: list[Floats] = []
        self._waits = 0

    def take(self, values: Floats) -> None:
        """Takes in more numbers, all of them finite; nobody may write to them afterwards."""
        self.n += len(values)
        self._waiting.append(values)
        self._waits += len(values)
        if self._waits >= AT_ONCE:
            self._settle()

    def _settle(self) -> None:
        waiting = np.concatenate([np.zeros(0), *self._waiting])
        self._waiting, self._waits = [], 0
        for start in range(0, len(waiting), AT_ONCE):
            self._add(waiting[start : start + AT_ONCE])

    def _add(self, values: Floats) -> None:
        half, exponent = np.frexp(values)  # value = half · 2 ** exponent, half in ±[0.5, 1)
        first = int(exponent.min())
        place = exponent - first
        square, rest = _squared(half)
        first += LOWEST
        self._sum += _total(half * 2.0**53, place, 1) << first
        found = _total(square * 2.0**54, place, 2) << 52
        found += _total(rest * 2.0**106, place, 2)
        self._squares += found << 2 * first

    def merge(self, other: Exact) -> None:
        """Takes in the numbers of another."""
        n, total, squares = other._figures()
        self.n += n
        self._sum += total
        self._squares += squares

    @property
    def total(self) -> float:
        """The sum, rounded once."""
        return _quotient(self._figures()[1], 1 << (LOWEST + 53))

    @property
    def mean(self) -> float:
        n, total, _ = self._figures()
        return _quotient(total, n << (LOWEST + 53)) if n else 0.0

    @property
    def m2(self) -> float:
        """The sum of squared deviations from the mean; infinite where no float holds it."""
        return self._about(self.n)

    @property
    def sigma(self) -> float:
        """The standard deviation of exactly these numbers."""
        return math.sqrt(self._about(self.n * self.n))

    def _about(self, below: int) -> float:
        n, total, squares = self._figures()
        return _quotient(n * squares - total * total, below << 2 * (LOWEST + 53)) if below else 0.0

    def _figures(self) -> tuple[int, int, int]:
        if self._waits:
            self._settle()
        return self.n, self._sum, self._squares

    def __getstate__(self) -> tuple[int, int, int]:
        return self._figures()

    def __setstate__(self, state: tuple[int, int, int]) -> None:
        self.n, self._sum, self._squares = state
        self._waiting, self._waits = [], 0


def _squared(half: Floats) -> tuple[Floats, Floats]:
    """(p, e) with p + e = half² exactly, for numbers of ±[0.5, 1) and 0.

    Source: Veltkamp's splitting and Dekker's product (Dekker 1971, Numerische Mathematik 18, 224).
    """
    scaled = half * (HALF + 1)
    high = scaled - (scaled - half)
    low = half - high
    square = half * half
    return square, ((high * high - square) + 2 * high * low) + low * low


def _total(whole: Floats, place: NDArray[np.intc], step: int) -> int:
    """Σ whole · 2 ** (step · place) of integers of up to 54 bits."""
    high = np.floor(whole / HALF)
    sums = zip(np.bincount(place, high), np.bincount(place, whole - high * HALF), strict=True)
    return sum(
        ((int(upper) << 27) + int(lower)) << step * at
        for at, (upper, lower) in enumerate(sums)
        if upper or lower
    )


def _quotient(above: int, below: int) -> float:
    try:
        return above / below
    except OverflowError:
        return math.inf if above > 0 else -math.inf
