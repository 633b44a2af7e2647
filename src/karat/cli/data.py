"""Commands about data: what a file or a run holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from karat.cli._base import SET, calm_gc, main, terminal

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


@main.command()
@click.argument("data", type=click.Path(path_type=Path))
@click.option(
    "--against", multiple=True, metavar="SET",
    help="An evaluation set: a known name such as gsm8k, a file, or owner/name of the Hub.",
)  # fmt: skip
@click.option("--n", type=click.IntRange(2, 100), default=13, help="Words in a row (default 13).")
@click.option(
    "--on", type=click.Choice(["any", "prompt", "response", "conversation"]), default="any",
    help="Which texts of a row (default any).",
)  # fmt: skip
@click.option("--column", metavar="NAME", help="The text of a document is this column.")
@click.option(
    "--covered", type=click.FloatRange(0, 1), default=0.0, help="Least share of an item's words."
)
@click.option(
    "--looks-like", type=click.FloatRange(0, 1, min_open=True), metavar="COSINE",
    help="Also tell rows as near to a question by their embedding: 0.85.",
)  # fmt: skip
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Every hit, a line each.",
)
@click.option("--json", "as_json", is_flag=True, help="Figures and hits for programs.")
def contamination(
    data: Path, against: tuple[str, ...], n: int, on: str, column: str | None, covered: float,
    looks_like: float | None, table: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Report which items of evaluation sets DATA holds: a run, or any file `read` can read."""
    import orjson

    from karat.report.contamination import contamination as measured
    from karat.report.contamination import contamination_text
    from karat.report.survey_page import check_place
    from karat.steps._contamination import Rules

    if table:
        check_place(table)
    rules = Rules(n=n, covered=covered, looks_like=looks_like)
    with _telling() as say:
        found = measured(data, against, rules, on, column, say=say)  # type: ignore[arg-type]  # click checks it
    if table:
        found.write_csv(table)
    if as_json:
        click.echo(orjson.dumps(found.as_tree(), option=orjson.OPT_INDENT_2))
    else:
        terminal().print(contamination_text(found))


@main.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Figures for programs.")
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Say what changed from A to B: runs, or any files or folders `read` can read."""
    import orjson

    from karat.report.differences import differences
    from karat.report.differences_text import differences_text

    with _telling() as say:
        say("comparing rows")
        found = differences(a, b)
    if as_json:
        click.echo(orjson.dumps(found.as_tree(), option=orjson.OPT_INDENT_2))
    else:
        terminal().print(differences_text(found))


@main.command()
@click.argument("data")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Run directory (default runs/NAME)."
)
@click.option(
    "--against", multiple=True, metavar="SET",
    help="Drop what is in this evaluation set: gsm8k, a file, owner/name.",
)  # fmt: skip
@click.option("--by", metavar="SCORE", help="The rating that ranks (default: what people gave).")
@click.option("--minimum", type=float, help="The least rating that stays.")
@click.option("--select", type=click.IntRange(1), help="Keep so many rows, the most varied.")
@click.option("--human", type=click.Path(path_type=Path), help="Human rows to mix in.")
@click.option("--split", is_flag=True, help="Into train, validation and test, by cluster.")
@SET
def curate(
    data: str, out: Path | None, against: tuple[str, ...], by: str | None, minimum: float | None,
    select: int | None, human: Path | None, split: bool, overrides: tuple[str, ...],
) -> None:  # fmt: skip
    """Clean DATA (a file, a folder, a run, or owner/name of the Hub) without calling a model."""
    from karat.api import run
    from karat.curating import curation
    from karat.report.progress import Progress
    from karat.report.text import print_report

    calm_gc()
    recipe = curation(
        data, against=against, human=None if human is None else str(human), select=select, by=by,
        minimum=minimum, split=split, overrides=overrides,
        say=lambda text: click.echo(text, err=True),
    )  # fmt: skip
    done = run(recipe, out, watch=Progress(terminal(stderr=True)).watch)
    print_report(terminal(), done)


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
