"""Signed texts of a table's parts: one file for each part, in a folder that all machines reach.

A file is there whole or not at all, so what is signed once is not signed again after a kill, and no
process holds more than the parts it works on. On this machine files are mapped; of a store's, the
columns that are asked for are fetched.

A file holds a key, how many rows and shingles it has, then three columns: facts of each row, the
signatures, and the sets one after another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from karat import places
from karat.curation.closeness import Closeness
from karat.curation.jaccard import Compared, Shingles, spans
from karat.curation.minhash import HASHES
from karat.uploads import sink

Ints = NDArray[np.int64]
Signatures = NDArray[np.uint16]

HEAD = np.dtype([("key", "S32"), ("rows", "<i8"), ("shingles", "<i8")])
FACTS = np.dtype([
    ("digest", "<u8"), ("name", "<u8"), ("rank", "<f8"), ("size", "<i4"), ("limit", "<u4"),
])  # fmt: skip
OPEN = 64  # files mapped at once
HELD_BYTES = 1 << 28  # of columns of a store's files, held at once
BLOCK_ROWS = 50_000  # of consecutive parts that are worked on together


class Signed(NamedTuple):
    """A part's texts as they are on a shelf."""

    facts: NDArray[Any]
    signature: Signatures
    flat: Shingles


def put(folder: Path, number: int, key: str, signed: Signed) -> None:
    """Puts a part on the shelf. Raises: OSError."""
    path = _file(folder, number)
    head = np.array([(key.encode(), len(signed.facts), len(signed.flat))], HEAD)
    columns = [np.ascontiguousarray(column) for column in (head, *signed)]
    if places.is_remote(path):
        upload = sink(path)
        try:
            for column in columns:
                upload.where.write(_bytes(column))
            upload.commit()
        except BaseException:
            upload.discard()
            raise
        return
    # Not a name that another process could write to: a part may be signed twice at a time.
    beside = folder / f"{path.name}.{uuid4().hex[:12]}.tmp"
    try:
        with beside.open("wb") as file:
            for column in columns:
                file.write(_bytes(column))
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _bytes(column: NDArray[Any]) -> Any:
    return column.view(np.uint8).reshape(-1).data if column.size else b""


def rows_of(folder: Path, number: int, key: str) -> int | None:
    """How many rows a part has on the shelf; None where it was not put there with this key."""
    path = _file(folder, number)
    try:
        with path.open("rb") if not places.is_remote(path) else places.ranges(path) as file:
            head = np.frombuffer(file.read(HEAD.itemsize), HEAD)[0]
    except (OSError, ValueError, IndexError):
        return None
    return int(head["rows"]) if head["key"] == key.encode() else None


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.signed"


