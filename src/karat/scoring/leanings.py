"""What graders lean towards beside quality: the first place, length, their own family.

Agreement says whether graders see the same; these say what one of them sees that it should not. All
of them compare responses to the same prompt, so that hard prompts and easy ones do not matter, and
scores only ever enter in σ of their own grader, so that those of two may stand side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from karat.scoring.tallies import Flags, Floats, Ints, Tally, centred, per_prompt, quotient, within

MIDDLE = 10.0  # of log2 lengths in characters, about


def swap_consistency(forward_V: Floats, backward_V: Floats, prompt_V: Ints, prompts: int) -> Tally:
    """The share of pairs on which a judge says the same when the two responses change places.

    A verdict is 1 where response A is better, −1 where B is, 0 for a tie, NaN for none; A stands
    first in `forward_V`, B in `backward_V`. A tie in both orders is the same. Undefined where no
    pair was judged in both. Source: position bias, Zheng et al. 2023 (2306.05685) §3.3.
    """
    judged = ~(np.isnan(forward_V) | np.isnan(backward_V))
    columns = np.stack([judged & (forward_V == backward_V), judged], axis=1).astype(np.float64)
    return Tally(per_prompt(columns, prompt_V, prompts), quotient, of=1)


def first_preference(forward_V: Floats, backward_V: Floats, prompt_V: Ints, prompts: int) -> Tally:
    """The share of a judge's decided verdicts that go to the response shown first; .5 is fair.

    Over pairs judged in both orders, as in `swap_consistency`: each response is then first as often
    as the other, so its quality cancels. Undefined where no verdict is decided.
    """
    judged = ~(np.isnan(forward_V) | np.isnan(backward_V))
    first = (forward_V > 0).astype(np.float64) + (backward_V < 0)
    decided = (forward_V != 0).astype(np.float64) + (backward_V != 0)
    columns = np.stack([first, decided], axis=1) * judged[:, None]
    return Tally(per_prompt(columns, prompt_V, prompts), quotient, of=1)


def length_slope(
    scores_R: Floats, lengths_R: Floats, prompt_R: Ints, prompts: int, apart: bool = True,
    centre: float = 0.0,
) -> Tally:  # fmt: skip
    """How much higher a grader scores a response of twice the length, in its σ.

    The least-squares slope of score on log2 of length. `apart`: within prompts, each prompt's mean
    score and mean log length taken off, in σ within prompts; otherwise over all responses, in σ
    over all, for rows of one response each and scores that compare across prompts; `centre` is then
    about where scores lie, the same for every batch of a file, so that small differences of large
    scores keep their digits. NaN scores and responses without text (length 0) are left out.
    Undefined where lengths or scores do not vary.
    """
    known = ~np.isnan(scores_R) & (lengths_R > 0)
    x_R, y_R, prompt = np.log2(lengths_R[known]), scores_R[known], prompt_R[known]
    if apart:
        x_R, y_R = centred(x_R, prompt, prompts), centred(y_R, prompt, prompts)
        counts_P = np.bincount(prompt, minlength=prompts)
        sums_P3 = per_prompt(np.stack([x_R * y_R, x_R**2, y_R**2], axis=1), prompt, prompts)
        return Tally(np.column_stack([sums_P3, np.maximum(counts_P - 1, 0)]), _slope)
    x_R, y_R = x_R - MIDDLE, y_R - centre
    columns = np.stack([np.ones_like(x_R), x_R, y_R, x_R * y_R, x_R**2, y_R**2], axis=1)
    return Tally(per_prompt(columns, prompt, prompts), _slope_over_all)


def _slope(sums: Floats) -> Floats:
    """From sums of xy, xx, yy about the mean, and the degrees of freedom."""
    xy, xx, yy, freedom = np.moveaxis(sums, -1, 0)
    sigma = np.sqrt(np.where(yy > 0, yy, np.nan) / freedom)
    found: Floats = xy / np.where(xx > 0, xx, np.nan) / sigma
    return found


def _slope_over_all(sums: Floats) -> Floats:
    count, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    about_xx, about_yy = xx - x * x / count, yy - y * y / count
    # What rounding alone leaves of a difference is no variation.
    about_xx = np.where(about_xx > 1e-12 * xx, about_xx, 0)
    about_yy = np.where(about_yy > 1e-12 * yy, about_yy, 0)
    return _slope(np.stack([xy - x * y / count, about_xx, about_yy, count - 1], axis=-1))


def family_preference(
    scores_RG: Floats, ours_R: Flags, prompt_R: Ints, prompts: int, grader: int,
    others: Sequence[int],
) -> Tally:  # fmt: skip
    """How much more a grader gives the responses of one family than `others` give the same ones.

    For each grader: the mean score of a prompt's `ours_R` responses less that of its other
    responses, averaged over prompts that have both, in the grader's σ within those prompts. The
    preference is the grader's figure less the mean of the others': what the family is really worth,
    as far as the others see it, is taken out. 0 is no preference, .5 half a σ; negative where the
    grader is harder on the family than they are. Only responses that all of them graded count.
    Undefined without such prompts, without others, or where one of the graders never varies within
    a prompt.

    Source: preference leakage, Li et al. 2025 (2502.01534), who compare a judge's win rate for
    students of its own family with another judge's for the same students; here for scores, and for
    any number of graders.
    """
    columns = [grader, *others]
    known = ~np.isnan(scores_RG[:, columns]).any(axis=1)
    prompt, ours = prompt_R[known], ours_R[known]
    sides_P2 = [np.bincount(prompt[side], minlength=prompts) for side in (ours, ~ours)]
    both_P = (sides_P2[0] > 0) & (sides_P2[1] > 0)
    sums = [both_P.astype(np.float64)[:, None]]
    for column in columns:
        score_R = centred(scores_RG[known, column], prompt, prompts)
        means = [
            np.bincount(prompt[side], score_R[side], prompts) / np.maximum(count_P, 1)
            for side, count_P in zip((ours, ~ours), sides_P2, strict=True)
        ]
        spread_P2 = within(score_R, prompt, prompts)
        sums += [((means[0] - means[1]) * both_P)[:, None], spread_P2 * both_P[:, None]]
    return Tally(np.concatenate(sums, axis=1), _preference)


def _preference(sums: Floats) -> Floats:
    gap, squares, freedom = (sums[..., start::3] for start in (1, 2, 3))
    sigma = np.sqrt(np.where(squares > 0, squares, np.nan) / freedom)
    count = np.where(sums[..., :1] == 0, np.nan, sums[..., :1])
    apart = gap / count / sigma
    others = apart.shape[-1] - 1
    found: Floats = apart[..., 0] - apart[..., 1:].sum(axis=-1) / (others or np.nan)
    return found
