"""What a run's journal says of it, while it works or after: models, costs, times and errors.

Everything is read from the sums that the ledger keeps by the minute; of single attempts only the
newest are looked at, for their words. So a run of a million calls is told in milliseconds, and what
is told while a run is writing is told the same way when it has ended.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from karat.errors import ProviderError
from karat.journal import Address, floored, look_up
from karat.ledger import NANO, dollars, quantile
from karat.models.faults import remedy

S = TypeVar("S", bound=msgspec.Struct)

NEWEST = 20_000  # attempts in which errors are looked for
POINTS = 240  # of a series, about
FINE = 50_000  # attempts up to which a series is counted from them, by the second
SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))

# What to do about an error, where the service's status alone does not say it.
ADVICE = {
    "wait": "The service limits the rate; karat slows down by itself. Lower concurrency, or ask "
    "the service for a higher limit",
    "retry": "The service failed; karat tried again. Run again if rows are left without an answer",
    "timeout": "No answer in time. Raise timeout_s of the model, lower max_tokens or concurrency",
    "connection": "The connection failed. Check that the server runs and base_url reaches it, then "
    "run again",
    "unreadable": "The answer could not be read. Check that base_url is an API of the kind that "
    "the model's provider names",
    "broken": "An answer broke off half-way. Run again for the rows that wait",
    "row": "The service refuses the request. Check the model's parameters, such as max_tokens",
    "context": "The prompt is too long for the model. Shorten it, lower max_tokens, or take a "
    "model with a longer context",
    "content": "The service refuses the content. Such rows stay dropped; another model may answer",
    "abandoned": "Stopped while it was under way. Run again: it goes on where it stopped",
}


class ModelLine(msgspec.Struct):
    """A model and what it was asked for. `latency_ms` and `ttft_ms` are p50, p95 and p99, within
    4.5%; empty where nothing was measured. `cost_usd` is None where some price is unknown."""

    model: str
    kind: str
    role: str
    calls: int
    answers: int
    replayed: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    estimated: bool
    cost_usd: float | None
    latency_ms: dict[str, float]
    ttft_ms: dict[str, float]


class CostLine(msgspec.Struct):
    """What a step paid a model; `cost_usd` is None where some price is unknown."""

    step: str
    model: str
    calls: int
    tokens: int
    cost_usd: float | None


class Fault(msgspec.Struct):
    """Attempts that failed alike, and what a person can do. `passing` ones were tried again."""

    model: str
    step: str
    status: int
    error: str
    message: str
    count: int
    passing: bool
    advice: str


class Series(msgspec.Struct):
    """Points in time: `at` in Unix seconds (the start of each), answers a second, tokens written a
    second, and dollars paid so far."""

    width_s: float = 1.0
    at: list[float] = []
    answers: list[float] = []
    tokens: list[float] = []
    cost_usd: list[float] = []


def model_lines(journal: Address) -> list[ModelLine]:
    """One for each model and kind of call, dearest first. Raises: RunError."""
    sums = look_up(
        journal,
        "SELECT model, kind, min(role), sum(CASE WHEN error = '' THEN attempts ELSE 0 END), "
        "sum(answers), sum(replayed), sum(CASE WHEN error = '' THEN 0 ELSE attempts END), "
        "sum(prompt_tokens), sum(cached_tokens), "
        "sum(completion_tokens), sum(estimated), sum(cost_nano), sum(unpriced) FROM minutes "
        "GROUP BY model, kind ORDER BY model, kind",
    )
    times = look_up(
        journal,
        "SELECT model, measure, bucket, sum(count) FROM latencies WHERE measure <> 'queue' "
        "GROUP BY model, measure, bucket",
    )
    counts: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for model, measure, bucket, count in times:
        counts.setdefault((model, measure), []).append((bucket, count))
    found = [
        _made(
            ModelLine, *one[:10], bool(one[10]), dollars(one[11], one[12]),
            _percentiles(counts.get((one[0], "latency"))),
            _percentiles(counts.get((one[0], "ttft"))),
        )
        for one in sums
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-(one.cost_usd or 0), -one.completion_tokens, one.model))


def _made(kind: type[S], *values: Any) -> S:
    """A struct of values in the order of its fields."""
    return kind(**dict(zip(kind.__struct_fields__, values, strict=True)))


def _percentiles(counts: list[tuple[int, int]] | None) -> dict[str, float]:
    return {name: quantile(counts, share) for name, share in SHARES} if counts else {}


def cost_lines(journal: Address) -> list[CostLine]:
    """One for each step and model that was called, in their order. Raises: RunError."""
    found = look_up(
        journal,
        "SELECT step, model, sum(CASE WHEN error = '' THEN attempts ELSE 0 END), "
        "sum(completion_tokens + prompt_tokens), sum(cost_nano), sum(unpriced) FROM minutes "
        "WHERE attempts > 0 GROUP BY step, model ORDER BY min(minute), step, model",
    )
    return [_made(CostLine, *one[:4], dollars(one[4], one[5])) for one in found]


def faults(journal: Address, most: int = 20) -> list[Fault]:
    """Kinds of failed attempts, the most frequent first, among the NEWEST. Raises: RunError."""
    found = look_up(
        journal,
        "SELECT model, step, status, error, substr(message, 1, 400), count(*), "
        "min(CASE WHEN outcome = 'retried' THEN 1 ELSE 0 END) FROM "
        f"(SELECT * FROM attempts ORDER BY id DESC LIMIT {NEWEST}) AS newest "
        "WHERE outcome <> 'answered' GROUP BY 1, 2, 3, 4, 5 "
        f"ORDER BY 7, 6 DESC, 1, 2, 3, 4, 5 LIMIT {int(most)}",
    )
    return [
        _made(Fault, *one[:6], bool(one[6]), advice(one[2], one[3], one[4] or "")) for one in found
    ]  # fmt: skip


def advice(status: int, error: str, message: str = "") -> str:
    """What a person can do about an error of a kind."""
    if error == "model":
        return remedy(ProviderError(message, status, kind=error)).removeprefix(f"{message}. ")
    return ADVICE.get(error, "Run again for the rows that wait")


def series(journal: Address) -> Series:
    """Answers and cost over time, in at most about POINTS points. Raises: RunError."""
    spans = look_up(
        journal, "SELECT min(minute), max(minute), sum(attempts) FROM minutes WHERE attempts > 0"
    )
    if not spans or spans[0][0] is None:
        return Series()
    first, last, attempts = spans[0]
    if attempts <= FINE:
        return _fine(journal)
    width = max(1, -(-(last - first + 1) // POINTS))
    rows = look_up(
        journal,
        f"SELECT minute / {width} * {width} * 60, sum(answers), sum(completion_tokens), "
        "sum(cost_nano) FROM minutes GROUP BY 1 ORDER BY 1",
    )
    return _points(rows, width * 60)


def _fine(journal: Address) -> Series:
    """From the attempts themselves, by when they ended."""
    ended = "started + latency_ms / 1000"
    span = look_up(journal, f"SELECT min({ended}), max({ended}) FROM attempts")
    if not span or span[0][0] is None:
        return Series()
    width = max(1, round((span[0][1] - span[0][0]) / POINTS))
    rows = look_up(
        journal,
        f"SELECT {floored(ended)} / {width} * {width}, "
        "sum(CASE WHEN outcome = 'answered' THEN samples ELSE 0 END), sum(completion_tokens), "
        "sum(cost_nano) "
        "FROM attempts GROUP BY 1 ORDER BY 1",
    )
    return _points(rows, width)


def _points(rows: list[tuple[Any, ...]], width: float) -> Series:
    """Every point of the span, those in which nothing came too: a pause is a zero, no slope."""
    found, paid = Series(float(width)), 0.0
    known = {round(row[0]): row[1:] for row in rows}
    if not known:
        return found
    start, end, step = min(known), max(known), round(width)
    if (end - start) // step > 20 * POINTS:  # run again days later: the pause is left out
        times = sorted(known)
    else:
        times = list(range(start, end + step, step))
    for at in times:
        answers, tokens, nano = known.get(at, (0, 0, 0))
        paid += (nano or 0) / NANO
        found.at.append(at)
        found.answers.append((answers or 0) / width)
        found.tokens.append((tokens or 0) / width)
        found.cost_usd.append(paid)
    return found


def paid_usd(journal: Address) -> tuple[float, bool]:
    """(dollars paid so far, whether some price is unknown). Raises: RunError."""
    ((nano, unpriced),) = look_up(
        journal, "SELECT sum(cost_nano), sum(unpriced) FROM minutes"
    ) or [(0, 0)]  # fmt: skip
    return (nano or 0) / NANO, bool(unpriced)
