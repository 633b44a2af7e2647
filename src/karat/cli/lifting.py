"""The command that proves, or fails to prove, that choosing answers helps."""

from __future__ import annotations

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from karat.cli._base import main, tell

FILE = click.Path(path_type=Path)


@main.command()
@click.argument("run", required=False, type=FILE)
@click.option("--student", help="The base: embedded/smollm2-135m, a folder, a hub's name.")
@click.option(
    "--eval", "held", type=FILE, help="Held-out prompts that can be verified: IFEval, GSM8K …"
)
@click.option("--reward", help="A reward that did not choose (with --pool: the one that picks).")
@click.option("--references", "human", type=FILE, help="Prompts with answers people wrote.")
@click.option(
    "--arms", default="best,random,longest,worst,base", show_default=True,
    help="The first is compared with each other one. Also: kept.",
)  # fmt: skip
@click.option("--by", metavar="SCORE", help="The score that chooses (default: the run's own).")
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(1, 20))
@click.option("--rows", type=click.IntRange(8), help="Prompts to train on (default: all).")
@click.option("--prompts", type=click.IntRange(8), help="Held-out prompts (default: all).")
@click.option("--budget", type=click.FloatRange(1), metavar="MINUTES", help="Sizes all of it.")
@click.option("--epochs", default=2.0, show_default=True, type=click.FloatRange(0, min_open=True))
@click.option("--lr", "learning_rate", type=float, help="Default 2e-4 with LoRA.")
@click.option("--batch-size", type=click.IntRange(1), help="Rows a step (default: 16).")
@click.option("--max-length", type=click.IntRange(1), help="Tokens of a row (default: 1024).")
@click.option("--max-tokens", default=256, show_default=True, type=click.IntRange(1))
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--set", "more", multiple=True, metavar="KEY=VALUE", help="A field of the trainer's own."
)
@click.option(
    "--pool", type=FILE, help="No training: answers people (or a strong judge) have rated."
)
@click.option("--contaminated", is_flag=True, help="With --pool: even if REWARD was trained on it.")
@click.option("-o", "--out", type=FILE, help="Default runs/RUN-lift; with --pool, none.")
def lift(run: Path | None, pool: Path | None, **options: Any) -> None:
    """Show whether students of the best answers in RUN do better than students of random ones.

    Same prompts, same size, several seeds; measured on held-out prompts by verifiers, by a reward
    that did not choose, and by the likelihood of people's answers. What could be shown is stated
    before anything is trained. --pool trains nothing: it asks whether REWARD picks what people
    preferred.
    """
    from karat.lifting.command import carry_out

    command = shlex.join(["karat", *sys.argv[1:]])
    source = click.get_current_context().get_parameter_source
    said = [name for name in options if source(name) is ParameterSource.COMMANDLINE]
    carry_out(run, pool, options, said, command, partial(click.echo, err=True), tell)
