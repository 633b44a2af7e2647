"""NovelSelect: each row kept is the one most novel beside those kept before.

The novelty of x is σ(x)^β Σ d_r / r: its distances d_r = 1 - cosine to the chosen, the nearest
counting most, times how dense the pool is around it. Density keeps the method from gathering
outliers, as farthest-first does; in a pool that leans to one kind of text it keeps more of that
kind, and β = 0 is the better choice.

Three things differ from the authors' file. The density of a row is taken from a sample of the pool:
its scale cancels. Beyond the 64 nearest chosen rows, distances enter by their mean, with the sum of
their weights; up to 64 chosen the sum is exact. And σ is the candidate's own, as in the measure;
novelselect.py adds that of the chosen row, novelsum.py does not.

Source: Yang et al. 2025 (2502.17184), section 6; UmeanNever/NovelSum, novelsum.py and
novelselect.py: 10 neighbours, density power β = 0.5, distance power 1.
"""

from __future__ import annotations

import numpy as np

from karat.curation.frontier import greedy
from karat.curation.selection import Floats, Ints, Vectors, similarities

NEAREST = 64  # chosen rows whose distances count one by one
NEIGHBOURS = 10
POWER = 0.5
REFERENCES = 10_000  # rows of the pool that tell its density
LEAST_DISTANCE = 0.01  # of a row with copies, whose density would be without bound
ROWS = 1_024
FARTHEST = 2.0


def novelselect(vectors: Vectors, n: int, first: int, power: float = POWER) -> Ints:
    """The places of n rows in order of choice, beginning with `first`.

    `power` is β; 0 leaves density out. Memory: 300 bytes a row, and some 150 MB for blocks.
    """
    return greedy(vectors, n, first, _Novelty(density(vectors) ** power))


def density(vectors: Vectors, rows: Ints | None = None) -> Floats:
    """σ of `rows`, of all without it: 1 over the mean distance to the 10 nearest of up to 10,000 of
    the vectors, itself left out."""
    many = len(vectors)
    asked = np.arange(many) if rows is None else rows
    places = np.arange(many)
    if many > REFERENCES:
        places = np.sort(np.random.default_rng(0).permutation(many)[:REFERENCES])
    k = min(NEIGHBOURS, many - 1)
    if k < 1:
        return np.ones(len(asked))
    near_N = np.empty(len(asked))
    for start in range(0, len(asked), ROWS):
        some = asked[start : start + ROWS]
        similarity_BR = similarities(vectors[some], vectors[places])
        at = np.minimum(np.searchsorted(places, some), len(places) - 1)
        own = np.flatnonzero(places[at] == some)
        similarity_BR[own, at[own]] = -np.inf
        nearest_BK = np.partition(similarity_BR, -k, axis=1)[:, -k:]
        near_N[start : start + ROWS] = np.sort(nearest_BK, axis=1).mean(axis=1, dtype=np.float64)
    found: Floats = 1 / np.maximum(1 - near_N, LEAST_DISTANCE)
    return found


class _Novelty:
    """nearest_NT: the distances to the nearest chosen rows, rising; total_N: to all of them."""

    def __init__(self, weight_N: Floats) -> None:
        self._weight_N, self._most = weight_N, float(weight_N.max(initial=0))
        self.score_N = np.zeros(len(weight_N))
        self._nearest_NT = np.full((len(weight_N), NEAREST), np.inf, np.float32)
        self._total_N = np.zeros(len(weight_N))
        self._shares_T = 1 / np.arange(1, NEAREST + 1)
        self._harmonic = np.zeros(1)

    def update(self, places: Ints, similarity_BC: Vectors, before: int) -> None:
        distance_BC = 1 - similarity_BC
        self._total_N[places] += distance_BC.sum(axis=1, dtype=np.float64)
        closer = distance_BC.min(axis=1) < self._nearest_NT[places, -1]
        changed = places[closer]
        both = np.concatenate([self._nearest_NT[changed], distance_BC[closer]], axis=1)
        if similarity_BC.shape[1] > NEAREST:
            both = np.partition(both, NEAREST, axis=1)[:, :NEAREST]
        self._nearest_NT[changed] = np.sort(both, axis=1)[:, :NEAREST]
        self.score_N[places] = self._scores(places, before + similarity_BC.shape[1])

    def growth(self, before: int, after: int) -> float:
        """One more chosen row adds at most its distance times the weight of a last place."""
        last = np.arange(max(before, 1), after) + 1
        harmonic = self._harmonics(after)
        rest = last > NEAREST
        weight = 1 / last
        weight[rest] = (harmonic[last[rest]] - harmonic[NEAREST]) / (last[rest] - NEAREST)
        return self._most * FARTHEST * float(weight.sum())

    def _scores(self, places: Ints, count: int) -> Floats:
        """Of candidates that know `count` chosen rows."""
        known = min(count, NEAREST)
        head_BT = self._nearest_NT[places, :known].astype(np.float64)
        novelty_B = head_BT @ self._shares_T[:known]
        if count > NEAREST:
            harmonic = self._harmonics(count)
            rest_B = (self._total_N[places] - head_BT.sum(axis=1)) / (count - NEAREST)
            novelty_B += rest_B * (harmonic[count] - harmonic[NEAREST])
        scores: Floats = np.rint(novelty_B * self._weight_N[places] * 1e8) / 1e8
        return scores

    def _harmonics(self, count: int) -> Floats:
        """harmonic[m] = 1 + 1/2 + … + 1/m, at least up to `count`."""
        if len(self._harmonic) <= count:
            terms = 1 / np.arange(1, max(2 * count, 1024) + 1)
            self._harmonic = np.concatenate([[0.0], np.cumsum(terms)])
        return self._harmonic
