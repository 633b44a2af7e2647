"""A mix in the making: what is in it, what is to come, and which rows of files are taken.

The files' rows are known before the table is looked at, so that its parts can be asked which of
them they have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from karat.columns import Table
from karat.context import Context
from karat.curation.shingles import Hashes, Ints
from karat.row import Ids, Row
from karat.steps._guarding import CHARS, MOST, Guard, Watched, guarded, said
from karat.steps._mix_files import File, earlier_rows
from karat.steps._mixing import (
    Floats,
    Rows,
    Weigh,
    at_places,
    by_stratum,
    file_rows,
    fresh,
    grown,
    held,
    in_turn,
    shared_out,
    sized,
    whole,
)  # fmt: skip
from karat.steps._strata import Strata


class _Round:
    """An earlier round: its file, its number, its rows, and the places of those taken."""

    def __init__(self, path: str, number: int, rows: Rows) -> None:
        self.path, self.number, self.rows = path, number, rows
        self.places: Ints = np.zeros(0, np.int64)


class Mixture:
    """Read the files, ask the table, accumulate and look; then take."""

    def __init__(self, ctx: Context, weigh: Weigh, per: Sequence[str], *, watch: bool) -> None:
        self._ctx, self.weigh, self._watch = ctx, weigh, watch
        self._strata, self._watched = Strata(per), Watched()
        self._seed = ctx.rng().getrandbits(63)
        self._said: Hashes = np.zeros(0, np.uint64)
        self._size_2S = np.zeros((2, 0), np.int64)  # of each stratum, of others and of people
        self._rounds: list[_Round] = []
        self.files: list[File] = []

    def read(self, earlier: Sequence[str], files: Sequence[File]) -> None:
        """Reads the files once: what their rows say, and what they weigh."""
        self.files = list(files)
        for number, path in enumerate(earlier, 1):
            rows = earlier_rows(self._ctx.path(path), number, ctx=self._ctx)
            seen = self._watched.earlier(rows) if self._watch else rows
            self._rounds.append(
                _Round(path, number, file_rows(seen, self.weigh, self._strata))
            )  # fmt: skip
        for file in files:
            file.rows = file_rows(file.answered(file.skipped), self.weigh, self._strata)

    def ask(self, table: Table) -> None:
        """Asks the parts of the table what is in them."""
        read = [*(one.rows for one in self._rounds), *(file.rows for file in self.files)]
        asked = np.unique(np.concatenate([self._said, *(rows.digest for rows in read)]))
        found = held(table, asked, self.weigh, self._strata.per, watch=self._watch)
        # The table's strata come first, as its rows do.
        places = found.strata.merge(self._strata)
        for rows in read:
            rows.code = places[rows.code] if len(rows.code) else rows.code
        self._strata, self._said = found.strata, found.digest
        self._size_2S = grown(found.size_2S, len(found.strata.names))
        self._watched.merge(found.watched)

    def accumulate(self) -> None:
        """Takes in the rows of earlier rounds that say something new."""
        for one in self._rounds:
            one.places = fresh(one.rows, self._said)
            taken = one.rows.at(one.places)
            self._said = np.concatenate([self._said, taken.digest])
            self._add(taken)

    def look(self) -> None:
        """Which of the files' rows may be taken, and in which order."""
        for file in self.files:
            places = fresh(file.rows, self._said)
            self._said = np.concatenate([self._said, file.rows.digest[places]])
            file.skipped["duplicate"] = len(file.rows.size) - len(places)
            file.order = in_turn(file.rows, places, self._seed)
        self._strata.warn(self._ctx)

    def take_given(self, files: Sequence[File], share: float) -> None:
        """Chooses rows of other files, each to its share of the whole, before the human ones."""
        if not files:
            return
        people = sum(file.limit() for file in self.files if file.human)
        shares = [file.weight or 0.0 for file in files] + [share] * bool(share)
        limits = [float(file.limit()) for file in files] + [float(self.human + people)] * bool(
            share
        )
        size = whole(self.others + (0 if share else self.human), np.array(shares), np.array(limits))
        need_S = self._by_stratum()
        for file in files:
            wanted = int(np.ceil((file.weight or 0.0) * size - 1e-9))
            file.chosen = by_stratum(file.order, file.rows, wanted, need_S, file.cap)
            self._add(file.rows.at(file.chosen))
            if file.limit() < wanted:
                self._ctx.warn(
                    f"{file.path} has {file.limit():,} usable {self.weigh} where {wanted:,} were "
                    f"wanted for {file.weight:.0%}"
                )

    def take_human(self, files: Sequence[File], share: float) -> int:
        """Chooses people's rows; returns how much was wanted of them."""
        wanted = max(0, _needed(self.others, share) - self.human) if files else 0
        need_S = np.maximum(0.0, share / (1 - share) * self._by_stratum() - self._by_stratum(True))
        limits = np.array([file.limit() for file in files], np.int64)
        weights = [file.there() if file.weight is None else file.weight for file in files]
        parts = shared_out(wanted, np.array(weights, np.float64), limits)
        for file, part in zip(files, parts.tolist(), strict=True):
            # Of a single file all that was wanted, so that tokens reach it with the last row.
            part = wanted if len(files) == 1 else part
            file.chosen = by_stratum(file.order, file.rows, part, need_S, file.cap)
            self._add(file.rows.at(file.chosen))
        return wanted

    def _add(self, rows: Rows) -> None:
        self._size_2S = sized(self._size_2S, rows.code, rows.size, rows.human, self._strata)

    def _by_stratum(self, human: bool = False) -> Floats:
        """size_S: how much of each stratum is in the mix, of people's rows or of the others."""
        size_S: Floats = self._size_2S[int(human)].astype(np.float64)
        return size_S

    @property
    def others(self) -> int:
        """How much is in the mix that people did not write."""
        return int(self._size_2S[0].sum())

    @property
    def human(self) -> int:
        """How much is in it of people's."""
        return int(self._size_2S[1].sum())

    @property
    def share(self) -> float:
        return self.human / (self.others + self.human) if self.others + self.human else 0.0

    def notes(self, wanted: int) -> dict[str, Any]:
        people = [file for file in self.files if file.human]
        keys = ("unusable", "no_answer", "duplicate")
        found: dict[str, Any] = {
            "human": self.human,
            "added": sum(len(file.chosen) for file in people),
            "share": self.share,
            "wanted": wanted,
            "available": sum(file.limit() for file in people),
            "skipped": {key: sum(file.skipped[key] for file in people) for key in keys},
        }
        if len(self.files) > 1 or len(self.files) > len(people):
            found["files"] = {
                file.path: {
                    "added": len(file.chosen),
                    self.weigh: int(file.rows.size[file.chosen].sum()),
                    "available": file.limit(),
                }
                for file in self.files
            }
        if self._rounds:
            found["previous"] = {one.path: len(one.places) for one in self._rounds}
        return found

    def guard(self, guard: Guard, share: float) -> dict[str, Any]:
        """The notes of the guard, which reads people's answers once more."""
        if guard == "off":
            return {}
        unused: list[tuple[int, str]] = []
        for file in self.files:
            turn = {place: n for n, place in enumerate(file.order.tolist())}
            chosen = set(file.chosen.tolist())
            for place, row in enumerate(file.again()):
                if place in chosen:
                    (self._watched.human if file.human else self._watched.given).add(said(row))
                elif file.human and place in turn and turn[place] >= len(turn) - MOST:
                    unused.append((turn[place], said(row)[:CHARS]))
        left = [text for _, text in sorted(unused)]
        found = guarded(self._ctx, self._watched, left, guard, share, self._seed)
        return {"guard": found} if found else {}

    def added(self) -> Iterator[Row]:
        """The rows to add: earlier rounds, then each file's in its own order."""
        for one in self._rounds:
            rows = earlier_rows(self._ctx.path(one.path), one.number, ctx=self._ctx)
            yield from at_places(rows, one.places)
        ids = Ids()
        for file in sorted(self.files, key=lambda file: not file.human):
            for row in at_places(file.again(), file.chosen):
                row.id = ids.assign(row.messages, row.meta, self._ctx.label)
                yield row


def _needed(others: int, share: float) -> int:
    """The fewest human rows that are at least `share` of all, beside `others`."""
    # Less a hair, so that 0.2 of 8 others is 2 rows whatever the division's last bit.
    return int(np.ceil(share * others / (1 - share) - 1e-9))