class Shelf(Compared):
    """The texts of all parts, numbered through from 0; `rows` says how many each part has.

    Travels between processes; files are opened where they are needed.
    """

    def __init__(self, folder: Path, rows: Sequence[int], closeness: Closeness) -> None:
        super().__init__(closeness)
        self.folder, self.rows = folder, list(rows)
        self.base: Ints = np.cumsum([0, *self.rows])
        self._columns: OrderedDict[tuple[int, str], NDArray[Any]] = OrderedDict()
        self._maps: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return Shelf, (self.folder, self.rows, self.closeness)

    def part_of(self, texts: Ints) -> Ints:
        """In which part each text is."""
        return np.searchsorted(self.base, texts, "right") - 1

    def blocks(self) -> list[range]:
        """Consecutive parts, of about BLOCK_ROWS rows together."""
        block = self.base[:-1] // BLOCK_ROWS
        cuts = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(self.rows)]
        return [range(first, end) for first, end in pairwise(cuts)]

    def by_block(self, texts: Ints) -> list[Ints]:
        """Where the texts of each block stand, block by block."""
        ends = self.base[[block.stop for block in self.blocks()]]
        block = np.searchsorted(ends, texts, "right")
        return [np.flatnonzero(block == number) for number in range(len(ends))]

    def facts(self, texts: Ints, name: str) -> NDArray[Any]:
        """One of FACTS of each text."""
        made = np.empty(len(texts), FACTS[name])
        for number, at, rows in self._by_part(texts):
            made[at] = self.column(number, "facts")[name][rows]
        return made

    def sizes(self, texts: Ints) -> Ints:
        return self.facts(texts, "size").astype(np.int64)

    def limits(self, texts: Ints) -> Shingles:
        return self.facts(texts, "limit")

    def signatures(self, texts: Ints) -> Signatures:
        found = self._by_part(texts)
        if len(found) == 1:
            signature: Signatures = self.column(found[0][0], "signature")[found[0][2]]
            return signature
        made = np.empty((len(texts), HASHES), np.uint16)
        for number, at, rows in found:
            made[at] = self.column(number, "signature")[rows]
        return made

    def values(self, texts: Ints, size: Ints) -> Shingles:
        made = np.empty(int(size.sum()), np.uint32)
        starts = np.cumsum(size) - size
        for number, at, rows in self._by_part(texts):
            flat = self.column(number, "flat")[spans(self._starts(number)[rows], size[at])]
            made[spans(starts[at], size[at])] = flat
        return made

    def column(self, number: int, name: str) -> NDArray[Any]:
        """A column of one part: `facts`, `signature` or `flat`."""
        if places.is_remote(self.folder):
            fetched: NDArray[Any] = self._held(number, name, self._fetched)
            return fetched
        first, last = self._bounds(number, name)
        return _shaped(self._mapped(number)[first:last], name)

    def _bounds(self, number: int, name: str) -> tuple[int, int | None]:
        """Which bytes of a part's file a column is; None: up to the end."""
        rows = self.rows[number]
        facts = HEAD.itemsize + rows * FACTS.itemsize
        signature = facts + rows * HASHES * 2
        bounds = {"facts": (HEAD.itemsize, facts), "signature": (facts, signature)}
        return bounds.get(name, (signature, None))

    def _mapped(self, number: int) -> NDArray[np.uint8]:
        held = self._maps.get(number)
        if held is None:
            if len(self._maps) >= OPEN:
                self._maps.popitem(last=False)
            file = np.memmap(_file(self.folder, number), np.uint8, "r")
            held = self._maps[number] = file.view(np.ndarray)
        self._maps.move_to_end(number)
        return held

    def _fetched(self, number: int, name: str) -> NDArray[Any]:
        first, last = self._bounds(number, name)
        with places.ranges(_file(self.folder, number)) as file:
            file.seek(first)
            data = file.read(-1 if last is None else last - first)
        return _shaped(np.frombuffer(data, np.uint8), name)

    def _starts(self, number: int) -> Ints:
        """Where each row's set begins."""

        def made(number: int, _: str) -> Ints:
            size = self.column(number, "facts")["size"].astype(np.int64)
            return np.cumsum(size) - size

        starts: Ints = self._held(number, "starts", made)
        return starts

    def _held(
        self, number: int, name: str, made: Callable[[int, str], NDArray[Any]]
    ) -> NDArray[Any]:
        """A column that takes memory; those not used for long make room for others."""
        held = self._columns.get((number, name))
        if held is None:
            held = made(number, name)
            room = HELD_BYTES - held.nbytes
            while self._columns and sum(c.nbytes for c in self._columns.values()) > room:
                self._columns.popitem(last=False)
            self._columns[number, name] = held
        self._columns.move_to_end((number, name))
        return held

    def _by_part(self, texts: Ints) -> list[tuple[int, Any, Ints]]:
        """(part, which of the texts, their rows there) of each part that holds any."""
        if not len(texts):
            return []
        number = int(self.part_of(texts[:1])[0])
        first, end = self.base[number], self.base[number + 1]
        if first <= texts.min() and texts.max() < end:
            return [(number, slice(None), texts - first)]
        part = self.part_of(texts).astype(np.int32)
        order = np.argsort(part, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(part[order])) + 1)
        numbers = [int(part[at[0]]) for at in groups]
        return [(n, at, texts[at] - self.base[n]) for n, at in zip(numbers, groups, strict=True)]


def _shaped(data: NDArray[np.uint8], name: str) -> NDArray[Any]:
    if name == "facts":
        return data.view(FACTS)
    if name == "signature":
        return data.view(np.uint16).reshape(-1, HASHES)
    return data.view(np.uint32)
