"""The part of a head that reads a frozen model: a ridge regression of ratings on hidden states.

Each member has its own four fifths of the prompts, as in the rest of a head, and what it says of
the others is kept for the recalibration.

Source: linear probes, arXiv 1610.01644.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from karat.rewards.head_parts import Floats, Linear, standard_of
from karat.rewards.hidden import Hidden, Reading
from karat.training.reward_linear import ridge
from karat.training.reward_sample import Sample
from karat.training.reward_settings import Settings
from karat.training.reward_unseen import unseen


@dataclass(frozen=True, slots=True)
class Fitted:
    """The part, and what members say of rows and pairs that they did not have (NaN: all had)."""

    hidden: Hidden
    oob_RA: Floats
    oob_PA: tuple[Floats, Floats]


def fit_hidden(sample: Sample, settings: Settings, reading: Reading) -> Fitted:
    """On the rated rows of a sample, scaled to its share of what the head says."""
    hidden_R, *hidden_P = (h.astype(np.float64) for h in (sample.hidden_R, *sample.hidden_P))
    standard = standard_of(hidden_R)
    z_RH = standard(hidden_R)
    penalty = settings.hidden_ridge * z_RH.shape[1]  # the same whatever the width
    maps = [
        ridge(z_RH[kept_R], sample.y_RA[kept_R], np.ones(kept_R.sum()), penalty)
        for kept_R in sample.count_MR > 0
    ]
    share = settings.hidden_share
    linear = Linear(
        share * np.array([weight for weight, _ in maps]),
        share * np.array([bias for _, bias in maps]),
    )
    hidden = Hidden(reading, standard, linear)
    oob = [
        unseen(hidden.votes(states), count_MN)
        for states, count_MN in (
            (hidden_R, sample.count_MR),
            *((states, sample.count_MP) for states in hidden_P),
        )
    ]
    return Fitted(hidden, oob[0], (oob[1], oob[2]))
