"""What the Models page shows: figures of costs, times, caches and errors as words with their links.

Each figure is told once here, so that the page and its files cannot say two things. A name of a
line leads to the calls it sums up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from karat.costs import Costs, Line, line_tree
from karat.errors import RunError
from karat.journal.grouping import KEYS
from karat.ledger import NANO
from karat.report.costs import cost_text
from karat.report.run_ledger import Fault, advice, faults
from karat.report.run_parts import SAID, duration
from karat.report.whiskers import bar
from karat.visible import visible
from karat.web import figures
from karat.web.accounts.ledgers import Failure, Ledger, Ledgers, View
from karat.web.addresses import calls_page, run_page

MOST_MODELS = 12  # named at one kind of error
TITLES = {
    "model": "Model", "provider": "Provider", "key": "Key", "run": "Run", "day": "Day",
    "step": "Step", "role": "Role",
}  # fmt: skip
assert set(TITLES) == set(KEYS)


class Row(NamedTuple):
    """One line of the table in words; `href` leads to its calls, `rows` to rows of data."""

    name: str
    href: str
    rows: str
    bar: str
    share: str
    cost: str
    calls: str
    failed: str
    tokens_in: str
    cached: str
    tokens_out: str
    reasoning: str
    replayed: str
    cache_hits: str
    ttft: tuple[str, str]
    latency: tuple[str, str]


class Error(NamedTuple):
    """A kind of failure in words. `models` are (name, how often, its calls); the message is one of
    the latest of its kind."""

    times: str
    what: str
    message: str
    passing: bool
    advice: str
    models: list[tuple[str, str, str]]


def calls_href(by: str, view: View, named: dict[str, Ledger]) -> Callable[..., str]:
    """Where the calls behind a line are; `named` are the ledgers by their names."""

    def href(name: str | None = None, day: str = "") -> str:
        asked = {"run": view.run, "day": day}
        if name is not None and by == "run":
            asked["run"] = named[name].slug if name in named else ""
        elif name:
            asked[by] = name
        return calls_page(**asked)

    return href


def table_rows(
    found: Costs, view: View, href: Callable[..., str], named: dict[str, Ledger]
) -> list[Row]:
    """The lines of the table."""
    free = not found.total.cost_nano
    sizes = [float(_tokens(one) if free else one.cost_nano) for one in found.lines]
    most, total = max(sizes, default=0.0), sum(sizes)
    return [
        _row(one, size, most, total, view, href, named)
        for one, size in zip(found.lines, sizes, strict=True)
    ]


def _row(
    one: Line, size: float, most: float, total: float, view: View, href: Callable[..., str],
    named: dict[str, Ledger],
) -> Row:  # fmt: skip
    name = visible(one.name or "(none)", 160)
    link, rows = href(name=one.name), ""
    if view.by == "run" and one.name in named and named[one.name].place is not None:
        rows = run_page(named[one.name].slug, "/rows")
    elif view.by == "model" and view.run and (mine := _run_of(view, named)) is not None:
        rows = run_page(mine.slug, "/rows", model=one.name)
    about = "~" * bool(one.estimated)
    return Row(
        name, link, rows, bar([(name, size, "k-gold"), ("rest", most - size, "rest")], most),
        figures.share(size / total) if total else figures.UNKNOWN, cost_text(one),
        f"{one.calls:,}", f"{one.failed:,}", f"{about}{one.prompt_tokens:,}",
        _part(one.cached_tokens, one.prompt_tokens, "cached"), f"{about}{one.completion_tokens:,}",
        _part(one.reasoning_tokens, one.completion_tokens, "thoughts"), f"{one.replayed:,}",
        f"{one.cache_hits:,} by the gateway" if one.cache_hits else "",
        _times(one.ttft_ms), _times(one.latency_ms),
    )  # fmt: skip


def _run_of(view: View, named: dict[str, Ledger]) -> Ledger | None:
    found = [one for one in named.values() if one.slug == view.run and one.place is not None]
    return found[0] if found else None


def _tokens(line: Line) -> int:
    return line.prompt_tokens + line.completion_tokens


def _part(part: int, whole: int, what: str) -> str:
    return f"{figures.share(part / whole)} {what}" if part and whole else ""


def _times(of: Callable[[float], float | None]) -> tuple[str, str]:
    """p50, then p95 and p99."""
    found = [duration(ms) for share in (0.5, 0.95, 0.99) if (ms := of(share)) is not None]
    return (found[0], " · ".join(found[1:])) if found else (figures.UNKNOWN, "")


def facts(total: Line) -> list[tuple[str, str, str]]:
    """(what, how much, more of it): the figures at the head."""
    asked = total.calls + total.failed
    bought = total.answers + total.replayed
    return [
        ("cost", cost_text(total) if asked or total.replayed else figures.usd(0.0),
         "some prices are unknown" if total.unpriced else ""),
        ("calls answered", f"{total.calls:,}", f"{total.answers:,} answers"),
        ("failed attempts", f"{total.failed:,}",
         f"{figures.share(total.failed / asked)} of all" if asked else ""),
        ("tokens in", _about(total.prompt_tokens, total),
         _part(total.cached_tokens, total.prompt_tokens, "cached by services")),
        ("tokens out", _about(total.completion_tokens, total),
         _part(total.reasoning_tokens, total.completion_tokens, "thoughts")),
        ("not bought again", f"{total.replayed:,}",
         f"{_part(total.replayed, bought, 'of answers')}"
         + (f", {total.cache_hits:,} by the gateway" if total.cache_hits else "")),
    ]  # fmt: skip


def _about(count: int, total: Line) -> str:
    return f"{'~' * bool(total.estimated)}{count:,}"


# --- errors --------------------------------------------------------------------------------------


def errors(books: Ledgers, failures: Sequence[Failure]) -> list[Error]:
    """Kinds of failures, those that stopped something first. Counted from sums, whole; their words
    are those of the latest attempts."""
    counts: dict[str, dict[str, int]] = {}
    for one in failures:
        models = counts.setdefault(one.error, {})
        models[one.model] = models.get(one.model, 0) + one.attempts
    words = _words(books, {one.ledger.slug: one.ledger for one in failures}.values())
    found = [_error(kind, models, words.get(kind, [])) for kind, models in counts.items()]
    found.sort(key=lambda one: (one.passing, -int(one.times.replace(",", "")), one.what))
    return found


def _error(kind: str, counts: dict[str, int], said: list[Fault]) -> Error:
    latest = max(said, key=lambda fault: fault.count, default=None)
    statuses = sorted({fault.status for fault in said if fault.status})
    told = f", HTTP {', '.join(map(str, statuses[:4]))}" if statuses else ""
    to_do = latest.advice if latest else advice(0, kind) if kind != "model" else ""
    models = [
        (
            visible(model, 160), f"{count:,}",
            calls_page(model=model, error=kind),
        )
        for model, count in sorted(counts.items(), key=lambda one: -one[1])
    ]  # fmt: skip
    return Error(
        f"{sum(counts.values()):,}", f"{visible(kind, 40)}{told}",
        visible(latest.message or "", SAID) if latest else "",
        bool(said) and all(fault.passing for fault in said), to_do.rstrip("."),
        models[:MOST_MODELS],
    )  # fmt: skip


def _words(books: Ledgers, ledgers: Iterable[Ledger]) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    for one in ledgers:
        try:
            made = books.kept(one.journal, ("faults",), partial(faults, one.journal, 100))
        except RunError:
            continue
        for fault in made:
            found.setdefault(fault.error, []).append(fault)
    return found


# --- files ---------------------------------------------------------------------------------------


def as_rows(found: Costs) -> list[dict[str, Any]]:
    """The table for programs: dollars, milliseconds, null for what nobody knows."""
    total = found.total.cost_nano
    return [
        {
            found.by: one.name, **{k: v for k, v in line_tree(one).items() if k != "name"},
            "cost_share": one.cost_nano / total if total else None,
        }
        for one in found.lines
    ]  # fmt: skip


def spent(found: Costs) -> str:
    return figures.usd(found.total.cost_nano / NANO, unpriced=bool(found.total.unpriced))
