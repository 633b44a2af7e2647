"""Texts as arrays of word hashes, by vector arithmetic on their bytes.

A word is a run of letters, digits and marks. A symbol (+, =, €, an emoji) is a word of its own, so
that "3 + 4" and "3 * 4" differ; sentence marks are not words. Chinese, Japanese, Thai, Lao, Burmese
and Khmer are written without spaces: there each character is a word.

What costs is a pass over the bytes, so there are few: one that looks up what each byte is, one that
finds where words begin and end. The rest is done once a word, eight of its bytes at a time.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.normal import Bytes, Hashes, Ints, Points, text_bytes, wide_points

GAP, LETTER, SYMBOL, UNSPACED = range(4)
UNSPACED_RANGES = (
    (0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF),  # Thai and Lao, Burmese, Khmer
    (0x3040, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF),
)  # fmt: skip
OPERATORS = "*/%\\#@&"  # Unicode calls them punctuation

LENGTH = np.uint64(0x9E3779B97F4A7C15)
POWERS = np.array([pow(0xF1357AEA2E62A9C5, n, 1 << 64) for n in range(64)], np.uint64)
MASKS = np.array([(1 << 8 * n) - 1 for n in range(9)], np.uint64)  # of the first n bytes of eight


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


def words(texts: pa.Array) -> Words:
    """The words of normalised texts. Call it with a chunk: memory is about 20 bytes a byte."""
    return located(texts)[0]


def located(texts: pa.Array) -> tuple[Words, Ints, Ints]:
    """(words, starts_W, sizes_W): the words, and where each stands in the bytes of all texts."""
    data, offsets = text_bytes(texts)
    kind = np.frombuffer(data.tobytes().translate(_ascii_kinds()), np.uint8)
    places, sizes, points = wide_points(data)
    if len(places):
        kind = kind.copy()
        _set_wide(kind, places, sizes, _kinds_of(points))
    letter = kind == LETTER
    begins, ends = letter.copy(), letter.copy()
    begins[1:] &= ~letter[:-1]
    ends[:-1] &= ~letter[1:]
    # A word does not run on into the next text.
    full = np.flatnonzero(np.diff(offsets))
    firsts, lasts = offsets[full], offsets[full + 1] - 1
    begins[firsts] = letter[firsts]
    ends[lasts] = letter[lasts]
    single = kind > LETTER
    single[data >= 0x80] = False
    begins |= single
    ends |= single
    alone = np.flatnonzero(kind[places] > LETTER)
    begins[places[alone]] = True
    ends[places[alone] + sizes[alone] - 1] = True
    starts = np.flatnonzero(begins)
    sizes = np.flatnonzero(ends) - starts + 1
    hashes = _hashes(data, starts, sizes)
    found = Words(hashes, np.searchsorted(starts, offsets), kind[starts] == UNSPACED)
    return found, starts, sizes


def mix(x: Hashes) -> Hashes:
    """Scatters 64-bit integers. Source: the finaliser of SplitMix64, Steele, Lea and Flood 2014."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Hashes = x ^ (x >> np.uint64(31))
    return mixed


def _hashes(data: Bytes, starts: Ints, sizes: Ints) -> Hashes:
    """A hash of each stretch of bytes, whatever stands around it."""
    room = np.zeros(len(data) // 8 + 2, np.uint64)
    room.view(np.uint8)[: len(data)] = data
    eights = room.astype("<u8", copy=False)
    value = _eight(eights, starts, sizes)
    long = np.flatnonzero(sizes > 8)
    if len(long):
        blocks = (sizes[long] + 7) // 8
        first = np.cumsum(blocks) - blocks
        place = np.arange(int(blocks.sum())) - np.repeat(first, blocks)
        begin = np.repeat(starts[long], blocks) + 8 * place
        parts = mix(_eight(eights, begin, np.repeat(sizes[long], blocks) - 8 * place))
        value[long] = np.add.reduceat(parts * POWERS[place & 63], first)
    return mix(value + sizes.astype(np.uint64) * LENGTH)


def _eight(eights: Hashes, starts: Ints, sizes: Ints) -> Hashes:
    """The first eight bytes of each stretch as one number; what is beyond its end counts as 0."""
    at, shift = starts >> 3, (starts & 7).astype(np.uint64) << np.uint64(3)
    low = eights[at] >> shift
    # In two steps: a shift by 64 is not defined.
    high = eights[at + 1] << np.uint64(1) << (np.uint64(63) - shift)
    value: Hashes = (low | high) & MASKS[np.minimum(sizes, 8)]
    return value


def _set_wide(kind: Bytes, places: Ints, sizes: Ints, kinds: Bytes) -> None:
    """Writes what characters of several bytes are into all of their bytes."""
    for further in range(4):
        more = np.flatnonzero(sizes > further)
        kind[places[more] + further] = kinds[more]


@cache
def _kinds() -> Bytes:
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


@cache
def _ascii_kinds() -> bytes:
    """What each byte is, of ASCII; the others wait for their code points."""
    return _kinds()[:0x80].tobytes() + bytes(0x80)


def _kinds_of(points: Points) -> Bytes:
    """What code points are. Beyond the basic plane emoji are symbols, rare Chinese characters stand
    alone, the rest are letters."""
    kinds = _kinds()[np.minimum(points, 0xFFFF)]
    astral = np.flatnonzero(points > 0xFFFF)
    if len(astral):
        rare = points[astral]
        found = np.where((rare >= 0x1F000) & (rare < 0x20000), SYMBOL, LETTER)
        kinds[astral] = np.where((rare >= 0x20000) & (rare < 0x40000), UNSPACED, found)
    return kinds
