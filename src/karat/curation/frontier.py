"""Greedy choice over many candidates of which only a few can be next.

A greedy step asks for the best of all N candidates, and what was chosen changes every candidate's
score: N × D multiplications a step. But a score that is out of date still bounds the true one, so
only the `HOT` best are kept up to date, and the others are brought up to date together, by one
matrix product, when one of them might be the best. The choice is that of the plain greedy method.

Source: lazy evaluation, Minoux 1978; the bound need not come from submodularity.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from karat.curation.selection import Floats, Ints, Vectors, similarities

HOT = 2_048
ROWS = 8_192  # brought up to date at once


class Gains(Protocol):
    """What a candidate would add to the chosen."""

    score_N: Floats

    def update(self, places: Ints, similarity_BC: Vectors, before: int) -> None:
        """Takes the next C chosen into the scores of these B candidates, which know `before`."""

    def growth(self, before: int, after: int) -> float:
        """The most by which any score can rise while the chosen grow from `before` to `after`."""


def greedy(vectors: Vectors, n: int, first: int, gains: Gains) -> Ints:
    """The places of n rows in order of choice: `first`, then each time the highest score.

    Memory: 2 MB and what `gains` holds.
    """
    many = len(vectors)
    chosen = np.full(min(n, many), first, np.int64)
    left = np.ones(many, np.bool_)
    left[first] = False
    hot, near, known, ceiling = np.zeros(0, np.int64), vectors[:0], 0, np.inf
    for count in range(1, len(chosen)):
        best = _best(gains.score_N, hot, left)
        if best < 0 or gains.score_N[best] <= ceiling + gains.growth(known, count):
            cold = left.copy()
            cold[hot] = False
            _refresh(vectors, np.flatnonzero(cold), chosen[known:count], gains, known)
            hot, ceiling = _hottest(gains.score_N, np.flatnonzero(left))
            near, known = vectors[hot], count
            best = _best(gains.score_N, hot, left)
        chosen[count] = best
        left[best] = False
        gains.update(hot, similarities(near, vectors[best : best + 1]), count)
    return chosen


def _best(score_N: Floats, hot: Ints, left: NDArray[np.bool_]) -> int:
    """The first of the highest among the hot candidates that are left; -1 where none is."""
    open_H = left[hot]
    if not open_H.any():
        return -1
    return int(hot[np.where(open_H, score_N[hot], -np.inf).argmax()])


def _refresh(vectors: Vectors, places: Ints, new: Ints, gains: Gains, before: int) -> None:
    for start in range(0, len(places), ROWS):
        some = places[start : start + ROWS]
        gains.update(some, similarities(vectors[some], vectors[new]), before)


def _hottest(score_N: Floats, left: Ints) -> tuple[Ints, float]:
    """The best candidates in order of place, and the highest score among the others."""
    if len(left) <= HOT:
        return left, -np.inf
    best = left[np.argsort(-score_N[left], kind="stable")]
    return np.sort(best[:HOT]), float(score_N[best[HOT]])
