"""Whether a recipe could run: its steps in their order, the scores each needs, models, files."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from karat.errors import RecipeError, did_you_mean
from karat.modelchecks import (
    check_needs,
    check_prices,
    check_rights,
    check_rounds,
    check_sampling,
    check_takes,
    check_twins,
    least_scores,
    score_hint,
    without_refused_defaults,
)
from karat.models.placing import placed
from karat.models.spec import parse_model
from karat.recipefile import at, check_readable
from karat.step import StepCall

if TYPE_CHECKING:
    from karat.recipe import Recipe

EXPORTS = Path(__file__).with_name("exporters")
MOST_USD = 1e9
READS_URLS = ("read", "mix", "karat.cycling.rows:rounds")  # steps whose files may be at URLs
Scales = dict[str, tuple[float, float]]  # of every score graded so far


def check_recipe(recipe: Recipe) -> None:
    """Raises: RecipeError for anything that could not run, with its step's number and place."""
    if not recipe.steps:
        raise RecipeError(f"{recipe.origin}: steps is empty; list at least one")
    if not -(2**63) <= recipe.seed < 2**63:
        raise RecipeError(f"{recipe.origin}: seed {recipe.seed} is beyond 64 bits")
    budget = recipe.budget_usd
    is_number = isinstance(budget, int | float) and not isinstance(budget, bool)
    if budget is not None and not (is_number and 0 < budget <= MOST_USD):
        raise RecipeError(
            f"{recipe.origin}: budget_usd must be a number above 0, got {budget!r}; leave it out "
            "for no limit"
        )
    known = sorted(p.stem.replace("_", "-") for p in EXPORTS.glob("[a-z]*.py") if p.stem != "base")
    for name in recipe.export:
        if name not in known:
            near = did_you_mean(str(name), known)
            raise RecipeError(f"{recipe.origin}: no export '{name}'; {near}")
        if recipe.export.count(name) > 1:
            raise RecipeError(f"{recipe.origin}: export lists '{name}' twice")
    graded: Scales = {}
    for position, call in enumerate(recipe.steps):
        with at(recipe.where(position)):
            _check_step(recipe, position, call, graded)
    _check_unused(recipe)
    for position, call in enumerate(recipe.steps):
        with at(recipe.where(position)):
            asked = {name: recipe.models[name] for _, name in recipe.asked(call)}
            for _, name in call.named("reward"):
                asked |= recipe.graders.servers(name)
            check_prices(asked, limited=budget is not None)
    with at(recipe.origin):
        check_rounds(recipe.exactly, recipe.steps)
        check_rights(recipe.rights, recipe.steps, recipe.models)


def _check_unused(recipe: Recipe) -> None:
    """Models and rewards that no step names: all but the keys, which only a call needs."""
    for name, spec in recipe.models.items():
        with at(f"{recipe.origin}, model '{name}'"):
            spec.check_written()
    with at(recipe.origin):
        for name in recipe.rewards:
            recipe.reward(name)
            with at(f"reward '{name}'"):
                recipe.graders.check_written(name)
        recipe.graders.check_together()


def _check_step(recipe: Recipe, position: int, call: StepCall, graded: Scales) -> None:
    if call.step.kind == "source" and position > 0:
        raise RecipeError("reads rows in and must be the first step; 'mix' joins a second source")
    if position == 0 and (call.step.kind == "table" or call.step.draws):
        raise RecipeError("works on all rows; put a step before it that makes or reads some")
    for parameter, name in call.named("model"):
        check_model(recipe, parameter, name)
    call = recipe.steps[position] = without_refused_defaults(call, recipe.models)
    check_twins(call, recipe.models)
    check_takes(call, recipe.models)
    for parameter, name in call.named("reward"):
        with at(parameter):
            recipe.reward(name)
        with at(f"reward '{name}'"):
            recipe.graders.check(name, recipe.lacking)
            for model, sampling in recipe.graders.sampling(name):
                check_model(recipe, "model", model)
                check_sampling(recipe.models[model], sampling)
        scales = recipe.reward(name).attributes.items()
        graded.update((f"{name}.{attribute}", scale) for attribute, scale in scales)
    for parameter, key in call.scores_read():
        given = recipe.steps[0].step.kind == "source" and key.startswith("human.")
        if key not in graded and not given:
            hint = score_hint(key, graded, _scales(recipe, key))
            raise RecipeError(f"{parameter}: no score '{key}' at this point; {hint}")
    graded.update(call.step.scores)
    graded.update(call.step.given(**call.params) if call.step.given else {})
    recipe.graders.derive(call.step.deriving(**call.params) if call.step.deriving else {})
    for parameter, key, least in least_scores(call):
        low, high = graded.get(key, (-inf, inf))
        if least > high:
            raise RecipeError(
                f"{parameter} {least:g} is above the scale of {key} ({low:g} to {high:g}): "
                "nothing would pass"
            )
    for parameter, key in call.step.absolutes(**call.params) if call.step.absolutes else ():
        if recipe.graders.within_prompt(key):
            raise RecipeError(
                f"{parameter}: {key} compares responses to one prompt only: the same number "
                "means another thing for another prompt. Rank by it (best), or use a margin"
            )
    problem = call.step.misfit(recipe, call.params)
    if problem:
        raise RecipeError(problem)
    check_needs(call, recipe.steps[:position])
    for parameter, value in call.named("path"):
        first = recipe.labels[position] == call.step.name
        key = f"{call.step.path}.{parameter}" if first else ""
        check_readable(parameter, recipe.path(value), key, urls=call.step.path in READS_URLS)


def _scales(recipe: Recipe, key: str) -> Scales | None:
    """What the reward that a score is of gives, by attribute, where the recipe has it."""
    name = key.rpartition(".")[0]
    return dict(recipe.reward(name).attributes) if name in recipe.rewards else None


def check_model(recipe: Recipe, parameter: str, name: str) -> None:
    """Raises: RecipeError for a model that a parameter names and that cannot be asked."""
    if name not in recipe.models:
        if "/" not in name:
            known = did_you_mean(name, recipe.models)
            raise RecipeError(f"{parameter}: no model '{name}' in models; {known}")
        with at(f"model '{name}'"):
            recipe.models[name] = placed(parse_model(name, recipe.providers), recipe.path)
    with at(f"model '{name}'"):
        recipe.models[name].check(recipe.lacking)
