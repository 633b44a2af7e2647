"""What answers cost and how long they took, as the ledger has it, row by row.

All SQL of a comparison is here. Costs are an answer's own share of its call, and whatever attempts
that brought none were charged with: someone paid for those as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from karat.journal import Journal
from karat.ledger import dollars


class Paid(NamedTuple):
    """Of one model's answers, by row. `cost` is in dollars, None when a price is unknown; `seconds`
    is the longest of a row's calls, which go out side by side, and what was tried in vain."""

    cost: dict[str, float] | None
    seconds: dict[str, float]
    calls_ms: list[float]  # each answered call once


def paid_answers(
    journal: Journal, keys: Mapping[str, Sequence[str]], step: str, routes: set[str]
) -> Paid:
    """What the answers under each row's keys (hex) took.

    Attempts of the step to one of `routes` that no answer came of are added to their rows.
    """
    nano: dict[str, int] = {}
    seconds: dict[str, float] = {}
    calls_ms: list[float] = []
    known = True
    for row, own in keys.items():
        bought: set[int] = set()
        for key in own:
            found = journal.query(
                "SELECT attempt, cost_nano FROM calls WHERE key = ?", bytes.fromhex(key)
            )
            for attempt, cost in found:
                bought.add(attempt)
                known &= cost is not None
                nano[row] = nano.get(row, 0) + (cost or 0)
        for attempt in sorted(bought):
            for (latency_ms,) in journal.query(
                "SELECT latency_ms FROM attempts WHERE id = ?", attempt
            ):
                calls_ms.append(latency_ms)
                seconds[row] = max(seconds.get(row, 0.0), latency_ms / 1000)
    lost = journal.query(
        "SELECT row, route, sum(latency_ms), sum(cost_nano), count(*) - count(cost_nano) "
        "FROM attempts WHERE step = ? AND outcome <> 'answered' GROUP BY row, route",
        step,
    )
    for row, route, latency_ms, cost, unpriced in lost:
        if row in keys and route in routes:
            known &= not unpriced
            nano[row] = nano.get(row, 0) + (cost or 0)
            seconds[row] = seconds.get(row, 0.0) + latency_ms / 1000
    dollars = {row: cost / 1e9 for row, cost in nano.items()}
    return Paid(dollars if known else None, seconds, calls_ms)


def shared_cost(journal: Journal, step: str) -> float | None:
    """Dollars that all other steps have cost so far; None when a price is unknown."""
    query = "SELECT sum(cost_nano), count(*) - count(cost_nano) FROM attempts WHERE step <> ?"
    ((nano, unpriced),) = journal.query(query, step)
    return dollars(nano, unpriced)
