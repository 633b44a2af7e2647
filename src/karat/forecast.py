"""What one step says it would do, before anything is spent.

A step's `plan` hook answers with a Forecast; karat.planning adds tokens, dollars and time.
"""

from __future__ import annotations

import msgspec


class CallForecast(msgspec.Struct):
    """Calls to one model: `calls` requests of `n` samples each. Of a `reward`, whose name a model
    may have as well: `calls` rows. `writes`: whether what is asked writes text. A request holds,
    beside the conversation, `shown` responses and so many tokens of its `own_words`."""

    model: str
    calls: int
    n: int = 1
    max_tokens: int | None = None
    reward: bool = False
    writes: bool = True
    shown: int = 0
    own_words: int = 0


class Forecast(msgspec.Struct):
    """What one step makes of its rows: how many come out, what it asks, and how many responses it
    adds to each."""

    rows: int
    calls: list[CallForecast] = []
    responses: int = 0
