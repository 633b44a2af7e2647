"""Commands about reward models."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from karat.cli._base import OUT, RECIPE, SET, main, terminal


@main.group()
def reward() -> None:
    """Train, calibrate and check reward models."""


_OBJECTIVES = ("regression", "regression+scaled", "bt", "margin", "scaled")
_TRAIN = (
    click.argument("data", nargs=-1, required=True),
    click.option(
        "-o", "--out", type=click.Path(path_type=Path),
        help="NAME.npz; with --model a folder (default: in the run).",
    ),
    click.option("--test", "tests", multiple=True, metavar="SET", help="Only measured."),
    click.option(
        "--objective", type=click.Choice(_OBJECTIVES),
        help="Ratings: regression, then pairs (+scaled). Pairs alone: Bradley-Terry, plain, with "
        "margin or scaled by strength; one reward, comparable within a prompt.",
    ),
    click.option(
        "--members", type=click.IntRange(1),
        help="So many that differ by chance, whose spread is the uncertainty (head 10, model 1).",
    ),
    click.option("--seed", default=7, show_default=True),
    click.option(
        "--representation", type=click.Choice(["surface", "static", "surface+static"]),
        help="Of a head: surface features, static embeddings, or both.",
    ),
    click.option(
        "--search", is_flag=True, help="Of a head: compare those not given, and take the best."
    ),
    click.option(
        "--debias", type=click.Choice(["none", "length"]),
        help="Of a head: take the reward's taste for length out.",
    ),
    click.option("--folds", type=click.IntRange(2), help="Of a head (default 5)."),
    click.option("--repeats", type=click.IntRange(1), help="Of a head (default 2)."),
    click.option("--jobs", type=click.IntRange(1), help="Of a head: processes (one a core)."),
    click.option(
        "--model", help="Fine-tune this instead: embedded/NAME, a folder, OWNER/NAME of a hub."
    ),
    click.option(
        "--frozen", is_flag=True,
        help="A head that reads the layers of MODEL, which stays as it is: minutes on a CPU.",
    ),
    click.option("--lora", is_flag=True, help="Of a model: adapters, saved with the merged model."),
    click.option(
        "--set", "words", multiple=True, metavar="KEY=VALUE",
        help="Of a model: learning_rate=1e-5, epochs=1, batch=64, max_length=2048 …",
    ),
)  # fmt: skip


def _train_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(_TRAIN):
        command = option(command)
    return command


@reward.command("train")
@_train_options
def train_reward(
    data: tuple[str, ...],
    out: Path | None,
    tests: tuple[str, ...],
    model: str | None,
    **options: Any,
) -> None:
    """Train a reward on people's ratings or preferences in DATA, and write its card.

    A head on cheap representations, in minutes and without torch; with --model and --frozen a head
    that reads that model's layers too; with --model a whole model. DATA: files, folders, runs, or
    OWNER/NAME[:SUBSET] of a hub.
    """
    from karat.training import reward_command

    say = partial(click.echo, err=True)
    command = shlex.join(["karat", *sys.argv[1:]])
    click.echo(reward_command.train_reward(data, out, tests, model, options, command, say))


@reward.command("calibrate")
@RECIPE
@click.option(
    "--on", "data", multiple=True, required=True, type=click.Path(path_type=Path),
    help="Pairs that people have judged: chosen and rejected, Arena, LLMBar; JSON or JSONL.",
)  # fmt: skip
@click.option(
    "-o", "--to", required=True, type=click.Path(path_type=Path), help="The file to write."
)
@click.option("--target", default=0.8, show_default=True, help="How often people should agree.")
@click.option("--risk", default=0.1, show_default=True, help="Of agreeing less than that.")
@OUT
@SET
def calibrate_reward(
    recipe: str, data: tuple[Path, ...], to: Path, target: float, risk: float, out: Path | None,
    overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """How sure each grader of RECIPE's route must be to decide, from pairs people have judged.

    The graders are asked about the pairs, which costs what they cost.
    """
    from karat.calibrating import calibrate_route, told

    say = partial(click.echo, err=True)
    made = calibrate_route(
        recipe, data, to, out=out, target=target, risk=risk, overrides=overrides, say=say
    )
    for name, trusted in made.graders.items():
        click.echo(f"{name} ({trusted.score}) {told(trusted.calibration)}")
    click.echo(f"{to}: name it in the route, `calibration: {to.name}`")


@reward.command("check")
@click.argument("reward")
@click.option("--recipe", help="The recipe that names REWARD.")
@click.option("--json", "as_json", is_flag=True, help="Findings and figures for programs.")
@SET
def check(reward: str, recipe: str | None, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Look for REWARD's silent faults before it grades anything: about 100 scores (paid).

    REWARD is kind/name, or a name of the recipe. --set changes the reward: shape=pooling,
    base_url=http://127.0.0.1:8000/v1. The exit status is 1 where something is wrong.
    """
    import msgspec

    from karat.checking.check import check_reward
    from karat.checking.shown import verdict_text

    verdict = check_reward(
        reward, recipe, overrides, lambda text: click.echo(f"{text} …", err=True)
    )
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(verdict)))
    else:
        terminal().print(verdict_text(verdict))
    sys.exit(verdict.errors > 0)


@reward.command("eval")
@click.argument("reward")
@click.option(
    "--on", "sets", multiple=True, required=True, metavar="[KIND=]SET",
    help="A file, a folder, or OWNER/NAME[:SUBSET][@SPLIT] on the hub; its kind follows from its "
    "keys: RewardBench 1 and 2, RM-Bench, JudgeBench, LLMBar, HelpSteer 1-3, Arena, any pairs.",
)  # fmt: skip
@click.option("--against", help="Another reward, compared on what both scored.")
@click.option("--by", help="The attribute that decides pairs (default: the reward's main one).")
@click.option("--recipe", help="The recipe that names REWARD.")
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Folder of the journal, the figures and the page (default runs/eval-REWARD-on-SETS).",
)  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path), help="One more place for the page.")
@click.option("--json", "as_json", is_flag=True, help="All figures for programs.")
@SET
def evaluate(reward: str, sets: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """How right REWARD is on what people have judged: accuracy by each set's own rules with 95%
    intervals, beside chance, the longer and the shorter answer; calibration; the lean to length.

    REWARD is kind/name, or a name of the recipe. What was paid for once is not paid again: the same
    command goes on where it stopped.
    """
    import msgspec

    from karat.evaluating.evaluate import evaluate_reward
    from karat.evaluating.shown import evaluation_text

    say = partial(click.echo, err=True)
    made = evaluate_reward(reward, sets, say=say, **given)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(made)))
    else:
        terminal().print(evaluation_text(made))
