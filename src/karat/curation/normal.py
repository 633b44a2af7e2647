"""Texts made comparable, their digests, and the bytes behind them.

Two texts equal after NFKC, lower case and folded white space are exact duplicates. Most texts are
in NFKC already, if they are not ASCII at all; finding out costs a tenth of normalising, so only the
others are. All of it works on the bytes of Arrow's arrays: no text becomes a Python string.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Hashes = NDArray[np.uint64]
Ints = NDArray[np.int64]
Points = NDArray[np.uint32]

CHUNK_BYTES = 1 << 17  # of text worked on at once: about 20 bytes of memory each
TEXT_CHARS = 100_000  # of a longer text only the beginning is looked at

BLANK = 0x20
BLANKS = "\t\n\v\f\r\x1c\x1d\x1e\x1f"  # with the blank: ASCII's white space, as Python splits it
WIDE_BLANKS = "\x85\u1680\u2028\u2029"  # white space that NFKC does not make a blank
JAMO = range(0x1100, 0x1200)  # letters that combine with those before, as marks do
_TO_BLANK = bytes.maketrans(BLANKS.encode(), b" " * len(BLANKS))
KNOWN = 0x20000  # code points looked up: all but rare Chinese characters
LEAD = 0xC0  # from here on a byte begins a character of several bytes


def normalise(texts: pa.Array) -> pa.Array:
    """NFKC, lower case, white space folded to blanks: texts equal after it are exact duplicates."""
    return _fold_blanks(pc.utf8_lower(_nfkc(texts)))


def digests(texts: pa.Array) -> Hashes:
    """64 bits of each text, 0 for an empty one: a million texts have one clash in 10**7 runs."""
    data, offsets = text_bytes(texts)
    view = data.data
    return np.array(
        [
            int.from_bytes(blake2b(view[start:end], digest_size=8).digest(), "little")
            if end > start
            else 0
            for start, end in pairwise(offsets.tolist())
        ],
        np.uint64,
    )


def chunks(texts: pa.Array) -> Iterator[pa.Array]:
    """The texts in pieces of bounded size, none empty."""
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    if sizes.max(initial=0) > TEXT_CHARS:
        texts = pc.utf8_slice_codeunits(texts, 0, TEXT_CHARS)
        sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    ends = np.cumsum(sizes, dtype=np.int64)
    start = 0
    while start < len(texts):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + CHUNK_BYTES, "right")))
        yield texts[start:stop]
        start = stop


def text_bytes(texts: pa.Array) -> tuple[Bytes, Ints]:
    """(data, offsets): the texts in UTF-8, one after another, and where each begins, and the end.

    `data` is a view that must not be written to.
    """
    _, ends, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    if not len(texts) or ends is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(ends, kind)[texts.offset : texts.offset + len(texts) + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    held = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    return held[first:last], offsets.astype(np.int64) - first


def wide_points(data: Bytes) -> tuple[Ints, Ints, Points]:
    """(places, sizes, points): where each character of several bytes begins, how many they are, and
    which code point they say."""
    places = np.flatnonzero(data >= LEAD)
    if not len(places):
        return places, places, np.zeros(0, np.uint32)
    lead = data[places].astype(np.uint32)
    sizes = 2 + (lead >= 0xE0).astype(np.int64) + (lead >= 0xF0)
    points = lead & (np.uint32(0x3F) >> (sizes - 1).astype(np.uint32))
    for further in (1, 2, 3):
        more = np.flatnonzero(sizes > further)
        if len(more):
            tail = data[places[more] + further] & np.uint8(0x3F)
            points[more] = points[more] << np.uint32(6) | tail
    return places, sizes, points


def _nfkc(texts: pa.Array) -> pa.Array:
    """The texts in NFKC, and white space beyond ASCII as blanks."""
    data, offsets = text_bytes(texts)
    places, _, points = wide_points(data)
    doubtful = places[~_settled()[np.minimum(points, KNOWN)]]
    if not len(doubtful):
        return texts
    mask = np.zeros(len(texts), np.bool_)
    mask[np.searchsorted(offsets, doubtful, "right") - 1] = True
    changed = pc.utf8_normalize(texts.filter(pa.array(mask)), "NFKC")
    for wide in WIDE_BLANKS:
        changed = pc.replace_substring(changed, wide, " ")
    return pc.replace_with_mask(texts, pa.array(mask), changed)


@cache
def _settled() -> NDArray[np.bool_]:
    """Code points below KNOWN that NFKC never changes, whatever stands beside them, and that are
    no space; the last entry is for all the others.

    What combines with a character before it is a mark or a jamo. Points that this Python does not
    know yet are left to the library that does the work.
    """

    def settled(char: str) -> bool:
        known = unicodedata.category(char)[0] in "LNPS" and ord(char) not in JAMO
        return known and unicodedata.is_normalized("NFKC", char)

    return np.array([*(settled(chr(point)) for point in range(KNOWN)), False], np.bool_)


def _fold_blanks(texts: pa.Array) -> pa.Array:
    """White space of ASCII becomes blanks, each run of them one, none at either end of a text."""
    held, offsets = text_bytes(texts)
    data = np.frombuffer(held.tobytes().translate(_TO_BLANK), np.uint8)
    blank = data == BLANK
    gone = np.zeros(len(data), np.bool_)
    np.logical_and(blank[1:], blank[:-1], out=gone[1:])
    begins = offsets[:-1][np.diff(offsets) > 0]
    gone[begins] = blank[begins]
    data, offsets = _without(data, offsets, np.flatnonzero(gone))
    lasts = offsets[1:][np.diff(offsets) > 0] - 1
    data, offsets = _without(data, offsets, lasts[data[lasts] == BLANK])
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    buffers = [None, pa.py_buffer(offsets.astype(kind)), pa.py_buffer(data)]
    return pa.Array.from_buffers(texts.type, len(texts), buffers)


def _without(data: Bytes, offsets: Ints, out: Ints) -> tuple[Bytes, Ints]:
    """The texts without the bytes at some places, which are in rising order."""
    if not len(out):
        return data, offsets
    stays = np.ones(len(data), np.bool_)
    stays[out] = False
    return data[stays], offsets - np.searchsorted(out, offsets)
