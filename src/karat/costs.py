"""What all runs below a folder have cost, by model, day or whatever the ledger tells apart.

Read from the sums that each journal keeps of its attempts, never from the attempts: a run of a
million calls is a few thousand rows here. Journals are only looked at, so that a run may be writing
meanwhile, and one that cannot be read is a warning: the others still say what they cost.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RecipeError, RunError, did_you_mean
from karat.journal import look_up
from karat.ledger import quantile

JOURNAL = "journal.sqlite"
DEPTH = 3  # folders between the one that is named and a journal
NANO = 1_000_000_000
# What a line can stand for, as SQL over the columns that both tables of sums have.
KEYS = {
    "model": "model",
    "provider": "substr(model, 1, instr(model || '/', '/') - 1)",
    "step": "step",
    "run": "''",
    "day": "date(minute * 60, 'unixepoch', 'localtime')",
    "role": "role",
}
_SUMS = """
SELECT {key}, sum(attempts * (error = '')), sum(answers), sum(replayed),
    sum(attempts * (error <> '')), sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens),
    sum(reasoning_tokens), sum(estimated), sum(cost_nano), sum(unpriced)
FROM minutes WHERE minute >= {since} GROUP BY 1
"""
# Keys go through the sorting as numbers, which halves its time; one statement sees one state of a
# journal that is written to.
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
"""
WIDTH = 4096  # numbers a key's buckets have room in, half of them below 0


class Line(msgspec.Struct):
    """The sums of one model, day or other key.

    `calls` were answered, `failed` attempts were not. `replayed` answers were found in the journal
    instead of bought. `prompt_tokens` counts cached ones too, `completion_tokens` thoughts.
    `cost_nano` is what is known, in billionths of a dollar; of `unpriced` attempts nobody knows
    the price, of `estimated` ones the tokens were guessed. `latencies` are calls by bucket.
    """

    name: str
    calls: int = 0
    answers: int = 0
    replayed: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: int = 0
    cost_nano: int = 0
    unpriced: int = 0
    latencies: dict[int, int] = {}

    def add(self, sums: Iterable[int]) -> None:
        """`sums` in the order of the fields."""
        for name, value in zip(SUMMED, sums, strict=True):
            setattr(self, name, getattr(self, name) + value)

    def slow(self, bucket: int, count: int) -> None:
        self.latencies[bucket] = self.latencies.get(bucket, 0) + count

    def latency_ms(self, share: float) -> float | None:
        """A quantile of the answered calls, within 4.5%; None where there were none."""
        return quantile(self.latencies.items(), share) if self.latencies else None


SUMMED = Line.__struct_fields__[1:-1]


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
    if by not in KEYS:
        raise RecipeError(f"--by {by}: no such grouping; {did_you_mean(by, KEYS)}")
    first = _day(since) if since is not None else None
    minute = 0 if first is None else int(datetime.combine(first, time()).timestamp() // 60)
    lines: dict[str, Line] = {}
    total, runs, warnings = Line("total"), [], []
    for journal in journals(places or [Path("runs")]):
        run = str(journal.parent)
        try:
            _read(journal, by, minute, run if by == "run" else None, lines, total)
        except RunError as error:
            warnings.append(f"not counted: {error}")
        else:
            runs.append(run)
    found = sorted(lines.values(), key=lambda line: line.name)
    if by != "day":
        found.sort(key=lambda line: (-line.cost_nano, -line.unpriced, -line.completion_tokens))
    return Costs(by, first, runs, found, total, warnings)


def journals(places: Iterable[Path]) -> list[Path]:
    """Every journal in these folders and DEPTH below, each once. Raises: RecipeError for a place
    that is not there or holds none."""
    found: dict[Path, Path] = {}
    for place in places:
        if not place.is_dir():
            raise RecipeError(f"no folder {place}; name a run's folder, or one that holds runs")
        here = list(_below(place, DEPTH))
        if not here:
            raise RecipeError(
                f"no run in {place}: {JOURNAL} is in none of its folders, {DEPTH} levels deep"
            )
        for path in here:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _below(folder: Path, depth: int) -> Iterator[Path]:
    journal = folder / JOURNAL
    if journal.is_file():
        yield journal
    if depth == 0:
        return
    try:
        with os.scandir(folder) as entries:
            inner = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    except OSError:  # not ours to enter
        return
    for name in inner:
        yield from _below(folder / name, depth - 1)


def _read(
    journal: Path, by: str, minute: int, name: str | None, lines: dict[str, Line], total: Line
) -> None:
    """Adds one journal's sums to `lines`, all under `name` where one is given.

    Both queries run before anything is added: a journal counts whole or not at all.
    Raises: RunError.
    """
    sums = look_up(journal, _SUMS.format(key=KEYS[by], since=minute))
    buckets = look_up(journal, _BUCKETS.format(key=KEYS[by], since=minute, width=WIDTH))
    for key, *values in sums:
        line = _line(lines, name or key)
        line.add(values)
        total.add(values)
    names = {number: key for number, key in buckets if isinstance(key, str)}
    for number, count in buckets:
        if not isinstance(count, str):
            key = (number + WIDTH // 2) // WIDTH * WIDTH
            _line(lines, name or names[key]).slow(number - key, count)
            total.slow(number - key, count)


def _line(lines: dict[str, Line], name: str) -> Line:
    if name not in lines:
        lines[name] = Line(name)
    return lines[name]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise RecipeError(
            f"--since {text}: write a day as YYYY-MM-DD, such as 2026-11-01"
        ) from None


def time_zone() -> str:
    """The zone in which days begin here, for a person: `CET (UTC+01:00)`."""
    now = datetime.now().astimezone()
    offset = now.strftime("%z")
    return f"{now.tzname()} (UTC{offset[:3]}:{offset[3:5]})"


def as_tree(found: Costs) -> dict[str, Any]:
    """The answer for programs: dollars and milliseconds, None for what nobody knows."""
    return {
        "by": found.by,
        "since": None if found.since is None else found.since.isoformat(),
        "time_zone": time_zone(),
        "runs": found.runs,
        "lines": [_tree(line) for line in found.lines],
        "total": _tree(found.total),
        "warnings": found.warnings,
    }


def _tree(line: Line) -> dict[str, Any]:
    """`cost_usd` is what is known of the cost, None where nothing is; `unpriced` attempts cost
    more."""
    tree = {name: getattr(line, name) for name in ("name", *SUMMED) if name != "cost_nano"}
    unknown = line.unpriced > 0 and line.cost_nano == 0
    tree["cost_usd"] = None if unknown else line.cost_nano / NANO
    tree["p50_ms"], tree["p95_ms"] = line.latency_ms(0.5), line.latency_ms(0.95)
    return tree
