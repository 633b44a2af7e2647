"""Commands about runs: carry one out, plan, preview, show, compare, and what runs cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from karat.cli._base import (
    CLUSTER,
    OUT,
    PLACES,
    RECIPE,
    SET,
    calm_gc,
    load,
    main,
    tell_lacking,
    terminal,
)


@main.command()
@RECIPE
@OUT
@SET
@PLACES
@CLUSTER
def run(recipe: str, out: Path | None, overrides: tuple[str, ...], **where: Any) -> None:
    """Run RECIPE (a file, or a name karat ships) to its end, or go on where it stopped.

    Ends with status 3 where `exactly` was not reached.
    """
    from karat.api import run as run_recipe
    from karat.report.progress import Progress
    from karat.report.text import print_report

    calm_gc()
    watch = Progress(terminal(stderr=True)).watch
    done = run_recipe(load(recipe, overrides), out, watch=watch, **where)
    print_report(terminal(), done)
    sys.exit(3 if done.report.get("exactly", {}).get("why_short") else 0)


@main.command()
@RECIPE
@OUT
@SET
@click.option(
    "--probe",
    type=click.IntRange(0),
    default=0,
    help="Run this many rows first (paid) and measure.",
)
def plan(recipe: str, out: Path | None, overrides: tuple[str, ...], probe: int) -> None:
    """Say what running RECIPE would do, call and cost."""
    from karat.api import plan as plan_recipe
    from karat.licensing import solve_recipe
    from karat.planning import spent_usd
    from karat.report.licences import licence_block
    from karat.report.text import plan_table
    from karat.rundir import Run

    loaded = load(recipe, overrides, keyless=not probe)
    lines = plan_recipe(loaded, out, probe)
    spent = spent_usd(Run.at(out, loaded.name).journal)
    terminal().print(plan_table(lines, spent, loaded.budget_usd, target=loaded.exactly))
    terminal().print(licence_block(solve_recipe(loaded)))
    tell_lacking(loaded)


@main.command()
@RECIPE
@OUT
@SET
@click.option(
    "-n", "count", type=click.IntRange(1), default=3, show_default=True, help="How many rows."
)
def preview(recipe: str, out: Path | None, overrides: tuple[str, ...], count: int) -> None:
    """Run the first rows of RECIPE end to end (paid, and kept for the run) and show them."""
    from karat.api import preview as preview_recipe
    from karat.report.rows import row_panel

    console = terminal()
    for row in preview_recipe(load(recipe, overrides), count, out):
        console.print(row_panel(row))


@main.command()
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(0), default=3, show_default=True, help="Rows of each kind."
)
def show(directory: Path, count: int) -> None:
    """Show what the run in RUN made: funnel, scores, models, cost, and some rows."""
    from karat.report.rows import row_panel
    from karat.report.text import print_report
    from karat.rundir import Run, first_rows

    found, console = Run.open(directory), terminal()
    print_report(console, found)
    for path in (found.accepted_file, found.dropped_file):
        for row in first_rows(path, count):
            console.print(row_panel(row))


@main.command()
@click.argument("name", required=False)
def steps(name: str | None) -> None:
    """List the steps, or show the parameters of the step NAME."""
    from karat.report.steps import step_list, step_page
    from karat.step import find

    terminal().print(step_page(find(name)) if name else step_list())


@main.command()
@RECIPE
@OUT
@SET
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A candidate: a model of the recipe, or provider/model. Repeat it.",
)
@click.option(
    "-n",
    "count",
    type=click.IntRange(2, 10_000),
    default=100,
    show_default=True,
    help="How many prompts.",
)
def compare(
    recipe: str, out: Path | None, overrides: tuple[str, ...], models: tuple[str, ...], count: int
) -> None:
    """Compare models as RECIPE's teacher on its first prompts (paid, and kept)."""
    from karat.comparing import compare as compare_models
    from karat.report.compare import print_comparison
    from karat.report.progress import Progress

    calm_gc()
    watch = Progress(terminal(stderr=True)).watch
    made = compare_models(load(recipe, overrides), models, count, out, watch=watch)
    print_comparison(terminal(), made)


@main.command()
@click.argument("places", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--by",
    default="model",
    show_default=True,
    help="model, provider, key, step, run, day or role.",
)
@click.option("--since", metavar="YYYY-MM-DD", help="Count from this day on, local time.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def cost(places: tuple[Path, ...], by: str, since: str | None, as_json: bool) -> None:
    """Say what the runs in or below DIR (default ./runs) have cost, and how long answers took."""
    import orjson

    from karat.costs import as_tree, costs
    from karat.report.costs import cost_table

    found = costs(places, by, since)
    if as_json:
        click.echo(orjson.dumps(as_tree(found), option=orjson.OPT_INDENT_2))
    else:
        terminal().print(cost_table(found))
