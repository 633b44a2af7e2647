"""The figures of a run's page as tables to keep: each as programs want it, units in its names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from karat.report.crew import crew_in
from karat.report.run_best_of import curves_of
from karat.report.run_ledger import cost_lines, faults, model_lines, series
from karat.web.runs.view import Seen, attempt, listed

Rows = list[dict[str, Any]]


def everything(seen: Seen) -> dict[str, Any]:
    """All of them, and the report, as one tree."""
    journal = seen.place.run.journal
    makers: dict[str, Callable[[Path], list[Any]]] = {
        "models": model_lines, "costs": cost_lines, "errors": faults,
    }  # fmt: skip
    found = {
        name: msgspec.to_builtins(listed(make, journal, seen.problems))
        for name, make in makers.items()
    }  # fmt: skip
    return {
        "slug": seen.place.slug, "name": seen.place.name, "state": seen.state,
        "live": msgspec.to_builtins(seen.live), "report": seen.report, **found,
        "series": msgspec.to_builtins(attempt(series, journal, None, seen.problems)),
        "problems": seen.problems,
    }  # fmt: skip


def _models_table(seen: Seen) -> Rows:
    found = []
    for one in listed(model_lines, seen.place.run.journal, seen.problems):
        row: dict[str, Any] = msgspec.to_builtins(one)
        for name in ("latency_ms", "ttft_ms"):
            times = row.pop(name)
            row |= {f"{name[:-3]}_{p}_ms": times.get(p) for p in ("p50", "p95", "p99")}
        found.append(row)
    return found


def _costs_table(seen: Seen) -> Rows:
    found = listed(cost_lines, seen.place.run.journal, seen.problems)
    return [msgspec.to_builtins(one) for one in found]


def _errors_table(seen: Seen) -> Rows:
    found = listed(faults, seen.place.run.journal, seen.problems)
    return [msgspec.to_builtins(one) for one in found]


def _series_table(seen: Seen) -> Rows:
    found = attempt(series, seen.place.run.journal, None, seen.problems)
    if found is None:
        return []
    columns = zip(found.at, found.answers, found.tokens, found.cost_usd, strict=True)
    names = ("at", "answers_per_s", "tokens_per_s", "cost_usd")
    return [dict(zip(names, point, strict=True)) for point in columns]


def _funnel_table(seen: Seen) -> Rows:
    return [
        {
            "step": step.label, "rows_in": step.rows_in, "rows_out": step.rows_out,
            "reason": reason, "dropped": count,
        }
        for step in seen.steps
        for reason, count in (dict(step.dropped) or {"": 0}).items()
    ]  # fmt: skip


def _scores_table(seen: Seen) -> Rows:
    found = []
    for key, spread in ((seen.report or {}).get("scores") or {}).items():
        for which, one in spread.items():
            plain = {k: v for k, v in one.items() if k != "histogram"}
            found.append({"score": key, "of": which, **plain})
    return found


def _workers_table(seen: Seen) -> Rows:
    """Of a run on a cluster; of very many the most notable."""
    return [] if crew_in(seen.live) is None or seen.live is None else [
        msgspec.to_builtins(one) for one in seen.live.workers
    ]  # fmt: skip


def _best_table(seen: Seen) -> Rows:
    """A line for each curve and k; `predicted` is what normal scores would give."""
    found: Rows = []
    for one in curves_of(seen.place.run, seen.whole) if seen.whole is not None else ():
        for rung in (one.curve or {}).get("rungs", ()):
            row = {"measured_by": one.source, "k": rung["k"], "kl_nats": rung["kl"]}
            for name, score in (("grading", one.by), ("held", one.held_out)):
                ends = rung[name] or {}
                row |= {
                    f"{name}_score": score,
                    f"{name}_mean": ends.get("value"),
                    f"{name}_low": ends.get("low"),
                    f"{name}_high": ends.get("high"),
                }
            row |= {
                "grading_predicted": rung["predicted"],
                "held_predicted": rung["held_predicted"],
            }
            found.append(row)
    return found


TABLES: dict[str, Callable[[Seen], Rows]] = {
    "models": _models_table, "costs": _costs_table, "errors": _errors_table,
    "series": _series_table, "funnel": _funnel_table, "scores": _scores_table,
    "best": _best_table, "workers": _workers_table,
}  # fmt: skip
