"""Licences: of every row, of a whole recipe, of a whole run, and what follows from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from karat.licensing.solved import Solved
from karat.licensing.solver import solve
from karat.licensing.stored import from_report

if TYPE_CHECKING:
    from karat.recipe import Recipe
    from karat.rundir import Run

__all__ = ["Solved", "from_report", "solve", "solve_recipe", "solve_run"]


def solve_recipe(recipe: Recipe) -> Solved:
    """What a run of this recipe would owe, before anything is spent."""
    from karat.licensing.sources import notes, of_recipe

    return solve(of_recipe(recipe), notes=notes(recipe))


def solve_run(run: Run, recipe: Recipe | None = None) -> Solved:
    """What the accepted rows of a run owe, by the terms as they are known now.

    `recipe` is the run's own. Without it the sources are taken from report.json, which has them
    since a run writes them, else from the rows alone. Raises: RecipeError, RunError.
    """
    from karat.licensing.counting import of_run

    if recipe is None and (found := from_report(run.report)) is not None:
        return found
    return solve(*of_run(run, recipe or _loaded(run)))


def _loaded(run: Run) -> Recipe | None:
    """The run's recipe; None where it cannot be checked here, without its keys or its files."""
    from karat.errors import RecipeError
    from karat.recipe import Recipe

    try:
        return Recipe.load(run.recipe)
    except RecipeError:
        return None
