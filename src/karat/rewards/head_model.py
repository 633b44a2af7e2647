"""A reward head as arithmetic: raw representation in, attributes and reward out.

The shape is that of Nemotron-4-340B-Reward, a representation of prompt and response with a small
head on top, one output per attribute. A linear map keeps the order right outside what was seen
(loops, cut-off text); a forest adds what only holds together (short *and* asked for briefly).

Source: arXiv 2406.08673, HelpSteer2 (five attributes on 0–4; the weights of `reward` are its
"goodness" .65 helpfulness + .8 correctness + .45 coherence, divided by 1.9 to stay on 0–4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from karat.rewards.columns import RAW, Columns
from karat.rewards.features import NAMES
from karat.rewards.head_parts import Curve, Floats, Forest, Line, Linear, Standard
from karat.rewards.hidden import Hidden

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
REWARD_WEIGHTS = (0.65 / 1.9, 0.8 / 1.9, 0.45 / 1.9, 0.0, 0.0)
SCALE = (0.0, 4.0)
LENGTH = NAMES.index("log_chars")


@dataclass(frozen=True, slots=True)
class Head:
    """M members on one set of columns.

    A head of ratings has `linear` and `forest`, whose outputs are the five attributes and add up,
    and `attribute_line`; its reward is their weighted mean. Where a frozen language model is read
    too, `hidden` is added to them: raw rows then have its states after their `RAW` columns.
    `paired` is what preferences add to the reward, one output; a head of preferences alone is that
    and nothing else. `reward_line` and `length` correct the reward at the end. `meta` is what the
    training command wrote down.
    """

    columns: Columns
    standard: Standard
    linear: Linear | None
    forest: Forest | None
    paired: Linear | None
    attribute_line: Line
    reward_line: Line
    length: Curve | None
    meta: dict[str, Any]
    hidden: Hidden | None = None

    @property
    def rated(self) -> bool:
        """Whether it knows the five attributes; without, only one prompt's rewards compare."""
        return self.linear is not None

    @property
    def members(self) -> int:
        """How many members vote."""
        part = self.linear or self.paired
        return len(part.bias_MA) if part else 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `predict` gives, in order."""
        return (*(ATTRIBUTES if self.rated else ()), "reward")

    def votes(self, raw_NR: Floats, *, debiased: bool = True) -> Floats:
        """y_NMA of each member in the order of `outputs`, on their scale, clipped nowhere.

        Without `debiased` the reward keeps its taste for length.
        """
        x_NF = self.columns.of(raw_NR)
        z_NF = self.standard(x_NF)
        if self.linear is None or self.forest is None:
            attributes_NMA = np.empty((len(x_NF), self.members, 0))
            reward_NM = np.zeros((len(x_NF), self.members))
        else:
            sum_NMA = self.linear.predict(z_NF) + self.forest.predict(x_NF)
            if self.hidden is not None:
                sum_NMA = sum_NMA + self.hidden.votes(raw_NR[:, RAW:])
            attributes_NMA = self.attribute_line(sum_NMA)
            reward_NM = goodness(attributes_NMA)
        if self.paired is not None:
            reward_NM = reward_NM + self.paired.predict(z_NF)[:, :, 0]
        reward_NM = self.reward_line(reward_NM)
        if self.length is not None and debiased:
            reward_NM = reward_NM - self.length(raw_NR[:, LENGTH])[:, None]
        return np.concatenate([attributes_NMA, reward_NM[:, :, None]], axis=2)

    def predict(self, raw_NR: Floats) -> Floats:
        """y_NA in the order of `outputs`: the members' mean; 0–4 where ratings were learned."""
        return self.settled(self.votes(raw_NR))

    def settled(self, votes_NMA: Floats) -> Floats:
        """y_NA: the mean of members' votes, on the scale."""
        y_NA = votes_NMA.mean(axis=1)
        return np.asarray(np.clip(y_NA, *SCALE) if self.rated else y_NA, dtype=np.float64)


def goodness(y_NA: Floats) -> Floats:
    """The weighted mean of the five attributes under `REWARD_WEIGHTS`, in any shape ending in 5."""
    return np.asarray((y_NA * np.array(REWARD_WEIGHTS)).sum(axis=-1))


def with_reward(y_NA: Floats) -> Floats:
    """The five attributes with `reward` appended: their weighted mean under `REWARD_WEIGHTS`."""
    return np.column_stack([y_NA, goodness(y_NA)])


def spread(votes_NMA: Floats) -> NDArray[np.float64]:
    """uncertainty_N: the standard deviation of the members' rewards; 0 where there is one."""
    reward_NM = votes_NMA[:, :, -1]
    if reward_NM.shape[1] < 2:
        return np.zeros(len(reward_NM))
    return np.asarray(reward_NM.std(axis=1, ddof=1))
