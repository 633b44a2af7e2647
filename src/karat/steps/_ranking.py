"""What responses are ranked by: one score, or a weighted sum of several, and how it spreads.

A weighted sum becomes a score of its own, so that exports, reports and later steps find what chose.
Of a score that compares within one prompt only, every figure is of the distance to the prompt's
mean: a mean over prompts would add numbers that mean different things.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Table, owners, score_values
from karat.context import Context
from karat.curation.exact import Exact
from karat.errors import RecipeError
from karat.scoring.tallies import centred
from karat.scoring.weights import ATTRIBUTES, needs_standardising, published, weighted

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

OWN = "weighted.reward"  # the score that a recipe's own weights make
SCORES = ["responses.list.element.scores", "responses.list.element.kept"]
Weights = str | Mapping[str, float] | None


def weights_of(by: str | None, weights: Weights) -> dict[str, float]:
    """The weight of each score that ranks. Raises: RecipeError for what cannot rank."""
    if isinstance(weights, str):
        if by is None:
            raise RecipeError(
                f"weights: {weights} weighs the attributes of one reward; name it, for example "
                "by: helpsteer2.reward"
            )
        return published(weights, _reward(by))
    if weights is None:
        if by is None:
            raise RecipeError(
                "needs the parameter 'by', the score to rank by, for example helpsteer2.reward; or "
                "weights, for a sum of several"
            )
        return {by: 1.0}
    if by is not None:
        raise RecipeError(
            "by has no use with weights of your own, whose sum ranks; leave one of them out, or "
            "name published weights, for example weights: llama3-70b"
        )
    if not any(weights.values()):
        raise RecipeError("weights: needs a score with a weight that is not 0")
    return {key: weight for key, weight in weights.items() if weight}


def problem(by: str | None, weights: Weights) -> str | None:
    """Why these parameters rank nothing, as a step's rule says it."""
    try:
        weights_of(by, weights)
    except RecipeError as error:
        return str(error)
    return None


def made(by: str | None, weights: Weights) -> dict[str, tuple[float, float]]:
    """The score that a weighted sum adds, with its scale; nothing where one score ranks."""
    if weights is None:
        return {}
    return {_name(by, weights): (-np.inf, np.inf)}


def made_of(by: str | None, weights: Weights) -> dict[str, list[str]]:
    """The scores that a weighted sum is made of, by its own name."""
    return {_name(by, weights): list(weights_of(by, weights))} if weights is not None else {}


def _name(by: str | None, weights: Weights) -> str:
    if isinstance(weights, str):
        return f"{_reward(by or '')}.{weights}"
    return OWN if weights is not None else str(by)


def _reward(by: str) -> str:
    """The reward that `by` names, itself or by one of its scores."""
    reward, _, attribute = by.rpartition(".")
    return reward if reward and attribute in (*ATTRIBUTES, "reward") else by


def refuse_absolute(ctx: Context, uses: Iterable[tuple[str, str]]) -> None:
    """Raises: RecipeError where a (parameter, score) compares across prompts what does not."""
    for parameter, key in uses:
        if ctx.within_prompt(key):
            raise RecipeError(
                f"{parameter}: {key} compares responses to one prompt only: the same number means "
                "another thing for another prompt. Rank by it (best), or use a margin"
            )


class Ranking:
    """The score that ranks: `name`, and a value for each response, NaN where there is none.

    `within`: whether it compares within one prompt only, as it does where one of its parts does.
    It holds nothing of the table or the context, so that it can go wherever the parts are.
    """

    def __init__(self, by: str | None, weights: Weights, ctx: Context, table: Table) -> None:
        parts = weights_of(by, weights)
        self.name = _name(by, weights)
        self.keys = list(parts)
        self.within = any(ctx.within_prompt(key) for key in self.keys)
        self.is_sum = weights is not None
        self._weights = list(parts.values())
        scales = self._measure(ctx, table) if self.is_sum else []
        self.sigmas = {k: sigma for k, (_, sigma) in zip(self.keys, scales, strict=False)}
        self._scales = scales if needs_standardising(parts) else None

    def values(self, scores: pa.ListArray) -> Floats:
        """score_R of a flat column of scores."""
        columns = [score_values(scores, key) for key in self.keys]
        if not self.is_sum:
            return columns[0]
        return weighted(columns, self._weights, self._scales)

    def _measure(self, ctx: Context, table: Table) -> list[tuple[float, float]]:
        """Mean and σ of each part over the candidates that have all of them."""
        within = [ctx.within_prompt(key) for key in self.keys]
        spreads = [Spread(within=one) for one in within]
        for found in table.each(_spreads, self.keys, within):
            for spread, part in zip(spreads, found, strict=True):
                spread.merge(part)
        return [(spread.total().mean, spread.sigma) for spread in spreads]


def _spreads(part: Table, keys: Sequence[str], within: Sequence[bool]) -> list[Spread]:
    """The spread of each score over the candidates of a part that have all of them."""
    spreads = [Spread(within=one) for one in within]
    for batch in part.batches(SCORES):
        responses = batch.column("responses")
        flat = responses.flatten()
        columns = [score_values(flat.field("scores"), key) for key in keys]
        among = np.isfinite(np.sum(columns, axis=0)) & open_flags(flat)
        owner = owners(responses)[among]
        for spread, column in zip(spreads, columns, strict=True):
            spread.take(spread.level(column[among], owner))
    return spreads


def open_flags(flat: pa.StructArray) -> Flags:
    """Responses that no earlier step has turned down."""
    flags = pc.fill_null(flat.field("kept"), True)
    return np.asarray(flags.to_numpy(zero_copy_only=False), np.bool_)


class Spread:
    """Moments of a score, apart for each generating model; see the module on `within`.

    Spreads of the parts of a table merge to that of the whole, exactly.
    """

    def __init__(self, *, within: bool) -> None:
        self.models: dict[str, Exact] = {}
        self._within, self._spent = within, 0

    def merge(self, other: Spread) -> None:
        """Takes in what another one of the same score has seen."""
        self._spent += other._spent
        for name, moments in other.models.items():
            self.models.setdefault(name, Exact()).merge(moments)

    def level(self, scores_R: Floats, owner_R: Ints) -> Floats:
        """The scores of these candidates as they enter all figures. Counts their prompts, each of
        whose means costs a degree of freedom."""
        if not self._within:
            return scores_R
        rows = int(owner_R.max(initial=-1)) + 1
        self._spent += len(np.unique(owner_R))
        return centred(scores_R, owner_R, rows)

    def take(self, values: Floats, model: str = "") -> None:
        """Takes in levelled scores of one model."""
        if len(values):
            self.models.setdefault(model, Exact()).take(values)

    def total(self) -> Exact:
        total = Exact()
        for part in self.models.values():
            total.merge(part)
        return total

    @property
    def sigma(self) -> float:
        """Of all candidates, as a population; of a score that compares within a prompt, its pooled
        σ there."""
        total = self.total()
        free = total.n - self._spent
        return math.sqrt(total.m2 / free) if free > 0 else 0.0

    def per_model(self, kept: Spread) -> dict[str, Any]:
        """Mean, σ and count of each model's candidates, and how many of them were kept."""
        none = Exact()
        return {
            name or "given": {
                "mean": moments.mean,
                "sigma": moments.sigma,
                "n": moments.n,
                "kept": kept.models.get(name, none).n,
            }
            for name, moments in sorted(self.models.items())
        }
