"""Passages that wait for their neighbours, in temporary files.

Which passages are nearest is known only when all have been seen. Until then rows and vectors lie on
disk; in memory are four numbers of each passage and a key of each text. A text that many files
repeat, such as a licence, is compared once: its copies would fill the place of all others.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from os import SEEK_END
from tempfile import TemporaryFile
from typing import Any

import msgspec
import numpy as np

from karat.curation.nearest import Ints, nearest
from karat.row import Row, digest

AT_ONCE = 256  # texts embedded in one call
KEPT = ("passage", "file", "start", "end", "page", "heading")  # of what is known of a candidate


class Shelf:
    """Rows with a passage each, in order of their places in their files."""

    def __init__(self) -> None:
        self._rows, self._vectors, self._near = (TemporaryFile() for _ in range(3))  # noqa: SIM115
        self._encode, self._decode = msgspec.json.Encoder(), msgspec.json.Decoder(Row)
        self._offsets = array("q", [0])
        self._places: list[array[int]] = [array("q"), array("q"), array("q")]  # file, start, end
        self._files: dict[str, int] = {}
        self._texts: dict[int, int] = {}  # numbers of texts that differ, by their digests
        self._text_of = array("q")  # each row's
        self._first = array("q")  # the first row with each text
        self._waiting: list[str] = []
        self._width = 0

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *error: object) -> None:
        for file in (self._rows, self._vectors, self._near):
            file.close()

    def add(self, row: Row) -> None:
        data = self._encode.encode(row)
        self._rows.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        file = self._files.setdefault(row.meta["file"], len(self._files))
        for column, value in zip(
            self._places, (file, row.meta["start"], row.meta["end"]), strict=True
        ):
            column.append(value)
        text = self._texts.setdefault(_key(row.meta["passage"]), len(self._texts))
        if text == len(self._first):
            self._first.append(len(self._text_of))
            self._waiting.append(row.meta["passage"])
        self._text_of.append(text)
        if len(self._waiting) == AT_ONCE:
            self._embed()

    def _embed(self) -> None:
        from karat.curation.embedding import embed  # its table loads only where it is needed

        if self._waiting:
            vectors_ND = np.ascontiguousarray(embed(self._waiting), np.float32)
            self._vectors.write(vectors_ND.tobytes())
            self._width = vectors_ND.shape[1]
            self._waiting = []

    def with_candidates(self, count: int) -> Iterator[Row]:
        """All rows again, each with up to `count` of the nearest others in its meta."""
        self._embed()
        if not self._first:
            return
        self._vectors.flush()
        shape = (len(self._first), self._width)
        vectors_ND = np.memmap(self._vectors, np.float32, "r", shape=shape)
        number = known = 0
        for block in nearest(vectors_ND, count, *self._overlapping()):
            self._near.seek(0, SEEK_END)
            self._near.write(block.places.tobytes())
            known += len(block.places)
            while number < len(self._text_of) and self._text_of[number] < known:
                row = self._row(number)
                row.meta["candidates"] = self._candidates(self._text_of[number], count)
                yield row
                number += 1

    def _candidates(self, text: int, count: int) -> list[dict[str, Any]]:
        """What is known of the passages nearest to this text."""
        self._near.seek(text * count * 8)
        places = np.frombuffer(self._near.read(count * 8), np.int64)
        others = (self._row(self._first[place]).meta for place in places.tolist() if place >= 0)
        return [{key: other[key] for key in KEPT if key in other} for other in others]

    def _row(self, number: int) -> Row:
        start, end = self._offsets[number : number + 2]
        self._rows.seek(start)
        return self._decode.decode(self._rows.read(end - start))

    def _overlapping(self) -> tuple[Ints, Ints]:
        """offsets_M1 and the texts that overlap text i somewhere, itself too, between them.

        Starts and ends rise inside a file, so the rows that overlap one are its neighbours.
        """
        file, start, end = (np.frombuffer(column, np.int64) for column in self._places)
        reach = int(end.max()) + 1
        starts, ends = file * reach + start, file * reach + end
        low = np.searchsorted(ends, starts, side="right")
        high = np.searchsorted(starts, ends, side="left")
        row = np.repeat(np.arange(len(file)), high - low)
        behind = np.arange(len(row)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        text, texts = np.frombuffer(self._text_of, np.int64), len(self._first)
        pairs = np.unique(text[row] * texts + text[low[row] + behind])
        offsets = np.searchsorted(pairs, np.arange(texts + 1) * texts)
        return offsets, pairs % texts


def _key(text: str) -> int:
    """Equal for texts that differ in white space and case only."""
    return int.from_bytes(digest(" ".join(text.split()).casefold(), size=8))
