"""Near-duplicates among many texts: MinHash finds candidates, exact Jaccard similarity decides.

Two texts are near-duplicates when the Jaccard similarity of their shingle sets (curation.shingles)
is at least the threshold. MinHash only spares comparing every pair: each verdict is made on the
sets themselves, so no false merge comes from hashing. Nothing merges through a chain of neighbours
either: a text repeats another one only if those two are similar.

Texts stream in; what stays in memory is 4 bytes a shingle, about two shingles a word, and some 220
bytes a text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.shingles import chunks, mix, shingles, words

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_HASHES = 96  # of a signature
RECALL = 0.995  # for pairs whose similarity is the threshold itself; above it, more
LEAST_THRESHOLD = 0.3
MOST_SHINGLES = 1024  # of a larger set, a text of 500 words or more, only a sample is kept
WINDOW = 256  # neighbours each text of a crowded bucket is compared with
DOUBT = 3.0  # standard errors by which an estimate must miss the threshold to spare the exact count
ELEMENTS = 1 << 18  # of sets compared at once


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
    """(bands, rows): the most selective ones that keep RECALL with at most MOST_HASHES hashes.

    A pair of similarity s shares a band with probability 1 - (1 - s^rows)^bands.
    Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, chapter 3.
    """
    chosen = (1, 1)
    for rows in range(1, MOST_HASHES + 1):
        count = int(np.ceil(np.log(1 - RECALL) / np.log1p(-(threshold**rows))))
        if count * rows <= MOST_HASHES:
            chosen = (count, rows)
    return chosen


class NearDuplicates:
    """Collects texts batch by batch, then says which repeat which: the same answer every time.

    Raises: ValueError for a threshold outside 0.3 … 1.
    """

    def __init__(self, threshold: float = 0.8, window: int = WINDOW) -> None:
        if not LEAST_THRESHOLD <= threshold <= 1:
            raise ValueError(f"threshold must be {LEAST_THRESHOLD} … 1, got {threshold}")
        self.threshold, self._window = threshold, window
        self._bands, self._rows = bands(min(threshold, 0.99))
        hashes = self._bands * self._rows
        seeds = mix(np.arange(1, 2 * hashes + 1, dtype=np.uint64)).astype(np.uint32)
        self._factors, self._addends = seeds[:hashes] | np.uint32(1), seeds[hashes:]
        self._set = _Column(np.uint32)
        self._size = _Column(np.int64)
        self._limit = _Column(np.uint32)
        self._name = _Column(np.uint64)
        self._signature = _Column(np.uint8, hashes)
        self._key = _Column(np.uint64, self._bands)

    def add(self, texts: pa.Array) -> None:
        """Takes the next texts in. They are expected to be normalised (shingles.normalise)."""
        for chunk in chunks(texts):
            found, offsets = shingles(words(chunk))
            self._sign(found, offsets)
            self._store(found, offsets)

    def _sign(self, found: NDArray[np.uint32], offsets: Ints) -> None:
        """Signatures by multiply-add hashing: cheap, and enough where pairs are verified."""
        some = np.flatnonzero(np.diff(offsets))
        many = len(offsets) - 1
        lowest_HN = np.zeros((len(self._factors), many), np.uint32)
        name_N = np.zeros(many, np.uint64)
        if len(some):
            starts = offsets[some]
            for n, (factor, addend) in enumerate(zip(self._factors, self._addends, strict=True)):
                lowest_HN[n, some] = np.minimum.reduceat(found * factor + addend, starts)
            name_N[some] = np.add.reduceat(mix(found.astype(np.uint64)), starts)
        keys_BN = np.zeros((self._bands, many), np.uint64)
        for row in range(self._rows):
            keys_BN = mix(keys_BN * np.uint64(31) + lowest_HN[row :: self._rows])
        self._name.extend(name_N)
        self._signature.extend((lowest_HN >> np.uint32(8)).astype(np.uint8).T)
        self._key.extend(keys_BN.T)

    def _store(self, found: NDArray[np.uint32], offsets: Ints) -> None:
        """Keeps the sets; of a large one the smallest hashes, which are a random sample of it."""
        size = np.diff(offsets)
        place = np.arange(len(found)) - np.repeat(offsets[:-1], size)
        limit = np.full(len(size), 0xFFFFFFFF, np.uint32)
        cut = size > MOST_SHINGLES
        limit[cut] = found[offsets[:-1][cut] + MOST_SHINGLES - 1]
        self._set.extend(found[place < MOST_SHINGLES])
        self._size.extend(np.minimum(size, MOST_SHINGLES))
        self._limit.extend(limit)

    def resolve(self, rank: Floats | None = None) -> Repeats:
        """Which texts repeat which. Of similar texts the one with the lowest rank stays.

        rank_N: one number for each text added; without it the first stays. In order of rank, a text
        stays unless it is similar to one that stays already. Texts without a word repeat nothing.
        """
        size = self._size.values
        sets = _Sets(
            flat=self._set.values,
            start=np.cumsum(size) - size,
            size=size,
            limit=self._limit.values,
            signature=self._signature.values,
            threshold=self.threshold,
        )
        order = np.arange(len(size)) if rank is None else np.argsort(rank, kind="stable")
        place = np.empty(len(size), np.int64)
        place[order] = np.arange(len(size))
        return _leave(self._labels(sets), place, sets)

    def _labels(self, sets: _Sets) -> Ints:
        """label_N: equal for texts that a chain of near-duplicates joins."""
        groups = _Groups(len(sets.size))
        some = np.flatnonzero(sets.size)
        _, first, same = np.unique(self._name.values[some], return_index=True, return_inverse=True)
        groups.join(some, some[first[same]])
        ones = some[np.sort(first)]
        key = self._key.values
        for band in range(self._bands):
            for left, right in _neighbours(key[ones, band], self._window):
                left, right = ones[left], ones[right]
                apart = groups.root[left] != groups.root[right]
                left, right = left[apart], right[apart]
                new = ~(key[left, :band] == key[right, :band]).any(axis=1)  # no earlier band's pair
                left, right = left[new], right[new]
                near, _ = sets.compare(left, right)
                groups.join(left[near], right[near])
        return groups.root


def _neighbours(key: NDArray[np.uint64], window: int) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of positions with equal keys: first the nearest in order of key, then the next ones."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    at = np.arange(len(key))
    for step in range(1, window + 1):
        at = at[: np.searchsorted(at, len(key) - step)]
        at = at[key[at] == key[at + step]]
        if not len(at):
            break
        yield order[at], order[at + step]


def _leave(label: Ints, place: Ints, sets: _Sets) -> Repeats:
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
        near, similarity = sets.compare(left, stays)
        repeats[left[near]] = stays[near]
        jaccard[left[near]] = similarity[near]
        left = left[~near]
    return Repeats(repeats, jaccard)


class _Sets(msgspec.Struct):
    """Every text's shingles, sorted, one after another: `size` of them, complete up to `limit`."""

    flat: NDArray[np.uint32]
    start: Ints
    size: Ints
    limit: NDArray[np.uint32]
    signature: NDArray[np.uint8]
    threshold: float

    def compare(self, left: Ints, right: Ints) -> tuple[Flags, Floats]:
        """(near, jaccard) of pairs of texts; jaccard is 0 where a cheap bound excludes the pair."""
        jaccard = np.zeros(len(left))
        small = np.minimum(self.size[left], self.size[right])
        large = np.maximum(self.size[left], self.size[right])
        maybe = np.flatnonzero(small / large >= self.threshold)
        maybe = maybe[self._plausible(left[maybe], right[maybe])]
        ends = np.cumsum(large[maybe])
        cuts = np.arange(ELEMENTS, ends[-1] if len(ends) else 0, ELEMENTS)
        for part in np.split(maybe, np.searchsorted(ends, cuts)):
            jaccard[part] = self._count(left[part], right[part])
        return jaccard >= self.threshold, jaccard

    def _plausible(self, left: Ints, right: Ints) -> Flags:
        """Whether the share of equal signature bytes leaves a doubt.

        Source: b-bit minwise hashing, Li and König 2010 (0910.3349).
        """
        hashes = self.signature.shape[1]
        noise = np.sqrt(self.threshold * (1 - self.threshold) / hashes)
        least = hashes * (self.threshold - DOUBT * noise)
        equal = np.zeros(len(left), np.int64)
        for start in range(0, len(left), ELEMENTS // hashes):
            part = slice(start, start + ELEMENTS // hashes)
            same = self.signature[left[part]] == self.signature[right[part]]
            equal[part] = np.count_nonzero(same, axis=1)
        return np.asarray(equal >= least)

    def _count(self, left: Ints, right: Ints) -> Floats:
        """Exact similarities; of sets that were cut, over the range both hold completely."""
        limit = np.minimum(self.limit[left], self.limit[right])
        one, two = self._keys(left, limit), self._keys(right, limit)
        at = np.searchsorted(two, one)
        both = two[np.minimum(at, len(two) - 1)] == one if len(two) else np.zeros(0, np.bool_)
        pair = np.uint64(32)
        sizes = [np.bincount((k >> pair).astype(np.int64), minlength=len(left)) for k in (one, two)]
        common = np.bincount((one[both] >> pair).astype(np.int64), minlength=len(left))
        ratio: Floats = common / np.maximum(1, sizes[0] + sizes[1] - common)
        return ratio

    def _keys(self, texts: Ints, limit: NDArray[np.uint32]) -> NDArray[np.uint64]:
        """Pair number and shingle of every shingle up to the pair's limit, in rising order."""
        size = self.size[texts]
        pair = np.repeat(np.arange(len(texts)), size)
        within = np.arange(len(pair)) - np.repeat(np.cumsum(size) - size, size)
        value = self.flat[self.start[texts][pair] + within]
        key = pair.astype(np.uint64) << np.uint64(32) | value
        complete: NDArray[np.uint64] = key[value <= limit[pair]]
        return complete


class _Groups:
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


class _Column:
    """A growing array. It grows in place: a list of parts would double in memory when joined."""

    def __init__(self, kind: Any, *width: int) -> None:
        self._array = np.empty((1024, *width), kind)
        self._length = 0

    def extend(self, values: NDArray[Any]) -> None:
        length = self._length + len(values)
        if length > len(self._array):
            room = max(length, len(self._array) * 5 // 4)
            self._array.resize((room, *self._array.shape[1:]), refcheck=False)
        self._array[self._length : length] = values
        self._length = length

    @property
    def values(self) -> NDArray[Any]:
        return self._array[: self._length]
