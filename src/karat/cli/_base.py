"""What the commands share: the group, its errors in one line, options, a console."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

# karat's matrices are small: BLAS threads would only spin beside the rows and the models.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

if TYPE_CHECKING:
    from rich.console import Console

    from karat.recipe import Recipe

RECIPE = click.argument("recipe")
OUT = click.option(
    "--out", type=click.Path(path_type=Path), help="Run directory (default runs/NAME)."
)
SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE",
    help="Change a value: seed=3, respond.n=2, models.teacher.concurrency=8.",
)  # fmt: skip


Command = TypeVar("Command", bound=Callable[..., Any])


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several options as one decorator."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


PLACES = together(
    click.option(
        "--data", metavar="URL",
        help="Where the rows go: s3://bucket/prefix, gs://…, or a folder (default: in --out).",
    ),
    click.option(
        "--journal", metavar="postgresql://…",
        help="A database for the journal, for many machines (default: a file in --out).",
    ),
)  # fmt: skip
CLUSTER = together(
    click.option(
        "--executor", type=click.Choice(["local", "ray"]), default="local", show_default=True,
        help="Where rows are walked: in this process, or on a Ray cluster.",
    ),
    click.option(
        "--address", metavar="ADDRESS",
        help="A cluster's: auto, or host:port (default: one started here for this run).",
    ),
    click.option(
        "--workers", type=click.IntRange(1), help="Processes that walk rows (default: one a CPU)."
    ),
    click.option(
        "--pool", "pools", multiple=True, metavar="NAME=COPIES[:GPUS]",
        help="Run a reward in so many processes of its own, each with a share of a GPU.",
    ),
)  # fmt: skip


class Friendly(click.Group):
    """Turns karat's own errors into one line and an exit status: a traceback means a bug."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo(
                "\nStopped. Every answer paid for is kept, and what was trained up to the last "
                "checkpoint; the same command goes on.",
                err=True,
            )
            sys.exit(130)
        except click.NoSuchOption as error:
            from karat.recipefile import KEYS, KINDS

            takes = {param.name for param in error.ctx.command.params} if error.ctx else set()
            word = error.option_name.lstrip("-").replace("-", "_")
            key = "budget_usd" if word == "budget" else word
            # One value that a recipe has, and not the command.
            if "overrides" in takes and key in KEYS and key not in KINDS:
                meant = [f"--set {key}=…"]
                raise click.NoSuchOption(error.option_name, None, meant, error.ctx) from None
            raise
        except Exception as error:
            from karat.errors import KaratError, RecipeError

            if not isinstance(error, KaratError):
                raise
            from karat.report.cells import clean

            click.echo(f"error: {clean(str(error), 2000)}", err=True)
            sys.exit(2 if isinstance(error, RecipeError) else 1)


@click.group(cls=Friendly, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="karat")
def main() -> None:
    """karat turns models' output into alignment data you can trust."""


def load(recipe: str, overrides: tuple[str, ...], *, keyless: bool = False) -> Recipe:
    from karat.recipe import Recipe

    return Recipe.load(recipe, overrides, keyless=keyless)


def tell_lacking(recipe: Recipe) -> None:
    """Loudly, which keys a run would refuse to start without."""
    from karat.report.cells import clean

    for said in dict.fromkeys(recipe.lacking or ()):
        words = f"CANNOT RUN YET: {said}. This plan sent nothing; `karat run` refuses until then."
        terminal(stderr=True).print(clean(words, 2000, "bold red"))


def calm_gc() -> None:
    """Rows are trees, freed by counting; walking all of them every 700 allocations in search of
    cycles took a quarter of a run's CPU."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    atexit.register(gc.unfreeze)  # DuckDB counts what is left at the end, and tells of each


def tell(what: Any) -> None:
    """A text as it is; a table as wide as the terminal."""
    click.echo(what) if isinstance(what, str) else terminal().print(what)


def terminal(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Piped output goes to logs and pagers, which tell no width.
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, highlight=False, width=120)
