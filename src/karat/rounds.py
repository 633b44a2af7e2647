"""Rounds: a recipe walked again with fresh seeds until exactly as many rows are accepted as asked.

Rows accumulate and never replace: each round adds to what the steps up to the last one that writes
rows have made, and the steps after it see all of it together, so that dedupe, reject and mix decide
as they would over one larger run. What was answered before is replayed from the journal, and only
new rows are paid for.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from karat.columns import Decision, Table, apply_decision
from karat.curation.shingles import digests, normalise
from karat.mill import Mill
from karat.models.budget import BudgetError
from karat.row import Row, canonical, digest
from karat.stage import StepStats, read_batches, read_rows, written
from karat.steps.dedupe import turns
from karat.target import Round, Stratum, Target

LABEL = "exactly"
NAMED = 5  # strata named in a warning


class Rounds:
    """Turns a mill as often as its recipe's `exactly` needs."""

    def __init__(self, mill: Mill, target: Target) -> None:
        self.mill, self.target = mill, target
        last_fan = max(n for n, stage in enumerate(mill.stages) if stage.fans)
        self._head, self._body = mill.stages[: last_fan + 1], mill.stages[last_fan + 1 :]
        self._made: list[Path] = []  # what the head wrote, round by round
        self._texts: dict[str, list[str]] = {}  # what each step that writes rows wrote
        self._addresses: list[str] = []  # of the head, round by round
        self._stats: dict[str, StepStats] = {}  # of the head, all rounds together
        self._whole = True
        self._accepted: Counter[Stratum] = Counter()
        self._seen: Counter[Stratum] = Counter()
        self._idle: Counter[Stratum] = Counter()  # passes in a row that wrote it in vain
        self.result: dict[str, Any] = {}

    async def turn(self) -> Path:
        """The file of the last stage, with exactly the rows asked for, or as many as there are."""
        wanted, done = 1, 0
        kept: tuple[Path, dict[str, StepStats]] | None = None
        while True:
            try:
                while len(self._made) < wanted:
                    await self._round()
                last, whole = await self._all()
            except BudgetError as error:
                if kept is None:
                    raise
                why = str(error)
                break
            self._count(last)
            done = wanted
            kept = last, deepcopy(self.mill.monitor.stats)
            more, why = self._next(whole)
            if more == 0:
                break
            wanted += more
        last, self.mill.monitor.stats = kept
        path = self._cut(last, done, why)
        self.mill.sweep()
        return path

    # --- one round -----------------------------------------------------------------------------

    async def _round(self) -> None:
        """Walks the head once more: fresh rows, told apart from all earlier ones."""
        number = len(self._made) + 1
        self.mill.monitor.note = self._note(number)
        standing = {s: self._is_open(s) for s in self._accepted} if number > 1 else {}
        told = {label: list(texts) for label, texts in self._texts.items()}
        self.mill.services.round = Round(number, told, standing, self.target.per)
        state = canonical([number, *self._addresses, sorted(map(list, standing.items()))])
        stages = [
            msgspec.structs.replace(
                stage, suffix=f".{number}", address=digest(stage.address, state).hex()
            )
            if number > 1
            else stage
            for stage in self._head
        ]
        path, whole = await self.mill.through(stages)
        self._whole &= whole
        self._made.append(path)
        self._addresses.append(stages[-1].address)
        for stage in stages:
            for label in stage.labels:
                total = self._stats.setdefault(label, StepStats(label))
                total.add(self.mill.monitor.stats[label])
            if stage.fans:
                texts = (_text(row) for row in read_rows(self.mill.folder / stage.file_name))
                self._texts.setdefault(stage.labels[-1], []).extend(filter(None, texts))

    def _note(self, number: int) -> str:
        """Where the run stands, for progress lines."""
        if number == 1:
            return "round 1"
        short = [n for n in self._accepted.values() if n < self.target.rows]
        if not self.target.per:
            return f"round {number}, {sum(self._accepted.values()):,} of {self.target.rows:,}"
        return f"round {number}, {len(short)} of {len(self._accepted)} strata short"

    def _is_open(self, stratum: Stratum) -> bool:
        # With several strata a pass may have asked for others by chance.
        patience = 2 if self.target.per else 1
        return self._accepted[stratum] < self.target.rows and self._idle[stratum] < patience

    async def _all(self) -> tuple[Path, bool]:
        """What all rounds wrote, through the rest of the recipe."""
        rounds = len(self._made)
        self.mill.monitor.stats.update(deepcopy(self._stats))
        if rounds == 1:
            return await self.mill.through(self._body, self._made[0], self._whole)
        name = f"{len(self._head):02d}-all.{rounds}.parquet"
        path = self.mill.folder / name
        with written(path, {}) as writer:
            for batch in self._joined(self.mill.monitor.stats[self._head[-1].labels[-1]]):
                writer.add_batch(batch)
        self.mill.used.add(name)
        stages = [
            msgspec.structs.replace(
                stage, suffix=f".{rounds}", address=digest(stage.address, *self._addresses).hex()
            )
            for stage in self._body
        ]
        return await self.mill.through(stages, path, self._whole)

    def _joined(self, stats: StepStats) -> Iterator[pa.RecordBatch]:
        """The rows of all rounds; one that says what an earlier round said is dropped."""
        seen = np.zeros(0, np.uint64)
        for path in self._made:
            fresh = [np.zeros(0, np.uint64)]
            for batch in read_batches(path):
                said = digests(normalise(turns(batch.column("messages"))))
                fresh.append(said)
                again = np.isin(said, seen) & (said != 0)
                reasons = batch.column("dropped").to_pylist()
                for place in np.flatnonzero(again).tolist():
                    if reasons[place] is None:
                        reasons[place] = f"{LABEL}: repeats an earlier round"
                        stats.drop("repeats an earlier round")
                        stats.rows_out -= 1
                column = batch.schema.get_field_index("dropped")
                yield batch.set_column(column, "dropped", pa.array(reasons, pa.string()))
            seen = np.unique(np.concatenate([seen, *fresh]))

    # --- how far it is -------------------------------------------------------------------------

    def _count(self, last: Path) -> None:
        """Counts accepted rows by stratum, and how often new ones were written in vain."""
        before, seen = self._accepted, self._seen
        self._accepted, self._seen = Counter(), Counter()
        for row in read_rows(last):
            stratum = self.target.stratum(row.meta)
            if stratum is not None:
                self._seen[stratum] += 1
                self._accepted[stratum] += row.dropped is None
        gained = {s for s, n in self._accepted.items() if n > before[s]}
        short = {s for s in before if before[s] < self.target.rows}
        for stratum in short:
            # A pass that wrote none of it says nothing, unless nothing at all was gained.
            vain = self._seen[stratum] > seen[stratum] or not gained & short
            self._idle[stratum] = 0 if stratum in gained else self._idle[stratum] + vain

    def _next(self, whole: bool) -> tuple[int, str]:
        """(how many more rounds; why there are none although rows are missing)."""
        rows, rounds = self.target.rows, len(self._made)
        if self._accepted and all(n >= rows for n in self._accepted.values()):
            return 0, ""
        if not whole:
            return 0, "some calls failed; run again to try them once more"
        open_ = [n for s, n in self._accepted.items() if self._is_open(s)]
        if not open_:
            return 0, "the last rounds added no accepted row, so the recipe has run dry"
        if rounds >= self.target.rounds:
            return 0, f"{rounds} rounds are the most that exactly allows here"
        # As many as the rate so far says, at most as many again: the rate may change.
        least = min(open_)
        needed = math.ceil(rounds * rows / least) - rounds if least else rounds
        return min(max(needed, 1), rounds, self.target.rounds - rounds), ""

    # --- the end -------------------------------------------------------------------------------

    def _cut(self, last: Path, rounds: int, why: str) -> Path:
        """The last stage less the rows over the number, each with its reason."""
        stats = StepStats(LABEL)
        name = f"{len(self.mill.stages) + 1:02d}-{LABEL}.parquet"
        path = self.mill.folder / name
        with written(path, {}) as writer:
            for batch, reasons in apply_decision(last, Decision(drop=self._surplus(last)), LABEL):
                for reason in reasons:
                    stats.drop(reason)
                writer.add_batch(batch)
        stats.rows_out = Table(path).count()
        stats.rows_in = stats.rows_out + sum(stats.dropped.values())
        self.mill.monitor.stats[LABEL] = stats
        if self.mill.monitor.sealed.issuperset(self.mill.recipe.labels):
            self.mill.monitor.sealed.add(LABEL)  # nothing was made anew
        self.mill.used.add(name)
        short = {s: n for s, n in self._accepted.items() if n < self.target.rows}
        self.result = {
            "rows": self.target.rows,
            "per": list(self.target.per),
            "rounds": rounds,
            "accepted": {_name(s): min(n, self.target.rows) for s, n in self._accepted.items()},
            "why_short": why,
        }
        if why:
            named = [f"{_name(s)} {n:,}" for s, n in short.items()]
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            self.mill.services.warn(
                f"exactly {self.target.rows:,} was not reached ({', '.join(named[:NAMED])}{more}) "
                f"after {rounds} {'round' if rounds == 1 else 'rounds'}: {why}"
            )
        return path

    def _surplus(self, last: Path) -> dict[str, str]:
        """Of each stratum, the rows that come after enough others.

        Human and made rows are taken out in proportion, so that a share that `mix` made stays.
        """
        groups: dict[Stratum, tuple[list[str], list[str]]] = {}
        for row in read_rows(last):
            stratum = self.target.stratum(row.meta)
            if row.dropped is None and stratum is not None:
                groups.setdefault(stratum, ([], []))[row.source == "human"].append(row.id)
        surplus: list[str] = []
        for made, human in groups.values():
            rows = min(self.target.rows, len(made) + len(human))
            people = round(rows * len(human) / (len(made) + len(human)))
            surplus += [*made[rows - people :], *human[people:]]
        return dict.fromkeys(surplus, "more than asked for")


def _text(row: Row) -> str:
    """What a row is about, as the steps that write compare it: its prompt, or else its topic."""
    return row.prompt if row.messages else str(row.meta.get("topic") or "")


def _name(stratum: Stratum) -> str:
    return " / ".join(stratum) or "rows"
