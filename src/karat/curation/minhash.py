"""Near-duplicates among many texts: MinHash finds candidates, exact Jaccard similarity decides.

Two texts are near-duplicates when the Jaccard similarity of their shingle sets (karat.curation.
shingles) is at least the threshold. MinHash only spares comparing every pair: each verdict is
checked on the sets themselves, so a false merge cannot come from hashing, and nothing merges through
a chain of neighbours: a text repeats another one only if the two are similar themselves.

Texts stream in; what stays in memory is 4 bytes a shingle (about two shingles a word) and some 250
bytes a text.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.shingles import chunks, mix, shingles, words

Ints = NDArray[np.int64]
Sets = NDArray[np.uint32]

MOST_HASHES = 96  # of a signature
RECALL = 0.995  # of the pairs whose similarity is the threshold itself; above it, more
LEAST_THRESHOLD = 0.3
MOST_SHINGLES = 1024  # of a larger set, of a text of 500 words or more, only a sample is kept
WINDOW = 256  # neighbours each member of a crowded bucket is compared with
PAIRS = 1 << 18  # compared at once


class Repeats(msgspec.Struct):
    """repeats_N: the text that each text repeats, -1 where it stays. jaccard_N: how similar it is.

    What a text repeats always stays itself.
    """

    repeats: Ints
    jaccard: NDArray[np.float64]

    @property
    def clusters(self) -> int:
        """How many of the texts that stay are repeated by others."""
        return len(np.unique(self.repeats[self.repeats >= 0]))


def bands(threshold: float) -> tuple[int, int]:
    """(bands, rows): the most selective ones that keep RECALL with at most MOST_HASHES hashes.

    A pair of similarity s shares a band with probability 1 - (1 - s^rows)^bands.
    Source: Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, §3.4.
    """
    fitting = [(1, 1)]
    for rows in range(1, MOST_HASHES):
        count = int(np.ceil(np.log(1 - RECALL) / np.log1p(-(threshold**rows))))
        if count * rows <= MOST_HASHES:
            fitting.append((count, rows))
    return fitting[-1]


class NearDuplicates:
    """Collects texts batch by batch, then says which repeat which. The same answer every time."""

    def __init__(self, threshold: float = 0.8) -> None:
        if not LEAST_THRESHOLD <= threshold <= 1:
            raise ValueError(f"threshold must be {LEAST_THRESHOLD} … 1, got {threshold}")
        self.threshold = threshold
        self._bands, self._rows = bands(min(threshold, 0.99))
        hashes = self._bands * self._rows
        seeds = mix(np.arange(1, 2 * hashes + 1, dtype=np.uint64)).astype(np.uint32)
        self._factors, self._addends = seeds[:hashes, None] | np.uint32(1), seeds[hashes:, None]
        self._sets: list[Sets] = [np.zeros(0, np.uint32)]
        self._sizes: list[Ints] = [np.zeros(0, np.int64)]
        self._limits: list[Sets] = [np.zeros(0, np.uint32)]
        self._signatures = [np.zeros((0, hashes), np.uint8)]
        self._keys = [np.zeros((0, self._bands), np.uint64)]

    def add(self, texts: pa.Array) -> None:
        """Takes the next texts in. They are expected to be normalised (shingles.normalise)."""
        for chunk in chunks(texts):
            found, offsets = shingles(words(chunk))
            self._sign(found, offsets)
            self._store(found, offsets)

    def _sign(self, found: Sets, offsets: Ints) -> None:
        """Signatures by multiply-add hashing, which is cheap and enough where pairs are verified."""
        some = np.flatnonzero(np.diff(offsets))
        lowest = np.zeros((len(self._factors), len(offsets) - 1), np.uint32)
        if len(some):
            for n, (factor, addend) in enumerate(zip(self._factors, self._addends, strict=True)):
                lowest[n, some] = np.minimum.reduceat(found * factor + addend, offsets[some])
        self._signatures.append((lowest >> np.uint32(8)).astype(np.uint8).T)
        bands_BRN = lowest.reshape(self._bands, self._rows, -1).astype(np.uint64)
        keys_BN = np.zeros((self._bands, bands_BRN.shape[2]), np.uint64)
        for row in range(self._rows):
            keys_BN = mix(keys_BN * np.uint64(31) + bands_BRN[:, row])
        self._keys.append(keys_BN.T)

    def _store(self, found: Sets, offsets: Ints) -> None:
        """Keeps the sets; of a large one the smallest hashes, which are a random sample of it."""
        size = np.diff(offsets)
        place = np.arange(len(found)) - np.repeat(offsets[:-1], size)
        self._sets.append(found[place < MOST_SHINGLES])
        self._sizes.append(np.minimum(size, MOST_SHINGLES))
        limits = np.full(len(size), 0xFFFFFFFF, np.uint32)
        cut = size > MOST_SHINGLES
        limits[cut] = found[offsets[:-1][cut] + MOST_SHINGLES - 1]
        self._limits.append(limits)

    def resolve(self, rank: NDArray[np.float64] | None = None) -> Repeats:
        """Which texts repeat which. Of similar texts the one with the lowest rank stays.

        rank_N, one number per text added; without it, the first stays. In order of rank, a text
        stays unless it is similar to one that stays already. Texts without a word never repeat.
        """
        index = _Index(self)
        order = np.arange(index.texts) if rank is None else np.argsort(rank, kind="stable")
        place = np.empty(index.texts, np.int64)
        place[order] = np.arange(index.texts)
        return index.resolve(place)


class _Index:
    """Everything collected, in one piece each."""

    def __init__(self, made: NearDuplicates) -> None:
        self.threshold = made.threshold
        self.sets = np.concatenate(made._sets)
        self.sizes = np.concatenate(made._sizes)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.limits = np.concatenate(made._limits)
        self.signatures = np.concatenate(made._signatures)
        self.keys = np.concatenate(made._keys)
        self.texts = len(self.sizes)
        hashes = self.signatures.shape[1]
        noise = np.sqrt(self.threshold * (1 - self.threshold) / hashes)
        self._least_matches = hashes * (self.threshold - 3.5 * noise)

    def resolve(self, place: Ints) -> Repeats:
        """`place_N`: each text's place in the order of preference."""
        repeats = np.full(self.texts, -1, np.int64)
        jaccard = np.zeros(self.texts)
        label = self._labels()
        members = np.flatnonzero(np.bincount(label, minlength=self.texts)[label] > 1)
        members = members[np.lexsort((place[members], label[members]))]
        # Each turn the best text left of every group stays and takes those similar to it along.
        while len(members):
            first = np.append(True, label[members[1:]] != label[members[:-1]])
            heads = np.flatnonzero(first)
            centre = np.repeat(members[first], np.diff(np.append(heads, len(members))))
            left, right = members[~first], centre[~first]
            near, similarity = self._verify(left, right)
            repeats[left[near]] = right[near]
            jaccard[left[near]] = similarity[near]
            members = left[~near]
        return Repeats(repeats, jaccard)

    def _labels(self) -> Ints:
        """label_N: equal for texts that a chain of near-duplicates joins."""
        group = _Groups(self.texts)
        for left, right in self._equal_sets():
            group.join(left, right)
        for band in range(self.keys.shape[1]):
            label = group.labels()
            ones = np.flatnonzero((label == np.arange(self.texts)) & (self.sizes > 0))
            for left, right in self._pairs(ones, band):
                label = group.labels()
                apart = label[left] != label[right]
                left, right = left[apart], right[apart]
                near, _ = self._verify(left, right)
                group.join(left[near], right[near])
        return group.labels()
