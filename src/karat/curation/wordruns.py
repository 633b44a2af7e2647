"""Every run of n neighbouring words of many texts as a 64-bit hash, for any n.

The hash is a polynomial in the hashes of the words, kept as running sums: that of a run of any
length costs one difference and one product. Equal hashes are no proof of equal words; `same_words`
compares the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.curation.normal import CHUNK_BYTES, Bytes, Hashes, Ints, normalise, text_bytes
from karat.curation.words import located

Flags = NDArray[np.bool_]

BASE = 0xF1357AEA2E62A9C5  # odd, so that it has an inverse modulo 2**64
TABLE = 1 << 16  # powers of it that are kept at hand


class Runs(msgspec.Struct):
    """The words of some texts.

    data: the normalised texts in UTF-8; starts_W, sizes_W: where in it each word stands; offsets:
    where each text's words begin, and the end; sums: running sums of the words' hashes, one more
    than words.
    """

    data: Bytes
    starts: Ints
    sizes: Ints
    offsets: Ints
    sums: Hashes

    def runs(self, n: int) -> Hashes:
        """One hash for each word that n - 1 others follow, be it in another text."""
        found = self.sums[n:] - self.sums[:-n]
        found *= _powers(len(self.sums))[1][: len(found)]
        return found

    def runs_at(self, words: Ints, n: int) -> Hashes:
        """The hashes of the runs of n words that begin at these."""
        found: Hashes = self.sums[words + n] - self.sums[words]
        found *= _powers(len(self.sums))[1][words]
        return found

    def whole(self) -> Hashes:
        """One hash for each text: that of the run of all its words, 0 where it has none."""
        found: Hashes = self.sums[self.offsets[1:]] - self.sums[self.offsets[:-1]]
        found *= _powers(len(self.sums))[1][self.offsets[:-1]]
        return found

    def lettered(self) -> Flags:
        """Whether each word begins with a letter: one of ASCII, or any character beyond it."""
        head = self.data[self.starts]
        return np.asarray((head >= 0x80) | ((head >= ord("a")) & (head <= ord("z"))))

    def text(self, first: int, count: int) -> str:
        """The normalised text from one word to the last of `count`."""
        last = first + count - 1
        end = self.starts[last] + self.sizes[last]
        return self.data[self.starts[first] : end].tobytes().decode()


def word_runs(texts: pa.Array) -> Iterator[Runs]:
    """The texts in their order, some 100,000 bytes at a time; a longer text stands alone.

    Nothing of a text is left out, as the end of one may be what an evaluation asks. Memory is about
    40 bytes a byte of a chunk.
    """
    texts = normalise(pc.fill_null(texts, ""))
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False), dtype=np.int64)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_BYTES, "right")))
        yield _runs(texts[start:stop])
        start = stop


def _runs(texts: pa.Array) -> Runs:
    found, starts, sizes = located(texts)
    sums = np.zeros(len(found.hashes) + 1, np.uint64)
    np.cumsum(found.hashes * _powers(len(sums))[0][: len(found.hashes)], out=sums[1:])
    return Runs(text_bytes(texts)[0], starts, sizes, found.offsets, sums)


def joined(parts: Sequence[Runs]) -> Runs:
    """Chunks as one. Sums do not run on across a seam and are left out."""
    if not parts:
        none = np.zeros(0, np.int64)
        return Runs(
            none.astype(np.uint8), none, none, np.zeros(1, np.int64), np.zeros(1, np.uint64)
        )
    size = np.cumsum([0, *(len(part.data) for part in parts)])
    count = np.cumsum([0, *(len(part.starts) for part in parts)])
    starts = [part.starts + at for part, at in zip(parts, size, strict=False)]
    offsets = [part.offsets[:-1] + at for part, at in zip(parts, count, strict=False)]
    return Runs(
        data=np.concatenate([part.data for part in parts]),
        starts=np.concatenate(starts),
        sizes=np.concatenate([part.sizes for part in parts]),
        offsets=np.concatenate([*offsets, count[-1:]]),
        sums=np.zeros(0, np.uint64),
    )


def same_words(one: Runs, first: Ints, two: Runs, second: Ints) -> Flags:
    """Whether each word first_H of `one` is, byte by byte, the word second_H of `two`."""
    size = one.sizes[first]
    same: Flags = size == two.sizes[second]
    at = np.flatnonzero(same)
    if len(at):
        size = size[at]
        heads = np.cumsum(size) - size
        step = np.arange(int(size.sum()))
        mine = np.repeat(one.starts[first[at]] - heads, size) + step
        other = np.repeat(two.starts[second[at]] - heads, size) + step
        same[at] = np.logical_and.reduceat(one.data[mine] == two.data[other], heads)
    return same


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """BASE**i and BASE**-i for i below a power of 2 that is at least `size`."""
    return _power_tables(max(TABLE, 1 << (size - 1).bit_length()))


@lru_cache(maxsize=2)
def _power_tables(size: int) -> tuple[Hashes, Hashes]:
    tables = []
    for base in (BASE, pow(BASE, -1, 1 << 64)):
        table = np.full(size, base, np.uint64)
        table[0] = 1
        tables.append(np.multiply.accumulate(table))
    return tables[0], tables[1]
