"""What all runs below a folder have cost, by model, day or whatever the ledger tells apart.

Read from the sums that each journal keeps of its attempts, never from the attempts: a run of a
million calls is a few thousand rows here. Journals are only looked at, so that a run may be writing
meanwhile, and one that cannot be read is a warning: the others still say what they cost.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from karat.errors import RecipeError, RunError, did_you_mean
from karat.journal import look_up
from karat.ledger import NANO, quantile

JOURNAL = "journal.sqlite"
DEPTH = 3  # folders between the one that is named and a journal
# What a line can stand for, as SQL over the columns that both tables of sums have. The gateway's
# steps are `key:NAME`.
KEYS = {
    "model": "model",
    "provider": "substr(model, 1, instr(model || '/', '/') - 1)",
    "step": "step",
    "run": "''",
    "day": "date(minute * 60, 'unixepoch', 'localtime')",
    "role": "role",
    "key": "CASE WHEN substr(step, 1, 4) = 'key:' THEN substr(step, 5) ELSE '(runs)' END",
}
_SUMS = """
SELECT {key}, sum(attempts * (error = '')), sum(answers), sum(replayed),
    sum(replayed * (substr(step, 1, 4) = 'key:')), sum(attempts * (error <> '')),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(reasoning_tokens),
    sum(estimated), sum(cost_nano), sum(unpriced)
FROM minutes WHERE minute >= {since} GROUP BY 1
"""
# Keys go through the sorting as numbers, which halves its time, and measures apart, which saves a
# fifth; one statement sees one state of a journal that is written to.
_BUCKETS = """
WITH names AS MATERIALIZED (
    SELECT key, {width} * row_number() OVER () AS number
    FROM (SELECT DISTINCT {key} AS key FROM minutes WHERE minute >= {since} AND attempts > 0)
), places AS (
    SELECT DISTINCT minute, model, step, role, number FROM minutes JOIN names ON key = {key}
    WHERE minute >= {since} AND attempts > 0 AND error = ''
)
SELECT number, key FROM names
UNION ALL SELECT * FROM (
    SELECT number + bucket, sum(count) FROM places CROSS JOIN latencies USING (
        minute, model, step, role
    ) WHERE measure = 'latency' GROUP BY 1
)
UNION ALL SELECT * FROM (
    SELECT number + bucket + {first}, sum(count) FROM places CROSS JOIN latencies USING (
        minute, model, step, role
    ) WHERE measure = 'ttft' GROUP BY 1
)
"""
_DAYS = """
SELECT {day}, {key}, sum(cost_nano), sum(unpriced), sum(prompt_tokens + completion_tokens),
    sum(attempts) FROM minutes WHERE minute >= {since} AND attempts > 0 GROUP BY 1, 2
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
    for journal in journals(places or [Path("runs")]):
        try:
            found.append((str(journal.parent), read(journal, by, first)))
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


def journals(places: Iterable[Path]) -> list[Path]:
    """Every journal in these folders and DEPTH below, each once. Raises: RecipeError for a place
    that is not there or holds none."""
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise RecipeError(f"no folder {place}; name a run's folder, or one that holds runs")
        here = [path for one in folders(place, DEPTH) if (path := one / JOURNAL).is_file()]
        if not here:
            raise RecipeError(
                f"no run in {place}: {JOURNAL} is in none of its folders, {DEPTH} levels deep"
            )
        for path in here:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def folders(
    folder: Path, depth: int, *, but: Container[str] = (), seen: set[tuple[int, int]] | None = None
) -> Iterator[Path]:
    """A folder and those below it, hidden ones and those named in `but` left out.

    Links are entered last, and never to where one has been: they may lead in rings.
    """
    seen = set() if seen is None else seen
    try:
        now = folder.stat()
        seen.add((now.st_dev, now.st_ino))
        yield folder
        if depth == 0:
            return
        with os.scandir(folder) as entries:
            inner = [e for e in entries if e.is_dir() and not e.name.startswith(".")]
    except OSError:  # not there yet, or not ours to enter
        return
    for entry in sorted(inner, key=lambda e: (e.is_symlink(), e.name)):
        if entry.name not in but and not (entry.is_symlink() and _identity(entry) in seen):
            yield from folders(folder / entry.name, depth - 1, but=but, seen=seen)


def _identity(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    with suppress(OSError):
        now = entry.stat()
        return now.st_dev, now.st_ino
    return None


def read(journal: Path, by: str, since: date | None = None) -> dict[str, Line]:
    """One journal's lines by their names, all in one under "" where they are by run.

    A journal counts whole or not at all. Raises: RunError.
    """
    values = {"key": KEYS[by], "since": first_minute(since), "width": WIDTH, "first": FIRST}
    sums = look_up(journal, _SUMS.format(**values))
    buckets = look_up(journal, _BUCKETS.format(**values))
    lines: dict[str, Line] = {}
    for key, *counts in sums:
        lines.setdefault(key, Line(key)).add(counts)
    names = {number: key for number, key in buckets if isinstance(key, str)}
    for number, count in buckets:
        if not isinstance(count, str):
            start = (number + WIDTH // 2) // WIDTH * WIDTH
            place, line = number - start, lines.setdefault(names[start], Line(names[start]))
            if place < FIRST // 2:
                line.latencies[place] = count
            else:
                line.firsts[place - FIRST] = count
    return lines


class Daily(NamedTuple):
    """What one day and one key have in common; `attempts` count failed ones too."""

    day: str
    name: str
    cost_nano: int
    unpriced: int
    tokens: int
    attempts: int


def read_days(journal: Path, by: str, since: date | None = None) -> list[Daily]:
    """One journal's sums by day and by another key. Raises: RunError."""
    sql = _DAYS.format(day=KEYS["day"], key=KEYS[by], since=first_minute(since))
    return [Daily(*one) for one in look_up(journal, sql)]


def first_minute(since: date | None) -> int:
    """The minute at which a day begins here."""
    return 0 if since is None else int(datetime.combine(since, time()).timestamp() // 60)


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
