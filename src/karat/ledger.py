"""What the journal writes down: answers, the attempts that bought them, and minutes of both.

`calls` holds one row an answer: what was paid for, under the key it is found by. `attempts` holds
one row an HTTP request, failed ones too: who was asked, how long it took, what it used and cost.
`minutes` and `latencies` are sums of the attempts, written in the same transaction, so that a page
or a query over a million of them reads a few hundred rows. Cost is counted on attempts; an answer's
share of it is there so that a row of data can say what it cost, and the shares add up exactly.
`crc` is of what an answer says: SQLite keeps no checksum of its file.
"""

from __future__ import annotations

import math
import random
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from zlib import crc32

import msgspec

VERSION = 4
NANO = 1_000_000_000  # of a dollar: money is counted in whole ones
PER_OCTAVE = 8  # latency buckets: each 9% wider than the one before


EPOCH_MS = 1_700_000_000_000
_last_id = 0
_process = random.getrandbits(20)
_unset_ms = random.getrandbits(40)  # stands for a clock that was never set


def new_id() -> int:
    """An id of an attempt: 61 bits that grow with time, so that writing them in order is cheap, and
    that differ between processes."""
    global _last_id  # one count for the process, whatever journals it writes
    past_ms = time.time_ns() // 1_000_000 - EPOCH_MS
    now = (past_ms if past_ms > 0 else _unset_ms) << 20 | _process
    _last_id = max(_last_id + 1, now)
    return _last_id


def count_from(process: int) -> None:
    """Ids of this process are from now on unlike those of processes with other numbers, up to
    16,384 of them: where hundreds write to one ledger, drawn numbers would meet. 64 a millisecond
    are a process's own."""
    global _process
    _process = (process << 6) & (1 << 20) - 1


class Record(msgspec.Struct):
    """One answer. `attempt` is the id of the HTTP request that bought it.

    Tokens and cost are the answer's own share; over one request they add up exactly. `cost_nano` is
    billionths of a dollar, None when no price is known. `more` is JSON: reasoning, tool calls and
    log-probabilities, where there are any.
    """

    key: bytes
    attempt: int
    kind: str  # chat, complete, embed, rerank, decide or score
    model: str
    step: str
    row: str
    sample: int
    content: str | bytes
    finish_reason: str = ""
    more: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nano: int | None = None
    started: float = 0.0  # Unix seconds
    scope: str = ""  # run seed, step and its parameters but n: what a plan may count as recorded


class Attempt(msgspec.Struct):
    """One request on the wire and what became of it.

    `model` is what was asked for, `served` what the service says answered, `route` the model with
    its address. `outcome`: answered, retried, failed (given up for good), moved (to a fallback)
    or abandoned (nobody waits for it any more, and what it cost only the service knows). `error` is
    a kind of ProviderError, or abandoned; empty for an answer. `prompt_tokens` counts cached ones
    too. `tokens_from`: reported, estimated (from characters), worst (paid for, and not to be read),
    or nothing. `price` names where the price is from: provider, recipe, or a map and its version.
    """

    id: int
    kind: str
    role: str  # teacher, judge, reward, student
    model: str
    route: str
    step: str
    row: str
    started: float  # Unix seconds
    served: str = ""
    try_number: int = 0
    samples: int = 1
    queue_ms: float = 0.0
    ttft_ms: float | None = None
    latency_ms: float = 0.0
    status: int = 200
    outcome: str = "answered"
    error: str = ""
    message: str = ""
    retry_after_s: float | None = None
    finish_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    tokens_from: str = ""
    cost_nano: int | None = 0
    price: str = ""
    body: str | None = None  # what was asked; of a reply that could not be read, the reply


class BatchRow(msgspec.Struct):
    """A batch at a service's batch API: what must be known of it after a kill.

    `state`: submitting (written before anything is sent), submitted, or done: nothing in it is
    still awaited. `remote` is the service's id of it, `requests` the names of what it holds.
    """

    id: str
    route: str
    state: str
    created: float  # Unix seconds
    remote: str | None = None
    requests: bytes = b""


# The tables' columns, and which of them are numbers; what is neither is text.
CALLS = Record.__struct_fields__
ATTEMPTS = Attempt.__struct_fields__
WHOLE = (
    "id", "sample", "samples", "attempt", "try_number", "status", "cost_nano", "prompt_tokens",
    "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens",
)  # fmt: skip
REALS = ("started", "queue_ms", "ttft_ms", "latency_ms", "retry_after_s")
_TYPES = {
    **dict.fromkeys(("key", "content"), "BLOB"),
    **dict.fromkeys(WHOLE, "INTEGER"),
    "id": "INTEGER PRIMARY KEY",
    **dict.fromkeys(REALS, "REAL"),
}
BY = ("minute", "model", "step", "role", "kind", "error")
SUMS = (
    "attempts", "answers", "replayed", "prompt_tokens", "cached_tokens", "completion_tokens",
    "reasoning_tokens", "estimated", "cost_nano", "unpriced", "latency_ms", "queue_ms",
)  # fmt: skip
BUCKETED = ("minute", "model", "step", "role", "measure", "bucket")


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {_TYPES.get(name, 'TEXT')}" for name in names)


