"""A recipe as a notebook shows it: its steps with their parameters, models, rewards, exports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from karat.display import shown

if TYPE_CHECKING:
    from karat.recipe import Recipe
    from karat.step import StepCall


def recipe_html(recipe: Recipe) -> str:
    """The whole piece of HTML. Of a model its name is shown, and nothing of how to reach it."""
    said = [f"seed {recipe.seed}"]
    if recipe.exactly is not None:
        said.append(f"exactly {recipe.exactly.rows:,} rows")
    if recipe.budget_usd is not None:
        said.append(f"budget {shown.money(recipe.budget_usd)}")
    said.append(f"export {', '.join(recipe.export)}")
    parts = [shown.paragraph(shown.bold(recipe.name), shown.small(" · ".join(said)))]
    steps = [
        [f"{number}", label, _said(call)]
        for number, (label, call) in enumerate(zip(recipe.labels, recipe.steps, strict=True), 1)
    ]
    parts.append(shown.table(["", "step", "parameters"], steps, "n--"))
    named = [
        ["model", name, " → ".join(spec.model for spec in one.route())]
        for name, one in recipe.models.items()
    ]
    named += [
        ["reward", name, str(value.get("reward", "") if isinstance(value, dict) else value)]
        for name, value in recipe.rewards.items()
    ]
    if named:
        parts.append(shown.table(["", "name", "stands for"], named))
    return shown.fragment(*parts)


def _said(call: StepCall) -> str:
    """The parameters that are not as they would be anyway."""
    defaults = {
        field.name: (
            field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
        )
        for field in call.step.fields
    }
    differing = {k: v for k, v in call.params.items() if k not in defaults or defaults[k] != v}
    return ", ".join(f"{key}={value!r}" for key, value in differing.items())
