"""What all runs below a folder have cost, by model, day or whatever the ledger tells apart.

Read from the sums that each journal keeps of its attempts, never from the attempts: a run of a
million calls is a few thousand rows here. Journals are only looked at, so that a run may be writing
meanwhile, and one that cannot be read is a warning: the others still say what they cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from karat.errors import RecipeError, RunError, did_you_mean
from karat.journal import Address, look_up
from karat.journal.finding import journals
from karat.journal.grouping import KEYS
from karat.ledger import NANO, quantile

_SUMS = """
SELECT {key}, sum(CASE WHEN error = '' THEN attempts ELSE 0 END), sum(answers), sum(replayed),
    sum(CASE WHEN substr(step, 1, 4) = 'key:' THEN replayed ELSE 0 END),
    sum(CASE WHEN error = '' THEN 0 ELSE attempts END),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),
    sum(estimated), sum(cost_nano), sum(unpriced)
FROM minutes WHERE minute >= {since} GROUP BY 1
"""
# Keys go through the sorting as numbers, which halves its time, and measures apart, which saves a
# fifth; one statement sees one state of a journal that is written to. A name has a count below 0.
_BUCKETS = """
WITH names AS MATERIALIZED (
    SELECT key, {width} * row_number() OVER () AS number
    FROM (SELECT DISTINCT {key} AS key FROM minutes WHERE minute >= {since} AND attempts > 0) AS k
), places AS (
    SELECT DISTINCT minute, model, step, role, number FROM minutes JOIN names ON key = {key}
    WHERE minute >= {since} AND attempts > 0 AND error = ''
)
SELECT number, key, -1 FROM names
UNION ALL SELECT * FROM (
    SELECT number + bucket, '', sum(count) FROM places JOIN latencies USING (
        minute, model, step, role
    ) WHERE measure = 'latency' GROUP BY 1
) AS l
UNION ALL SELECT * FROM (
    SELECT number + bucket + {first}, '', sum(count) FROM places JOIN latencies USING (
        minute, model, step, role
    ) WHERE measure = 'ttft' GROUP BY 1
) AS t
"""
_DAYS = """
SELECT {day}, {key}, sum(cost_nano), sum(unpriced), sum(prompt_tokens + completion_tokens),
    sum(attempts) FROM minutes WHERE minute >= {since} AND attempts > 0 GROUP BY 1, 2 ORDER BY 1, 2
