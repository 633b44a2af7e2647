"""How far reviewers agree with each other, and each of them with the run's reward.

Two people who agree no further than chance have not measured anything, however much they rated; and
a reward can be held to no more than what people hold each other to. Both figures stand with their
95% intervals, over rows, and twice: over all that was rated, and over the rows that were drawn at
random, which alone speak for the run. Rows chosen because graders were unsure of them look worse.

Source: quadratic-weighted κ as HelpSteer2 reports it (2406.08673 §2.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import numpy as np
import pyarrow as pa

from karat.intervals import Resamples
from karat.reviewing.choice import FIGURES
from karat.reviewing.pool import turns
from karat.reviewing.queue import set_aside
from karat.reviewing.store import Said
from karat.rewards.head import ATTRIBUTES
from karat.rewards.review_lines import COMPARISON, RATING
from karat.scoring.agreement import MISSING, cohen_kappa
from karat.scoring.correlation import pearson, spearman
from karat.scoring.rankings import pair_agreement
from karat.scoring.tallies import Floats, Ints, Tally

LEVELS = 5  # 0–4
DRAWS = 1_000  # enough for two digits, and done while a person reads
SEED = 7
PREFERENCE = "preference"
Scores = Mapping[str, Mapping[str, float]]  # rating key → score's key → value


class Figure(msgspec.Struct, frozen=True):
    """A statistic with its interval, of `n` responses or pairs; None where it is undefined, and an
    end is None where nothing can be said of it."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Line(msgspec.Struct, frozen=True):
    """One statistic of one attribute, over all that was said and over rows drawn at random."""

    attribute: str
    statistic: str
    all: Figure
    random: Figure


def at_random(said: Sequence[Said], seed: int = 0) -> list[Said]:
    """Those of which figures are unbiased for the run: of rows drawn at random.

    Once anybody took rows of another queue, what the queue random has beyond the rows set aside for
    it is no fair draw any more: the others' rows are missing from it.
    """
    drawn = [one for one in said if one.drawn == "random"]
    if all(one.drawn in ("random", "") for one in said) or not drawn:
        return drawn
    aside = set_aside(turns(pa.array([one.row for one in drawn], pa.string()), seed))
    return [one for one, kept in zip(drawn, aside.tolist(), strict=True) if kept]


def between(said: Sequence[Said], one: str, other: str, seed: int = 0) -> list[Line]:
    """Quadratic-weighted κ of two reviewers, of each attribute and of their comparisons."""
    return _lines(said, seed, lambda part: _kappas(part, one, other))


def with_reward(
    said: Sequence[Said], rater: str, scores: Scores, reward: str, seed: int = 0
) -> list[Line]:
    """One reviewer and a reward: Pearson's r and Spearman's ρ of each attribute the reward has, and
    the share of pairs that they put in the same order, by its main score."""
    mine = [one for one in said if one.rater == rater]
    return _lines(said, seed, lambda part: _against(part, scores, reward), mine)


Part = list[tuple[str, str, Figure]]


def _lines(
    said: Sequence[Said], seed: int, measure: Callable[[list[Said]], Part],
    of: Sequence[Said] | None = None,
) -> list[Line]:  # fmt: skip
    marks = {one.mark for one in at_random(said, seed)}
    every = list(said if of is None else of)
    whole, fair = measure(every), measure([one for one in every if one.mark in marks])
    return [
        Line(name, statistic, figure, random)
        for (name, statistic, figure), (_, _, random) in zip(whole, fair, strict=True)
    ]


# --- two reviewers -------------------------------------------------------------------------------


