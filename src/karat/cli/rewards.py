"""Commands about reward models."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from karat.cli._base import main


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
