"""Near vectors among many: a bound on each similarity first, itself where that is not enough.

A vector's leading principal components and the length of what they leave out give, by
Cauchy-Schwarz, an upper bound on its similarity with any other; for texts, 127 components of 384
leave little out. The product of such sketches is symmetric, so half of it is computed, in blocks
that stay in the cache. Up to SCANNED vectors all pairs are bounded that way, and no pair above a
threshold is missed. Beyond, an inverted file says which pairs are worth it: groups around centres,
each compared with the groups that its members find nearest.

Sources: inverted files, Jégou, Douze and Schmid 2011 (PAMI 33) §IV; groups as the unit of semantic
deduplication, Abbas et al. 2023 (SemDeDup, 2303.09540) §3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

WIDTH = 128  # of a sketch
ROUNDING = 2e-6  # of a sum of squares in float32
SCANNED = 150_000  # vectors; more are compared by the inverted file
TRAINED = 32  # vectors a list from which its centre is learned
TURNS = 8  # of k-means: the centres need not settle, only spread
PROBES = 4
ROWS, COLUMNS = 1_024, 4_096  # of one block
GATHERED = 1 << 15  # pairs whose similarities are computed at once
SAMPLE, RANK = 4_096, 5  # `nearest_few` counts on what comes up to the RANK-th best of a sample


class Pairs(NamedTuple):
    """left_M < right_M, and their similarity_M."""

    left: Ints
    right: Ints
    similarity: Floats


class Lists:
    """vectors_ND of length 1 (or 0) in lists around centres: label_N says which."""

    def __init__(self, vectors: Floats, lists: int | None = None, probes: int = PROBES) -> None:
        count = len(vectors)
        wanted = lists or (1 << round(np.log2(max(1, 3 * np.sqrt(count)))))
        self.centres = _centres(vectors, max(1, min(wanted, count // TRAINED)))
        self._probed_NP = _probed(vectors, self.centres, min(probes, len(self.centres)))
        self.label: Ints = self._probed_NP[:, 0].astype(np.int64)
        self._members = np.argsort(self.label, kind="stable")
        self._starts = np.searchsorted(self.label[self._members], np.arange(len(self) + 1))

    def __len__(self) -> int:
        return len(self.centres)

    def of(self, number: int) -> Ints:
        """The places of one list's vectors, in rising order."""
        return self._members[self._starts[number] : self._starts[number + 1]]

    def around(self, number: int) -> Ints:
        """The places in all lists that a vector of this one finds near, its own among them."""
        near = np.unique(self._probed_NP[self.of(number)])
        return np.concatenate([np.zeros(0, np.int64), *(self.of(other) for other in near)])


