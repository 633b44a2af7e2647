"""How near the rows of one part of a data set come to those of another.

A check that knows nothing of how the parts were made: which runs of eight words a row shares with
the other part, counted exactly, and the nearest row in meaning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from karat.curation.selection import Floats, Ints, Vectors, nearest_chosen
from karat.curation.shingles import Hashes, Words, mix

N = 8  # words; of a shorter text all of them are one run
MOST_SHARED = 0.5  # of a row's runs: above it, a row counts as leaked
NEAR = 0.95  # cosine of static embeddings
SAMPLE = 2_000  # rows of a part that are compared in meaning
FACTORS = tuple(pow(0x9E3779B97F4A7C15, k, 1 << 64) for k in range(1, N + 1))


class Runs:
    """The runs of eight words of each text, as hashes: 8 bytes a word."""

    def __init__(self) -> None:
        self._hashes: list[Hashes] = [np.zeros(0, np.uint64)]
        self._sizes: list[Ints] = [np.zeros(0, np.int64)]

    def add(self, found: Words) -> None:
        """Takes the words of the next texts in."""
        size = np.diff(found.offsets)
        runs = np.where(size >= N, size - N + 1, (size > 0).astype(np.int64))
        owner = np.repeat(np.arange(len(size)), runs)
        first = found.offsets[owner] + np.arange(len(owner)) - np.repeat(
            np.cumsum(runs) - runs, runs
        )  # fmt: skip
        hashes = np.zeros(len(first), np.uint64)
        for k, factor in enumerate(FACTORS):
            inside = k < size[owner]
            hashes[inside] += found.hashes[first[inside] + k] * np.uint64(factor)
        self._hashes.append(mix(hashes))
        self._sizes.append(runs)

    def shared(self, rows: Ints, others: Ints) -> Floats:
        """share_R: of each row's runs, those that occur in the others; 0 for a row without one."""
        self._hashes = [np.concatenate(self._hashes)]
        self._sizes = [np.concatenate(self._sizes)]
        known = np.unique(self._take(others))
        mine, size = self._take(rows), self._sizes[0][rows]
        at = np.searchsorted(known, mine)
        hit = known[np.minimum(at, len(known) - 1)] == mine if len(known) else mine != mine
        owner = np.repeat(np.arange(len(rows)), size)
        hits = np.bincount(owner[hit], minlength=len(rows))
        share: Floats = hits / np.maximum(size, 1)
        return share

    def _take(self, places: Ints) -> Hashes:
        size = self._sizes[0][places]
        start = np.cumsum(self._sizes[0])[places] - size
        within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
        return self._hashes[0][np.repeat(start, size) + within]


def leakage(
    runs: Runs, vectors: Vectors, parts: Mapping[str, Ints], ids: Sequence[str]
) -> dict[str, Any]:
    """For each two parts, as "test in train" (the smaller in the larger): how near they come.

    shared_runs: the largest share of a row's runs of eight words that the other part has, how many
    rows are above one half, and the worst row. cosine: the largest, the 99th percentile, how many
    rows are at 0.95 or more, and the nearest two rows, of `compared` rows of the smaller part.
    """
    names = sorted(parts, key=lambda name: -len(parts[name]))
    found: dict[str, Any] = {}
    for place, large in enumerate(names):
        for small in names[place + 1 :]:
            if len(parts[small]):
                pair = (parts[small], parts[large])
                found[f"{small} in {large}"] = {
                    "shared_runs": _shared(runs, *pair, ids),
                    "cosine": _cosine(vectors, *pair, ids),
                }
    return found


def _shared(runs: Runs, rows: Ints, others: Ints, ids: Sequence[str]) -> dict[str, Any]:
    share_R = runs.shared(rows, others)
    worst = int(share_R.argmax())
    return {
        "most": float(share_R[worst]),
        "rows": int((share_R > MOST_SHARED).sum()),
        **({"worst": ids[rows[worst]]} if share_R[worst] > 0 else {}),
    }


def _cosine(vectors: Vectors, rows: Ints, others: Ints, ids: Sequence[str]) -> dict[str, Any]:
    if len(rows) > SAMPLE:
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:SAMPLE])
    near = nearest_chosen(vectors, others, rows)
    worst = int(near.similarity.argmax())
    return {
        "most": float(near.similarity[worst]),
        "p99": float(np.quantile(near.similarity, 0.99)),
        "rows": int((near.similarity >= NEAR).sum()),
        "nearest": [ids[rows[worst]], ids[near.places[worst]]],
        "compared": len(rows),
    }
