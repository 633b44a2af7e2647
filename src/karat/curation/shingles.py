"""Texts as arrays of word hashes and sets of shingles, by vector arithmetic only.

A word is a run of letters, digits and marks. A symbol (+, =, €, an emoji) is a word of its own, so
that "3 + 4" and "3 * 4" differ; sentence marks are not words. Chinese, Japanese, Thai, Lao, Burmese
and Khmer are written without spaces: there each character is a word.

Shingles are the words and the pairs of neighbouring words, first and last word paired with the
text's edge. Single words alone would take "from English to French" for "from French to English";
pairs alone punish each edited word twice; longer shingles miss nearly every edit in short texts
(FACTS §11). One rule for texts of every length, because a similarity is between two texts. Of a
script without spaces the pairs and triples of characters are taken, single ones say too little.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]

GAP, LETTER, SYMBOL, UNSPACED = range(4)
UNSPACED_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai and Lao, Burmese, Khmer
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
)  # fmt: skip
OPERATORS = "*/%\\#@&"  # Unicode calls them punctuation
CHUNK_CHARS = 1 << 17  # characters worked on at once: about 40 bytes of memory each
TEXT_CHARS = 100_000  # of a longer text only the beginning is looked at

EDGE = np.uint64(0x9E3779B97F4A7C15)
LEFT = np.uint64(0xD6E8FEB86659FD93)
RIGHT = np.uint64(0xCA5A826395121157)
POWERS = np.array([pow(0xF1357AEA2E62A9C5, n, 1 << 64) for n in range(1, 65)], np.uint64)


class Words(msgspec.Struct):
    """hashes: every word of every text, flat; offsets: where each text's words begin, and the end.

    `unspaced` marks the words that are characters of a script without spaces.
    """

    hashes: Hashes
    offsets: Ints
    unspaced: NDArray[np.bool_]

    def owners(self) -> Ints:
        """The text that each word belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def normalise(texts: pa.Array) -> pa.Array:
    """NFKC, lower case, white space folded to blanks: texts equal after it are exact duplicates."""
    lower = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    return pc.binary_join(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(lower)), " ")


def digests(texts: pa.Array) -> Hashes:
    """64 bits of each text, 0 for an empty one: a million texts have one clash in 10**7 runs."""
    return np.array(
        [
            int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") if text else 0
            for text in texts.to_pylist()
        ],
        np.uint64,
    )


def chunks(texts: pa.Array) -> Iterator[pa.Array]:
    """The texts in pieces of bounded size, none empty."""
    short = pc.utf8_slice_codeunits(texts, 0, TEXT_CHARS)
    ends = np.cumsum(pc.utf8_length(short).to_numpy(zero_copy_only=False))
    start = 0
    while start < len(short):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_CHARS, "right")))
        yield short[start:stop]
        start = stop


def words(texts: pa.Array) -> Words:
    """The words of normalised texts. Call it with a chunk: memory is about 40 bytes a character."""
    length = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    points = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), np.uint32)
    kind = _kinds()[np.minimum(points, 0xFFFF)]
    astral = np.flatnonzero(points > 0xFFFF)
    kind[astral] = _astral_kinds(points[astral])
    edge = np.zeros(len(points) + 1, np.bool_)  # a word does not run on into the next text
    edge[np.cumsum(length)] = True
    edge[0] = True
    before = np.append(np.uint8(GAP), kind[:-1])[: len(kind)]
    begins = (kind != GAP) & ((kind != LETTER) | (before != LETTER) | edge[:-1])
    inside = np.flatnonzero(kind != GAP)
    first = np.flatnonzero(begins[inside])
    place = np.arange(len(inside)) - np.repeat(first, np.diff(np.append(first, len(inside))))
    value = mix(points[inside].astype(np.uint64)) * POWERS[place & 63]
    hashes = mix(np.add.reduceat(value, first)) if len(first) else np.zeros(0, np.uint64)
    starts = inside[first]
    offsets = np.searchsorted(starts, np.concatenate([[0], np.cumsum(length)]))
    return Words(hashes, offsets.astype(np.int64), kind[starts] == UNSPACED)


def shingles(found: Words) -> tuple[NDArray[np.uint32], Ints]:
    """(hashes, offsets): each text's set of shingles as sorted, distinct 32-bit hashes."""
    owner, many = found.owners(), len(found.offsets) - 1
    h, offsets = found.hashes, found.offsets
    some = np.flatnonzero(np.diff(offsets))
    same = owner[1:] == owner[:-1]
    pair = mix(h[:-1] * LEFT ^ h[1:] * RIGHT)
    triple_at = np.flatnonzero(
        same[1:] & same[:-1] & found.unspaced[2:] & found.unspaced[1:-1] & found.unspaced[:-2]
    )
    parts = [
        (owner[~found.unspaced], h[~found.unspaced]),
        (owner[:-1][same], pair[same]),
        (some, mix(h[offsets[some]] * RIGHT ^ EDGE)),
        (some, mix(h[offsets[some + 1] - 1] * LEFT ^ EDGE)),
        (owner[triple_at], mix(pair[triple_at] * LEFT ^ h[triple_at + 2] * RIGHT)),
    ]
    half = np.uint64(32)
    key = np.concatenate([text.astype(np.uint64) << half | value >> half for text, value in parts])
    key.sort()
    key = key[np.append(True, key[1:] != key[:-1])[: len(key)]]
    ends = np.searchsorted(key, np.arange(many + 1, dtype=np.uint64) << half)
    return key.astype(np.uint32), ends.astype(np.int64)


def mix(x: Hashes) -> Hashes:
    """Scatters 64-bit integers. Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed


@cache
def _kinds() -> NDArray[np.uint8]:
    """What each code point of the basic plane is."""
    by_category = {"L": LETTER, "N": LETTER, "M": LETTER, "S": SYMBOL}
    table = np.array(
        [by_category.get(unicodedata.category(chr(point))[0], GAP) for point in range(0x10000)],
        np.uint8,
    )
    for start, end in UNSPACED_RANGES:
        spoken = table[start : end + 1]
        spoken[spoken == LETTER] = UNSPACED
    for sign in OPERATORS:
        table[ord(sign)] = SYMBOL
    table[ord("_")] = LETTER
    return table


def _astral_kinds(points: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Emoji are symbols, rare Chinese characters stand alone, the rest are letters."""
    kinds = np.where((points >= 0x1F000) & (points < 0x20000), SYMBOL, LETTER)
    return np.where((points >= 0x20000) & (points < 0x40000), UNSPACED, kinds).astype(np.uint8)