def sketches(vectors: Floats, width: int = WIDTH) -> Floats:
    """sketch_NW of vectors_ND: the product of two is at least that of their vectors.

    The leading W - 1 principal components, and the length of the rest; vectors that are no wider
    stay as they are.
    """
    if vectors.shape[1] <= width:
        return vectors
    sample = vectors[:: max(1, len(vectors) // 20_000)].astype(np.float64)
    _, axes = np.linalg.eigh(sample.T @ sample)
    main_DW = np.ascontiguousarray(axes[:, ::-1][:, : width - 1]).astype(np.float32)
    sketch_NW = np.empty((len(vectors), width), np.float32)
    for start in range(0, len(vectors), COLUMNS):
        part = vectors[start : start + COLUMNS]
        here = sketch_NW[start : start + COLUMNS]
        here[:, :-1] = part @ main_DW
        rest = (part**2).sum(axis=1) - (here[:, :-1] ** 2).sum(axis=1)
        # A rest that rounds to 0 would take from the product what it has with a longer one.
        here[:, -1] = np.sqrt(np.maximum(rest, 0) + ROUNDING)
    return sketch_NW


def pairs_above(vectors: Floats, least: Floats, lists: Lists) -> Iterator[Pairs]:
    """Pairs of vectors_ND of length 1 whose similarity is at least the higher of their least_N.

    Every pair up to SCANNED vectors; beyond, those that `lists` brings together, some twice.
    """
    sketch = sketches(vectors)
    if len(vectors) <= SCANNED:
        for rows, columns in _triangle(len(vectors)):
            bound = sketch[rows] @ sketch[columns].T
            bound -= np.maximum(least[rows, None], least[None, columns]) - np.float32(1e-5)
            row, column = np.nonzero(bound >= 0)
            yield _exact(vectors, least, row + rows.start, column + columns.start)
        return
    for number in range(len(lists)):
        mine, others = lists.of(number), lists.around(number)
        for start in range(0, len(others), COLUMNS):
            some = others[start : start + COLUMNS]
            bound = sketch[mine] @ sketch[some].T
            bound -= np.maximum(least[mine, None], least[None, some]) - np.float32(1e-5)
            row, column = np.nonzero(bound >= 0)
            left, right = mine[row], some[column]
            yield _exact(vectors, least, np.minimum(left, right), np.maximum(left, right))


def nearest_few(vectors: Floats, k: int) -> tuple[Ints, Floats]:
    """(places_NK, similarity_NK): the `k` most similar other vectors of each, best first, -1 where
    there is none.

    All pairs are bounded. Of each vector the some RANK·N / SAMPLE with the highest bounds are
    computed; the nearest are among them where k is a tenth of that.
    """
    count = len(vectors)
    sketch = sketches(vectors)
    floor = _floors(sketch, k)
    keys: list[Ints] = [np.zeros(0, np.int64)]
    found: list[Floats] = [np.zeros(0, np.float32)]
    for rows, columns in _triangle(count):
        bound = sketch[rows] @ sketch[columns].T
        row, column = np.nonzero(bound >= np.minimum(floor[rows, None], floor[None, columns]))
        pairs = _exact(vectors, None, row + rows.start, column + columns.start)
        upper = bound[pairs.left - rows.start, pairs.right - columns.start]
        for one, two in ((pairs.left, pairs.right), (pairs.right, pairs.left)):
            near = upper >= floor[one]
            keys.append(one[near] * count + two[near])
            found.append(pairs.similarity[near])
    return _best(np.concatenate(keys), np.concatenate(found), count, k)


def _best(keys: Ints, found: Floats, count: int, k: int) -> tuple[Ints, Floats]:
    """The k best of each vector; keys_M hold the vector and its neighbour."""
    owner, names = np.divmod(keys, max(1, count))
    order = np.lexsort((names, -found, owner))
    owner, names, found = owner[order], names[order], found[order]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    top = rank < k
    places_NK = np.full((count, k), -1, np.int64)
    best_NK = np.full((count, k), -np.inf, np.float32)
    places_NK[owner[top], rank[top]] = names[top]
    best_NK[owner[top], rank[top]] = found[top]
    return places_NK, best_NK


def _floors(sketch: Floats, k: int) -> Floats:
    """floor_N: a bound that some RANK·N / SAMPLE others of each vector come up to."""
    count = len(sketch)
    if count <= SAMPLE * k:  # too few for the sample to leave enough
        size = min(count, max(1, SAMPLE // 8))
        rank = max(RANK, int(np.ceil(4 * (k + 2) * size / max(1, count))))
    else:
        size, rank = SAMPLE, RANK
    if rank >= size:
        return np.full(count, -np.inf, np.float32)
    sample = sketch[np.sort(np.random.default_rng(0).permutation(count)[:size])]
    floor = np.empty(count, np.float32)
    for start in range(0, count, ROWS):
        bound = sketch[start : start + ROWS] @ sample.T
        # One place more: a vector of the sample finds itself there.
        floor[start : start + ROWS] = np.partition(bound, -rank - 1, axis=1)[:, -rank - 1]
    return floor


def _triangle(count: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of rows and columns that hold every pair of places once, and some twice."""
    for first in range(0, count, ROWS):
        for start in range(first, count, COLUMNS):
            yield slice(first, min(count, first + ROWS)), slice(start, min(count, start + COLUMNS))


def _exact(vectors: Floats, least: Floats | None, left: Ints, right: Ints) -> Pairs:
    """The pairs in rising order whose own similarity is enough, each once."""
    rising = left < right
    left, right = left[rising], right[rising]
    similarity = np.empty(len(left), np.float32)
    for start in range(0, len(left), GATHERED):
        part = slice(start, start + GATHERED)
        similarity[part] = np.einsum("md,md->m", vectors[left[part]], vectors[right[part]])
    if least is None:
        return Pairs(left, right, similarity)
    near = similarity >= np.maximum(least[left], least[right])
    return Pairs(left[near], right[near], similarity[near])


def _centres(vectors: Floats, lists: int) -> Floats:
    """centres_LD by spherical k-means on a sample, always the same."""
    if lists == 1:
        return vectors[:1]
    rng = np.random.default_rng(0)
    sample = vectors[np.sort(rng.permutation(len(vectors))[: TRAINED * lists])]
    centres = sample[np.sort(rng.permutation(len(sample))[:lists])]
    for _ in range(TURNS):
        label = _probed(sample, centres, 1)[:, 0]
        order = np.argsort(label, kind="stable")
        found, first = np.unique(label[order], return_index=True)
        sums = np.zeros_like(centres)
        sums[found] = np.add.reduceat(sample[order], first, axis=0)
        # A list that lost all its members begins again at a vector of the sample.
        lost = np.setdiff1d(np.arange(lists), found)
        sums[lost] = sample[rng.integers(0, len(sample), len(lost))]
        norm = np.linalg.norm(sums, axis=1, keepdims=True)
        sums /= np.where(norm > 0, norm, np.float32(1))
        centres = sums
    return centres


def _probed(vectors: Floats, centres: Floats, probes: int) -> NDArray[np.int32]:
    """probed_NP: the nearest centres of each vector, the nearest first, the others in any order."""
    probed = np.zeros((len(vectors), max(1, probes)), np.int32)
    for start in range(0, len(vectors), ROWS):
        similarity = vectors[start : start + ROWS] @ centres.T
        here = probed[start : start + ROWS]
        here[:, 0] = similarity.argmax(axis=1)
        for place in range(1, probes):
            similarity[np.arange(len(here)), here[:, place - 1]] = -np.inf
            here[:, place] = similarity.argmax(axis=1)
    return probed
