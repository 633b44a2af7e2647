"""The command line: each command reads its options, calls karat, and prints."""

from __future__ import annotations

import gc
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

# karat's matrices are small: BLAS threads would only spin beside the rows and the models.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from rich.console import Console

    from karat.recipe import Recipe

_RECIPE = click.argument("recipe")
_OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory (default runs/NAME)."
)
_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value: seed=3, respond.n=2, models.teacher.concurrency=8.",
)  # fmt: skip


class _Friendly(click.Group):
    """Turns karat's own errors into one line and an exit status: a traceback means a bug."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "\nStopped. Every answer paid for is kept; the same command goes on.", err=True
            )
            sys.exit(130)
        except Exception as error:
            from karat.errors import KaratError, RecipeError

            if not isinstance(error, KaratError):
                raise
            from karat.report.cells import clean

            click.echo(f"error: {clean(str(error), 2000)}", err=True)
            sys.exit(2 if isinstance(error, RecipeError) else 1)


@click.group(cls=_Friendly, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="karat")
def main() -> None:
    """karat turns models' output into alignment data you can trust."""


def _load(recipe: str, overrides: tuple[str, ...]) -> Recipe:
    from karat.recipe import Recipe

    return Recipe.load(recipe, overrides)


def _calm_gc() -> None:
    """Rows are trees, freed by counting; walking all of them every 700 allocations in search of
    cycles took a quarter of a run's CPU."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Piped output goes to logs and pagers, which tell no width.
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)


@main.command()
@_RECIPE
@_OUT
@_SET
def run(recipe: str, out: Path | None, overrides: tuple[str, ...]) -> None:
    """Run RECIPE (a file, or a name karat ships) to its end, or go on where it stopped."""
    from karat.api import run as run_recipe
    from karat.report.progress import Progress
    from karat.report.text import print_report

    _calm_gc()
    done = run_recipe(_load(recipe, overrides), out, watch=Progress(_console(stderr=True)).watch)
    print_report(_console(), done)


@main.command()
@_RECIPE
@_OUT
@_SET
@click.option(
    "--probe",
    type=click.IntRange(0),
    default=0,
    help="Run this many rows first (paid) and measure.",
)
def plan(recipe: str, out: Path | None, overrides: tuple[str, ...], probe: int) -> None:
    """Say what running RECIPE would do, call and cost."""
    from karat.api import plan as plan_recipe
    from karat.modelchecks import rights_notes
    from karat.planning import spent_usd
    from karat.report.text import plan_table
    from karat.rundir import Run

    loaded = _load(recipe, overrides)
    lines = plan_recipe(loaded, out, probe)
    spent = spent_usd(Run.at(out, loaded.name).journal)
    rights = rights_notes(loaded.steps, loaded.models)
    _console().print(plan_table(lines, spent, loaded.budget_usd, rights))


@main.command()
@_RECIPE
@_OUT
@_SET
@click.option(
    "-n", "count", type=click.IntRange(1), default=3, show_default=True, help="How many rows."
)
def preview(recipe: str, out: Path | None, overrides: tuple[str, ...], count: int) -> None:
    """Run the first rows of RECIPE end to end (paid, and kept for the run) and show them."""
    from karat.api import preview as preview_recipe
    from karat.report.text import row_panel

    console = _console()
    for row in preview_recipe(_load(recipe, overrides), count, out):
        console.print(row_panel(row))


@main.command()
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-n", "count", type=click.IntRange(0), default=3, show_default=True, help="Rows of each kind."
)
def show(directory: Path, count: int) -> None:
    """Show what the run in RUN made: funnel, scores, models, cost, and some rows."""
    from karat.report.text import print_report, row_panel
    from karat.rundir import Run, first_rows

    found, console = Run.open(directory), _console()
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

    _console().print(step_page(find(name)) if name else step_list())


@main.command()
@_RECIPE
@_OUT
@_SET
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

    _calm_gc()
    watch = Progress(_console(stderr=True)).watch
    made = compare_models(_load(recipe, overrides), models, count, out, watch=watch)
    print_comparison(_console(), made)


class _Listing(click.Group):
    """What is no subcommand is what to list: `karat models llama-3.3`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, "-h", "--help"}
        return super().parse_args(ctx, args if args and args[0] in known else ["list", *args])


@main.group(cls=_Listing)
def models() -> None:
    """Services, keys, models, prices and terms."""


@models.command("list")
@click.argument("text", default="")
@click.option("--recipe", help="Only the models of this recipe, as they resolve.")
@click.option("--all", "everything", is_flag=True, help="Every model, not the first 40.")
@click.option("--ask", is_flag=True, help="Ask hosted services too, with their keys.")
def list_models(text: str, recipe: str | None, everything: bool, ask: bool) -> None:
    """List services, or the models whose provider/name holds TEXT."""
    from karat import reachable
    from karat.report.models import model_table, service_table

    if recipe:
        found = reachable.resolve(reachable.recipe_models(recipe))
        shown = model_table(found, everything=True)
    elif text or everything:
        found = reachable.find_models(text, reachable.reach(ask=ask))
        shown = model_table(found, text, everything=everything)
    else:
        shown = service_table(reachable.reach(ask=ask))
    _console().print(shown)


@models.command("ping")
@click.argument("model")
@click.option("--recipe", help="The recipe that names MODEL.")
@_SET
def ping_model(model: str, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Call MODEL once (paid) and show its answer, cost and times."""
    from karat.ping import ping
    from karat.report.models import ping_panel

    done = ping(model, recipe, overrides)
    for one in done:
        _console().print(ping_panel(one))
    sys.exit(any(one.answer is None for one in done))


@main.command()
@click.argument("places", metavar="[DIR]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--by", default="model", show_default=True, help="model, provider, step, run, day or role."
)
@click.option("--since", metavar="YYYY-MM-DD", help="Count from this day on, local time.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def cost(places: tuple[Path, ...], by: str, since: str | None, as_json: bool) -> None:
    """Say what the runs in or below DIR (default ./runs) have cost."""
    import orjson

    from karat.costs import as_tree, costs
    from karat.report.costs import cost_table

    found = costs(places, by, since)
    if as_json:
        click.echo(orjson.dumps(as_tree(found), option=orjson.OPT_INDENT_2))
    else:
        _console().print(cost_table(found))


@main.group()
def reward() -> None:
    """Train a reward model."""


@reward.command("train")
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="NAME.npz")
@click.option(
    "--test", "tests", multiple=True, type=click.Path(path_type=Path), help="Only measured."
)
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--repeats", default=4, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=7, show_default=True)
def train_reward(
    data: tuple[Path, ...], out: Path, tests: tuple[Path, ...], folds: int, repeats: int, seed: int
) -> None:
    """Train a reward head on human ratings or preferences in DATA, and write its card."""
    from karat.training.reward_head import main_train

    say = partial(click.echo, err=True)
    result = main_train(data, out, tests, folds=folds, repeats=repeats, seed=seed, say=say)
    click.echo(result.summary())
