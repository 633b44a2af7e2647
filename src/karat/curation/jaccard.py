"""Jaccard similarities of many pairs of sets, counted exactly where a sketch leaves a doubt."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.closeness import Closeness, Floats, Ints

Flags = NDArray[np.bool_]

DOUBT = 3.0  # standard errors by which an estimate must miss the threshold to spare the exact count
ELEMENTS = 1 << 18  # of sets or sketches compared at once


class Sets(msgspec.Struct):
    """Every text's shingles, sorted, one after another: `size` of them, complete up to `limit`.

    signature_NH: sketches in which two texts agree at a share of places that is about their
    similarity. `closeness` says which similarity is enough.
    """

    flat: NDArray[np.uint32]
    start: Ints
    size: Ints
    limit: NDArray[np.uint32]
    signature: NDArray[np.uint16]
    closeness: Closeness

    def compare(self, left: Ints, right: Ints, seen: Ints | None = None) -> tuple[Flags, Floats]:
        """(near, jaccard) of pairs of texts; jaccard is 0 where a cheap bound excludes the pair.

        seen_BR: groups of the signature's places; a pair that agrees at all places of any group
        was compared before and is excluded too.
        """
        jaccard = np.zeros(len(left))
        small = np.minimum(self.size[left], self.size[right])
        large = np.maximum(self.size[left], self.size[right])
        least = self.closeness.at(small)
        maybe = np.flatnonzero(small >= least * large)
        maybe = maybe[self._plausible(left[maybe], right[maybe], least[maybe], seen)]
        ends = np.cumsum(large[maybe])
        cuts = np.arange(ELEMENTS, ends[-1] if len(ends) else 0, ELEMENTS)
        for part in np.split(maybe, np.searchsorted(ends, cuts)):
            jaccard[part] = self._count(left[part], right[part])
        return jaccard >= least, jaccard

    def _plausible(self, left: Ints, right: Ints, least: Floats, seen: Ints | None) -> Flags:
        """Whether the share of equal places leaves a doubt.

        Source: b-bit minwise hashing, Li and König 2010 (0910.3349).
        """
        hashes = self.signature.shape[1]
        enough = hashes * (least - DOUBT * np.sqrt(least * (1 - least) / hashes))
        found = np.zeros(len(left), np.bool_)
        for start in range(0, len(left), ELEMENTS // hashes):
            part = slice(start, start + ELEMENTS // hashes)
            same = self.signature[left[part]] == self.signature[right[part]]
            found[part] = np.count_nonzero(same, axis=1) >= enough[part]
            if seen is not None and found[part].any():
                hits = np.flatnonzero(found[part])
                found[start + hits] = ~same[hits][:, seen].all(axis=2).any(axis=1)
        return found

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
