"""karat cycle: rounds in which a student teaches the next one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from karat.cli._base import RECIPE, SET, calm_gc, main, terminal

FILE = click.Path(path_type=Path)


@main.command()
@RECIPE
@click.option("--rounds", default=2, show_default=True, help="At most so many.")
@click.option("--judge", default="embedded/helpsteer2", show_default=True,
              help="The held-out grader: a reward that does not select.")  # fmt: skip
@click.option("--held-out", type=FILE, help="Prompts to compare rounds by (default: the recipe's "
              "test split).")  # fmt: skip
@click.option("--human", type=FILE, help="People's rows to mix in (default: the recipe's mix).")
@click.option("--share", type=float, help="How much of the set they shall be (default 0.2).")
@click.option("--teacher", metavar="NAME", help="The recipe's model that students replace.")
@click.option("--base", metavar="MODEL", help="What students are trained from (default: the "
              "teacher, where it is embedded).")  # fmt: skip
@click.option("--objective", type=click.Choice(["sft", "dpo", "rpo"]), default="sft",
              show_default=True)  # fmt: skip
@click.option("--serve", metavar="COMMAND", help="Serves a student: 'vllm serve {model} --port "
              "{port}' (default: in this process).")  # fmt: skip
@click.option(
    "--patience", default=1, show_default=True, help="Rounds that may not help, in a row."
)
@click.option("--train", "training", multiple=True, metavar="KEY=VALUE", help="A setting of the "
              "training: epochs=1, learning_rate=1e-4, lora_r=8.")  # fmt: skip
@click.option("-o", "--out", type=FILE, help="Directory (default runs/NAME-cycle).")
@SET
def cycle(recipe: str, out: Path | None, overrides: tuple[str, ...], **options: Any) -> None:
    """Generate, keep, mix, train, and let the student teach the next round.

    Rounds add up, nothing is replaced; each trains the base anew. It stops after a round that does
    not raise the held-out reward, or where rare words are being lost. The same command goes on
    where it stopped.
    """
    from karat.cycling.loop import cycle as run_cycle
    from karat.cycling.loop import place_of
    from karat.cycling.options import options_of
    from karat.cycling.shown import rounds_table
    from karat.report.progress import Progress

    calm_gc()
    watch = lambda title: Progress(terminal(stderr=True), title).watch  # noqa: E731
    say = lambda text: click.echo(text, err=True)  # noqa: E731
    found = run_cycle(recipe, options_of(options), out, overrides, say=say, watch=watch)
    terminal().print(rounds_table(found, place_of(found.name, out)))
