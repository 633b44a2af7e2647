"""Units: the rows of a stage in pieces that one worker walks at a time.

A unit is cut by what the stage before wrote, never by how many workers there are, so that a run
that begins again on another cluster finds the parts that are made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from karat import parquet
from karat.row import Row, digest
from karat.stage import BATCH_ROWS
from karat.table import SCHEMA, from_batch

UNITS = 256  # of a stage, where its rows are enough
ROWS = (128, 65_536)  # of a unit, at least and at most, as far as the files allow


class Piece(msgspec.Struct, frozen=True):
    """Rows of one file: of some row groups, or all."""

    file: Path
    groups: tuple[int, ...] | None = None


class Unit(msgspec.Struct, frozen=True):
    """Consecutive rows of a stage. They become part `number` of the next one."""

    number: int
    pieces: tuple[Piece, ...]
    rows: int

    def key(self, address: str) -> str:
        """Changes with what is done to the rows, and with which rows of the stage before it are."""
        names = [f"{piece.file.name}:{piece.groups}" for piece in self.pieces]
        return digest(address, str(self.number), str(self.rows), *names).hex()

    @property
    def file_name(self) -> str:
        return parquet.part_name(self.number)


def unit_size(rows: int | None) -> int:
    """How many rows a unit should have where a stage has so many; None: nobody knows."""
    low, high = ROWS
    return 4096 if rows is None else min(max(rows // UNITS, low), high)


def cut_units(path: Path) -> list[Unit]:
    """The units of a stage that is read from a file or a folder of parts."""
    size = unit_size(parquet.count(path))
    units: list[Unit] = []
    pieces: list[Piece] = []
    held = 0
    for piece, rows in _pieces(path, size):
        if held and held + rows > size:
            units.append(Unit(len(units), tuple(pieces), held))
            pieces, held = [], 0
        pieces.append(piece)
        held += rows
    if held or not units:
        units.append(Unit(len(units), tuple(pieces), held))
    return units


def _pieces(path: Path, size: int) -> Iterator[tuple[Piece, int]]:
    """Whole files, or consecutive row groups of those that hold more than a unit."""
    for file, rows in parquet.counted(path):
        if rows <= size:
            yield Piece(file), rows
            continue
        ends = parquet.pq_metadata(file)
        for group in range(ends.num_row_groups):
            yield Piece(file, (group,)), ends.row_group(group).num_rows


def unit_rows(unit: Unit) -> Iterator[Row]:
    """The rows of a unit, a bounded number in memory."""
    for piece in unit.pieces:
        for batch in parquet.batches(piece.file, BATCH_ROWS, SCHEMA.names, piece.groups):
            yield from from_batch(batch)