def _kappas(said: Iterable[Said], one: str, other: str) -> Part:
    ratings: dict[str, dict[str, Said]] = {one: {}, other: {}}
    pairs: dict[str, dict[tuple[str, ...], Said]] = {one: {}, other: {}}
    for word in said:
        if word.rater in ratings and word.kind == RATING:
            ratings[word.rater][word.keys[0]] = word
        elif word.rater in pairs and word.kind == COMPARISON:
            pairs[word.rater][tuple(sorted(word.keys))] = word
    both = [key for key in ratings[one] if key in ratings[other]]
    prompt_R, prompts = _numbered([ratings[one][key].row for key in both])
    found: Part = []
    for name in ATTRIBUTES:
        these, those = (
            np.array([ratings[who][key].values.get(name, MISSING) for key in both], np.int64)
            for who in (one, other)
        )
        tally = cohen_kappa(these, those, LEVELS, prompt_R, prompts)
        n = int(((these >= 0) & (those >= 0)).sum())
        found.append((name, "κ", _figure(tally, n, prompts)))
    compared = [keys for keys in pairs[one] if keys in pairs[other]]
    prompt_R, prompts = _numbered([pairs[one][keys].row for keys in compared])
    these, those = (
        np.array([_side(pairs[who][keys]) + 1 for keys in compared], np.int64)
        for who in (one, other)
    )
    tally = cohen_kappa(these, those, 3, prompt_R, prompts)
    found.append((PREFERENCE, "κ", _figure(tally, len(compared), prompts)))
    return found


def _side(said: Said) -> int:
    """1 where the response with the greater key is better, −1 where the other is, 0 for neither."""
    sign = (said.strength > 0) - (said.strength < 0)
    return sign if said.keys[0] < said.keys[1] else -sign


# --- a reviewer and a reward ---------------------------------------------------------------------


def _against(said: list[Said], scores: Scores, reward: str) -> Part:
    found: Part = []
    rated = [one for one in said if one.kind == RATING and one.keys[0] in scores]
    prompt_R, prompts = _numbered([one.row for one in rated])
    held = {key for of in scores.values() for key in of if key.rpartition(".")[0] == reward}
    for name in ATTRIBUTES:
        key = f"{reward}.{name}"
        if key not in held:
            continue
        people_R = _column([one.values.get(name) for one in rated])
        theirs_R = _column([scores[one.keys[0]].get(key) for one in rated])
        n = int((~np.isnan(people_R) & ~np.isnan(theirs_R)).sum())
        for statistic, measure in (("Pearson", pearson), ("Spearman", spearman)):
            tally = measure(people_R, theirs_R, prompt_R, prompts)
            found.append((name, statistic, _figure(tally, n, prompts)))
    main = next((f"{reward}.{name}" for name in FIGURES if f"{reward}.{name}" in held), None)
    main = main or min(held, default=None)
    if main is not None:
        found.append(("pairs in the same order", main, _pairs(said, scores, main)))
    return found


def _pairs(said: list[Said], scores: Scores, main: str) -> Figure:
    """Of the pairs a person told apart: by comparing, or by helpfulness where both were rated."""
    units: list[tuple[str, str, float, float]] = []  # row, unit, the person's, the reward's
    for one in said:
        theirs = [scores.get(key, {}).get(main, math.nan) for key in one.keys]
        if one.kind == COMPARISON and one.strength:
            units += [(one.row, one.mark, sign * one.strength, score)
                      for sign, score in zip((-1, 1), theirs, strict=True)]  # fmt: skip
        elif one.kind == RATING and ATTRIBUTES[0] in one.values:
            units.append((one.row, "", one.values[ATTRIBUTES[0]], theirs[0]))
    unit_R, count = _numbered([f"{row}\0{unit}" for row, unit, _, _ in units])
    people_R, theirs_R = _column([u[2] for u in units]), _column([u[3] for u in units])
    tally = pair_agreement(people_R, theirs_R, unit_R, count)
    return _figure(tally, int(tally.sums[:, 1].sum()), count)


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _numbered(rows: Sequence[str]) -> tuple[Ints, int]:
    """(prompt_R, prompts): which row each is of."""
    numbers: dict[str, int] = {}
    found = np.array([numbers.setdefault(row, len(numbers)) for row in rows], np.int64)
    return found, len(numbers)


def _figure(tally: Tally, n: int, prompts: int) -> Figure:
    if not n or not prompts:
        return Figure(None, None, None, n)
    found = tally.interval(Resamples(prompts, SEED, DRAWS))
    if found is None:
        return Figure(None, None, None, n)
    low, high = (end if math.isfinite(end) else None for end in (found.low, found.high))
    return Figure(found.value, low, high, n)
