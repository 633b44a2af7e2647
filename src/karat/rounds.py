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
import orjson
import pyarrow as pa

from karat.curation.shingles import digests, normalise
from karat.ledger import NANO
from karat.mill import Mill
from karat.models.budget import BudgetError
from karat.row import canonical, digest
from karat.stage import Stage, StepStats, read_batches, read_rows, written
from karat.steps.dedupe import turns
from karat.surplus import HELD, LABEL, counted, finish, thin
from karat.target import Origin, Round, Stratum, Target

PATIENCE = 2  # passes in vain before a stratum is given up; the last of them is of one round
FIRST = 1.25  # of the rows asked for, how many the first pass lets on: not all will be accepted
SLACK = 1.05  # more than the rate so far says
MOST_KNOWN = 20_000  # texts of earlier rounds that new ones are compared with, 3 KB each


class Rounds:
    """Turns a mill as often as its recipe's `exactly` needs."""

    def __init__(self, mill: Mill, target: Target) -> None:
        self.mill, self.target = mill, target
        last_fan = max(n for n, stage in enumerate(mill.stages) if stage.fans)
        self._head, self._body = mill.stages[: last_fan + 1], mill.stages[last_fan + 1 :]
        self._made: list[Path] = []  # what the head wrote, round by round
        self._texts: dict[str, list[str]] = {}  # what each step that writes rows wrote
        self._topics: dict[str, Origin] = {}  # what is known of each topic
        self._addresses: list[str] = []  # of the head, round by round
        self._stats: dict[str, StepStats] = {}  # of the head, all rounds together
        self._whole = True
        self._share = 1.0  # of a whole round, how much the next one is to be
        self._weight = 0.0  # rounds so far, in whole ones
        self._there: Counter[Stratum] = Counter()  # rows that the head wrote
        self._let: dict[Stratum, int] = {}  # of them, how many may go on; () stands for all
        self._asked: set[Stratum] = set()  # strata that steps could write
        self._accepted: Counter[Stratum] = Counter()
        self._tried: Counter[Stratum] = Counter()  # rows that were not held back
        self._idle: Counter[Stratum] = Counter()  # passes in a row that tried more in vain
        self._budget = mill.services.client.budget
        self._limit = self._budget.limit_nano
        self.result: dict[str, Any] = {}

    async def turn(self) -> Path:
        """The file of the last stage, with exactly the rows asked for, or as many as there are."""
        if not self.target.per:
            self._let[()] = math.ceil(FIRST * self.target.rows)
        more: int | None = 1
        why, done = "", 0
        kept: tuple[Path, dict[str, StepStats]] | None = None
        while more is not None:
            try:
                for _ in range(more):
                    await self._round()
                    if self._passing():
                        break  # what comes after would be told other texts once it is whole
                last = await self._all()
            except BudgetError as error:
                if kept is None:
                    raise
                why = why or f"{error}. What is bought of further rounds is kept for that"
                break
            self._count(last)
            kept, done = (last, deepcopy(self.mill.monitor.stats)), len(self._made)
            more, why = self._next()
        assert kept is not None
        last, self.mill.monitor.stats = kept
        self.mill.rounds = done
        path, self.result = finish(self.mill, self.target, last, self._accepted, done, why)
        self.mill.sweep()
        return path

    # --- one round -----------------------------------------------------------------------------

    async def _round(self) -> None:
        """Walks the head once more: fresh rows, told apart from all earlier ones."""
        number = len(self._made) + 1
        self.mill.monitor.note = self._note(number)
        standing = {s: self._is_open(s) for s in self._accepted} if self._steers() else {}
        told = {label: list(texts) for label, texts in self._texts.items()}
        self.mill.services.round = Round(number, told, standing, self.target.per, self._topics)
        state = canonical(
            [number, self._share, *self._addresses, sorted(map(list, standing.items()))]
        )
        stages = [
            msgspec.structs.replace(
                stage, suffix=f".{number}", address=digest(stage.address, state).hex()
            )
            if number > 1
            else stage
            for stage in self._head
        ]
        path: Path | None = None
        for stage in stages:
            path, self._whole = await self.mill.through([stage], path, self._whole)
            if stage.fans:
                self._learn(stage)
                if stage is not stages[-1] and self._share < 1:
                    path = thin(self.mill, path, stage, self._share)
            for label in stage.labels:
                total = self._stats.setdefault(label, StepStats(label))
                total.add(self.mill.monitor.stats[label])
                self._asked.update(map(tuple, total.notes.pop("strata", ())))
        assert path is not None
        self._made.append(path)
        self._addresses.append(stages[-1].address)
        self._weight += self._share

    def _learn(self, stage: Stage) -> None:
        """Keeps what a step wrote, for later rounds to differ from or to come back to."""
        known = self._texts.setdefault(stage.labels[-1], [])
        for row in read_rows(self.mill.folder / stage.file_name, bare=True):
            text = row.prompt if row.messages else str(row.meta.get("topic") or "")
            if text and len(known) < MOST_KNOWN:
                known.append(text)
                if not row.messages:
                    self._topics.setdefault(text, (row.meta, row.calls))

    def _steers(self) -> bool:
        """Whether the steps that write can be told which strata want rows: those strata are all
        known when they write, and no later step moves rows into others."""
        return bool(self._made) and set(self._accepted) <= {*self._there, *self._asked}

    def _note(self, number: int) -> str:
        """Where the run stands, for progress lines."""
        if number == 1:
            return "round 1"
        short = [n for n in self._accepted.values() if n < self.target.rows]
        if not self.target.per:
            return f"round {number}, {sum(self._accepted.values()):,} of {self.target.rows:,}"
        return f"round {number}, {len(short)} of {len(self._accepted)} strata short"

    def _is_open(self, stratum: Stratum) -> bool:
        return self._accepted[stratum] < self.target.rows and self._idle[stratum] < PATIENCE

    # --- all rounds together -------------------------------------------------------------------

    def _passing(self) -> bool:
        """Whether calls failed that may be answered when they are tried again."""
        return self.mill.monitor.passing > 0

    async def _all(self) -> Path:
        """What all rounds wrote, through the rest of the recipe."""
        self.mill.monitor.stats.update(deepcopy(self._stats))
        let = sorted((list(stratum), count) for stratum, count in self._let.items())
        state = digest(canonical([*self._addresses, let])).hex()
        suffix = f".{len(self._made)}-{state[:8]}"
        name = f"{len(self._head):02d}-all{suffix}.parquet"
        path = self.mill.folder / name
        with written(path, {}) as writer:
            for batch in self._joined(self.mill.monitor.stats[self._head[-1].labels[-1]]):
                writer.add_batch(batch)
        self.mill.used.add(name)
        stages = [
            msgspec.structs.replace(
                stage, suffix=suffix, address=digest(stage.address, state).hex()
            )
            for stage in self._body
        ]
        last, _ = await self.mill.through(stages, path, self._whole)
        return last

    def _joined(self, stats: StepStats) -> Iterator[pa.RecordBatch]:
        """The rows of all rounds, less those that say what an earlier round said, and less those
        that are not needed: nothing more is paid for them until they are."""
        seen = np.zeros(0, np.uint64)
        self._there.clear()
        for path in self._made:
            fresh = [np.zeros(0, np.uint64)]
            for batch in read_batches(path):
                said = digests(normalise(turns(batch.column("messages"))))
                fresh.append(said)
                again = np.isin(said, seen) & (said != 0)
                reasons = batch.column("dropped").to_pylist()
                metas = batch.column("meta").to_pylist()
                for place in (n for n, reason in enumerate(reasons) if reason is None):
                    reason = (
                        "repeats an earlier round" if again[place] else self._hold(metas[place])
                    )
                    if reason:
                        reasons[place] = f"{LABEL}: {reason}"
                        stats.drop(reason)
                        stats.rows_out -= 1
                column = batch.schema.get_field_index("dropped")
                yield batch.set_column(column, "dropped", pa.array(reasons, pa.string()))
            seen = np.unique(np.concatenate([seen, *fresh]))

    def _hold(self, meta: str) -> str:
        """Why a row stays behind, if it does."""
        stratum = self.target.stratum(orjson.loads(meta)) if self.target.per else ()
        if stratum is None:
            return ""
        self._there[stratum] += 1
        return HELD if self._there[stratum] > self._let.get(stratum, math.inf) else ""

    # --- how far it is -------------------------------------------------------------------------

    def _count(self, last: Path) -> None:
        """Counts accepted rows by stratum, and how often new ones were tried in vain."""
        before, tried = self._accepted, self._tried
        self._accepted, self._tried = Counter(), Counter()
        for row in read_rows(last, bare=True):
            stratum = counted(row, self.target)
            if stratum is not None and not (row.dropped or "").startswith(f"{LABEL}: "):
                self._tried[stratum] += 1
                self._accepted[stratum] += row.dropped is None
        for stratum in self._there:  # where it began, as later steps may have taken it elsewhere
            let = self._let.get(stratum, math.inf)
            self._tried[stratum] = round(min(self._there[stratum], let))
        self._accepted.update(dict.fromkeys(self._asked, 0))
        gained = {s for s, n in self._accepted.items() if n > before[s]}
        short = {s for s in before if before[s] < self.target.rows}
        for stratum in short:
            # A pass that tried none of it says nothing, unless nothing at all was gained.
            vain = self._tried[stratum] > tried[stratum] or not gained & short
            self._idle[stratum] = 0 if stratum in gained else self._idle[stratum] + vain

    def _next(self) -> tuple[int | None, str]:
        """(how many more rounds before the next pass, or None at the end; why rows are missing)."""
        rows, rounds = self.target.rows, len(self._made)
        self._budget.limit_nano = self._limit
        if self._accepted and all(n >= rows for n in self._accepted.values()):
            return None, ""
        if not self._accepted and self.target.per:
            return None, f"no row has the meta fields {list(self.target.per)}, which exactly counts"
        if self._passing():
            return None, "some calls failed; run again to try them once more"
        open_ = [s for s in self._accepted if self._is_open(s)]
        if not open_:
            return None, "the last rounds added no accepted row, so the recipe has run dry"
        steers = self._steers()
        if not steers:
            self._let = {} if self.target.per else self._let
        needed = 0.0
        for stratum in open_:
            accepted, tried = self._accepted[stratum], self._tried[stratum]
            # As many as the rate so far says and a little more, at most twice as many.
            want = math.ceil(SLACK * rows * tried / accepted) if accepted else 2 * tried
            want = min(max(want, tried + 1), max(2 * tried, rows))
            if steers and tried:
                self._let[stratum] = want
            there = self._there[stratum] if steers else tried
            short = max(0, want - there) / max(1, there)
            needed = max(needed, self._weight * short)
        for stratum in set(self._accepted) - set(open_) if steers else ():
            self._let[stratum] = self._tried[stratum]
        if not steers and self.target.per:
            needed = max(1.0, needed)
        hopeful = any(self._idle[stratum] == 0 for stratum in open_)
        more = min(math.ceil(needed), rounds if hopeful else 1)
        # What is missing may be less than a round. In steps, so that addresses stay readable.
        self._share = min(1.0, math.ceil(20 * SLACK * needed / more) / 20) if more else 1.0
        return self._afforded(more)

    def _afforded(self, more: int) -> tuple[int | None, str]:
        """As many rounds as the limits leave."""
        rounds, most = len(self._made), self.target.rounds
        if most is not None and more and rounds >= most:
            return None, f"{most} rounds are the most that exactly allows here"
        more = more if most is None else min(more, most - rounds)
        if not more or self._limit is None or not self._budget.spent_nano:
            return more, ""
        each = self._share * self._budget.spent_nano / self._weight
        left = self._limit - self._budget.spent_nano
        # Half a round is left aside: a call is let go only where its worst case fits.
        affordable = int(left / each - 0.5)
        if affordable >= 1:
            return min(more, affordable), ""
        # A part of a round is of no use. But a whole one may have been paid for by an earlier run:
        # so the next one is tried without a cent to spend.
        self._budget.limit_nano = self._budget.spent_nano
        return 1, (
            f"${left / NANO:.4f} of the budget of ${self._limit / NANO:g} is left, a round costs "
            f"about ${each / NANO:.4f}; raise budget_usd and run again to go on"
        )
