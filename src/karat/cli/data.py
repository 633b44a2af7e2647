"""Commands about data: what a file or a run holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from karat.cli._base import main, terminal

ENDINGS = re.compile(r"(\.(jsonl|json|csv|tsv|parquet))?(\.(gz|bz2|xz|zst))?$", re.IGNORECASE)


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--on", type=click.Choice(["prompt", "response", "conversation"]),
    help="The text of a row (default prompt).",
)  # fmt: skip
@click.option(
    "--column", metavar="NAME",
    help="The text of a row is this column: text, or instances.0.input for a place inside one.",
)  # fmt: skip
@click.option("--clusters", type=click.IntRange(2, 24), help="How many (default by size, 2 to 24).")
@click.option(
    "--html", type=click.Path(path_type=Path), metavar="FILE",
    help="Where the page goes (default diversity.html in a run, NAME-diversity.html here).",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Figures for programs, and no page.")
def diversity(
    data: Path, on: str | None, column: str | None, clusters: int | None, html: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Measure how varied DATA is: a run, or any file or folder `read` can read."""
    import orjson

    from karat.report.survey import survey
    from karat.report.survey_page import check_place, write_page
    from karat.report.survey_text import survey_text

    if on and column:
        raise click.UsageError("--column and --on both say what a row's text is; leave one out")
    page = html if html or as_json else _page_of(data)
    if page:
        check_place(page)
    with _telling() as say:
        found = survey(data, on or "prompt", clusters, column=column, say=say)  # type: ignore[arg-type]  # click checks it
        if page:
            say("drawing the map")
            write_page(found, page)
    if as_json:
        click.echo(orjson.dumps(found.as_tree(), option=orjson.OPT_INDENT_2))
    else:
        terminal().print(survey_text(found))
    if page:
        click.echo(f"page  {page}", err=as_json)


def _page_of(data: Path) -> Path:
    """In a run its own; of other data one here that is called after them."""
    if (data / "recipe.yaml").is_file():
        return data / "diversity.html"
    return Path(f"{ENDINGS.sub('', data.absolute().name) or 'data'}-diversity.html")


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Says on stderr what is being done: on a terminal in one line that goes, else in lines."""
    console = terminal(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(f"{text} …", err=True)
        return
    from rich.text import Text

    with console.status("") as status:
        yield lambda text: status.update(Text(f"{text} …"))
