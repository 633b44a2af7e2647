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

from collections.abc import Iterator
from typing import Protocol

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.closeness import Closeness, Floats, Ints, fixed
from karat.curation.jaccard import Sets
from karat.curation.shingles import chunks, mix, shingles, words
from karat.curation.spool import Spool

BINS = 8
FUNCTIONS = 42
HASHES = BINS * FUNCTIONS  # of a signature
MOST_ROWS = 6  # of a band: by then hardly a pair is a candidate by chance
RECALL = 0.995  # for pairs whose similarity is the threshold itself; above it, more
MOST_SHINGLES = 1024  # of a larger set, a text of 500 words or more, only a sample is kept
WINDOW = 256  # neighbours each text of a crowded bucket is compared with
BUCKETS = 8  # a text, to tell cheaply which keys occur once
SCATTER = np.uint64(0xF1357AEA2E62A9C5)


class Repeats(msgspec.Struct):
    """repeats_N: the text that each text repeats, -1 where it stays. similarity_N: to that text.

    A text that is repeated always stays itself.
    """

    repeats: Ints
    similarity: Floats

    @property
    def clusters(self) -> int:
        """How many texts are repeated by others."""
        return len(np.unique(self.repeats[self.repeats >= 0]))


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows): the most selective ones that keep RECALL with at most HASHES hashes.

    A pair of similarity s shares a band with probability 1 - (1 - s^rows)^bands.
    Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
    """
    chosen = (1, 1)
    for rows in range(1, MOST_ROWS + 1):
        count = int(np.ceil(np.log(1 - RECALL) / np.log1p(-(threshold**rows))))
        if count * rows <= HASHES:
            chosen = (count, rows)
    return chosen


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
        sets = self._sets()
        size = sets.size
        order = np.arange(len(size)) if rank is None else np.argsort(rank, kind="stable")
        place = np.empty(len(size), np.int64)
        place[order] = np.arange(len(size))
        return leave(_labels(sets, self._window), place, sets)

    def chains(self) -> Ints:
        """label_N: equal for texts that a chain of near-duplicates joins, the lowest one's place.

        For whoever must keep near-duplicates together; `resolve` merges nothing through a chain.
        """
        return _labels(self._sets(), self._window)

    def _sets(self) -> Sets:
        size = self._size.values.astype(np.int64)
        return Sets(
            flat=self._set.values,
            start=np.cumsum(size) - size,
            size=size,
            limit=self._limit.values,
            signature=self._signature.values,
            closeness=self.closeness,
        )


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
    _, first, same = np.unique(_names(sets)[some], return_index=True, return_inverse=True)
    groups.join(some, some[first[same]])
    ones = some[np.sort(first)]
    count, rows = bands(min(sets.closeness.least, 0.99))
    places_BR = np.arange(count * rows).reshape(count, rows)
    for band in range(count):
        key = np.zeros(len(ones), np.uint64)
        part_NR = sets.signature[:, band * rows : (band + 1) * rows][ones]
        for row in range(rows):
            key = (key + part_NR[:, row]) * SCATTER
        key = mix(key)
        for left, right in _neighbours(key, window):
            left, right = ones[left], ones[right]
            apart = groups.root[left] != groups.root[right]
            left, right = left[apart], right[apart]
            near, _ = sets.compare(left, right, seen=places_BR[:band])
            groups.join(left[near], right[near])
    return groups.root


def _names(sets: Sets) -> NDArray[np.uint64]:
    """name_N: equal for equal sets, and for hardly any others. What is equal is still compared."""
    name = mix(sets.size.astype(np.uint64))
    words_NW = sets.signature.view(np.uint64)
    for column in range(words_NW.shape[1]):
        name = name * SCATTER + words_NW[:, column]
    return mix(name)


def _neighbours(key: NDArray[np.uint64], window: int) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of positions with equal keys: first the nearest in order of key, then the next ones."""
    shared = _shared(key)
    order = shared[np.argsort(key[shared], kind="stable")]
    key = key[order]
    at = np.arange(len(key))
    for step in range(1, window + 1):
        at = at[: np.searchsorted(at, len(key) - step)]
        at = at[key[at] == key[at + step]]
        if not len(at):
            break
        yield order[at], order[at + step]


def _shared(key: NDArray[np.uint64]) -> Ints:
    """The positions of keys that may occur twice. Most occur once, and need not be sorted."""
    bits = max(1, (BUCKETS * len(key)).bit_length())
    bucket = (key >> np.uint64(64 - bits)).astype(np.int64)
    return np.flatnonzero(np.bincount(bucket)[bucket] > 1)


class Comparing(Protocol):
    """Says of pairs of texts whether they are near, and how near."""

    def compare(self, left: Ints, right: Ints) -> tuple[NDArray[np.bool_], Floats]: ...


def leave(label: Ints, place: Ints, texts: Comparing) -> Repeats:
    """Turn by turn, the best text left in every group stays and takes the similar ones away."""
    repeats = np.full(len(label), -1, np.int64)
    jaccard = np.zeros(len(label))
    left = np.flatnonzero(np.bincount(label, minlength=1)[label] > 1)
    left = left[np.lexsort((place[left], label[left]))]
    while len(left):
        first = np.append(True, label[left[1:]] != label[left[:-1]])
        heads = np.flatnonzero(first)
        stays = np.repeat(left[first], np.diff(np.append(heads, len(left))))[~first]
        left = left[~first]
        near, similarity = texts.compare(left, stays)
        repeats[left[near]] = stays[near]
        jaccard[left[near]] = similarity[near]
        left = left[~near]
    return Repeats(repeats, jaccard)


class Groups:
    """Union-find on arrays: `root` is the lowest member of each one's group."""

    def __init__(self, size: int) -> None:
        self.root = np.arange(size)

    def join(self, left: Ints, right: Ints) -> None:
        while True:
            one, two = self.root[left], self.root[right]
            if np.array_equal(one, two):
                return
            np.minimum.at(self.root, np.maximum(one, two), np.minimum(one, two))
            while not np.array_equal(self.root, self.root[self.root]):
                self.root = self.root[self.root]
