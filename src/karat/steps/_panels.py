"""A panel: graders of one attribute, and the figures about them that a report shows.

What adds up over rows is added up batch by batch; Kendall's τ over all responses, which does not,
is that of the survey's sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from karat.context import Context
from karat.intervals import Resamples
from karat.scoring.agreement import (
    by_rank,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    on_scale,
    rank_cuts,
    scale_levels,
)
from karat.scoring.leanings import family_preference, length_slope
from karat.scoring.rankings import kendall_tau, pair_agreement, tau_within
from karat.scoring.tallies import Floats, Ints, Running, Tally, share
from karat.steps._graded import Graded, Survey

LEVELS = 5  # where neither the recipe nor the scale says how many

Name = tuple[str, ...]  # figure, then what it is of
Told = list[float | None] | None  # [value, low, high], None at an open end


class Panel:
    """Graders that are compared with each other."""

    def __init__(
        self, ctx: Context, survey: Survey, graders: Sequence[str], keys: Sequence[str],
        levels: int | None,
    ) -> None:  # fmt: skip
        self.keys = keys
        self.places = [graders.index(key) for key in keys]
        self._survey = survey
        self._anywhere = [not ctx.within_prompt(key) for key in keys]
        self._running = Running()
        self.levels, self.levels_by, self._level = 0, "", list[Callable[[Floats], Ints]]()
        scales = {ctx.scale(key) for key in keys}
        if all(self._anywhere):
            self._choose_levels(scales.pop() if len(scales) == 1 else None, levels)

    def _choose_levels(self, scale: tuple[float, float] | None, levels: int | None) -> None:
        """The points of a scale all share, or classes of rank."""
        if scale is not None and all(map(math.isfinite, scale)):
            self.levels, self.levels_by = levels or scale_levels(*scale) or LEVELS, "scale"
            level = partial(on_scale, low=scale[0], high=scale[1], levels=self.levels)
            self._level = [level] * len(self.keys)
            return
        samples = [self._survey.scores_RG[:, place] for place in self.places]
        if all(np.isfinite(sample).any() for sample in samples):
            self.levels, self.levels_by = levels or LEVELS, "rank"
            cuts = [rank_cuts(sample, self.levels) for sample in samples]
            self._level = [partial(by_rank, cuts_L=cuts_L) for cuts_L in cuts]

    def add(self, batch: Graded) -> None:
        scores_RG = batch.scores_RG[:, self.places]
        for name, tally in self._tallies(batch, scores_RG):
            self._running.add(name, tally, batch.first)

    def _tallies(self, batch: Graded, scores_RG: Floats) -> Iterator[tuple[Name, Tally]]:
        of = batch.prompt_R, batch.prompts
        everything = np.ones(len(scores_RG), np.bool_)
        for column, key in enumerate(self.keys):
            scores_R = scores_RG[:, column]
            yield ("ungraded", key), share(np.isnan(scores_R), everything, *of)
            apart = self._survey.freedom_G[self.places[column]] > 0
            if apart or self._anywhere[column]:
                centre = self._survey.moments[self.places[column]].mean
                yield (
                    ("length_slope", key),
                    length_slope(scores_R, batch.lengths_R, *of, apart, centre),
                )
            others = [other for other in range(len(self.keys)) if other != column]
            for family, ours_R in batch.families().items():
                found = family_preference(scores_RG, ours_R, *of, column, others)
                yield ("family_preference", key, family), found
        for (a, one), (b, other) in combinations(enumerate(self.keys), 2):
            pair = scores_RG[:, a], scores_RG[:, b]
            yield ("tau_b_within", one, other), tau_within(*pair, *of)
            yield ("pairs_agreed", one, other), pair_agreement(*pair, *of)
        if self.levels:
            columns = [cut(scores_RG[:, place]) for place, cut in enumerate(self._level)]
            levels_RG = np.stack(columns, axis=1)
            yield ("alpha",), krippendorff_alpha(levels_RG, self.levels, *of)
            yield ("fleiss_kappa",), fleiss_kappa(levels_RG, self.levels, *of)
            for (a, one), (b, other) in combinations(enumerate(self.keys), 2):
                kappa = cohen_kappa(levels_RG[:, a], levels_RG[:, b], self.levels, *of)
                yield ("kappa", one, other), kappa

    def figures(self, draws: Resamples, sampled: Resamples) -> dict[str, Any]:
        """Everything, for the report; None where a figure is undefined, or does not apply.

        `draws` are of the rows, or of tallies.GROUPS groups of them; `sampled` of the sample's.
        """
        found = {
            name: told(tally, draws)
            for name, tally in self._running.tallies(self._survey.rows).items()
        }
        families = sorted(self._survey.families)
        return {
            "levels": self.levels or None,
            "levels_by": self.levels_by or None,
            "alpha": found.get(("alpha",)),
            "fleiss_kappa": found.get(("fleiss_kappa",)),
            "graders": {
                key: {
                    "ungraded": found.get(("ungraded", key)),
                    "length_slope": found.get(("length_slope", key)),
                    "family_preference": {
                        family: found.get(("family_preference", key, family)) for family in families
                    },
                }
                for key in self.keys
            },
            "pairs": [
                {
                    "graders": [one, other],
                    "kappa": found.get(("kappa", one, other)),
                    "tau_b": self._tau(a, b, sampled),
                    "tau_b_within": found.get(("tau_b_within", one, other)),
                    "pairs_agreed": found.get(("pairs_agreed", one, other)),
                }
                for (a, one), (b, other) in combinations(enumerate(self.keys), 2)
            ],
        }

    def _tau(self, a: int, b: int, sampled: Resamples) -> Told:
        if not (self._anywhere[a] and self._anywhere[b]):
            return None
        survey = self._survey
        one_R, other_R = (survey.scores_RG[:, self.places[column]] for column in (a, b))
        tally = kendall_tau(one_R, other_R, survey.prompt_R, max(1, survey.sampled))
        return told(tally, sampled)


def told(tally: Tally, draws: Resamples) -> Told:
    """[value, low, high] as JSON holds it: None for an open end, or in place of all of it."""
    found = tally.interval(draws)
    if found is None:
        return None
    ends = (found.value, found.low, found.high)
    return [end if math.isfinite(end) else None for end in ends]
