"""Facility location: rows that stand in for all others, each for those most like it.

The value of a choice is the sum over all rows of their cosine with the nearest kept row. It is
monotone and submodular, so choosing greedily reaches at least 1 - 1/e of the best possible value,
and a gain that is out of date bounds the true one: few are ever counted again, which makes
sampling candidates (stochastic greedy, Mirzasoleiman et al. 2015) needless here.

A row counts for its nearest neighbours only, as more distant ones add little that a nearer kept
row does not; the guarantee is for that sum. With as many neighbours as rows it is the whole one. On
5,000 texts the value reached with 32 to 64 neighbours is within 0.5% of that with all of them.

Source: Nemhauser, Wolsey and Fisher 1978; lazy evaluation: Minoux 1978; sparse neighbours: Wei,
Iyer and Bilmes 2014 (ICML), "Fast multi-stage submodular maximization".
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.curation.nearest import nearest
from karat.curation.selection import STEPS, Ints, Vectors

LEAST_NEIGHBOURS, MOST_NEIGHBOURS = 32, 64
SPARE = 2  # a kept row stands in for N / n others on average: so many times more are looked at
GATHERED = 64  # rows whose neighbours' vectors are in memory at once


def neighbours_for(rows: int, n: int) -> int:
    """How many neighbours of each row are enough to keep n of `rows`."""
    wanted = SPARE * -(-rows // max(n, 1))
    return max(0, min(rows - 1, MOST_NEIGHBOURS, max(LEAST_NEIGHBOURS, wanted)))


def facility_location(vectors: Vectors, n: int, neighbours: int | None = None) -> Ints:
    """The places of n rows in order of choice.

    Time is that of the exact nearest neighbours, N² · D multiplications: about 120 CPU seconds for
    100,000 × 256. Memory: some 30 bytes a row and neighbour, and 80 MB for blocks.
    """
    many = len(vectors)
    k = neighbours_for(many, n) if neighbours is None else min(neighbours, many - 1)
    return _choose(_reach(vectors, k), many, n)


class _Reach(NamedTuple):
    """The rows that each candidate stands in for: rows[starts[j] : starts[j + 1]], and how well, in
    parts of 1/10,000: whole numbers, so that a gain is exact."""

    starts: list[int]
    rows: NDArray[np.int32]
    worth: NDArray[np.int16]


def _reach(vectors: Vectors, k: int) -> _Reach:
    many = len(vectors)
    places_NK = _neighbours(vectors, k)
    worth_NK = np.zeros((many, k), np.int16)
    for start in range(0, many, GATHERED):
        near_BKD = vectors[places_NK[start : start + GATHERED]]
        mine_BD1 = vectors[start : start + GATHERED, :, None]
        cosine_BK = (near_BKD @ mine_BD1)[:, :, 0]
        worth_NK[start : start + GATHERED] = np.rint(cosine_BK.clip(0, 1) * STEPS)
    candidate = places_NK.ravel()
    order = np.argsort(candidate, kind="stable")
    starts = np.searchsorted(candidate[order], np.arange(many + 1))
    rows = (order // max(k, 1)).astype(np.int32)
    return _Reach(starts.tolist(), rows, worth_NK.ravel()[order])


def _neighbours(vectors: Vectors, k: int) -> NDArray[np.int32]:
    """places_NK: the k rows most like each, best first."""
    many = len(vectors)
    places_NK = np.zeros((many, k), np.int32)
    for first, found in nearest(vectors, k, np.arange(many + 1), np.arange(many)) if k else ():
        places_NK[first : first + len(found)] = found
    return places_NK


def _choose(reach: _Reach, many: int, n: int) -> Ints:
    """Lazy greedy. A candidate stands in for itself with worth 1."""
    covered_N = np.zeros(many, np.int16)
    bounds = np.concatenate([[0], np.cumsum(reach.worth, dtype=np.int64)])[reach.starts]
    heap = [(-gain, place) for place, gain in enumerate((STEPS + np.diff(bounds)).tolist())]
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < min(n, many):
        _, place = heap[0]
        start, end = reach.starts[place], reach.starts[place + 1]
        rows, worth = reach.rows[start:end], reach.worth[start:end]
        more = np.maximum(worth - covered_N[rows], 0)
        now = (-(int(more.sum(dtype=np.int64)) + STEPS - int(covered_N[place])), place)
        heapq.heapreplace(heap, now)
        if heap[0] == now:
            heapq.heappop(heap)
            covered_N[rows] += more
            covered_N[place] = STEPS
            chosen.append(place)
    return np.array(chosen, np.int64)
