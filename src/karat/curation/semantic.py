"""Duplicates in meaning: texts whose embeddings are nearer than any two of their kind by chance.

One cosine for all texts merges whole subjects: two sums for school children are as alike as two
wordings of one request elsewhere. So the threshold is of each cluster: at least the one asked for,
and above what its texts reach by chance, m + s·√(2·ln p) for p pairs whose similarities have median
m and robust deviation s, which is where the highest of p normal draws lies.

Source: deduplication within clusters, Abbas et al. 2023 (SemDeDup, 2303.09540) §3, which has one
threshold; the highest of p draws: Leadbetter, Lindgren and Rootzén 1983, theorem 1.5.3.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.embedding import DIMENSIONS, embed
from karat.curation.groups import Groups, Repeats, leave
from karat.curation.near_vectors import Lists, pairs_above
from karat.curation.spool import Spool

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

THRESHOLD = 0.9
HIGHEST = 0.99  # of a cluster's threshold: what is nearer is the same wherever it is
DRAWN = 2_000  # pairs of a cluster that say how alike its texts are by chance
DEVIATION = 1.4826  # of a normal distribution, in median absolute deviations
FEWEST = 8  # texts from which a cluster has a threshold of its own


class SemanticDuplicates:
    """Collects texts batch by batch, then says which repeat which: the same answer every time.

    Memory is 1 KB a text, in memory or in a spool.
    """

    def __init__(self, threshold: float = THRESHOLD, spool: Spool | None = None) -> None:
        self.threshold = threshold
        self._vector = (spool or Spool()).column("vector", np.float32, DIMENSIONS)

    def add(self, texts: pa.Array) -> None:
        """Takes the next texts in."""
        self._vector.extend(embed(texts.to_pylist()))

    def resolve(self, rank: Floats | None = None) -> Repeats:
        """Which texts repeat which. Of similar texts the one with the lowest rank stays.

        Texts without a known word repeat nothing.
        """
        vectors = np.ascontiguousarray(self._vector.values)
        count = len(vectors)
        order = np.arange(count) if rank is None else np.argsort(rank, kind="stable")
        place = np.empty(count, np.int64)
        place[order] = np.arange(count)
        if not count:
            return Repeats(np.zeros(0, np.int64), np.zeros(0))
        lists = Lists(vectors)
        pairs = _Vectors(vectors, thresholds(vectors, lists, self.threshold)[lists.label])
        groups = Groups(count)
        for left, right, _ in pairs_above(vectors, pairs.least.astype(np.float32), lists):
            groups.join(left, right)
        return leave(groups.root, place, pairs)


def thresholds(vectors: NDArray[np.float32], lists: Lists, least: float) -> Floats:
    """least_L: the cosine from which two texts of each list are duplicates."""
    found = np.full(len(lists), least)
    rng = np.random.default_rng(0)
    for number in range(len(lists)):
        mine = lists.of(number)
        if len(mine) < FEWEST:
            continue
        one, two = rng.integers(0, len(mine), (2, DRAWN))
        one, two = mine[one[one != two]], mine[two[one != two]]
        cosine = np.einsum("md,md->m", vectors[one], vectors[two])
        middle = float(np.median(cosine))
        spread = DEVIATION * float(np.median(np.abs(cosine - middle)))
        pairs = len(mine) * (len(mine) - 1) / 2
        found[number] = max(least, min(HIGHEST, middle + spread * np.sqrt(2 * np.log(pairs))))
    return found


class _Vectors:
    """Compares vectors of length 1, each with the threshold of its own cluster."""

    def __init__(self, vectors: NDArray[np.float32], least: Floats) -> None:
        self._vectors, self.least = vectors, least

    def compare(self, left: Ints, right: Ints) -> tuple[NDArray[np.bool_], Floats]:
        """(near, cosine) of pairs of texts; the stricter of their thresholds counts."""
        cosine = np.einsum("md,md->m", self._vectors[left], self._vectors[right])
        return cosine >= np.maximum(self.least[left], self.least[right]), cosine.astype(np.float64)
