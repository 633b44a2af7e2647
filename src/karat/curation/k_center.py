"""k-center: rows such that none is far from a kept one; each is the row farthest from those so far.

It keeps the odd rows, good and bad: what is far from everything may be a rare task or a spoilt
text. Clean first.

Source: farthest-first traversal, Gonzalez 1985 (Theoretical Computer Science 38, 293–306): the
largest distance is at most twice the least possible. That holds for the distance between the ends
of two vectors, √(2 - 2 cos), which orders rows as the cosine does. In active learning: Sener and
Savarese 2018 (1708.00489).
"""

from __future__ import annotations

import numpy as np

from karat.curation.frontier import greedy
from karat.curation.selection import Ints, Vectors


def k_center(vectors: Vectors, n: int, first: int) -> Ints:
    """The places of n rows in order of choice, beginning with `first`."""
    return greedy(vectors, n, first, _Distances(len(vectors)))


class _Distances:
    """A candidate's score: 1 - cosine to the nearest chosen row. It only ever falls."""

    def __init__(self, many: int) -> None:
        self.score_N = np.full(many, np.inf)

    def update(self, places: Ints, similarity_BC: Vectors, before: int) -> None:
        distance_B = 1 - similarity_BC.max(axis=1).astype(np.float64)
        self.score_N[places] = np.minimum(self.score_N[places], distance_B)

    def growth(self, before: int, after: int) -> float:
        return 0.0
