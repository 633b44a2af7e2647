"""A trial: a recipe cut down to what compares models, with one of them at a time in `respond`.

Steps keep their labels, hence their seeds and the answers bought for them: what comes before
`respond` is the same for all candidates, and is paid for once.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from karat.errors import RecipeError, did_you_mean
from karat.recipe import Recipe
from karat.row import Row
from karat.step import StepCall


class Trial(NamedTuple):
    """Where in a recipe models are compared, and by what."""

    recipe: Recipe  # all candidates in `respond`; its last step is the one that chooses
    names: list[str]
    at: int  # position of respond
    by: str
    best: int  # answers kept of each prompt
    chooses: bool  # whether the last step is `reject`, which says what is accepted

    @classmethod
    def of(cls, recipe: Recipe, names: list[str]) -> Trial:
        """The trial of these models, by default those `respond` names.

        Raises: RecipeError when the recipe, or what is asked of it, leaves nothing to compare.
        """
        paths = [call.step.path for call in recipe.steps]
        if "respond" not in paths:
            raise RecipeError(
                f"{recipe.origin}: no step 'respond', whose models could be compared; add one"
            )
        at = paths.index("respond")
        last = _choosing(recipe, paths, at)
        names = names or list(recipe.steps[at].params["models"])
        if len(names) < 2:
            others = did_you_mean(names[0], [name for name in recipe.models if name != names[0]])
            raise RecipeError(
                f"name at least two models to compare, not {names[0]} alone: --model A --model B; "
                f"{others}"
            )
        by, best = _deciding(recipe, recipe.steps[last])
        cut = _cut(recipe, at, last, names)
        return cls(cut, names, at, by, best, paths[last] == "reject")

    @property
    def label(self) -> str:
        """The label of `respond`."""
        return self.recipe.labels[self.at]

    @property
    def asks(self) -> StepCall:
        return self.recipe.steps[self.at]

    def alone(self, name: str) -> Recipe:
        """The recipe with this candidate alone."""
        return _cut(self.recipe, self.at, len(self.recipe.steps) - 1, [name])

    def reached(self, row: Row) -> bool:
        """Whether a row came as far as `respond`."""
        before = self.recipe.labels[: self.at]
        return row.dropped is None or row.dropped.partition(":")[0] not in before


def _choosing(recipe: Recipe, paths: list[str], at: int) -> int:
    """The position of the step that chooses: the first `reject`, else the last `grade`."""
    after = paths[at + 1 :]
    if "reject" in after:
        return at + 1 + after.index("reject")
    if "grade" in after:
        return len(paths) - 1 - paths[::-1].index("grade")
    raise RecipeError(
        f"{recipe.origin}: no 'grade' or 'reject' after 'respond': without a score there is "
        "nothing to compare models by"
    )


def _cut(recipe: Recipe, at: int, last: int, names: list[str]) -> Recipe:
    """The recipe with these models in the step at `at`, up to the step at `last`.

    Another `respond` in between would mix its answers with the candidates' and is left out.
    """
    ask = recipe.steps[at]
    steps = [*recipe.steps[:at], StepCall(ask.step, {**ask.params, "models": names})]
    steps += [call for call in recipe.steps[at + 1 : last + 1] if call.step.path != "respond"]
    return Recipe(
        steps, name=recipe.name, seed=recipe.seed, budget_usd=recipe.budget_usd,
        models=dict(recipe.models), rewards=recipe.rewards,
        providers={key: msgspec.to_builtins(found) for key, found in recipe.providers.items()},
        rights=recipe.rights, origin=recipe.origin, folder=recipe.folder,
    )  # fmt: skip


def _deciding(recipe: Recipe, call: StepCall) -> tuple[str, int]:
    """The score that decides, and how many answers of each prompt are kept."""
    if call.step.path == "reject":
        return call.params["by"], call.params["best"]
    reward = call.params["reward"]
    attributes = list(recipe.reward(reward).attributes)
    if "reward" not in attributes and len(attributes) > 1:
        raise RecipeError(
            f"{recipe.origin}: '{reward}' gives {', '.join(attributes)}; add a 'reject' step, "
            "whose `by` says which of them decides"
        )
    return f"{reward}.{'reward' if 'reward' in attributes else attributes[0]}", 1
