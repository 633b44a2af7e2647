"""Which rows to keep when only some of them can be: quotas, orders and who stands in for whom.

What all methods share. Each method proper has a file of its own: repr_filter (DEITA),
facility_location, k_center and novelselect. All of them take vectors_ND of length 1, give the
places of the chosen in the order of choice, and give the same ones every time: similarities are
compared in steps of 1/10,000, so that the last bit of a sum decides nothing, and ties go to the
earlier place.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.row import digest

Floats = NDArray[np.float64]
Vectors = NDArray[np.float32]
Ints = NDArray[np.int64]

STEPS = 10_000  # a similarity is rounded to one of these parts
ROWS, COLUMNS = 2_048, 4_096  # of one block of similarities: 32 MiB


def similarities(left: Vectors, right: Vectors) -> Vectors:
    """Cosines of vectors of length 1, in steps of 1/10,000."""
    # BLAS may flag what stands in the lanes of a register that it does not use.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        found: Vectors = left @ right.T
    np.rint(found * STEPS, out=found)
    found /= STEPS
    return found


def quotas(sizes_S: Ints, n: int) -> Ints:
    """quota_S: n rows shared out among strata by size, n at most their sum.

    What whole numbers leave over goes to the largest remainders, of equal ones to the first.
    Source: proportional allocation, Neyman 1934; largest remainders: Hamilton's method.
    """
    total = int(sizes_S.sum())
    if total == 0:
        return np.zeros(len(sizes_S), np.int64)
    quota_S, rest_S = np.divmod(sizes_S.astype(np.int64) * n, total)
    more = np.lexsort((np.arange(len(sizes_S)), -rest_S))[: n - int(quota_S.sum())]
    quota_S[more] += 1
    return quota_S


def drawn(ids: list[str], seed: int) -> Ints:
    """The places in random order: a row's turn hangs on seed and id, on no other row."""
    own = [int.from_bytes(digest(str(seed), one, size=8), "little") for one in ids]
    return np.argsort(np.array(own, np.uint64), kind="stable")


def highest(values: Floats) -> Ints:
    """The places from the highest value down; of equal ones the first, those without one last."""
    return np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")


class Nearest(NamedTuple):
    """Of each row: the place of the chosen row most like it, and the cosine."""

    places: Ints
    similarity: Vectors


def nearest_chosen(vectors: Vectors, chosen: Ints, rows: Ints | None = None) -> Nearest:
    """The chosen row that stands in for each of `rows`, places like `chosen`; of all without it.

    Where none is chosen the place is -1 and the cosine -∞. Rows × chosen × D multiplications.
    """
    some = np.arange(len(vectors)) if rows is None else rows
    places = np.full(len(some), -1, np.int64)
    best = np.full(len(some), -np.inf, np.float32)
    for first in range(0, len(some), ROWS):
        here = slice(first, first + ROWS)
        mine = vectors[some[here]]
        for start in range(0, len(chosen), COLUMNS):
            part = chosen[start : start + COLUMNS]
            similarity_BC = similarities(mine, vectors[part])
            at = similarity_BC.argmax(axis=1)
            found = similarity_BC[np.arange(len(at)), at]
            better = found > best[here]
            best[here][better] = found[better]
            places[here][better] = part[at[better]]
    return Nearest(places, best)
