"""What is learned out of the bag: on what members say of prompts they did not draw.

Source: out-of-bag estimates, Breiman 1996.
"""

from __future__ import annotations

import numpy as np

from karat.rewards.head_parts import Curve, Floats, Line, same_line
from karat.scoring.debias import fit_bias, on_grid
from karat.training.reward_table import Ints

FEWEST_ROWS = 20
_SLOPES = (0.2, 3.0)  # a recalibration steeper or flatter than this is noise


def line_of(said_NA: Floats, human_NA: Floats) -> Line:
    """The recalibration of each output: least squares of human ratings on what was said."""
    line = same_line(said_NA.shape[1])
    for a in range(said_NA.shape[1]):
        both = np.isfinite(said_NA[:, a]) & np.isfinite(human_NA[:, a])
        said, human = said_NA[both, a], human_NA[both, a]
        if len(said) >= FEWEST_ROWS and said.std() > 1e-6:
            slope = np.clip(np.cov(said, human, bias=True)[0, 1] / said.var(), *_SLOPES)
            line.slope_A[a] = slope
            line.intercept_A[a] = human.mean() - slope * said.mean()
    return line


def unseen(votes_NMA: Floats, count_MN: Floats) -> Floats:
    """y_NA: the mean of the members that did not draw a row; NaN where all did."""
    out_NM1 = (count_MN.T == 0)[:, :, None]
    with np.errstate(invalid="ignore"):
        return np.asarray((votes_NMA * out_NM1).sum(axis=1) / out_NM1.sum(axis=1))


def taste(reward_N: Floats, place_N: Ints, log_chars_N: Floats, *, within: bool) -> Curve | None:
    """How a reward rises and falls with length, with a mean of 0; None where it cannot be said."""
    order = np.argsort(place_N, kind="stable")
    bias = fit_bias(reward_N[order], place_N[order], log_chars_N[order], None, within=within)
    if bias.curve is None or len(bias.curve[0]) < 2:
        return None
    lengths, heights = on_grid(bias.curve)
    level = float(np.interp(log_chars_N, lengths, heights).mean())
    return Curve(lengths, heights - level)
