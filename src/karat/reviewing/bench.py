"""What a reviewing session needs of one run: its rows, its queues, what was said, what was scored.

A server holds one for each run that is being reviewed. All of it can be made anew from the run's
files at any time; nothing that a person said is here alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from karat.reviewing.lines import key_of
from karat.reviewing.pool import Pool, stamp_of
from karat.reviewing.queue import Mode, Name, Queue
from karat.reviewing.store import Reviews
from karat.row import Response, Row
from karat.rundir import Run

SEED = 0  # of the draws: the same for all reviewers of a run, or nobody would see shared rows


class Bench:
    """One run under review; shared by threads. Its pool is read when first asked for."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reviews = Reviews(run)
        self._pool: Pool | None = None
        self._queues: dict[tuple[Name, Mode, int], Queue] = {}
        self._scores: dict[str, dict[str, dict[str, float]]] = {}  # row → response's key → scores
        self._lock = threading.RLock()

    def pool(self) -> Pool:
        """The run's rows as they are now. Raises: RecipeError where it has none."""
        with self._lock:
            if self._pool is None or self._pool.stamp != stamp_of(self.run):
                self._pool, self._queues, self._scores = Pool(self.run, SEED), {}, {}
            return self._pool

    def queue(self, name: Name, mode: Mode, answers: int = 2) -> Queue:
        """Raises: RecipeError where the run has no scores for it."""
        with self._lock:
            pool, key = self.pool(), (name, mode, answers)
            if key not in self._queues:
                self._queues[key] = Queue(pool, name, mode, answers)
            return self._queues[key]

    def scores(self) -> dict[str, dict[str, float]]:
        """The scores of all responses in rows that anybody spoke about, by rating key."""
        with self._lock:
            pool = self.pool()
            said = {one.row for one in self.reviews.all()}
            wanted = sorted(said - self._scores.keys())
            for _, row, _ in pool.rows(places_of(pool, wanted)):
                self._scores[row.id] = {key_of(row, one): one.scores for one in row.responses}
            self._scores |= {row: {} for row in wanted if row not in self._scores}
            return {key: one for row in said for key, one in self._scores[row].items()}

    def reward(self) -> str | None:
        """The reward the run chose by."""
        main = self.pool().main
        return None if main is None else main.rpartition(".")[0] or None

    def texts(self) -> Iterator[tuple[str, Row, Response]]:
        """(key, row, response) of every response in rows that anybody spoke about."""
        pool = self.pool()
        rows = sorted({one.row for one in self.reviews.all()})
        for _, row, _ in pool.rows(places_of(pool, rows)):
            for response in row.responses:
                yield key_of(row, response), row, response


def places_of(pool: Pool, rows: list[str]) -> list[int]:
    """The numbers of those rows that are in the pool."""
    if not rows:
        return []
    hits = pc.is_in(pool.ids, value_set=pa.array(rows, pa.string()))
    places: list[int] = pc.indices_nonzero(hits).to_pylist()
    return places
