"""The nearest vectors of each vector, by blocks: no N × N matrix is ever in memory.

Similarities are compared after rounding, ties by place: two machines whose sums differ in the last
bit name the same neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ROWS, COLUMNS = 1024, 8192  # of one block of similarities: 32 MiB
STEPS = 10_000  # a similarity is rounded to one of these parts
SAMPLE = 512  # columns that say what is near, before anything was found


class Neighbours(NamedTuple):
    """Of the vectors from `first` on: places_BK, best first and -1 where there is none."""

    first: int
    places: Ints


def nearest(vectors: Floats, k: int, offsets: Ints, excluded: Ints) -> Iterator[Neighbours]:
    """The `k` most similar vectors of each of vectors_ND, which have length 1, in blocks of rows.

    Row i is not compared with the rows excluded[offsets[i] : offsets[i + 1]], which should hold
    itself. `vectors` may be a memory map. N²·D multiplications: about 100 CPU seconds for 100,000
    rows of 256.
    """
    count = len(vectors)
    for first in range(0, count, ROWS):
        last = min(count, first + ROWS)
        mine = np.ascontiguousarray(vectors[first:last])
        best_BK = np.full((last - first, k), -1, np.int64)
        out = excluded[offsets[first] : offsets[last]]
        row = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        for start in range(0, count, COLUMNS):
            similarity_BC = mine @ vectors[start : start + COLUMNS].T
            inside = (out >= start) & (out < start + COLUMNS)
            similarity_BC[row[inside], out[inside] - start] = -np.inf
            _merge(best_BK, similarity_BC, start, count)
        places = np.where(best_BK < 0, -1, count - 1 - best_BK % count)
        yield Neighbours(first, places)


def _merge(best: Ints, similarity: Floats, start: int, count: int) -> None:
    """Puts what a block of similarity_BC has to offer into best_BK, which holds keys: one whole
    number for a similarity and its place, greater for a better one, then for an earlier place."""
    k = best.shape[1]
    row, column = np.nonzero(similarity >= _floor(best, similarity, count)[:, None])
    near = similarity[row, column].astype(np.float64)
    fit = np.isfinite(near)
    row, column, near = row[fit], column[fit], near[fit]
    keys = np.rint((near.clip(-1, 1) + 1) * STEPS).astype(np.int64)
    keys = keys * count + (count - 1 - start - column)
    row = np.concatenate([np.repeat(np.arange(len(best)), k), row])
    keys = np.concatenate([best.ravel(), keys])
    order = np.lexsort((-keys, row))
    row, keys = row[order], keys[order]
    heads = np.searchsorted(row, np.arange(len(best)))
    best[:] = keys[heads[:, None] + np.arange(k)]


def _floor(best: Ints, similarity: Floats, count: int) -> Floats:
    """What a similarity must reach to matter: that of the last of the best, or of a sample."""
    k = best.shape[1]
    last = best[:, -1]
    floor_B = (last // count - 1) / STEPS - 1
    if (last < 0).any():
        sample = similarity[:, : SAMPLE + k]
        some = np.partition(sample, -min(k, sample.shape[1]), axis=1)[:, -min(k, sample.shape[1])]
        floor_B = np.where(last < 0, some - 1 / STEPS, floor_B)
    return floor_B.astype(np.float32)
