"""Commands about models: services, keys, prices and terms, and one call to try."""

from __future__ import annotations

import sys

import click

from karat.cli._base import SET, main, terminal


class Listing(click.Group):
    """What is no subcommand is what to list: `karat models llama-3.3`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.commands, "-h", "--help"}
        return super().parse_args(ctx, args if args and args[0] in known else ["list", *args])


@main.group(cls=Listing)
def models() -> None:
    """Services, keys, models, prices and terms."""


@models.command("list")
@click.argument("text", default="")
@click.option("--recipe", help="Only the models of this recipe, as they resolve.")
@click.option("--all", "everything", is_flag=True, help="Every model, not the first 40.")
@click.option("--ask", is_flag=True, help="Ask hosted services too, with their keys.")
def list_models(text: str, recipe: str | None, everything: bool, ask: bool) -> None:
    """List services, or the models whose provider/name holds TEXT."""
    from karat import reachable
    from karat.report.models import model_table, service_table

    if recipe:
        found = reachable.resolve(reachable.recipe_models(recipe))
        shown = model_table(found, everything=True)
    elif text or everything:
        found = reachable.find_models(text, reachable.reach(ask=ask))
        shown = model_table(found, text, everything=everything)
    else:
        shown = service_table(reachable.reach(ask=ask))
    terminal().print(shown)


@models.command("ping")
@click.argument("model")
@click.option("--recipe", help="The recipe that names MODEL.")
@SET
def ping_model(model: str, recipe: str | None, overrides: tuple[str, ...]) -> None:
    """Call MODEL once (paid) and show its answer, cost and times."""
    from karat.ping import ping
    from karat.report.models import ping_panel

    done = ping(model, recipe, overrides)
    for one in done:
        terminal().print(ping_panel(one))
    sys.exit(any(one.answer is None for one in done))
