"""What one step says it would do, before anything is spent.

A step's `plan` hook answers with a Forecast; karat.planning adds tokens, dollars and time.
"""

from __future__ import annotations

import msgspec


class CallForecast(msgspec.Struct):
    """Calls to one model: `calls` requests of `n` samples each. Of a reward: `calls` rows."""

    model: str
    calls: int
    n: int = 1
    max_tokens: int | None = None


class Forecast(msgspec.Struct):
    """What one step makes of its rows: how many come out, what it asks, and how many responses it
    adds to each."""

    rows: int
    calls: list[CallForecast] = []
    responses: int = 0
