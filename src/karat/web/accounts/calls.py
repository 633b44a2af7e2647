"""The latest attempts of all runs: when, who was asked, what came of it. Never what was asked.

An attempt has its key's time in it, so that the newest are read from the end of each journal, which
has no index for anything else. Where a filter lets few through, only so many of the newest are
looked at: a page must not read a million rows to find none.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from starlette.datastructures import QueryParams

from karat.errors import RecipeError, RunError
from karat.journal import changed_at, look_up
from karat.journal.grouping import KEYS
from karat.ledger import EPOCH_MS, NANO
from karat.report.run_ledger import advice
from karat.web.accounts.ledgers import Ledger
from karat.web.addresses import given, query, row_page

SHOWN = 100  # on a page
LOOKED = 100_000  # attempts of one journal
MOST_S = 4.0  # for all journals together
LONGEST_S = 86_400.0  # of one call
STATES = {"answered": "outcome = 'answered'", "failed": "outcome <> 'answered'"}
WORDS = ("model", "provider", "key", "step", "role", "error")
_OF = {
    **{name: f"{name} = ?" for name in WORDS},
    "provider": "substr(model, 1, length(CAST(? AS TEXT)) + 1) IN (?, ?)",
    "key": f"{KEYS['key'].sql()} = ?",
}
_CALLS = f"""
SELECT id, started, model, served, step, role, kind, row, outcome, status, error,
    substr(message, 1, 400), latency_ms, ttft_ms, queue_ms, prompt_tokens, cached_tokens,
    completion_tokens, reasoning_tokens, cost_nano, try_number
FROM (SELECT * FROM attempts WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT {LOOKED}) AS newest
WHERE {{}} ORDER BY id DESC LIMIT ?
"""


class Asked(msgspec.Struct, frozen=True):
    """Which attempts; empty where nothing is asked. `before` is the id of an attempt."""

    model: str = ""
    provider: str = ""
    key: str = ""
    step: str = ""
    role: str = ""
    error: str = ""
    status: str = ""
    day: str = ""
    run: str = ""
    before: int = 2**62

    def query(self, **changed: object) -> str:
        """As the part of an address behind its path."""
        values = {**msgspec.to_builtins(self), **changed}
        if values["before"] == 2**62:
            values["before"] = ""
        return query(**values)


class Call(NamedTuple):
    """One attempt. Times are Unix seconds and milliseconds, `cost_usd` is None where no price is
    known; `advice` says what to do about an error."""

    ledger: Ledger
    id: int
    started: float
    model: str
    served: str
    step: str
    role: str
    kind: str
    row: str
    outcome: str
    status: int
    error: str
    message: str
    latency_ms: float
    ttft_ms: float | None
    queue_ms: float
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_usd: float | None
    try_number: int

    @property
    def advice(self) -> str:
        return advice(self.status, self.error, self.message or "") if self.error else ""

    @property
    def row_href(self) -> str:
        """Where its row is, in a run that shows rows."""
        if self.ledger.place is None or not self.row:
            return ""
        return row_page(self.ledger.slug, self.row)

    def tree(self) -> dict[str, Any]:
        """As columns of a file."""
        found = {k: v for k, v in self._asdict().items() if k != "ledger"}
        return {"run": self.ledger.name, **found, "advice": self.advice}


class Latest(NamedTuple):
    """The newest first. `more`: there are older ones; `partly`: not all journals were looked at to
    their end, and there may be more."""

    calls: list[Call]
    more: bool
    partly: bool


def asked_of(params: QueryParams) -> Asked:
    """Raises: RecipeError."""
    asked = given(params, Asked.__struct_fields__)
    status = asked.get("status", "")
    if status not in ("", *STATES) and not re.fullmatch(r"\d{3}", status, re.ASCII):
        raise RecipeError("status is answered, failed, or an HTTP status such as 429")
    if day := asked.get("day", ""):
        _day(day)
    before = asked.pop("before", str(2**62))
    if not (before.isascii() and before.isdigit() and len(before) < 20):
        raise RecipeError("before is the id of a call")
    return Asked(**asked, before=min(int(before), 2**62))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RecipeError("write a day as YYYY-MM-DD, such as 2026-11-01") from None


def latest(ledgers: Sequence[Ledger], asked: Asked, shown: int = SHOWN) -> Latest:
    """The newest attempts of these journals. Raises: RecipeError."""
    conditions, values = ["1 = 1"], list[object]()
    for name in WORDS:
        if value := getattr(asked, name):
            conditions.append(_OF[name])
            values += [value, value, f"{value}/"] if name == "provider" else [value]
    if asked.status in STATES:
        conditions.append(STATES[asked.status])
    elif asked.status:
        conditions.append("status = ?")
        values.append(int(asked.status))
    first, last = 0, 2**62
    if asked.day:
        span = _span(asked.day)
        first, last = _ids(span)
        conditions.append("started >= ? AND started < ?")
        values += span
    sql = _CALLS.format(" AND ".join(conditions))
    until, partly = time.monotonic() + MOST_S, False
    found: list[list[Call]] = []
    for one in sorted(ledgers, key=_changed, reverse=True):
        if time.monotonic() > until:
            partly = True
            break
        bounds = min(asked.before, last), first
        try:
            rows = look_up(one.journal, sql, *bounds, *values, shown + 1)
        except RunError:  # said where costs are
            continue
        found.append([_call(one, row) for row in rows])
        if len(rows) <= shown and len(conditions) > 1:
            partly = partly or _is_long(one)
    merged = list(heapq.merge(*found, key=lambda call: -call.id))
    return Latest(merged[:shown], len(merged) > shown, partly)


def _call(ledger: Ledger, row: tuple[Any, ...]) -> Call:
    nano = row[-2]
    return Call._make((ledger, *row[:-2], None if nano is None else nano / NANO, row[-1]))


def _span(day: str) -> tuple[float, float]:
    """Unix seconds in which a local day begins and ends."""
    start = datetime.combine(_day(day), datetime.min.time())
    return start.timestamp(), (start + timedelta(days=1)).timestamp()


def _ids(span: tuple[float, float]) -> tuple[int, int]:
    """(least, greatest) id that attempts of this time can have: it holds when they ended."""
    low, high = (max(0, round(at * 1000) - EPOCH_MS) << 20 for at in (span[0], span[1] + LONGEST_S))
    return low, high


def _is_long(ledger: Ledger) -> bool:
    """Whether there are attempts beyond those that were looked at."""
    sums = look_up(ledger.journal, "SELECT sum(attempts) FROM minutes")
    return bool(sums) and (sums[0][0] or 0) > LOOKED


def _changed(ledger: Ledger) -> float:
    try:
        return changed_at(ledger.journal)
    except RunError:  # said where costs are
        return 0.0
