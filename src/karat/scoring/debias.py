"""What a reward pays for length and formatting, told apart from what it pays for the answer.

A score is taken as its prompt's level, plus a smooth curve of length, plus a linear share of
formatting, plus the rest; the curve and the share are the bias. Each part is fitted to what the
others leave, in turn, until none moves (backfitting): fitted one after the other, the first would
take what belongs to both, since long answers have more headings. A score that compares across
prompts has one level for all. One that compares within a prompt only has a level for each prompt,
so that nothing is compared across them, and a prompt with one answer says nothing.

Nothing here knows whether longer answers are in fact better. What is taken out is all that goes
with length, so look at a second grader before and after.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.scoring.lowess import SPAN, lowess
from karat.scoring.tallies import centred

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TURNS, TOLERANCE = 50, 1e-4  # of σ; a turn more would move no score by more
GRID = 50  # points of the curve that go into a report


class Bias(msgspec.Struct):
    """What to take off each score, with a mean of 0 so that the scale stays; no score is clipped.

    `curve` is (length, height) of the points the length part was fitted on, sorted, each length
    once; `slopes` are per unit of each formatting feature. `turns` says how long backfitting took.
    """

    bias: Floats  # R
    curve: tuple[Floats, Floats] | None
    slopes: Floats | None
    turns: int


def fit_bias(
    score_R: Floats, prompt_R: Ints, length_R: Floats | None, style_RF: Floats | None, *,
    within: bool, span: float = SPAN,
) -> Bias:  # fmt: skip
    """The bias of graded responses: `length_R` as a rule log characters, `style_RF` features.

    `within`: the score compares within one prompt only. `span` as in `lowess`.

    Source: LOWESS of reward on length, Huang et al. (2409.17407) §3.3; formatting as linear terms
    beside length: style control of Chatbot Arena (lmsys.org/blog/2024-08-28-style-control);
    backfitting: Buja, Hastie and Tibshirani 1989 (The Annals of Statistics 17, 453–510).
    """
    prompts = int(prompt_R.max(initial=-1)) + 1
    used_R = np.ones(len(score_R), np.bool_)
    if within:
        used_R = np.bincount(prompt_R, minlength=prompts)[prompt_R] > 1
    _, prompt = np.unique(
        prompt_R[used_R] if within else np.zeros(len(score_R)), return_inverse=True
    )
    score = _levelled(score_R[used_R], prompt)
    length = None if length_R is None else length_R[used_R]
    style = None if style_RF is None else style_RF[used_R]
    curved, slopes, turns = _backfit(score, prompt, length, style, span)
    bias_R, curve = np.zeros(len(score_R)), None
    if length is not None and length_R is not None:
        places, first = np.unique(length, return_index=True)
        curve = (places, curved[first])
        bias_R += np.interp(length_R, *curve) if len(places) else 0.0
    if slopes is not None and style_RF is not None:
        bias_R += style_RF @ slopes
    return Bias(bias_R - (bias_R.mean() if len(bias_R) else 0.0), curve, slopes, turns)


def _backfit(
    score: Floats, prompt: Ints, length: Floats | None, style: Floats | None, span: float
) -> tuple[Floats, Floats | None, int]:
    """(curve at each point, slopes, turns). `score` has its prompt's mean taken off already."""
    curved, linear = np.zeros(len(score)), np.zeros(len(score))
    slopes = None if style is None else np.zeros(style.shape[1])
    moves = TOLERANCE * float(score.std()) if len(score) else 0.0
    turns, levels = 0, np.zeros(len(score))
    alone = (length is None or style is None) and not prompt.any()  # one part, one level: no turns
    while turns < TURNS:
        turns += 1
        before = curved + linear
        if length is not None:
            curved = lowess(length, score - linear - levels, span)
            curved -= curved.mean() if len(curved) else 0.0
        if style is not None:
            slopes = _slopes(style, score - curved, prompt)
            linear = style @ slopes
        both = curved + linear
        levels = _levelled(both, prompt) - both  # less its prompt's mean
        if alone or not len(score) or float(np.abs(both - before).max()) <= moves:
            break
    return curved, slopes, turns


def _levelled(values: Floats, prompt: Ints) -> Floats:
    return centred(values, prompt, int(prompt.max(initial=-1)) + 1)


def _slopes(style_RF: Floats, rest_R: Floats, prompt: Ints) -> Floats:
    """Least squares within prompts; of features that go together, or never vary, the shortest."""
    columns = [_levelled(column, prompt) for column in style_RF.T]
    centred_RF = np.stack(columns, axis=1)
    solved = np.linalg.lstsq(centred_RF, _levelled(rest_R, prompt), rcond=1e-9)[0]
    return np.asarray(solved, np.float64)


# --- before and after ----------------------------------------------------------------------------


def dependence(
    score_R: Floats, length_R: Floats, prompt_R: Ints, *, within: bool
) -> dict[str, Any]:
    """How a score goes with log length: Pearson, Spearman, and σ of score per doubling of length.

    For a score that compares `within` one prompt only, both are taken less their prompt's mean.
    None where there is no spread.
    """
    if within:
        score_R, length_R = _levelled(score_R, prompt_R), _levelled(length_R, prompt_R)
    pearson = _pearson(score_R, length_R)
    sigma = float(length_R.std()) if len(length_R) else 0.0
    return {
        "pearson": pearson,
        "spearman": _pearson(_ranks(score_R), _ranks(length_R)),
        "sigma_per_doubling": None if pearson is None else pearson * float(np.log(2)) / sigma,
    }


def _pearson(x: Floats, y: Floats) -> float | None:
    if len(x) < 2:
        return None
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale > 0 else None


def _ranks(values: Floats) -> Floats:
    """Ranks from 0; equal values share their mean rank."""
    _, same, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[same]


def flips(before_R: Floats, after_R: Floats, prompt_R: Ints) -> dict[str, Any]:
    """What debiasing changed where it matters, between two answers to one prompt.

    pairs: how many were in order before; flipped: the share of them now the other way round;
    best_changed: the share of prompts with two answers or more whose first best is another one.
    `prompt_R` is not decreasing.
    """
    pairs = flipped = prompts = changed = 0
    _, start_P, count_P = np.unique(prompt_R, return_index=True, return_counts=True)
    for n in np.unique(count_P[count_P > 1]).tolist():
        at_PN = start_P[count_P == n][:, None] + np.arange(n)
        before_PN, after_PN = before_R[at_PN], after_R[at_PN]
        prompts += len(at_PN)
        changed += int((before_PN.argmax(axis=1) != after_PN.argmax(axis=1)).sum())
        for gap in range(1, n):
            was = np.sign(before_PN[:, gap:] - before_PN[:, :-gap])
            is_now = np.sign(after_PN[:, gap:] - after_PN[:, :-gap])
            pairs += int((was != 0).sum())
            flipped += int((was * is_now < 0).sum())
    return {
        "pairs": pairs,
        "flipped": flipped / pairs if pairs else None,
        "best_changed": changed / prompts if prompts else None,
    }


def on_grid(curve: tuple[Floats, Floats], points: int = GRID) -> tuple[Floats, Floats]:
    """The curve at evenly spaced lengths, for a plot."""
    lengths, heights = curve
    grid = np.linspace(lengths[0], lengths[-1], points)
    return grid, np.interp(grid, lengths, heights)
