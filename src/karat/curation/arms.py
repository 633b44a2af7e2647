"""What a choice of rows is worth, beside what random choices of as many rows are.

At the scale of a million rows most selectors that score rows by themselves do no better than chance
(2410.09335, 2503.01807), and "the 1,000 longest" is hard to beat (2402.04833). So every choice is
measured next to these two. A random choice is drawn many times over: its figures have a spread, and
a method has only done something where it lies outside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from karat.curation.novelselect import POWER, density
from karat.curation.selection import Floats, Ints, Vectors, nearest_chosen
from karat.curation.shingles import LEFT, RIGHT, Words, mix
from karat.curation.spread import novelties, vendi_score

DRAWS = 20
T = 2.093  # Student's t at 97.5%, of DRAWS - 1 degrees of freedom
COMPARED = 1_000  # of the chosen rows, for the measures that compare each with each
REPRESENTED = 2_000  # rows of the pool that the chosen ones are to stand in for

Figures = dict[str, float]


class Bigrams:
    """Pairs of neighbouring words of each text, as hashes: 4 bytes a word."""

    def __init__(self) -> None:
        self._hashes: list[NDArray[np.uint32]] = [np.zeros(0, np.uint32)]
        self._sizes: list[Ints] = [np.zeros(0, np.int64)]

    def add(self, found: Words) -> None:
        """Takes the words of the next texts in."""
        owner = found.owners()
        same = owner[1:] == owner[:-1]
        pairs = mix(found.hashes[:-1] * LEFT ^ found.hashes[1:] * RIGHT)[same]
        self._hashes.append((pairs >> np.uint64(32)).astype(np.uint32))
        self._sizes.append(np.bincount(owner[:-1][same], minlength=len(found.offsets) - 1))

    def merge(self, later: Bigrams) -> None:
        """Takes in another one's texts, which follow."""
        self._hashes += later._hashes
        self._sizes += later._sizes

    def distinct(self, places: Ints) -> float:
        """Different pairs over all pairs of these texts; 0 where there are none.

        Source: distinct-2, Li et al. 2016 (1510.03055).
        """
        self._hashes = [np.concatenate(self._hashes)]
        self._sizes = [np.concatenate(self._sizes)]
        ends = np.cumsum(self._sizes[0])
        size = self._sizes[0][places]
        start = ends[places] - size
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        found = self._hashes[0][np.repeat(start, size) + within]
        return len(np.unique(found)) / len(found) if len(found) else 0.0


class Pool:
    """The rows that could be chosen: what they are measured by.

    score_N may be None, or hold NaN where a row has no score; length_N is in characters; `eligible`
    are places. Places are those of the whole table.
    """

    def __init__(
        self, vectors: Vectors, bigrams: Bigrams, length_N: Floats, score_N: Floats | None,
        eligible: Ints,
    ) -> None:  # fmt: skip
        self._vectors, self._bigrams = vectors, bigrams
        self._length_N, self._score_N = length_N, score_N
        known = eligible[vectors[eligible].any(axis=1)]
        self._represented = _some(known, REPRESENTED)
        self._weight_N = np.full(len(vectors), np.nan)
        self._usual = float(self._weights(self._represented).mean()) if len(known) else 1.0

    def figures(self, chosen: Ints) -> Figures:
        """Of at least one row. quality: mean score, where one has any; length: mean characters;
        then, higher for more variety: vendi,
        distinct_2, novelsum and novelsum_density, which is that of the paper, novelty times the
        root of the pool's density (of up to 1,000 of the chosen), and facility_location, the mean
        cosine of rows of the pool with the nearest chosen row (of up to 2,000 rows)."""
        compared = _some(chosen, COMPARED)
        known = chosen[self._vectors[chosen].any(axis=1)]
        found: Figures = {}
        if self._score_N is not None:
            graded = self._score_N[chosen][np.isfinite(self._score_N[chosen])]
            if len(graded):
                found["quality"] = float(graded.mean())
        found["length"] = float(self._length_N[chosen].mean())
        found["vendi"] = vendi_score(self._vectors[known])
        found["distinct_2"] = self._bigrams.distinct(compared)
        some = _some(known, COMPARED)
        novelty = novelties(self._vectors[some])
        found["novelsum"] = float(novelty.mean()) if len(some) else 0.0
        dense = novelty * self._weights(some) / self._usual
        found["novelsum_density"] = float(dense.mean()) if len(some) else 0.0
        near = nearest_chosen(self._vectors, known, self._represented).similarity
        stands_in = len(near) > 0 and len(known) > 0
        found["facility_location"] = float(near.mean()) if stands_in else 0.0
        return found

    def _weights(self, places: Ints) -> Floats:
        """σ^β of rows, each counted once."""
        new = places[np.isnan(self._weight_N[places])]
        self._weight_N[new] = density(self._vectors, new) ** POWER
        found: Floats = self._weight_N[places]
        return found

    def random(self, draw: Callable[[int], Ints]) -> tuple[Figures, dict[str, list[float]]]:
        """(means, [low, high]) of random choices: where another one would lie, at 95%.

        `draw` gives the n-th random choice. Source: the prediction interval of Student's t.
        """
        drawn = [self.figures(draw(number)) for number in range(DRAWS)]
        means, between = {}, {}
        for name in drawn[0]:
            if any(name not in figures for figures in drawn):
                continue
            values = np.array([figures[name] for figures in drawn])
            means[name] = float(values.mean())
            reach = T * float(values.std(ddof=1)) * math.sqrt(1 + 1 / DRAWS)
            between[name] = [means[name] - reach, means[name] + reach]
        return means, between


def against_random(figures: Figures, between: Mapping[str, list[float]]) -> dict[str, str]:
    """Of each figure but length: `above` or `below` what random choices reach, or `within` it."""
    said = {}
    for name, value in figures.items():
        if name != "length" and name in between:
            low, high = between[name]
            said[name] = "above" if value > high else "below" if value < low else "within"
    return said


def _some(places: Ints, most: int) -> Ints:
    """Up to `most` of the places, drawn at random, always the same, in order."""
    if len(places) <= most:
        return np.sort(places)
    return np.sort(np.random.default_rng(0).permutation(np.sort(places))[:most])
