"""Peers: other rows of the stage before, for a step that makes something new out of several.

Few-shot examples and second parents are drawn by hash order: of all rows, those whose id scatters
nearest to what the drawing row asks for. So a draw depends on who draws and on who is there, not on
when or in what order rows come by, and a row that joins later changes few of the draws made before.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from karat.columns import Table
from karat.curation.shingles import mix
from karat.row import Row, digest
from karat.table import BARE, from_batch

MOST = 20_000  # rows to draw from; of a longer stage as many, the same ones for every row


class Peers:
    """Rows to draw from, without their responses; not to be changed by who draws them."""

    def __init__(
        self, rows: Iterable[Row], seed: int = 0, step: str = "", path: Path | None = None
    ) -> None:
        self._seed, self._step, self._path = str(seed), step, path
        self._scores: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._rows = {int(digest(row.id, size=8).hex(), 16): row for row in rows}
        self._keys_P = np.array(sorted(self._rows), np.uint64)

    @property
    def count(self) -> int:
        """How many rows there are to draw from."""
        return len(self._rows)

    def draw(self, row: str, k: int, index: int = 0) -> list[Row]:
        """`k` rows other than the one whose id is `row`, or as many as there are.

        Another `index` gives another draw. Which rows come, and in what order, follows from run
        seed, step, `row` and `index`.
        """
        here = digest(self._seed, self._step, row, str(index), size=8)
        order_P = mix(self._keys_P ^ np.uint64(int.from_bytes(here, "little")))
        count = min(k + 1, self.count)  # one more, as the row itself may be among them
        if count < self.count:
            nearest = np.argpartition(order_P, count - 1)[:count]
        else:
            nearest = np.arange(count)
        nearest = nearest[np.argsort(order_P[nearest])]
        found = (self._rows[int(key)] for key in self._keys_P[nearest])
        return [peer for peer in found if peer.id != row][:k]

    def scores(self, key: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(counts_P, scores_R): responses per live row of the stage before, and their scores flat,
        in file order; NaN where ungraded. Of all rows, however many there are to draw from."""
        if key not in self._scores:
            empty = np.zeros(0, np.int64), np.zeros(0)
            self._scores[key] = empty if self._path is None else Table(self._path).scores(key)
        return self._scores[key]


def read_peers(path: Path, seed: int, step: str) -> Peers:
    """The live rows of a stage file; of more than `MOST`, those whose ids hash lowest."""
    held: list[tuple[bytes, Row]] = []
    for batch in Table(path).batches(BARE):
        held += [(digest(row.id, size=8), row) for row in from_batch(batch)]
        if len(held) > 2 * MOST:
            held = sorted(held, key=_first)[:MOST]
    return Peers((row for _, row in sorted(held, key=_first)[:MOST]), seed, step, path)


def _first(pair: tuple[bytes, Row]) -> bytes:
    return pair[0]
