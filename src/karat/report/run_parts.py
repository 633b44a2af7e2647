"""The sections of a run as HTML: the same for `karat report`'s file and for the dashboard's page.

Figures become words here, once. Templates only say where they stand, and escape all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from karat.report.cells import clock, money
from karat.report.pages import module_of
from karat.report.recommendation import plain, rounded
from karat.report.run_charts import Pair, pair
from karat.report.run_flow import NARROW, WIDE, Flow, FlowStep, Link, told
from karat.report.run_ledger import CostLine, Fault, ModelLine
from karat.report.whiskers import bar
from karat.visible import visible

NAME, SAID = 120, 300  # characters of others' names, and of their words

Fact = tuple[str, str, str]  # (what, how much, more of it)


def section(name: str, *values: Any) -> Markup:
    """A section of run_sections.html, filled in."""
    made: Markup = getattr(module_of("run_sections.html"), name)(*values)
    return made


class ModelRow(NamedTuple):
    """A model's figures in words; `link` leads to its rows."""

    model: str
    what: str
    calls: str
    answers: str
    replayed: str
    failed: str
    tokens_in: str
    tokens_out: str
    ttft: str
    latency: str
    cost: str
    link: str


class CostRow(NamedTuple):
    """What a step paid a model, in words, and a bar of its share of all."""

    step: str
    model: str
    bar: str
    calls: str
    tokens: str
    cost: str


class FaultRow(NamedTuple):
    """Attempts that failed alike, in words."""

    times: str
    what: str
    message: str
    passing: bool
    advice: str


def flow_charts(steps: list[FlowStep], link: Link | None = None, *, finished: bool = True) -> Pair:
    """The funnel as a flow, for wide and for narrow windows."""
    return pair(
        lambda width: Flow(steps, width, link, finished=finished), (WIDE, NARROW),
        "Rows from step to step", told(steps), "flow", linked=link is not None,
    )  # fmt: skip


def facts(report: dict[str, Any]) -> list[Fact]:
    """The figures at the head."""
    rows, cost = report["rows"], report["cost_usd"]
    total = rows["accepted"] + rows["dropped"]
    found = [
        ("rows in", f"{rows['in']:,}", f"{total:,} with what steps added"
         if total > rows["in"] else ""),
        ("accepted", f"{rows['accepted']:,}", f"of {total:,} prompts, "
         f"{rows['accepted'] / total:.0%}" if total else ""),
        ("dropped", f"{rows['dropped']:,}", ""),
    ]  # fmt: skip
    if spread := report["scores"].get(report.get("ranking") or ""):
        kept, every = spread["accepted"], spread["all"]
        if kept.get("count"):
            found.append(
                ("mean reward", plain(kept["mean"]), f"{plain(every['mean'])} before choosing")
            )
    each = ""
    if cost and rows["accepted"]:
        each = f"{rounded(cost / rows['accepted'])} an accepted row"
    found.append(("cost", "unknown" if cost is None else money(cost),
                  "a model has no price" if cost is None else each))  # fmt: skip
    found.append(("human", f"{report['human_share']:.0%}", "of the accepted"))
    return [*found, *_effort(report)]


def _effort(report: dict[str, Any]) -> list[Fact]:
    """What it took: answers and failed attempts of all its runs, the time of the last one."""
    this, models = report.get("this_run") or {}, report["models"]
    replayed = this.get("replayed", 0)
    bought = sum(one.get("samples") or 0 for one in models if one.get("kind") != "score")
    found = []
    if bought:
        found.append(("answers", f"{bought:,}", f"{replayed:,} of them replayed by the last run"
                      if replayed else ""))  # fmt: skip
    if "seconds" in this:
        again = replayed or this.get("stages_reused", 0)
        found.append(("time", clock(this["seconds"]), "of the last run" if again else ""))
    retries, errors = (sum(one.get(key) or 0 for one in models) for key in ("retries", "errors"))
    return [*found, *attempts(retries, errors)]


def attempts(retries: int, errors: int) -> list[Fact]:
    """Failed attempts as a fact, in the words of the tables; none where none failed."""
    if not retries + errors:
        return []
    said = f"{retries:,} tried again, {errors:,} given up"
    return [("failed attempts", f"{retries + errors:,}", said)]


def model_rows(
    lines: Iterable[ModelLine], link: Callable[[str], str] | None = None
) -> list[ModelRow]:
    """Models as words."""
    return [
        ModelRow(
            visible(one.model, NAME), f"{one.role} · {one.kind}" if one.role else one.kind,
            f"{one.calls:,}", f"{one.answers:,}", f"{one.replayed:,}", f"{one.failed:,}",
            f"{'~' * one.estimated}{one.prompt_tokens:,}",
            f"{'~' * one.estimated}{one.completion_tokens:,}", _times(one.ttft_ms),
            _times(one.latency_ms), money(one.cost_usd), link(one.model) if link else "",
        )
        for one in lines
    ]  # fmt: skip


def _times(found: dict[str, float]) -> str:
    return " · ".join(duration(found[p]) for p in ("p50", "p95", "p99")) if found else "–"


def duration(ms: float) -> str:
    """Milliseconds with as many digits as matter."""
    if ms < 1000:
        return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.2g} ms"
    return f"{ms / 1000:.1f} s" if ms < 100_000 else f"{ms / 60_000:.0f} min"


def cost_rows(lines: Sequence[CostLine]) -> list[CostRow]:
    """Costs as words; bars of the tokens where nothing costs anything."""
    free = not any(one.cost_usd for one in lines)
    sizes = [float(one.tokens if free else (one.cost_usd or 0)) for one in lines]
    most = max(sizes, default=0.0)
    return [
        CostRow(
            visible(one.step, NAME), visible(one.model, NAME),
            bar([(one.model, size, "k-gold"), ("rest", most - size, "rest")], most),
            f"{one.calls:,}", f"{one.tokens:,}", money(one.cost_usd),
        )
        for one, size in zip(lines, sizes, strict=True)
    ]  # fmt: skip


def fault_rows(found: Iterable[Fault]) -> list[FaultRow]:
    """Errors as words, each with what a person can do."""
    return [
        FaultRow(
            f"{one.count:,}",
            f"{visible(one.model, NAME)} in {visible(one.step or 'a call', NAME)}: "
            f"{one.error or 'error'}{f', HTTP {one.status}' if one.status else ''}",
            visible(one.message or "", SAID), one.passing, one.advice.rstrip("."),
        )
        for one in found
    ]  # fmt: skip
