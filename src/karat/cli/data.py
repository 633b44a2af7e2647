"""Commands about data: what a file or a run holds."""

from __future__ import annotations

from pathlib import Path

import click

from karat.cli._base import main, terminal


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--on", type=click.Choice(["prompt", "response", "conversation"]), default="prompt",
    show_default=True, help="The text of a row.",
)  # fmt: skip
@click.option("--clusters", type=click.IntRange(2, 24), help="How many (default by size, 2 to 24).")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the page goes (default diversity.html, in the run or here).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Figures for programs, and no page.")
def diversity(data: Path, on: str, clusters: int | None, html: Path | None, as_json: bool) -> None:
    """Measure how varied DATA is: a run, or any file or folder `read` can read."""
    import orjson

    from karat.report.survey import survey
    from karat.report.survey_text import survey_text

    found = survey(data, on, clusters)  # type: ignore[arg-type]  # click checks it
    if as_json:
        click.echo(orjson.dumps(found.as_tree(), option=orjson.OPT_INDENT_2))
    else:
        terminal().print(survey_text(found))
    if html or not as_json:
        from karat.report.survey_page import write_page

        folder = data if (data / "recipe.yaml").is_file() else Path()
        path = html or folder / "diversity.html"
        write_page(found, path)
        click.echo(f"page  {path}", err=as_json)
