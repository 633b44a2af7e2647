"""Commands about giving data away: the papers that go with them."""

from __future__ import annotations

from pathlib import Path

import click

from karat.cli._base import calm_gc, main, terminal


@main.command()
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Where the papers go (default papers/ in the run).",
)  # fmt: skip
@click.option(
    "--licence", default="", metavar="SPDX", help="Release under this one (default: the first fit)."
)
def card(directory: Path, out: Path | None, licence: str) -> None:
    """Write the papers of RUN: dataset card, licences, EU summary of training content, Croissant.

    Says what stands in the way of publishing it, and writes the papers all the same. Papers that
    were filled in by hand are kept; the new ones are put beside them, as README.new.md.
    """
    from karat.licensing import solve_run
    from karat.publishing.papers import write_papers
    from karat.report.licences import licence_block
    from karat.rundir import Run

    calm_gc()
    run = Run.open(directory)
    for path in write_papers(run, out or run.path / "papers", licence):
        click.echo(path)
    found, told = solve_run(run), terminal(stderr=True)
    told.print(licence_block(found))
    if count := len(found.blockers):
        these = "1 blocker" if count == 1 else f"{count:,} blockers"
        told.print(f"NOT CLEARED: {these}; karat push refuses these rows", style="bold red")


@main.command()
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("repo")
@click.option(
    "--what",
    multiple=True,
    metavar="EXPORT",
    help="Push this export only (default all). Repeat it.",
)
@click.option(
    "--private/--public", default=True, show_default=True, help="Who can read it on the Hub."
)
@click.option(
    "--anyway", default="", metavar="SENTENCE", help="Why it is pushed although terms forbid it."
)
@click.option("--yes", is_flag=True, help="Do not ask before sending.")
def push(
    directory: Path, repo: str, what: tuple[str, ...], private: bool, anyway: str, yes: bool
) -> None:
    """Push accepted rows, exports and papers of RUN to the dataset REPO on the Hugging Face Hub.

    Says first what goes there. The journal, with its prompts and costs, stays here.
    """
    from tempfile import TemporaryDirectory

    from karat.publishing.parcel import parcel_table
    from karat.publishing.push import prepare, send
    from karat.rundir import Run

    calm_gc()
    with TemporaryDirectory() as folder:
        run, told = Run.open(directory), terminal(stderr=True)
        parcel = prepare(
            run, repo, Path(folder), what=what, private=private, anyway=anyway,
            stopped=lambda found: told.print(parcel_table(found)),
        )  # fmt: skip
        told.print(parcel_table(parcel))
        if not yes:
            click.confirm("Push it?", abort=True, err=True)
        click.echo(send(parcel))
