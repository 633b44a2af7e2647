"""The command that writes a run's report: one file to read, to send and to print."""

from __future__ import annotations

from pathlib import Path

import click

from karat.cli._base import calm_gc, main


@main.command()
@click.argument("directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE",
    help="Where it goes (default report.html in the run).",
)  # fmt: skip
def report(directory: Path, out: Path | None) -> None:
    """Write the report of the run in RUN: one HTML file with every plot and random rows."""
    from karat.report.run_report import write_report
    from karat.report.survey_page import check_place
    from karat.rundir import Run

    calm_gc()
    run = Run.open(directory)
    path = run.path / "report.html" if out is None else out
    check_place(path)
    write_report(run, path, lambda text: click.echo(f"{text} …", err=True))
    click.echo(str(path))
