"""Where each response stands among those of its prompt, and how sure a grader is of the first.

Graders of different kinds have no common scale, chances have: the mean chance that people prefer a
response to another one of its prompt means the same whoever grades. So a row decided by a verifier,
one decided by a reward and one decided by a judge can stand in the same column.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.scoring.calibration import Calibration

Floats = NDArray[np.float64]
STEEP = 700.0  # exp beyond it is no double


class Standing(NamedTuple):
    """`value_N`: each response's mean chance against the others, 0 to 1; `confidence`: the chance
    of the first against the one it is least sure to beat, .5 where they tie."""

    value_N: Floats
    confidence: float


def standing(scores_N: Floats, calibration: Calibration | None = None) -> Standing:
    """Of n responses with these scores, none of them NaN; one alone stands at 1, for certain.

    Without a calibration a higher score wins and equal ones tie: order is all that is known.
    """
    n = len(scores_N)
    if n == 1:
        return Standing(np.ones(1), 1.0)
    gap_NN = scores_N[:, None] - scores_N[None, :]
    if calibration is None:
        chance_NN = (np.sign(gap_NN) + 1) / 2
    else:
        steep_NN = np.clip(calibration.slope * gap_NN / calibration.sigma, -STEEP, STEEP)
        chance_NN = 1 / (1 + np.exp(-steep_NN))
    value_N = (chance_NN.sum(1) - 0.5) / (n - 1)  # less the chance against itself
    first = int(np.argmax(scores_N))
    others = np.delete(chance_NN[first], first)
    return Standing(value_N, float(others.min()))
