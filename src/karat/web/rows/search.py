"""Text looked for in the prompts and the responses themselves, row group by row group.

An index of two gigabytes of text would be as large again, so there is none: a search reads the
rows, stops once a page is full, and remembers where it stopped for the next page. So the number of
rows it found is "at least", until it has come to the end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import owners
from karat.web.rows.engine import Stop
from karat.web.rows.files import Holding, Part, Places

MOST_FOUND = 200_000  # hits that are remembered; nobody turns so many pages
COLUMNS = ("id", "messages.list.element.content", "responses.list.element.content")
READERS = 2
_readers = ThreadPoolExecutor(READERS, thread_name_prefix="karat-search")


class Search:
    """One text among the rows of one filter; `hits` are places in the order of the run.

    `among` are the places of the filter's rows in that order, None for all. Case is ignored.
    """

    def __init__(self, held: Holding, text: str, among: Places | None = None) -> None:
        self._groups = deque(_wanted(held, among))
        self._text = text
        self._lock = threading.Lock()
        self.hits: list[int] = []
        self.total = held.count if among is None else len(among)
        self.looked = 0  # rows

    @property
    def done(self) -> bool:
        """Whether all rows were looked at."""
        return not self._groups or len(self.hits) >= MOST_FOUND

    def until(self, hits: int | None, stop: Stop) -> None:
        """Goes on until there are so many hits (None: to the end), or `stop` is due."""
        with self._lock:
            for found, rows in self._found(hits, stop):
                self.hits += found
                self.looked += rows

    def _found(self, hits: int | None, stop: Stop) -> Iterator[tuple[list[int], int]]:
        """(hits, rows looked at) of each row group, which is then done; the next ones are read
        meanwhile."""
        ahead: deque[Future[tuple[list[int], int]]] = deque()
        while not self.done and not stop.is_due and (hits is None or len(self.hits) < hits):
            while len(ahead) < min(READERS, len(self._groups)):
                ahead.append(_readers.submit(_look, *self._groups[len(ahead)], self._text))
            found = ahead.popleft().result()
            self._groups.popleft()
            yield found
        for future in ahead:
            future.cancel()


def _wanted(
    held: Holding, among: Places | None
) -> Iterator[tuple[Part, int, int, NDArray[np.int64] | None]]:
    """(file, row group, its first place, rows in it to look at) of every group that has some."""
    for part, group, first in held.groups():
        if among is None:
            yield part, group, first, None
            continue
        end = first + part.starts[group + 1] - part.starts[group]
        inside = among[np.searchsorted(among, first) : np.searchsorted(among, end)] - first
        if len(inside):
            yield part, group, first, inside


def _look(
    part: Part, group: int, first: int, inside: NDArray[np.int64] | None, text: str
) -> tuple[list[int], int]:
    with part.open() as file:
        table = file.read_row_group(group, columns=list(COLUMNS), use_threads=False)
    if inside is not None:
        table = table.take(pa.array(inside))
    rows = np.arange(table.num_rows) if inside is None else inside
    hit = np.concatenate([_matches(batch, text) for batch in table.combine_chunks().to_batches()])
    return (first + rows[hit]).tolist(), len(rows)


def _matches(batch: pa.RecordBatch, text: str) -> NDArray[np.bool_]:
    """Which rows have the text in a turn or a response, or as their id."""
    found = pc.fill_null(pc.equal(batch.column("id"), text), False)
    hit: NDArray[np.bool_] = found.to_numpy(zero_copy_only=False).astype(bool)
    for name in ("messages", "responses"):
        lists = batch.column(name)
        texts = lists.flatten().field("content")
        there = pc.fill_null(pc.match_substring(texts, text, ignore_case=True), False)
        hit[owners(lists)[there.to_numpy(zero_copy_only=False).astype(bool)]] = True
    return hit
