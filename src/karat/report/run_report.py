"""`karat report`: a run as one HTML file that opens offline, prints well and needs nothing.

It holds what the dashboard's page of the run holds, and besides twenty random rows of each kind,
because a data set is known by its rows, and a list of what nobody measured, because figures are
believed. Whatever is large is drawn from, so that a million rows take seconds and no memory.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from karat.errors import RecipeError, RunError
from karat.journal import Address
from karat.recipefile import parse
from karat.report.pages import render
from karat.report.run_best_of import curves_of
from karat.report.run_charts import STYLE
from karat.report.run_diversity import diversity_lines
from karat.report.run_flow import steps_of
from karat.report.run_guards import guards
from karat.report.run_ledger import cost_lines, faults, model_lines
from karat.report.run_licences import licences
from karat.report.run_measured import measured
from karat.report.run_parts import cost_rows, fault_rows, flow_charts, model_rows
from karat.report.run_parts import facts as facts_of
from karat.report.run_rows import shown_row
from karat.report.run_sample import ROWS, prompt_map, random_rows
from karat.report.run_scores import score_charts
from karat.rundir import Run, write_atomic
from karat.visible import visible

SEED = 0
# What reading a report that is not as karat writes it comes to.
ODD = (
    ArithmeticError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError,
)  # fmt: skip
MOST_RECIPE = 60_000  # characters of recipe.yaml

T = TypeVar("T")
Say = Callable[[str], None]


def write_report(run: Run, path: Path, say: Say = lambda text: None) -> None:
    """Raises: RecipeError where the run has not ended, RunError where it cannot be written."""
    write_atomic(path, page(run, say=say).encode("utf-8", "replace"))


def page(run: Run, seed: int = SEED, say: Say = lambda text: None) -> str:
    """The whole page of a run that came to its end. Raises: RecipeError, RunError."""
    try:
        return _page(run, seed, say)
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(
            f"the rows in {run.path} cannot be read ({error}): run the recipe again into the same "
            "directory; nothing is paid for twice"
        ) from error
    except ODD as error:
        raise RecipeError(
            f"{run.report_file} is not as karat writes it ({type(error).__name__}): run the recipe "
            "again into the same directory; nothing is paid for twice"
        ) from error


def _page(run: Run, seed: int, say: Say) -> str:
    report = run.report
    recipe, text = _recipe(run)
    say("reading the journal")
    lines = _read(run, model_lines)
    say("drawing the curves")
    curves = curves_of(run, report)
    say("placing prompts by meaning")
    found = prompt_map(run.accepted_file, seed)
    if found:
        found["of"] = report["rows"]["accepted"]
    say("drawing rows")
    values: dict[str, Any] = {
        "name": visible(report["name"], 200),
        "sub": _sub(report),
        "facts": facts_of(report),
        "unfinished": _unfinished(run),
        "warnings": [visible(text, 1000) for text in report["warnings"]],
        "made": _made(report),
        "exports": list(map(_export, *zip(*report["exports"].items(), strict=True)))
        if report["exports"] else [],
        "flow": flow_charts(steps_of(report["funnel"])),
        "scores": score_charts(report["scores"], ranking=report.get("ranking")),
        "curves": curves,
        "map": found,
        "diversity": diversity_lines(report),
        "guards": guards(report),
        "models": model_rows(lines),
        "costs": cost_rows(_read(run, cost_lines)),
        "faults": fault_rows(_read(run, faults)),
        "licences": licences(report),
        "measured": measured(report, recipe, run.path),
        "rows": [
            _rows(run, report, "accepted", seed), _rows(run, report, "dropped", seed),
        ],
        "versions": _versions(report),
        "recipe": text,
        "date": time.strftime("%Y-%m-%d", time.localtime(run.report_file.stat().st_mtime)),
        "style": STYLE,
    }  # fmt: skip
    return render("report.html", values)


def _read(run: Run, what: Callable[[Address], list[T]]) -> list[T]:
    """From the journal, where there is one that can be read: it may have been left behind."""
    with suppress(RunError, sqlite3.Error):
        return what(run.journal)
    return []


def _recipe(run: Run) -> tuple[dict[str, Any], str]:
    """recipe.yaml as a tree, empty where it cannot be read, and as text."""
    tree: dict[str, Any] = {}
    with suppress(RecipeError):
        tree = parse(run.recipe)
    text = run.recipe.read_text("utf-8", "replace") if run.recipe.is_file() else ""
    return tree, visible(text, MOST_RECIPE)


def _sub(report: dict[str, Any]) -> str:
    names = list(dict.fromkeys(one["model"] for one in report["models"]))
    some = ", ".join(visible(name, 80) for name in names[:4])
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return f"{len(report['funnel'])} steps, seed {report.get('seed', 0)}" + (
        f"; by {some}{more}" if names else "; no model was called"
    )


def _made(report: dict[str, Any]) -> str:
    rows = report["rows"]
    came = rows["accepted"] + rows["dropped"]
    steps = " → ".join(visible(one["label"], 60) for one in report["funnel"])
    chosen = f" Answers were chosen by {report['ranking']}." if report.get("ranking") else ""
    return (
        f"{rows['accepted']:,} rows out of {came:,}, in the steps {steps}.{visible(chosen, 200)} "
        "What was turned down is kept too, with the reason."
    )


def _export(name: str, one: dict[str, Any]) -> dict[str, str]:
    left = ", ".join(f"{count:,} {why}" for why, count in one.get("left_out", {}).items())
    return {
        "name": visible(name, 80), "rows": f"{one['rows']:,}", "left_out": visible(left, 300),
        "files": visible(", ".join(one["files"].values()), 300),
    }  # fmt: skip


def _rows(run: Run, report: dict[str, Any], key: str, seed: int) -> dict[str, Any]:
    path = run.accepted_file if key == "accepted" else run.dropped_file
    total, ranking = report["rows"][key], report.get("ranking")
    rows = [shown_row(row, ranking) for row in random_rows(path, ROWS, seed)]
    drawn = f"drawn at random from {total:,} with seed {seed}" if total > len(rows) else "all"
    ranked = f"; the figure beside an answer is {visible(ranking, 80)}" if ranking and rows else ""
    said = f"{len(rows)}, {drawn}; long texts are cut{ranked}" if rows else f"none were {key}"
    return {"key": key, "title": f"Rows that were {key}", "said": said, "rows": rows}


def _versions(report: dict[str, Any]) -> str:
    named = ", ".join(f"{name} {value}" for name, value in report.get("versions", {}).items())
    return f"With {named}. recipe.yaml, seed {report.get('seed', 0)}: `karat run recipe.yaml`."


def _unfinished(run: Run) -> str:
    """Where the recipe was run again since, and has not come to its end."""
    newer = run.recipe.stat().st_mtime > run.report_file.stat().st_mtime + 60
    return (
        "The recipe was run again since and has not come to its end; this tells of the run before."
        if newer
        else ""
    )
