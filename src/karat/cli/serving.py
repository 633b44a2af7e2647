"""Commands about the server: the dashboard and the gateway."""

from __future__ import annotations

from pathlib import Path

import click

from karat.cli._base import calm_gc, main

FILE = click.Path(path_type=Path)
EXTRA = "the dashboard and the gateway need more packages: pip install 'karat[serve]'"


@main.command()
@click.option("--runs", type=FILE, help="The folder that holds runs (default ./runs).")
@click.option(
    "--config", metavar="FILE", help="Models, rewards and keys to serve; a recipe will do."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True)
@click.option(
    "--host-name",
    "host_names",
    multiple=True,
    metavar="NAME",
    help="A further name of this server, as behind a proxy. Repeat it.",
)
@click.option("--token-env", metavar="NAME", help="The variable that holds the server's token.")
@click.option("--token-file", type=FILE, help="The file that holds the server's token.")
@click.option("--new-token", type=FILE, metavar="FILE", help="Make a token, and write it there.")
@click.option(
    "--budget",
    "budget_usd",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="What the gateway may spend, all that its ledger holds.",
)
@click.option(
    "--journal",
    metavar="postgresql://…",
    help="A database for the gateway's ledger, which several gateways may share.",
)
@click.option("--log-bodies", is_flag=True, help="Keep prompts and answers of the gateway.")
@click.option("--access-log", is_flag=True, help="Print a line for each request of a page.")
@click.option("--open", "open_browser", is_flag=True, help="Open the dashboard in a browser.")
def serve(**options: object) -> None:
    """Serve the dashboard and the gateway until Ctrl-C; only this machine reaches them by default.

    To everybody else only with a token: --host 0.0.0.0 --new-token token.txt.
    """
    try:
        from karat.web.app import views
        from karat.web.serve import Options
        from karat.web.serve import serve as serve_pages

        views()  # each may need a package of its own
    except ModuleNotFoundError as error:
        from karat.errors import RecipeError

        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "duckdb"):
            raise
        raise RecipeError(EXTRA) from None
    calm_gc()
    serve_pages(Options(**options), click.echo)  # type: ignore[arg-type]


RUNS = click.option("--runs", type=FILE, default="runs", show_default=True, help="As of `serve`.")


@main.group()
def key() -> None:
    """Virtual keys of the gateway: who may ask which models, for how much money.

    A running server takes note of a change at once.
    """


@key.command("add")
@click.argument("name")
@click.option("--budget", "budget_usd", type=float, metavar="USD", help="What it may spend in all.")
@click.option("--models", metavar="NAMES", help="What it may use: teacher,openai/* (default all).")
@click.option("--expires", "days", type=float, metavar="DAYS", help="Until when it holds.")
@RUNS
def key_add(
    name: str, budget_usd: float | None, models: str | None, days: float | None, runs: Path
) -> None:
    """Make the key NAME, and show its secret this once."""
    from karat.web.gateway import keys

    patterns = None if models is None else tuple(one.strip() for one in models.split(","))
    folder = runs / keys.FOLDER
    click.echo(keys.add(folder, name, budget_usd=budget_usd, models=patterns, days=days))
    click.echo("Keep it now: it is not stored, and cannot be shown again.", err=True)


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@RUNS
def key_list(runs: Path, as_json: bool) -> None:
    """Show the keys, what each may use and what it has cost."""
    from karat.web.gateway import keys, keys_shown

    folder = runs / keys.FOLDER
    found, had = keys.listed(folder), (folder / keys.FILE).exists()
    click.echo(keys_shown.as_json(found) if as_json else keys_shown.table(found, had=had))


@key.command("remove")
@click.argument("name")
@RUNS
def key_remove(name: str, runs: Path) -> None:
    """Take the key NAME away; what it has cost stays in the ledger."""
    from karat.web.gateway import keys, keys_shown

    left = keys.remove(runs / keys.FOLDER, name)
    click.echo(f"The key '{name}' is gone.")
    if not left:
        click.echo(f"It was the last one. {keys_shown.NONE_LEFT}", err=True)
