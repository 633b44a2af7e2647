"""How alike two texts must be to count as the same: less and less, the longer they are.

In a prompt of 15 words one name makes another task; in a document of 200 words, 30 changed words
leave the same document. A fixed Jaccard similarity is a fixed share of words that may differ, so
what is right for one merges or misses the other.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST = 0.3  # below it, hardly a pair of one language can be excluded without counting


class Closeness(msgspec.Struct, frozen=True):
    """The least Jaccard similarity, by the number of shingles of the smaller set: `short` up to
    `few`, `long` from `many` on, between them in equal steps each time the number doubles.

    A text of n different words has 2n + 1 shingles. A share e of its words replaced leaves a
    similarity of (2 - 3e) / (2 + 3e): 0.85 is one word in 18, 0.8 one in 13, 0.6 one in 6.
    """

    short: float = 0.85
    long: float = 0.6
    few: int = 41
    many: int = 401

    def __post_init__(self) -> None:
        if not LEAST <= min(self.short, self.long) <= max(self.short, self.long) <= 1:
            raise ValueError(f"a similarity must be {LEAST} … 1, got {self.short} and {self.long}")

    @property
    def least(self) -> float:
        """The least similarity that is enough for any two texts."""
        return min(self.short, self.long)

    def at(self, shingles: Ints) -> Floats:
        """least_N: how similar sets must be of which the smaller has so many shingles."""
        if self.short == self.long:
            return np.full(np.shape(shingles), self.short)
        many = np.clip(shingles, self.few, self.many)
        share = np.log(many / self.few) / np.log(self.many / self.few)
        least: Floats = self.short + (self.long - self.short) * share
        return least


def fixed(threshold: float) -> Closeness:
    """The same similarity at every length. Raises: ValueError outside 0.3 … 1."""
    return Closeness(threshold, threshold)


BY_LENGTH = Closeness()
