"""A panel: several graders' scores made comparable, then put together; how far apart they are kept.

Scores of different rewards are never averaged as they are: 3.2 of one means nothing beside 0.4 of
another. So each grader's scores of a row are standardised over that row's responses first, and the
panel's score compares responses to one prompt only. Small graders of different families together
err less than a large one of them alone, because they do not err alike.

What that costs: a grader that hardly tells a row's responses apart speaks as loudly as one that
does. Give it less weight, or take `rank` or `vote`, in which margins count for nothing anyway.

Source: Replacing Judges with Juries (2404.18796), for panels of small models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.errors import ProviderError, RecipeError, RowError, did_you_mean
from karat.rewards.base import UNBOUNDED, Ask, Candidates, Scale, Scores
from karat.row import canonical, digest
from karat.together import all_of

Floats = NDArray[np.float64]
Weight = Annotated[float, msgspec.Meta(gt=0)]
By = Literal["z", "rank"]
WAYS = ("mean", "median", "vote")
_DECIMALS = 9  # beyond them there is rounding alone


def z_scores(scores_N: Floats) -> Floats:
    """z_N: in population σ around the mean of those that are numbers; 0 where all are equal."""
    known_N = scores_N[np.isfinite(scores_N)]
    # A spread that is rounding alone is none.
    if not len(known_N) or np.ptp(known_N) <= 1e-12 * np.abs(known_N).max():
        return np.where(np.isfinite(scores_N), 0.0, nan)
    z_N: Floats = (scores_N - known_N.mean()) / known_N.std()
    return z_N


def ranks(scores_N: Floats) -> Floats:
    """rank_N: the share of the others a response is above, 0–1, one on its level counting half."""
    known_N = np.isfinite(scores_N)
    values = scores_N[known_N]
    above = (values[:, None] > values).sum(axis=1) + (
        (values[:, None] == values).sum(axis=1) - 1
    ) / 2
    rank_N = np.full(len(scores_N), nan)
    rank_N[known_N] = above / (len(values) - 1) if len(values) > 1 else 0.5
    return rank_N


def votes(scores_N: Floats) -> Floats:
    """vote_N: 1 for a grader's best response, shared between those that tie for it."""
    known_N = np.isfinite(scores_N)
    if not known_N.any():
        return np.full(len(scores_N), nan)
    best_N = scores_N == scores_N[known_N].max()
    return np.where(known_N, best_N / best_N.sum(), nan)


class Panel:
    """An Asking reward over other rewards; see rewards.base.

    `reward`: the panel's score. `disagreement`: the population σ over the graders of what each has
    made of the response, in the row's own σ, or in shares of the ranks with `by: rank`.
    """

    models: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = {}
    licence = ""  # that of its members
    shows = (0, 0)  # to no model
    within_prompt = frozenset({"reward"})

    def __init__(
        self, way: str, members: Sequence[str], weights_G: Sequence[float], by: By, missing: str,
        quorum: int,
    ) -> None:  # fmt: skip
        self.way, self.by, self.missing, self.quorum = way, by, missing, quorum
        parted = [member.rpartition(".") for member in members]
        self.members = [(reward, attribute) for reward, _, attribute in parted]
        self.rewards = tuple(dict.fromkeys(reward for reward, _ in self.members))
        self.weights_G = np.array(weights_G, np.float64)
        self.name = f"panel/{way}"
        said = canonical((list(members), list(weights_G), by, missing, quorum))
        self.identity = f"{self.name}@{digest(said, size=8).hex()}"
        bounded = way == "vote" or by == "rank"
        scale: Scale = (0.0, 1.0) if bounded else UNBOUNDED
        self.attributes: dict[str, Scale] = {"reward": scale, "disagreement": (0.0, float("inf"))}

    def calls(self, n: int) -> int:
        return 0  # its members' are theirs

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The panel's scores; None for a response that too few members have a score for.

        Raises: RowError of a member that failed, where it may not or too few are left.
        """
        for reward, attribute in self.members:
            known = ask.attributes(reward)
            if attribute not in known:
                near = did_you_mean(attribute, known)
                raise RecipeError(f"panel: reward '{reward}' gives no '{attribute}'; {near}")
        asked = await all_of(self._asked(ask, reward, job) for reward in self.rewards)
        found = dict(zip(self.rewards, asked, strict=True))
        errors = [error for reward, _ in self.members if (error := found[reward][1]) is not None]
        if errors and len(self.members) - len(errors) < self.quorum:
            raise errors[0]
        scores_GN = np.array(
            [
                [nan if one is None else one.get(attribute, nan) for one in found[reward][0]]
                for reward, attribute in self.members
            ]
        )
        return self._together(scores_GN)

    async def _asked(
        self, ask: Ask, name: str, job: Candidates
    ) -> tuple[list[Scores | None], RowError | ProviderError | None]:
        """(scores, why there are none) of one member."""
        try:
            return await ask.score(name, job), None
        except (RowError, ProviderError) as error:
            if self.missing == "fail":
                raise
            return [None] * len(job.responses), error

    def _together(self, scores_GN: Floats) -> list[Scores | None]:
        standardise = z_scores if self.by == "z" else ranks
        standard_GN = np.array([standardise(scores_N) for scores_N in scores_GN])
        counted_GN = (
            np.array([votes(s_N) for s_N in scores_GN]) if self.way == "vote" else standard_GN
        )
        result: list[Scores | None] = []
        for column_G, spread_G in zip(counted_GN.T, standard_GN.T, strict=True):
            known_G = np.isfinite(column_G)
            if known_G.sum() < self.quorum:
                result.append(None)
                continue
            values, weights = column_G[known_G], self.weights_G[known_G]
            score = np.median(values) if self.way == "median" else values @ weights / weights.sum()
            result.append(
                {
                    "reward": round(float(score), _DECIMALS),
                    "disagreement": round(float(spread_G[known_G].std()), _DECIMALS),
                }
            )
        return result


def load(
    name: str,
    folder: Path,
    *,
    of: list[str],
    weights: dict[str, Weight] = {},  # noqa: B006  read only
    by: By = "z",
    missing: Literal["fail", "skip"] = "fail",
    quorum: Annotated[int, msgspec.Meta(ge=2)] | None = None,
) -> Panel:
    """The panel behind `panel/mean`, `panel/median` or `panel/vote` of the scores in `of`.

    `mean` and `median` are of the members' scores standardised `by` z or rank over the row; `vote`
    is the share of members whose best it is, ties split. `weights` by member; 1 where not said.
    `missing: fail`: a member that fails fails the row, and a response that one has no score for
    gets none. `skip`: at least `quorum` members are enough (more than half where not said).
    Raises: RecipeError.
    """
    if name not in WAYS:
        raise RecipeError(f"no panel '{name}'; {did_you_mean(name, WAYS)}")
    for member in of:
        if not all(member.rpartition(".")):
            raise RecipeError(
                f"of: write reward.attribute, such as judge.helpfulness, not '{member}'"
            )
    if len(of) < 2 or len(set(of)) < len(of):
        raise RecipeError("of: list two scores or more, each once")
    for member in weights:
        if member not in of:
            raise RecipeError(f"weights: '{member}' is not in of; {did_you_mean(member, of)}")
    if weights and name == "median":
        raise RecipeError("a median takes no weights; take panel/mean")
    if quorum is not None and (missing == "fail" or quorum > len(of)):
        raise RecipeError(f"quorum: needs missing: skip, and is at most {len(of)}")
    least = len(of) if missing == "fail" else quorum or len(of) // 2 + 1
    return Panel(name, of, [weights.get(member, 1.0) for member in of], by, missing, least)
