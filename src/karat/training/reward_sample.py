"""What one fit sees: its rows as columns, and which member has which prompt.

Everything that is learned from texts alone, axes and percentiles, is learned here, on the rows of
this fit and no others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karat.rewards.columns import PARTS, RAW, Columns, part_of, principal_axes
from karat.rewards.head_model import goodness
from karat.rewards.head_parts import Floats, Standard, standard_of
from karat.training.reward_settings import Representation, Settings
from karat.training.reward_table import Ints, Mask, Names, Raw, Table

_AXES = {"response": 48, "prompt": 16, "product": 32}
_LOWERED = 0.3  # points of reward by which a spoiled copy must have lost to be a pair


@dataclass(frozen=True, slots=True)
class Sample:
    """What a fit sees: columns `x`, standardised `z`, and which member has each prompt.

    Counts are by member: count_MR of rated rows, count_MS of spoiled ones, count_MP of pairs,
    of pairs the ratings imply, those of their rows (better_Q, worse_Q). `row_S` is what a spoiled
    copy was made of, `lowered_S` whether it deserves less. `hidden` is what is read of a frozen
    model; 0 wide where none is.
    """

    columns: Columns
    standard: Standard
    raw_RW: Floats
    raw_PW: tuple[Floats, Floats]
    x_R: Floats
    x_S: Floats
    x_P: tuple[Floats, Floats]
    y_RA: Floats
    y_SA: Floats
    better_Q: Ints
    worse_Q: Ints
    strength_Q: Floats
    strength_P: Floats
    row_S: Ints
    lowered_S: Mask
    spoiled_weight: float
    count_MR: Floats
    count_MS: Floats
    count_MP: Floats
    hidden_R: Raw
    hidden_P: tuple[Raw, Raw]

    @property
    def steps(self) -> Floats:
        """step_VF: better less worse, standardised: implied pairs, given ones, spoiled ones."""
        z_RF = self.standard(self.x_R)
        given = self.standard(self.x_P[0]) - self.standard(self.x_P[1])
        spoiled = z_RF[self.row_S] - self.standard(self.x_S)
        return np.concatenate(
            [z_RF[self.better_Q] - z_RF[self.worse_Q], given, spoiled[self.lowered_S]]
        )

    @property
    def strengths(self) -> Floats:
        """strength_V in the same order; 1 for a spoiled copy."""
        return np.concatenate(
            [self.strength_Q, self.strength_P, np.ones(int(self.lowered_S.sum()))]
        )

    @property
    def weights(self) -> Floats:
        """weight_V in the same order, relative to a pair that people judged."""
        people = len(self.strength_Q) + len(self.strength_P)
        return np.append(np.ones(people), np.full(int(self.lowered_S.sum()), self.spoiled_weight))

    @property
    def draws(self) -> Floats:
        """count_MV in the same order, weighted."""
        drawn = (self.count_MR[:, self.better_Q], self.count_MP, self.count_MS[:, self.lowered_S])
        return np.concatenate(drawn, axis=1) * self.weights

    def gaps(self, reward_R: Floats, reward_P: tuple[Floats, Floats], reward_S: Floats) -> Floats:
        """gap_V: better less worse of rewards of rows, pairs and spoiled copies."""
        spoiled = (reward_R[self.row_S] - reward_S)[self.lowered_S]
        implied = reward_R[self.better_Q] - reward_R[self.worse_Q]
        return np.concatenate([implied, reward_P[0] - reward_P[1], spoiled])


def sample_of(table: Table, settings: Settings, rated: Mask, paired: Mask) -> Sample:
    """The rows and pairs that the masks select."""
    raw_RW = table.raw_RW[rated, :RAW].astype(np.float64)
    given = (table.chosen_PW, table.rejected_PW)
    raw_PW = tuple(x[paired, :RAW].astype(np.float64) for x in given)
    columns = _columns(settings.representation, raw_RW if len(raw_RW) else np.concatenate(raw_PW))
    x_R, (chosen, rejected) = columns.of(raw_RW), map(columns.of, raw_PW)
    spoiled = rated[table.row_S] & bool(settings.spoiled_weight)
    new_R = np.cumsum(rated) - 1
    implied = rated[table.better_Q] if len(table.better_Q) else np.empty(0, np.bool_)
    row_S = new_R[table.row_S[spoiled]]
    y_RA, y_SA = table.y_RA[rated], table.spoiled_y_SA[spoiled]
    states = slice(RAW, None if settings.frozen else RAW)
    count_MR, count_MP = _draws(table.group_R[rated], table.group_P[paired], settings)
    return Sample(
        columns=columns,
        standard=standard_of(x_R if len(x_R) else np.concatenate([chosen, rejected])),
        raw_RW=raw_RW,
        raw_PW=(raw_PW[0], raw_PW[1]),
        x_R=x_R,
        x_S=columns.of(table.spoiled_SW[spoiled].astype(np.float64)),
        x_P=(chosen, rejected),
        y_RA=y_RA,
        y_SA=y_SA,
        better_Q=new_R[table.better_Q[implied]],
        worse_Q=new_R[table.worse_Q[implied]],
        strength_Q=table.strength_Q[implied],
        strength_P=table.strength_P[paired],
        row_S=row_S,
        lowered_S=goodness(y_RA[row_S]) - goodness(y_SA) > _LOWERED,
        spoiled_weight=settings.spoiled_weight,
        count_MR=count_MR,
        count_MS=count_MR[:, row_S],
        count_MP=count_MP,
        hidden_R=table.raw_RW[rated, states],
        hidden_P=(given[0][paired, states], given[1][paired, states]),
    )


def _columns(representation: Representation, raw_NW: Floats) -> Columns:
    axes = {}
    if representation != "surface":
        axes = {part: principal_axes(part_of(raw_NW, part), _AXES[part]) for part in PARTS}
    return Columns(representation != "static", axes)


def _draws(group_R: Names, group_P: Names, settings: Settings) -> tuple[Floats, Floats]:
    """Which members have each row and pair: a prompt is kept from a fifth of them, at least two.

    Without replacement, for a bootstrap shows a member 63% of the prompts and costs deep trees more
    than it gives; and evenly, so that every row is unseen by some member.
    """
    names, code = np.unique(np.concatenate([group_R, group_P]), return_inverse=True)
    count_MG = np.ones((settings.members, len(names)))
    if settings.members > 1:
        rng = np.random.default_rng(settings.seed)
        place_MG = rng.random((settings.members, len(names))).argsort(axis=0)
        # Of one member alone, what it says of the unseen is too noisy to recalibrate a mean by.
        without = max(min(2, settings.members // 2), round(settings.members / 5))
        count_MG = (place_MG >= without).astype(np.float64)
    return count_MG[:, code[: len(group_R)]], count_MG[:, code[len(group_R) :]]
