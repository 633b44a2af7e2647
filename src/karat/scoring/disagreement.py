"""Where two graders disagree on a row: by what each would lose if the other chose.

Two graders may rank many responses differently and still be content with the same one; for
rejection sampling that is agreement. So the measure is a loss: how far, in its own σ, a grader puts
the other's choice below its best. Both must lose: one that hardly minds leaves the choice to the
other.
"""

from __future__ import annotations

import numpy as np

from karat.scoring.tallies import Floats, Ints


def choice_gap(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """gap_P: by how many σ both graders lose, at least, when the other's choice is taken.

    Scores are in σ of their grader, within prompts; NaN is missing, and such responses are left
    out. 0 where they share a best response; among responses a grader puts equally first, the one
    the other likes best counts as its choice. NaN for prompts with fewer than two responses graded
    by both: there is no choice.
    """
    both = ~(np.isnan(these_R) | np.isnan(those_R))
    x_R, y_R, prompt = these_R[both], those_R[both], prompt_R[both]
    gap_P = np.minimum(_loss(x_R, y_R, prompt, prompts), _loss(y_R, x_R, prompt, prompts))
    gap_P[np.bincount(prompt, minlength=prompts) < 2] = np.nan
    return gap_P


def _loss(mine_R: Floats, theirs_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """How far my best score is above that of what they choose."""
    best_P = _highest(mine_R, prompt_R, prompts)
    chosen = theirs_R == _highest(theirs_R, prompt_R, prompts)[prompt_R]
    taken_P = _highest(mine_R[chosen], prompt_R[chosen], prompts)
    with np.errstate(invalid="ignore"):  # prompts without responses
        return best_P - taken_P


def _highest(values_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    found_P = np.full(prompts, -np.inf)
    np.maximum.at(found_P, prompt_R, values_R)
    return found_P


def score_gap(these_R: Floats, those_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """gap_P: the widest gap between two graders' scores of one response, both in σ from their
    mean; NaN for prompts without a response that both graded."""
    gap_R = np.abs(these_R - those_R)
    known = ~np.isnan(gap_R)
    gap_P = np.full(prompts, np.nan)
    np.fmax.at(gap_P, prompt_R[known], gap_R[known])
    return gap_P
