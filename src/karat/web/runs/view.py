"""What can be seen of one run, whatever became of it: at work, ended, stopped, failed, damaged.

A run's files are written by another process, or were, and may be missing or broken in any way. So
each is read by itself, what cannot be read is said, and what can is shown.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec
import orjson

from karat import live
from karat.errors import KaratError
from karat.report.cells import clock, money
from karat.report.run_flow import FlowStep, steps_of
from karat.report.run_ledger import paid_usd
from karat.report.run_parts import attempts
from karat.report.run_parts import facts as report_facts
from karat.report.run_report import ODD
from karat.visible import visible
from karat.web.addresses import run_page
from karat.web.runs.summary import PILLS, progress
from karat.web.shelf import Place

T = TypeVar("T")
RESUME = "The same command goes on where it stopped; nothing is paid for twice"


class Seen(NamedTuple):
    """A run as its files say. `report` is the last one that was written, maybe of an earlier run:
    then `stale`. `problems` say what cannot be read."""

    place: Place
    state: str
    live: live.State | None
    report: dict[str, Any] | None
    stale: bool
    problems: list[str]

    @property
    def at_work(self) -> bool:
        return self.state == "running"

    @property
    def steps(self) -> list[FlowStep]:
        """The funnel: as it is now, or as the report has it."""
        if self.live is not None and (self.report is None or self.stale):
            return steps_of(msgspec.to_builtins(self.live.steps))
        return steps_of(self.report["funnel"]) if self.report else []

    @property
    def whole(self) -> dict[str, Any] | None:
        """The report, where it tells of the run as it is."""
        return None if self.at_work else self.report


def look(place: Place) -> Seen:
    """Everything small that the run's files say; never raises for what they hold."""
    problems: list[str] = []
    now = _live(place, problems)
    report: dict[str, Any] | None = None
    if place.run.report_file.exists():
        try:
            report = place.run.report
            sum(step.body for step in steps_of(report["funnel"]))  # figures, all of them
        except (KaratError, *ODD) as error:
            report = None
            problems.append(
                str(error) if isinstance(error, KaratError)
                else f"{place.run.report_file.name} is not as karat writes it; run the recipe again"
            )  # fmt: skip
    state = now.state if now is not None else "finished" if report is not None else "stopped"
    if problems and state != "running":
        state = "damaged"
    stale = report is not None and now is not None and now.state != "finished"
    return Seen(place, state, now, report, stale, problems)


def _live(place: Place, problems: list[str]) -> live.State | None:
    """live.json, if a program could be told what it says."""
    now = live.read(place.run)
    try:
        orjson.dumps(msgspec.to_builtins(now))
    except (TypeError, ValueError):
        problems.append(f"{place.run.live_file.name} is not as karat writes it; {RESUME}")
        return None
    return now


def attempt(what: Callable[[Any], T], path: Any, otherwise: T, problems: list[str]) -> T:
    """What a reader of a file, or of a journal, gives, or `otherwise`, and why in `problems`."""
    try:
        return what(path)
    except KaratError as error:
        problems.append(str(error))
    except (OSError, sqlite3.Error, *ODD) as error:
        name = getattr(path, "name", "the journal")
        problems.append(f"{name} cannot be read ({type(error).__name__})")
    return otherwise


def listed(what: Callable[[Any], list[T]], path: Any, problems: list[str]) -> list[T]:
    """The same of what gives a list: nothing, where it cannot be read."""
    return attempt(what, path, [], problems)


def rows_of_step(slug: str) -> Callable[[str | None, str | None], str]:
    """Links of the flow."""

    def link(step: str | None, reason: str | None) -> str:
        kept = "accepted" if step is None else "dropped"
        return run_page(slug, "/rows", kept=kept, step=step, reason=reason)

    return link


def rows_of_score(slug: str) -> Callable[[str, float, float, bool], str]:
    """Links of a histogram's bins."""

    def link(key: str, low: float, high: float, kept: bool) -> str:
        return run_page(
            slug, "/rows", score=key, min=f"{low:.17g}", max=f"{high:.17g}",
            kept="accepted" if kept else None,
        )  # fmt: skip

    return link


def head(seen: Seen) -> dict[str, Any]:
    """State, what is being done, how far it is, and what went wrong."""
    now = seen.live
    found: dict[str, Any] = {
        "state": seen.state, "pill": PILLS[seen.state], "said": "", "error": "",
        "progress": None, "note": "",
    }  # fmt: skip
    if now is None:
        if seen.report is None:
            found["said"] = f"It has not come to its end. {RESUME}"
        return found
    found["note"] = visible(now.note, 300)
    if seen.at_work:
        busy = [step for step in now.steps if step.current]
        found["said"] = ", ".join(visible(step.label, 60) for step in busy) or "getting ready"
        found["progress"] = progress(now.steps, now.expected)
    elif seen.state == "failed":
        found["error"] = visible(now.error, 2000)
        found["said"] = RESUME
    elif seen.state == "stopped":
        found["said"] = f"It stopped before its end. {RESUME}"
    return found


def facts(seen: Seen) -> list[tuple[str, str, str]]:
    """(what, how much, more): of a run at work as it is, else of its report."""
    if seen.report is not None and not seen.at_work and not seen.stale:
        return report_facts(seen.report)
    now = seen.live
    if now is None:
        paid, unknown = attempt(paid_usd, seen.place.run.journal, (0.0, False), seen.problems)
        return [("cost so far", money(paid), "and calls of unknown price" if unknown else "")]
    first = next((step for step in now.steps if step.rows_in or step.rows_out), None)
    came = max(first.rows_in, first.rows_out) if first else 0
    through = now.steps[-1].rows_out if now.steps else 0
    lost = sum(sum(step.dropped.values()) for step in now.steps)
    seconds = (time.time() if seen.at_work else now.updated) - now.started
    found = [
        ("rows in", f"{came:,}", ""),
        ("through so far", f"{through:,}", f"{through / (through + lost):.0%} kept"
         if through else ""),
        ("dropped", f"{lost:,}", ""),
        ("answers", f"{now.answers:,}", f"{now.replayed:,} replayed" if now.replayed else ""),
        ("cost so far", money(now.cost_usd), _cost_said(now)),
        ("time", clock(seconds), _left(now) if seen.at_work else ""),
    ]  # fmt: skip
    return [*found, *attempts(now.retries, now.failures)]


def _cost_said(now: live.State) -> str:
    parts = ["and calls of unknown price"] if now.unpriced else []
    if now.projected_usd and not now.unpriced:
        parts.append(f"about {money(now.projected_usd)} in all")
    if now.budget_usd is not None:
        parts.append(f"budget {money(now.budget_usd)}")
    return ", ".join(parts)


def _left(now: live.State) -> str:
    known = [step.eta_s for step in now.steps if step.current and step.eta_s is not None]
    return f"about {clock(max(known))} left of this stage" if known else ""
