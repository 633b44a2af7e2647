"""Commands that train a student, or a reward model, on what a run has made."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from karat.cli._base import main
from karat.cli.rewards import train_reward

_SHARED = (
    click.argument("data", metavar="RUN", type=click.Path(path_type=Path)),
    click.option("--model", required=True, help="embedded/NAME, a folder, or OWNER/NAME of a hub."),
    click.option(
        "-o", "--out", type=click.Path(path_type=Path),
        help="The student's folder (default RUN/students/OBJECTIVE-MODEL).",
    ),
    click.option("--epochs", type=float, help="Times through the data (SFT 3, DPO and RPO 1)."),
    click.option(
        "--lr", "learning_rate", type=float,
        help="Highest learning rate (LoRA: SFT 2e-4, else 5e-5; --full: 2e-5 and 1e-6).",
    ),
    click.option("--batch-size", type=int, help="Rows a step (default 16; fewer of few rows)."),
    click.option("--device-batch", type=int, help="Rows at a time (default 1 on a CPU, else 8)."),
    click.option("--max-length", type=int, help="Tokens; longer rows are left out (default 1024)."),
    click.option("--full", is_flag=True, help="Train every weight, not a LoRA adapter."),
    click.option("--lora-r", type=int, help="Rank of the adapter (default 16)."),
    click.option("--lora-alpha", type=int, help="Its scale, over the rank (default 32)."),
    click.option("--merge", is_flag=True, help="Also write merged/: base and adapter in one."),
    click.option("--seed", type=int, help="Order of rows and first weights (default 7)."),
    click.option("--device", help="auto, cpu, cuda, cuda:1 or mps (default auto)."),
    click.option(
        "--set", "more", multiple=True, metavar="KEY=VALUE",
        help="Any other field of TRL's configuration: weight_decay=0.1.",
    ),
)  # fmt: skip
_BETA = click.option("--beta", type=float, help="How fast a preference costs likelihood (0.1).")
_ETA = click.option("--eta", type=float, help="Weight of a difference of rewards, in σ (1).")
_SFT = click.option(
    "--sft-coefficient", type=float, help="Weight of the chosen answer's likelihood (1e-5)."
)


def _options(*own: Callable[..., Any]) -> Callable[..., Any]:
    def put(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed((*_SHARED[:4], *own, *_SHARED[4:])):
            command = option(command)
        return command

    return put


@main.group()
def train() -> None:
    """Train students and reward models on what a run has made.

    A student is a LoRA adapter, or a whole model, with a card and its provenance. The same command
    goes on where a killed one stopped.
    """


train.add_command(train_reward, "reward")


@train.command()
@_options()
def sft(**options: Any) -> None:
    """Supervised fine-tuning on RUN's accepted answers.

    RUN is a run's directory, or a JSONL file as the export trl-sft writes it.
    """
    _train("sft", options)


@train.command()
@_options(_BETA)
def dpo(**options: Any) -> None:
    """Preferences (DPO) on RUN's pairs.

    The chosen answer becomes likelier than the rejected one. RUN is a run's directory, or a JSONL
    file as the export trl-preference writes it.
    """
    _train("dpo", options)


@train.command()
@_options(_BETA, _ETA, _SFT)
def rpo(**options: Any) -> None:
    """Preferences by reward (RPO) on RUN's pairs.

    The chosen answer becomes likelier by as much as its reward is higher, and no more. RUN is a
    run's directory, or a JSONL file as the export trl-preference writes it, rewards included.
    """
    _train("rpo", options)


def _train(objective: Any, options: dict[str, Any]) -> None:
    from karat.training.student_use import trained, use

    options["command"] = shlex.join(["karat", *sys.argv[1:]])
    done = trained(objective, options, lambda text: click.echo(text, err=True))
    click.echo(use(done))