"""
WIDTH = 4096  # numbers a key's buckets have room in, half of them below 0 …
FIRST = 1024  # … and those of times to the first token from here on


class Line(msgspec.Struct):
    """The sums of one model, day or other key.

    `calls` were answered, `failed` attempts were not. `replayed` answers were found in the journal
    instead of bought, `cache_hits` of them by the gateway, whose cache it is. `prompt_tokens`
    counts those a service had cached (`cached_tokens`) too, `completion_tokens` thoughts.
    `cost_nano` is what is known, in billionths of a dollar; of `unpriced` attempts nobody knows
    the price, of `estimated` ones the tokens were guessed. `latencies` are calls by bucket,
    `firsts` those whose time to the first token is known.
    """

    name: str
    calls: int = 0
    answers: int = 0
    replayed: int = 0
    cache_hits: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: int = 0
    cost_nano: int = 0
    unpriced: int = 0
    latencies: dict[int, int] = {}
    firsts: dict[int, int] = {}

    def add(self, sums: Iterable[int]) -> None:
        """`sums` in the order of the fields."""
        for name, value in zip(SUMMED, sums, strict=True):
            setattr(self, name, getattr(self, name) + value)

    def take(self, other: Line) -> None:
        """Adds all of another line."""
        self.add(getattr(other, name) for name in SUMMED)
        for mine, theirs in ((self.latencies, other.latencies), (self.firsts, other.firsts)):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count

    def latency_ms(self, share: float) -> float | None:
        """A quantile of the answered calls, within 4.5%; None where there were none."""
        return quantile(self.latencies.items(), share) if self.latencies else None

    def ttft_ms(self, share: float) -> float | None:
        """The same of the time to the first token; None where no call said it."""
        return quantile(self.firsts.items(), share) if self.firsts else None


SUMMED = Line.__struct_fields__[1:-2]
TIMES = {
    **{f"p{round(100 * share)}_ms": (Line.latency_ms, share) for share in (0.5, 0.95, 0.99)},
    **{f"ttft_p{round(100 * share)}_ms": (Line.ttft_ms, share) for share in (0.5, 0.95, 0.99)},
}


class Costs(msgspec.Struct):
    """The answer: lines, dearest first (days in their order), and their total.

    `since` is the first day counted, local time, or None for all. `runs` are the folders read.
    """

    by: str
    since: date | None
    runs: list[str]
    lines: list[Line]
    total: Line
    warnings: list[str]


def costs(places: Sequence[Path] = (), by: str = "model", since: str | None = None) -> Costs:
    """What the runs in or below `places` (by default ./runs) cost.

    `by` is one of KEYS, `since` a day as YYYY-MM-DD. Raises: RecipeError when nothing is there.
    """
    first = check(by, since)
    found, warnings = [], []
    for folder, journal in journals(places or [Path("runs")]):
        try:
            found.append((str(folder), read(journal, by, first)))
        except RunError as error:
            warnings.append(f"not counted: {error}")
    return added(found, by, first, warnings)


def check(by: str, since: str | None) -> date | None:
    """The first day that is meant, None for all. Raises: RecipeError."""
    if by not in KEYS:
        raise RecipeError(f"--by {by}: no such grouping; {did_you_mean(by, KEYS)}")
    return _day(since) if since is not None else None


def added(
    found: Sequence[tuple[str, dict[str, Line]]], by: str, since: date | None,
    warnings: list[str],
) -> Costs:  # fmt: skip
    """The answer, from (a run's name, its lines) of each journal that was read."""
    lines: dict[str, Line] = {}
    total = Line("total")
    for run, ours in found:
        for key, line in ours.items():
            name = run if by == "run" else key
            lines.setdefault(name, Line(name)).take(line)
            total.take(line)
    listed = sorted(lines.values(), key=lambda line: line.name)
    if by != "day":
        listed.sort(key=lambda line: (-line.cost_nano, -line.unpriced, -line.completion_tokens))
    return Costs(by, since, [run for run, _ in found], listed, total, warnings)


def read(journal: Address, by: str, since: date | None = None) -> dict[str, Line]:
    """One journal's lines by their names, all in one under "" where they are by run.

    A journal counts whole or not at all. Raises: RunError.
    """
    name_of = KEYS[by].name
    values = {"key": KEYS[by].sql(), "since": first_minute(since), "width": WIDTH, "first": FIRST}
    sums = look_up(journal, _SUMS.format(**values))
    buckets = look_up(journal, _BUCKETS.format(**values))
    lines: dict[str, Line] = {}
    for key, *counts in sums:
        name = name_of(key)
        lines.setdefault(name, Line(name)).add(counts)
    names = {number: name_of(key) for number, key, count in buckets if count < 0}
    for number, _, count in buckets:
        if count >= 0:
            start = (number + WIDTH // 2) // WIDTH * WIDTH
            place, line = number - start, lines.setdefault(names[start], Line(names[start]))
            held = line.latencies if place < FIRST // 2 else line.firsts
            bucket = place if place < FIRST // 2 else place - FIRST
            held[bucket] = held.get(bucket, 0) + count
    return lines


class Daily(NamedTuple):
    """What one day and one key have in common; `attempts` count failed ones too."""

    day: str
    name: str
    cost_nano: int
    unpriced: int
    tokens: int
    attempts: int


def read_days(journal: Address, by: str, since: date | None = None) -> list[Daily]:
    """One journal's sums by day and by another key. Raises: RunError."""
    day, key = KEYS["day"], KEYS[by]
    sql = _DAYS.format(day=day.sql(), key=key.sql(), since=first_minute(since))
    found: dict[tuple[str, str], Daily] = {}
    for number, name, *sums in look_up(journal, sql):
        at = day.name(number), key.name(name)
        known = found.get(at, Daily(*at, 0, 0, 0, 0))
        found[at] = Daily(*at, *(a + b for a, b in zip(known[2:], sums, strict=True)))
    return list(found.values())


def first_minute(since: date | None) -> int:
    """The minute at which a day begins here."""
    return 0 if since is None else int(datetime.combine(since, time_of_day()).timestamp() // 60)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RecipeError(
            f"--since {text}: write a day as YYYY-MM-DD, such as 2026-11-01"
        ) from None


def time_zone() -> str:
    """The zone in which days begin here, for a person: `CET (UTC+01:00)`, or `UTC`."""
    now = datetime.now().astimezone()
    offset = now.strftime("%z")
    if now.tzname() == "UTC" and not now.utcoffset():
        return "UTC"
    return f"{now.tzname()} (UTC{offset[:3]}:{offset[3:5]})"


def as_tree(found: Costs) -> dict[str, Any]:
    """The answer for programs: dollars and milliseconds, None for what nobody knows."""
    return {
        "by": found.by,
        "since": None if found.since is None else found.since.isoformat(),
        "time_zone": time_zone(),
        "runs": found.runs,
        "lines": [line_tree(line) for line in found.lines],
        "total": line_tree(found.total),
        "warnings": found.warnings,
    }


def line_tree(line: Line) -> dict[str, Any]:
    """A line in columns. `cost_usd` is what is known of the cost, None where nothing is;
    `unpriced` attempts cost more."""
    tree = {name: getattr(line, name) for name in ("name", *SUMMED) if name != "cost_nano"}
    unknown = line.unpriced > 0 and line.cost_nano == 0
    tree["cost_usd"] = None if unknown else line.cost_nano / NANO
    return {**tree, **{name: of(line, share) for name, (of, share) in TIMES.items()}}
