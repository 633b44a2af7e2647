"""What the sums of ledgers are told apart by: model, day and the rest, the same in both kinds."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import NamedTuple

from karat.ledger import EPOCH_MS


class Key(NamedTuple):
    """What a line can stand for: SQL over the columns that both tables of sums have, in text, and
    the name of what that says. What databases would each word in their own way is left to `name`,
    and lines of one name are one."""

    sql: Callable[[], str]
    name: Callable[[str], str] = str


def _local_day() -> str:
    """The number of a minute's day here, as SQL: 1970-01-01 is 0.

    The clock is put forward and back at times that SQL is told.
    """
    offset, now = _offset(EPOCH_MS // 60_000), int(time.time() // 60) + 400 * 1440
    cases = []
    for week in range(EPOCH_MS // 60_000, now, 7 * 1440):
        after = _offset(week + 7 * 1440)
        if after != offset:
            low, high = week, week + 7 * 1440  # the first minute of the new offset is in here
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if _offset(middle) == after else (middle, high)
            cases.append(f"WHEN minute < {high} THEN {offset}")
            offset = after
    shift = f"CASE {' '.join(cases)} ELSE {offset} END" if cases else str(offset)
    return f"CAST((minute + {shift}) / 1440 AS TEXT)"


def _offset(minute: int) -> int:
    """Minutes by which the clock here is ahead of UTC then."""
    return time.localtime(minute * 60).tm_gmtoff // 60


def _date(day: str) -> str:
    return date.fromordinal(date(1970, 1, 1).toordinal() + int(day)).isoformat()


# The gateway's steps are `key:NAME`.
KEYS = {
    "model": Key(lambda: "model"),
    "provider": Key(lambda: "model", lambda model: model.partition("/")[0]),
    "step": Key(lambda: "step"),
    "run": Key(lambda: "CAST('' AS TEXT)"),
    "day": Key(_local_day, _date),
    "role": Key(lambda: "role"),
    "key": Key(
        lambda: "CASE WHEN substr(step, 1, 4) = 'key:' THEN substr(step, 5) ELSE '(runs)' END"
    ),
}
