"""The report and the rows as a person reads them on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from karat.licensing import from_report
from karat.planning import StepPlan, spent_usd
from karat.recipe import recipe_hash
from karat.recipefile import parse
from karat.report.cells import CONTROL, LINE, clean, grid, money
from karat.report.choosing import choosing_lines
from karat.report.grading import grading_lines
from karat.report.licences import licence_block
from karat.report.run_diversity import diversity_lines
from karat.report.voices import voice_table, yields
from karat.rundir import Run
from karat.target import Target


def funnel(report: dict[str, Any]) -> Table:
    table = grid("step", "in", "out", "why dropped")
    for step in report["funnel"]:
        reasons = ", ".join(
            f"{count} {reason}" for reason, count in sorted(step["dropped"].items())
        )
        table.add_row(
            clean(step["label"], LINE),
            f"{step['rows_in']:,}",
            f"{step['rows_out']:,}",
            clean(reasons),
        )
    return table


def model_table(report: dict[str, Any]) -> Table:
    table = grid(
        "model",
        "calls",
        "tokens in",
        "out",
        "cost",
        "p50 ms",
        "p95",
        "p99",
        "tried again",
        "given up",
    )
    for m in report["models"]:
        latency = m["latency_ms"]
        about = "~" if m["tokens_estimated"] else ""
        table.add_row(
            clean(f"{m['model']}{_kind(m)}", LINE), f"{m['calls']:,}",
            f"{about}{m['prompt_tokens']:,}",
            f"{about}{m['completion_tokens']:,}", money(m["cost_usd"]),
            *(_ms(latency[p]) for p in ("p50", "p95", "p99")),
            str(m["retries"]), str(m["errors"]),
        )  # fmt: skip
    return table


def _kind(entry: dict[str, Any]) -> str:
    """What a model was asked for, where that is no chat."""
    kind = entry.get("kind", "chat")
    return "" if kind == "chat" else f" ({kind})"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def score_table(report: dict[str, Any]) -> Table:
    table = grid("score", "candidates", "mean", "accepted", "mean", "change")
    for key, spread in report["scores"].items():
        before, after = spread["all"], spread["accepted"]
        if before["count"]:
            mean = after.get("mean")
            table.add_row(
                clean(key, LINE), f"{before['count']:,}", f"{before['mean']:.2f}",
                f"{after['count']:,}",
                "–" if mean is None else f"{mean:.2f}",
                "–" if mean is None else f"{round(mean, 2) - round(before['mean'], 2) + 0.0:+.2f}",
            )  # fmt: skip
    return table


def summary(report: dict[str, Any]) -> RenderableType:
    """The whole report: funnel, scores, models, diversity, cost."""
    rows, this = report["rows"], report["this_run"]
    parts: list[RenderableType] = [
        Text.assemble(
            clean(f"{report['name']}: ", LINE, "bold"),
            f"{rows['accepted']:,} accepted, {rows['dropped']:,} dropped",
            _rounds(report),
        ),
        Text(),
        funnel(report),
        *yields(report),
        Text(),
    ]
    if report["scores"]:
        parts += [score_table(report), Text()]
    if graded := list(grading_lines(report)):
        parts += [*graded, Text()]
    if chosen := list(choosing_lines(report)):
        parts += [*chosen, Text()]
    if said := voice_table(report):
        parts += [*said, Text()]
    if report["models"]:
        parts += [model_table(report), Text()]
    parts += [_facts(report), Text(_effort(this, len(report["funnel"])))]
    parts += _licences(report)
    for warning in report["warnings"]:
        parts.append(clean(f"warning: {warning}", 10 * LINE, "yellow"))
    return Group(*parts)


def _licences(report: dict[str, Any]) -> list[RenderableType]:
    """The block of licences, by the terms as they are known now."""
    found = from_report(report)
    return [] if found is None else [licence_block(found), Text()]


def _rounds(report: dict[str, Any]) -> str:
    """How a recipe that says `exactly` came to its rows."""
    if not (told := report.get("exactly")):
        return ""
    each = f" of each {' / '.join(told['per'])}" if told["per"] else ""
    rounds = f"{told['rounds']} {'round' if told['rounds'] == 1 else 'rounds'}"
    missed = "NOT reached" if told["why_short"] else "reached"
    return f" (exactly {told['rows']:,}{each}: {missed} in {rounds})"


def _effort(this: dict[str, Any], steps: int) -> str:
    """What the run itself did, beside what it found done."""
    took = f"{this['seconds']:.1f} s: "
    if this["stages_reused"] == steps:
        return f"{took}nothing to do, all {steps} steps were made before and no model was called"
    return (
        f"{took}{this['answers']:,} answers bought in {this['calls']:,} calls, "
        f"{this['replayed']:,} replayed from the journal, "
        f"{this['stages_reused']} of {steps} steps reused"
    )


def _facts(report: dict[str, Any]) -> Text:
    cost = report["cost_usd"]
    paid = "unknown, a model has no price" if cost is None else money(cost)
    people = f"rows whose prompt and answer people wrote: {report['human_share']:.0%}"
    return clean("\n".join([*diversity_lines(report), people, f"cost so far: {paid}"]), 20 * LINE)


def files(run: Run, report: dict[str, Any]) -> str:
    """The paths of what the run wrote, one a line, never wrapped.

    Rows are counted once for each export: one in several files has other lines in each.
    """
    lines = [
        ("accepted", str(run.accepted_file)),
        ("dropped", str(run.dropped_file)),
        ("report", str(run.report_file)),
        *([("grading", str(run.grading_file))] if run.grading_file.is_file() else []),
    ]
    for name, export in report["exports"].items():
        reasons = ", ".join(f"{count:,} {why}" for why, count in export["left_out"].items())
        note = f"{export['rows']:,} rows{f'; left out: {reasons}' if reasons else ''}"
        paths = [str(run.path / path) for path in export["files"].values()]
        if len(paths) != 1:  # none where everything was left out: the note says why
            lines += [(name, note), *(("", path) for path in paths)]
        else:
            lines += [(name, f"{path}  ({note})") for path in paths]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {CONTROL.sub('�', path)}" for name, path in lines)


def plan_table(
    lines: Sequence[StepPlan],
    spent_usd: float = 0.0,
    budget_usd: float | None = None,
    target: Target | None = None,
) -> RenderableType:
    """A plan, with totals, the budget, and a word on where its figures come from."""
    table = grid(
        "step",
        "rows in",
        "out",
        "model",
        "samples",
        "held",
        "calls left",
        "tokens in",
        "out",
        "cost",
        "seconds",
    )
    for line in lines:
        count = ["?" if value is None else f"{value:,}" for value in (line.rows_in, line.rows_out)]
        if line.model:
            table.add_row(
                line.label, *count, clean(line.model, LINE), f"{line.samples:,}",
                f"{line.recorded:,}", f"{line.calls:,}", f"{line.prompt_tokens:,}",
                f"{line.completion_tokens:,}", money(line.cost_usd), f"{line.seconds:,.0f}",
            )  # fmt: skip
        else:
            table.add_row(line.label, *count)
    calls = [line for line in lines if line.model]
    costs = [line.cost_usd for line in calls]
    unknown = any(cost is None for cost in costs)
    left = sum(cost or 0 for cost in costs)
    silent = [line.label for line in lines if not line.model and line.cost_usd is None]
    total = f"{'at least ' if unknown or silent else ''}{money(left)}"
    rows_unknown = any(line.rows_out is None for line in lines)
    seconds = sum(line.seconds for line in calls)
    notes = [
        f"already paid: {money(spent_usd)}; still to pay: {total}; about {max(1, seconds):,.0f} s"
    ]
    if budget_usd is not None and spent_usd + left > budget_usd:
        room = max(0.0, budget_usd - spent_usd)
        notes.append(
            f"over the budget of {money(budget_usd)}: the run will stop after about {money(room)} "
            "more"
        )
    if any(line.recorded for line in calls):
        notes.append("held: answers the journal holds for these rows, which are not bought again")
    if unknown:
        notes.append("some prices are unknown: add price: {input: …, output: …} to the model")
    if target is not None and target.per:
        notes.append(
            f"exactly {target.rows:,} of each {' / '.join(target.per)}: how many rounds that takes "
            "shows only when rows are accepted; this is one"
        )
    elif lines and lines[0].rounds > 1:
        notes.append(
            f"exactly: these are {lines[0].rounds} rounds, enough if every row were accepted"
        )
    if silent:
        notes.append(
            f"what {' and '.join(silent)} will ask of its models is not known before: `karat "
            "preview -n 3` buys three rows, `karat cost` says what they cost"
        )
    if rows_unknown:
        notes.append("'?': known only when the steps before have run")
    if all(line.measured for line in calls) and calls:
        notes.append("lengths and times were measured on the answers in the journal")
    elif calls:
        notes.append(
            "lengths and times are assumed where nothing was measured; --probe 5 measures them"
        )
    return Group(table, Text(), *(Text(note) for note in notes))


def print_report(console: Console, run: Run) -> None:
    """The report of a finished run and the paths of its files."""
    report = run.report
    if recipe_hash(parse(run.recipe)) != report["recipe_hash"]:
        console.print(
            "These results are of an earlier form of the recipe: its last run has not ended.",
            style="yellow",
        )
    now = spent_usd(run.journal)
    if report["cost_usd"] is not None and abs(now - report["cost_usd"]) > 1e-9:
        console.print(f"Since this report more was paid: {money(now)} so far.", style="yellow")
    console.print(summary(report))
    console.print("\n" + files(run, report), soft_wrap=True, markup=False, highlight=False)
