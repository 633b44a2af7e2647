"""Passages that wait for their neighbours, in temporary files.

Which passages are nearest is known only when all have been seen. Until then rows and vectors lie on
disk; in memory are three numbers of each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any

import msgspec
import numpy as np

from karat.curation.nearest import Ints, nearest
from karat.row import Row

AT_ONCE = 256  # texts embedded in one call
KEPT = ("passage", "file", "start", "end", "page", "heading")  # of what is known of a candidate
SPARE = 4  # more neighbours than wanted are looked up: some have the passage's own text


class Shelf:
    """Rows with a passage each, in order of their places in their files."""

    def __init__(self) -> None:
        self._rows, self._vectors = TemporaryFile(), TemporaryFile()  # noqa: SIM115
        self._encode, self._decode = msgspec.json.Encoder(), msgspec.json.Decoder(Row)
        self._offsets = array("q", [0])
        self._places: list[array[int]] = [array("q"), array("q"), array("q")]  # file, start, end
        self._files: dict[str, int] = {}
        self._waiting: list[str] = []
        self._width = 0

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *error: object) -> None:
        self._rows.close()
        self._vectors.close()

    def add(self, row: Row) -> None:
        data = self._encode.encode(row)
        self._rows.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        file = self._files.setdefault(row.meta["file"], len(self._files))
        for column, value in zip(
            self._places, (file, row.meta["start"], row.meta["end"]), strict=True
        ):
            column.append(value)
        self._waiting.append(row.meta["passage"])
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
        rows = len(self._offsets) - 1
        if not rows:
            return
        self._vectors.flush()
        vectors_ND = np.memmap(self._vectors, np.float32, "r", shape=(rows, self._width))
        for block in nearest(vectors_ND, count + SPARE, *self._overlapping()):
            for number, places in enumerate(block.places.tolist(), block.first):
                row = self._row(number)
                found = self._candidates(row, places)
                row.meta["candidates"] = found[:count]
                yield row

    def _candidates(self, row: Row, places: list[int]) -> list[dict[str, Any]]:
        """What is known of the passages at these places, none twice and none equal to the row's."""
        seen = {_folded(row.meta["passage"])}
        found = []
        for place in places:
            if place >= 0:
                other = self._row(place).meta
                text = _folded(other["passage"])
                if text not in seen:
                    seen.add(text)
                    found.append({key: other[key] for key in KEPT if key in other})
        return found

    def _row(self, number: int) -> Row:
        start, end = self._offsets[number : number + 2]
        self._rows.seek(start)
        return self._decode.decode(self._rows.read(end - start))

    def _overlapping(self) -> tuple[Ints, Ints]:
        """low_N and high_N: the rows low … high - 1 overlap a row's place in its file, itself too.

        Starts and ends rise inside a file, so those that overlap are neighbours in order.
        """
        file, start, end = (np.frombuffer(column, np.int64) for column in self._places)
        reach = int(end.max()) + 1
        starts, ends = file * reach + start, file * reach + end
        low = np.searchsorted(ends, starts, side="right")
        high = np.searchsorted(starts, ends, side="left")
        return low, high


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()
