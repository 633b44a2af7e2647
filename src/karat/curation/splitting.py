"""Parts of a data set that share nothing: rows that belong together, and the part they go to.

A part is drawn for a whole cluster, by a hash of the cluster's anchor: its first row in the file.
Rows put at the end of the file therefore move no row that was there, unless a new row joins two
clusters; a hash of all members would move a cluster whenever one joins. Where rows say already to
which part they belong, they stay there and draw the others of their cluster along.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from karat.curation.selection import Floats, Ints
from karat.row import digest

Hashes = NDArray[np.uint64]


def components(labels: Sequence[Ints], many: int) -> Ints:
    """component_N: the first row among those joined, at any remove, by an equal label anywhere.

    Each of `labels` has one whole number from 0 up for every row, or -1 where it joins it to none.
    """
    root_N = np.arange(many)
    while True:
        before = root_N
        for label_N in labels:
            some = label_N >= 0
            least = np.full(int(label_N.max(initial=-1)) + 1, many)
            np.minimum.at(least, label_N[some], root_N[some])
            root_N = root_N.copy()
            root_N[some] = least[label_N[some]]
        root_N = root_N[root_N]
        if np.array_equal(before, root_N):
            return root_N


def numbered(keys: Hashes) -> Ints:
    """label_N: the same number for the same key, -1 for key 0."""
    _, label_N = np.unique(keys, return_inverse=True)
    found: Ints = np.where(keys == 0, -1, label_N.ravel())
    return found


def lots(keys: Sequence[str], seed: int) -> Floats:
    """lot_C in 0 … 1: a random number that hangs on seed and key only."""
    drawn = [int.from_bytes(digest(str(seed), key, size=8), "little") for key in keys]
    return np.array(drawn, np.float64) / 2.0**64


def assign(
    component_N: Ints, known_N: Ints, lot_N: Floats, shares_K: Floats, stratum_N: Ints | None = None
) -> Ints:
    """part_N: 0 … K - 1 for each row, -1 for a row that is near rows of two parts.

    known_N: the part a row has already, -1 for none; those do not change. lot_N: only those of the
    anchors count. Without strata a lot alone decides, and shares are reached on average. With
    stratum_N (again the anchor's counts) they are reached in every stratum as nearly as whole
    clusters allow, and a cluster near a boundary can change its part when rows are added.
    """
    anchors, cluster_N = np.unique(component_N, return_inverse=True)
    low_C = np.full(len(anchors), len(shares_K))
    high_C = np.full(len(anchors), -1)
    known = known_N >= 0
    np.minimum.at(low_C, cluster_N[known], known_N[known])
    np.maximum.at(high_C, cluster_N[known], known_N[known])
    part_C = np.where(high_C < 0, 0, high_C)
    free = np.flatnonzero(high_C < 0)
    ends_K = np.cumsum(shares_K)[:-1]
    if stratum_N is None:
        part_C[free] = np.searchsorted(ends_K, lot_N[anchors[free]], side="right")
    else:
        counts_C = np.bincount(cluster_N, minlength=len(anchors))
        stratum_C = stratum_N[anchors]
        for stratum in np.unique(stratum_C[free]).tolist():
            here = free[stratum_C[free] == stratum]
            settled = known_N[known & (stratum_N == stratum)]
            part_C[here] = _filled(lot_N[anchors[here]], counts_C[here], settled, shares_K)
    part_N: Ints = part_C[cluster_N]
    part_N[(low_C < high_C)[cluster_N]] = -1
    part_N[known] = known_N[known]
    return part_N


def _filled(lot_C: Floats, counts_C: Ints, settled: Ints, shares_K: Floats) -> Ints:
    """The part of each cluster of a stratum: in order of lot, what each part lacks is filled."""
    have_K = np.bincount(settled, minlength=len(shares_K))
    lack_K = np.maximum(shares_K * (counts_C.sum() + len(settled)) - have_K, 0)
    ends_K = np.cumsum(lack_K)[:-1] / max(float(lack_K.sum()), 1e-9)
    order = np.argsort(lot_C, kind="stable")
    counts = counts_C[order]
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    part_C = np.empty(len(order), np.int64)
    part_C[order] = np.searchsorted(ends_K, middle, side="right")
    return part_C
