"""Tallies: what a statistic needs of each prompt, as numbers that add up over prompts.

The agreement of graders is a function of counts: how often one said 3 where the other said 4. These
counts add up over prompts, so a bootstrap over prompts, whose responses are graded by the same
people and stand or fall together, is one matrix product, whatever the statistic; and they add up
over the batches of a file, so that memory stays flat.

A statistic is undefined, None, where its formula divides by nothing: no two ratings of one
response, no variation to agree on. It is never 0 or 1 for want of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.intervals import LEVEL, Figure, Interval, Resamples
from karat.intervals import share as wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

GROUPS = 2_048  # into which the prompts of a long file go


class Tally(NamedTuple):
    """`sums`: sums_PK, K numbers of each of P prompts; `figure` makes the statistic of their sums.

    `figure` takes sums_..K and gives one value for each; NaN where the statistic is undefined.
    `of` is what it is a share of, as a column of the sums, where it is one.
    """

    sums: Floats
    figure: Figure
    of: int | None = None

    @property
    def value(self) -> float | None:
        """The statistic; None where it is undefined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = float(self.figure(self.sums.sum(axis=0)[None])[0])
        return None if math.isnan(found) else found

    def interval(self, draws: Resamples, level: float = LEVEL) -> Interval | None:
        """The statistic and where it lies on other prompts; None where it is undefined.

        `draws` is of as many rows as there are prompts. An end is infinite where nothing can be
        said: of one prompt, or where the statistic is undefined on half of the draws. A share of
        0 or 1, of which every draw would say the same, has Wilson's interval, over the prompts.
        """
        value = self.value
        if value is None:
            return None
        if self.of is not None and value in (0.0, 1.0):
            rows = int((self.sums[:, self.of] > 0).sum())
            return wilson(int(value) * rows, rows, level)
        return draws.interval(list(self.sums.T), self.figure, level, undefined="out")


class Running:
    """Tallies of a file's batches, by name, added up in at most GROUPS groups of prompts.

    Every GROUPS-th prompt goes into the same group. Whole groups are then drawn in place of
    prompts: their sums vary as much as the prompts' do, so the intervals are as wide, and neither
    memory nor time grows with the file. With fewer prompts than groups each prompt is its own.
    """

    def __init__(self, groups: int = GROUPS) -> None:
        self._groups = groups
        self._sums: dict[Hashable, Floats] = {}
        self._like: dict[Hashable, Tally] = {}

    def add(self, name: Hashable, tally: Tally, first: int) -> None:
        """Adds a batch whose first prompt is number `first` of the file."""
        prompts, width = tally.sums.shape
        sums_GK = self._sums.setdefault(name, np.zeros((self._groups, width)))
        self._like.setdefault(name, tally._replace(sums=tally.sums[:0]))
        for start in range(0, prompts, self._groups):
            part = tally.sums[start : start + self._groups]
            sums_GK[(np.arange(len(part)) + first + start) % self._groups] += part

    def tallies(self, prompts: int) -> dict[Hashable, Tally]:
        """One tally of each name, of the `prompts` prompts the file has."""
        used = min(prompts, self._groups)
        return {
            name: self._like[name]._replace(sums=sums[:used]) for name, sums in self._sums.items()
        }


def per_prompt(values_RK: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """sums_PK: the sums of each prompt's responses."""
    width = values_RK.shape[1]
    places = prompt_R[:, None] * width + np.arange(width)
    sums_K: Floats = np.bincount(places.ravel(), values_RK.ravel(), prompts * width)  # type: ignore[assignment]
    return sums_K.reshape(prompts, width)


def centred(values_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """The values less the mean of their prompt; 0 where they differ by rounding alone."""
    counts_P = np.bincount(prompt_R, minlength=prompts)
    means_P = np.bincount(prompt_R, values_R, prompts) / np.maximum(counts_P, 1)
    gaps_R = values_R - means_P[prompt_R]
    return np.where(np.abs(gaps_R) <= 1e-12 * np.abs(values_R), 0.0, gaps_R)


def within(values_R: Floats, prompt_R: Ints, prompts: int) -> Floats:
    """squares_P2: each prompt's sum of squared deviations from its mean, and its degrees of
    freedom; σ within prompts is the root of the ratio of their sums."""
    gaps_R = centred(values_R, prompt_R, prompts)
    counts_P = np.bincount(prompt_R, minlength=prompts)
    squares_P = np.bincount(prompt_R, gaps_R**2, prompts)
    return np.stack([squares_P, np.maximum(counts_P - 1, 0)], axis=1).astype(np.float64)


def share(hits_R: Flags, among_R: Flags, prompt_R: Ints, prompts: int) -> Tally:
    """The share of the responses `among` which are `hits`, such as those left ungraded."""
    both_R2 = np.stack([hits_R & among_R, among_R], axis=1).astype(np.float64)
    return Tally(per_prompt(both_R2, prompt_R, prompts), quotient, of=1)


def quotient(sums: Floats) -> Floats:
    """The first of two sums by the second; NaN where that is 0."""
    return np.where(sums[..., 1] == 0, np.nan, sums[..., 0] / sums[..., 1])
