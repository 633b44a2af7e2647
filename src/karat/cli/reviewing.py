"""karat review: what people said about a run's responses, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from karat.cli._base import main


@main.group()
def review() -> None:
    """What reviewers said about a run, as files (they review in `karat serve`)."""


@review.command("export")
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--as", "kind", type=click.Choice(["human", "mix", "reward"]), default="human",
    show_default=True, help="What will read it: a reward human/FILE, mix: {human: FILE}, or "
    "`karat reward train`.",
)  # fmt: skip
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="The file: NAME.jsonl."
)
def export_reviews(directory: Path, kind: Literal["human", "mix", "reward"], out: Path) -> None:
    """Write what counts of RUN's reviews to a file that needs no run beside it.

    Of rows for `mix` only those that people wrote: answers edited for the most part, to prompts of
    people. Ratings make no human rows.
    """
    from karat.reviewing.export import written

    click.echo(written(directory, kind, out))
