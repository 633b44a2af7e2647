"""What a trained reward model does on prompts it never saw, with intervals and baselines.

The scores are those of the saved folder, read by the reward that a recipe would name
(`transformers/FOLDER`), so that the figures are of what will grade and not of what was in memory.
Beside every accuracy stands "the longer answer wins" on the same pairs, and the accuracy that is
left when what goes with length is taken out of the scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from karat.errors import RowError
from karat.rewards.base import Candidates
from karat.rewards.head import ATTRIBUTES
from karat.rewards.transformers import TransformersReward
from karat.row import Message
from karat.scoring.calibration import fit_slope
from karat.scoring.debias import dependence, fit_bias
from karat.training.ratings import HumanData, pairs_of
from karat.training.reward_figures import Figure, Outcomes

Floats = NDArray[np.float64]
_DRAWS = 500


@dataclass(frozen=True, slots=True)
class Attribute:
    """One output against people: Pearson's r with its 95% interval over prompts, the root mean
    square error, mean predicted less mean human, and the slope of human on predicted: 1 where a
    point more is a point more, under 1 where predictions are too far apart. The last three are NaN
    for an output without a scale."""

    name: str
    n: int
    r: float
    low: float
    high: float
    rmse: float
    shift: float
    slope: float


@dataclass(frozen=True, slots=True)
class Length:
    """How the reward goes with log length over held-out answers (Pearson within prompts), and pair
    accuracy before and after what goes with length is taken out."""

    pearson: float
    before: float
    after: float
    n: int


@dataclass(frozen=True, slots=True)
class Measured:
    """`pairs`: accuracy with intervals; `slope`: how much a gap of 1 is worth, σ(slope · gap) being
    the chance that people agree; `unread`: answers too long or refused by the template."""

    pairs: tuple[Figure, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    length: Length | None = None
    slope: float = float("nan")
    unread: int = 0


@dataclass(slots=True)
class Scored:
    """Rewards of held-out answers: `rated_RA` the raw outputs for rated rows, `gap` and lengths of
    the pairs, those implied by ratings first (`implied` of them)."""

    rated_RA: Floats
    chosen_P: Floats
    rejected_P: Floats
    pairs: list[tuple[str, int, int]] = field(default_factory=list)  # group, characters of both
    implied: int = 0
    unread: int = 0


def score(reward: TransformersReward, data: HumanData, weights_A: Sequence[float]) -> Scored:
    """Score everything once; NaN for an answer the model cannot read."""
    pairs = [*pairs_of(data).pairs, *data.pairs]
    asked = [(row.prompt, row.response) for row in data.rated]
    asked += [(p.prompt, text) for p in pairs for text in (p.chosen, p.rejected)]
    known = _scores(reward, asked)
    width = len(reward.attributes)
    none = np.full(width, np.nan)
    found_KA = np.array([known.get(one, none) for one in asked]).reshape(-1, width)
    reward_K = one_reward(found_KA, weights_A)
    rows = len(data.rated)
    return Scored(
        found_KA[:rows], reward_K[rows::2], reward_K[rows + 1 :: 2],
        [(p.group, len(p.chosen), len(p.rejected)) for p in pairs],
        len(pairs) - len(data.pairs), len(set(asked)) - len(known),
    )  # fmt: skip


def _scores(
    reward: TransformersReward, asked: Sequence[tuple[tuple[Message, ...], str]]
) -> dict[tuple[tuple[Message, ...], str], Floats]:
    once = list(dict.fromkeys(asked))
    found = reward.score_many([Candidates(prompt, (text,)) for prompt, text in once])
    return {
        key: lines[0]
        for key, lines in zip(once, found, strict=True)
        if not isinstance(lines, RowError)
    }


def one_reward(scores_NA: Floats, weights_A: Sequence[float]) -> Floats:
    """reward_N: the only output, or the weighted sum of five."""
    if scores_NA.shape[1] == 1:
        return scores_NA[:, 0]
    summed: Floats = scores_NA @ np.array(weights_A)
    return summed


def measure(scored: Scored, data: HumanData, weights_A: Sequence[float]) -> Measured:
    """The figures of scored held-out data."""
    read = np.isfinite(scored.chosen_P) & np.isfinite(scored.rejected_P)
    gap = (scored.chosen_P - scored.rejected_P)[read]
    groups = np.array([group for group, _, _ in scored.pairs], dtype=np.str_)[read]
    lengths = np.array([sizes for _, *sizes in scored.pairs], dtype=np.float64).reshape(-1, 2)[read]
    outcomes = Outcomes(_won(gap), _won(lengths[:, 0] - lengths[:, 1]), groups, np.zeros(len(gap)))
    implied = (np.arange(len(read)) < scored.implied)[read]
    named = (("rated pairs", implied), ("preference pairs", ~implied))
    sigma = float(gap.std()) if len(gap) else 0.0
    return Measured(
        pairs=tuple(outcomes.where(these).figure(name) for name, these in named if these.any()),
        attributes=_attributes(scored.rated_RA, data, weights_A),
        length=_length(scored, read, lengths, groups),
        slope=fit_slope(gap, gap > 0, sigma) / sigma if sigma > 0 else float("nan"),
        unread=scored.unread,
    )


def all_of(scored: Scored, name: str) -> Figure:
    """One accuracy over all pairs, those implied by ratings and those given."""
    gap = scored.chosen_P - scored.rejected_P
    read = np.isfinite(gap)
    groups = np.array([group for group, _, _ in scored.pairs], dtype=np.str_)
    longer = np.array([float(a - b) for _, a, b in scored.pairs])
    both = Outcomes(_won(gap), _won(longer), groups, np.zeros(len(gap)))
    return both.where(read).figure(name)


def _won(gap_P: Floats) -> Floats:
    return np.asarray((gap_P > 0) + 0.5 * (gap_P == 0), dtype=np.float64)


def _length(
    scored: Scored, read: NDArray[np.bool_], lengths_P2: Floats, groups: NDArray[np.str_]
) -> Length | None:
    """Of pairs, each a prompt of two answers: the curve of length is fitted without their order."""
    pairs = len(groups)
    if pairs < 2:
        return None
    score_K = np.stack([scored.chosen_P[read], scored.rejected_P[read]], axis=1).ravel()
    log_K = np.log(np.maximum(lengths_P2, 1)).ravel()
    prompt_K = np.repeat(np.arange(pairs), 2)
    bias = fit_bias(score_K, prompt_K, log_K, None, within=True).bias
    found = dependence(score_K, log_K, prompt_K, within=True)["pearson"]
    if found is None:  # all of one length
        return None
    before, after = (_won(s[0::2] - s[1::2]).mean() for s in (score_K, score_K - bias))
    return Length(found, float(before), float(after), pairs)


def _attributes(
    scores_RA: Floats, data: HumanData, weights_A: Sequence[float]
) -> tuple[Attribute, ...]:
    """Of five outputs each against its own rating; of one, against the weighted ratings."""
    human_RA = np.array([row.ratings for row in data.rated], dtype=np.float64).reshape(-1, 5)
    groups = np.array([row.group for row in data.rated], dtype=np.str_)
    if scores_RA.shape[1] == 1:
        wanted = np.where(np.array(weights_A) == 0, 0.0, human_RA) @ np.array(weights_A)
        one = _attribute("reward", scores_RA[:, 0], wanted, groups)
        nan = float("nan")  # its unit is its own
        found = [one and replace(one, rmse=nan, shift=nan, slope=nan)]
    else:
        found = [
            _attribute(name, scores_RA[:, a], human_RA[:, a], groups)
            for a, name in enumerate(ATTRIBUTES)
        ]
    return tuple(one for one in found if one is not None)


def _attribute(
    name: str, score_R: Floats, human_R: Floats, group_R: NDArray[np.str_]
) -> Attribute | None:
    both = np.isfinite(score_R) & np.isfinite(human_R)
    x, y, groups = score_R[both], human_R[both], group_R[both]
    if len(x) < 3 or not x.std() or not y.std():
        return None
    _, code = np.unique(groups, return_inverse=True)
    ones = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    sums_GK = np.zeros((int(code.max()) + 1, 6))
    np.add.at(sums_GK, code, ones)
    drawn = np.random.default_rng(0).integers(0, len(sums_GK), (_DRAWS, len(sums_GK)))
    low, high = np.nanpercentile(_r(sums_GK[drawn].sum(axis=1)), [2.5, 97.5])
    slope = float(np.cov(x, y)[0, 1] / x.var(ddof=1))
    return Attribute(
        name, len(x), float(_r(sums_GK.sum(axis=0))), float(low), float(high),
        float(np.sqrt(((x - y) ** 2).mean())), float(x.mean() - y.mean()), slope,
    )  # fmt: skip


def _r(sums: Floats) -> Floats:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    under = np.maximum((xx - x * x / n) * (yy - y * y / n), 0.0)
    found: Floats = (xy - x * y / n) / np.sqrt(np.where(under > 0, under, np.nan))
    return found