SCHEMA = f"""
CREATE TABLE calls ({_columns(CALLS)}, crc INTEGER, UNIQUE (key));
CREATE TABLE attempts ({_columns(ATTEMPTS)});
CREATE TABLE minutes (
    minute INTEGER, model TEXT, step TEXT, role TEXT, kind TEXT, error TEXT,
    {", ".join(f"{name} NUMERIC NOT NULL" for name in SUMS)}, PRIMARY KEY ({", ".join(BY)})
) WITHOUT ROWID;
CREATE TABLE latencies (
    minute INTEGER, model TEXT, step TEXT, role TEXT, measure TEXT, bucket INTEGER,
    count INTEGER NOT NULL, PRIMARY KEY ({", ".join(BUCKETED)})
) WITHOUT ROWID;
CREATE TABLE batches (
    id TEXT PRIMARY KEY, route TEXT, state TEXT, created REAL, remote TEXT, requests BLOB
);
PRAGMA user_version = {VERSION};
"""
ADD_CRC = "ALTER TABLE calls ADD COLUMN crc INTEGER"  # to a file of format 3
INSERT_CALL = (
    f"INSERT OR IGNORE INTO calls ({', '.join(CALLS)}, crc) "
    f"VALUES ({', '.join('?' * (len(CALLS) + 1))})"
)
REPLACE_CALL = INSERT_CALL.replace("IGNORE", "REPLACE")
INSERT_ATTEMPT = f"INSERT INTO attempts VALUES ({', '.join('?' * len(ATTEMPTS))})"
PUT_BATCH = "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?)"
_ADD_MINUTE = (
    f"INSERT INTO minutes VALUES ({', '.join('?' * (len(BY) + len(SUMS)))}) ON CONFLICT "
    f"DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}"
)
_ADD_LATENCY = (
    f"INSERT INTO latencies VALUES ({', '.join('?' * (len(BUCKETED) + 1))}) ON CONFLICT "
    "DO UPDATE SET count = count + excluded.count"
)
Replay = tuple[int, str, str, str, str]  # minute, model, step, role, kind


def bucket(milliseconds: float) -> int:
    """The latency bucket of a time: PER_OCTAVE to a doubling, 0 holds 1 ms."""
    return math.floor(math.log2(max(milliseconds, 0.01)) * PER_OCTAVE)


def bucket_ms(number: int) -> float:
    """The middle of a bucket, in milliseconds."""
    middle: float = 2 ** ((number + 0.5) / PER_OCTAVE)
    return middle


def dollars(nano: float | None, unpriced: float | None) -> float | None:
    """A sum of `cost_nano` in dollars; None where some call of it has no known price."""
    return None if unpriced else (nano or 0) / NANO


def quantile(counts: Iterable[tuple[int, int]], share: float) -> float:
    """A quantile in milliseconds, within 4.5%, from (bucket, count) pairs; 0 where there are none.

    The same rank as the exact one: the smallest time that `share` of all do not exceed.
    """
    found = sorted(counts)
    wanted = max(1, math.ceil(share * sum(count for _, count in found)))
    for number, count in found:
        wanted -= count
        if wanted <= 0:
            return bucket_ms(number)
    return 0.0


def crc_of(sample: int, content: str | bytes, finish_reason: str, more: str | None) -> int:
    """The CRC-32 of an answer."""
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return crc32(
        f"\0{sample}\0{finish_reason}\0{more}".encode("utf-8", "surrogatepass"), crc32(data)
    )


def line_of(record: Record) -> tuple[Any, ...]:
    """The values of INSERT_CALL."""
    crc = crc_of(record.sample, record.content, record.finish_reason, record.more)
    return (*msgspec.structs.astuple(record), crc)


class Batch:
    """What will be committed together."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.replacing: list[Record] = []
        self.attempts: list[Attempt] = []
        self.replays: dict[Replay, int] = defaultdict(int)

    def write(self, base: sqlite3.Connection) -> int:
        """Everything, inside the caller's transaction. Returns how many of `records` were new."""
        values = msgspec.structs.astuple
        made = base.executemany(INSERT_CALL, map(line_of, self.records)).rowcount
        if self.replacing:
            base.executemany(REPLACE_CALL, map(line_of, self.replacing))
        base.executemany(INSERT_ATTEMPT, map(values, self.attempts))
        minutes, latencies = rolled_up(self.attempts, self.replays)
        base.executemany(_ADD_MINUTE, ((*by, *sums) for by, sums in minutes.items()))
        base.executemany(_ADD_LATENCY, ((*by, count) for by, count in latencies.items()))
        return made


def rolled_up(
    attempts: Iterable[Attempt], replays: Mapping[Replay, int]
) -> tuple[dict[tuple[Any, ...], list[float]], dict[tuple[Any, ...], int]]:
    """(sums by BY, counts by BUCKETED) of what is committed together."""
    minutes: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0] * len(SUMS))
    latencies: dict[tuple[Any, ...], int] = defaultdict(int)
    for a in attempts:
        minute = int(a.started // 60)
        sums = minutes[(minute, a.model, a.step, a.role, a.kind, a.error)]
        made = (
            1, a.samples if not a.error else 0, 0, a.prompt_tokens, a.cached_tokens,
            a.completion_tokens, a.reasoning_tokens, a.tokens_from not in ("", "reported"),
            a.cost_nano or 0, a.cost_nano is None, a.latency_ms, a.queue_ms,
        )  # fmt: skip
        for place, value in enumerate(made):
            sums[place] += value
        if a.error:
            continue
        where = (minute, a.model, a.step, a.role)
        latencies[(*where, "latency", bucket(a.latency_ms))] += 1
        latencies[(*where, "queue", bucket(a.queue_ms))] += 1
        if a.ttft_ms is not None:
            latencies[(*where, "ttft", bucket(a.ttft_ms))] += 1
    for (minute, model, step, role, kind), count in replays.items():
        minutes[(minute, model, step, role, kind, "")][SUMS.index("replayed")] += count
    return minutes, latencies
