"""Near-duplicates among many texts: MinHash finds candidates, exact Jaccard similarity decides.

Two texts are near-duplicates when the Jaccard similarity of their shingle sets (curation.shingles)
is at least what is asked of texts of their length (curation.closeness). MinHash only spares
comparing every pair: each verdict is made on the sets themselves, so no false merge comes from
hashing. Nothing merges through a chain of neighbours either: a text repeats another one only if
those two are similar.

Signing costs one pass over a text's shingles for each hash function, so each is made to give BINS
values: the lowest in each of as many parts of the set. That is between MinHash, with one value a
function, and one-permutation hashing, with one function in all, whose parts are mostly empty in a
short text. Sources: Broder 1997; Li, Owen and Zhang 2012 (1208.1259); empty parts filled from the
next one: Shrivastava and Li 2014 (ICML).

Texts stream in; what stays is 4 bytes a shingle, about two shingles a word, and some 700 bytes a
text, in memory or in a spool (curation.spool).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.buckets import WINDOW, band_keys, bands, crowds, neighbours, set_names
from karat.curation.closeness import Closeness, Floats, Ints, fixed
from karat.curation.groups import Groups, Repeats, leave
from karat.curation.jaccard import Sets
from karat.curation.shingles import chunks, mix, shingles, words
from karat.curation.spool import Spool

BINS = 8
FUNCTIONS = 42
HASHES = BINS * FUNCTIONS  # of a signature
MOST_SHINGLES = 1024  # of a larger set, a text of 500 words or more, only a sample is kept


class NearDuplicates:
    """Collects texts batch by batch, then says which repeat which: the same answer every time.

    A `spool` may hold the texts of an earlier process already. Raises: ValueError for a threshold
    outside 0.3 … 1.
    """

    def __init__(
        self, threshold: float | Closeness = 0.8, window: int = WINDOW, spool: Spool | None = None
    ) -> None:
        self.closeness = fixed(threshold) if isinstance(threshold, float | int) else threshold
        self._window = window
        seeds = mix(np.arange(1, 2 * FUNCTIONS + 1, dtype=np.uint64)).astype(np.uint32)
        self._factors, self._addends = seeds[:FUNCTIONS] | np.uint32(1), seeds[FUNCTIONS:]
        spool = spool or Spool()
        self._set = spool.column("set", np.uint32)
        self._size = spool.column("size", np.int32)
        self._limit = spool.column("limit", np.uint32)
        self._signature = spool.column("signature", np.uint16, HASHES)

    def add(self, texts: pa.Array) -> None:
        """Takes the next texts in. They are expected to be normalised (shingles.normalise)."""
        for chunk in chunks(texts):
            found, offsets = shingles(words(chunk))
            self._signature.extend(self._sign(found, offsets))
            self._store(found, offsets)

    def _sign(self, found: NDArray[np.uint32], offsets: Ints) -> NDArray[np.uint16]:
        """signature_NH by multiply-add hashing: cheap, and enough where pairs are verified."""
        many = len(offsets) - 1
        lowest_FC = np.zeros((FUNCTIONS, many * BINS), np.uint32)
        # The sets are sorted, so a part is a stretch of values with the same leading bits.
        part = np.repeat(np.arange(many, dtype=np.uint32) * BINS, np.diff(offsets))
        part += found >> np.uint32(32 - BINS.bit_length() + 1)
        first = np.flatnonzero(np.append(True, part[1:] != part[:-1])[: len(part)])
        filled = part[first]
        if len(found):
            value = np.empty_like(found)
            for n, (factor, addend) in enumerate(zip(self._factors, self._addends, strict=True)):
                np.multiply(found, factor, out=value)
                value += addend
                lowest_FC[n, filled] = np.minimum.reduceat(value, first)
        empty_NB = np.ones(many * BINS, np.bool_)
        empty_NB[filled] = False
        lowest_FNB = lowest_FC.reshape(FUNCTIONS, many, BINS)
        _fill(lowest_FNB, empty_NB.reshape(many, BINS))
        signature = (lowest_FNB >> np.uint32(16)).astype(np.uint16)
        return signature.transpose(1, 0, 2).reshape(many, HASHES)

    def _store(self, found: NDArray[np.uint32], offsets: Ints) -> None:
        """Keeps the sets; of a large one the smallest hashes, which are a random sample of it."""
        size = np.diff(offsets)
        limit = np.full(len(size), 0xFFFFFFFF, np.uint32)
        cut = size > MOST_SHINGLES
        if cut.any():
            limit[cut] = found[offsets[:-1][cut] + MOST_SHINGLES - 1]
            place = np.arange(len(found)) - np.repeat(offsets[:-1], size)
            found = found[place < MOST_SHINGLES]
        self._set.extend(found)
        self._size.extend(np.minimum(size, MOST_SHINGLES))
        self._limit.extend(limit)

    def resolve(self, rank: Floats | None = None) -> Repeats:
        """Which texts repeat which. Of similar texts the one with the lowest rank stays.

        rank_N: one number for each text added; without it the first stays. In order of rank, a text
        stays unless it is similar to one that stays already. Texts without a word repeat nothing.
        """
        sets = self.sets()
        size = sets.size
        order = np.arange(len(size)) if rank is None else np.argsort(rank, kind="stable")
        place = np.empty(len(size), np.int64)
        place[order] = np.arange(len(size))
        return leave(_labels(sets, self._window), place, sets)

    def chains(self) -> Ints:
        """label_N: equal for texts that a chain of near-duplicates joins, the lowest one's place.

        For whoever must keep near-duplicates together; `resolve` merges nothing through a chain.
        """
        return _labels(self.sets(), self._window)

    def sets(self) -> Sets:
        """What is kept of the texts."""
        return Sets(
            self.closeness, self._size.values, self._limit.values,
            self._signature.values, self._set.values,
        )  # fmt: skip


def _fill(lowest: NDArray[np.uint32], empty: NDArray[np.bool_]) -> None:
    """Gives each empty part of a set the values of the next one that is not, past the last the
    first; a set without any keeps its zeros."""
    row, part = np.nonzero(empty & ~empty.all(axis=1, keepdims=True))
    donor = part
    waits = np.ones(len(row), np.bool_)
    while waits.any():
        donor = np.where(waits, (donor + 1) % BINS, donor)
        waits = empty[row, donor]
    lowest[:, row, part] = lowest[:, row, donor]


def _labels(sets: Sets, window: int) -> Ints:
    """label_N: equal for texts that a chain of near-duplicates joins."""
    groups = Groups(len(sets.size))
    some = np.flatnonzero(sets.size)
    names = set_names(sets.size, sets.signature)[some]
    _, first, same = np.unique(names, return_index=True, return_inverse=True)
    groups.join(some, some[first[same]])
    ones = some[np.sort(first)]
    count, rows = bands(sets.closeness.least, HASHES)
    places_BR = band_places(sets.closeness)
    for band in range(count):
        place, crowd = crowds(band_keys(sets.signature, ones, band, rows))
        place = ones[place]
        for one, two in neighbours(crowd, window):
            left, right = place[one], place[two]
            apart = groups.root[left] != groups.root[right]
            left, right = left[apart], right[apart]
            near, _ = sets.compare(left, right, seen=places_BR[:band])
            groups.join(left[near], right[near])
    return groups.root


def band_places(closeness: Closeness) -> Ints:
    """places_BR: which places of a signature each band holds."""
    count, rows = bands(closeness.least, HASHES)
    return np.arange(count * rows).reshape(count, rows)
