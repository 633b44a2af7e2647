"""Which representation and which objective: a small stated grid, compared on held-out prompts.

On a few hundred pairs the best of many is mostly luck, so the grid is small, every line stands
beside the chosen one with a paired interval, and the choice is itself cross-validated: for each
fold the best line on the other folds is taken, and how that fares is what choosing is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from karat.training.reward_cross import Held, Say, cross_validate
from karat.training.reward_figures import (
    Figure,
    Outcomes,
    figures_of,
    given_outcomes,
    interval,
    rated_outcomes,
)
from karat.training.reward_settings import RATED, Objective, Representation, Settings
from karat.training.reward_table import Table


@dataclass(frozen=True, slots=True)
class Candidate:
    """One line of the grid. `gain` is its accuracy less the chosen one's, with its interval."""

    representation: Representation
    objective: Objective
    figures: tuple[Figure, ...]
    helpfulness_r: float
    gain: tuple[float, float, float]

    @property
    def name(self) -> str:
        """As in the table."""
        return f"{self.representation}, {self.objective}"


@dataclass(frozen=True, slots=True)
class Search:
    """The grid, what was chosen from it by which pairs, and what choosing was worth."""

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    by: str
    choice: Figure
    cpu_s: float


def search(
    table: Table,
    settings: Settings,
    representations: Sequence[Representation],
    objectives: Sequence[Objective],
    *,
    folds: int,
    repeats: int,
    jobs: int | None = None,
    say: Say | None = None,
) -> tuple[Search, Settings, Held]:
    """The grid measured, the settings it chose, and what their heads said of held-out prompts.

    Chosen by accuracy on rated pairs, or on preference pairs where nothing is rated; among those
    that know the five attributes, where any does.
    """
    said: dict[tuple[Representation, Objective], Held] = {}
    cpu_s = 0.0
    for representation in representations:
        own = replace(settings, representation=representation)
        # What preferences alone teach reads no layers.
        asked = [o for o in objectives if o in RATED] if own.frozen else objectives
        found = cross_validate(table, own, asked, folds=folds, repeats=repeats, jobs=jobs, say=say)
        said |= {(representation, objective): held for objective, held in found.items()}
        cpu_s += next(iter(found.values())).cpu_s
    rated = len(table.better_Q) > 0
    outcomes = {
        key: (rated_outcomes if rated else given_outcomes)(table, held)
        for key, held in said.items()
    }
    able = [key for key in said if key[1] in RATED] or list(said)
    best = max(able, key=lambda key: float(outcomes[key].win_P.mean()))
    candidates = {
        key: _candidate(table, key, held, outcomes[key], outcomes[best])
        for key, held in said.items()
    }
    made = Search(
        tuple(candidates.values()),
        candidates[best],
        "rated pairs" if rated else "preference pairs",
        _choice([outcomes[key] for key in able], folds, settings.seed),
        cpu_s,
    )
    return made, replace(settings, representation=best[0], objective=best[1]), said[best]


def _candidate(
    table: Table,
    key: tuple[Representation, Objective],
    held: Held,
    own: Outcomes,
    chosen: Outcomes,
) -> Candidate:
    figures = figures_of(table, held)
    gain_P = own.win_P - chosen.win_P
    r = next((f.value for f in figures.attributes if f.name == "helpfulness"), float("nan"))
    return Candidate(*key, figures.pairs, r, (float(gain_P.mean()), *interval(gain_P, own.group_P)))


def _choice(outcomes: Sequence[Outcomes], folds: int, seed: int) -> Figure:
    """Accuracy when each part's prompts get the line that was best on the other parts."""
    groups, code_P = np.unique(outcomes[0].group_P, return_inverse=True)
    part_P = (np.random.default_rng(seed).permutation(len(groups)) % folds)[code_P]
    win_CP = np.array([o.win_P for o in outcomes])
    win_P = np.empty(win_CP.shape[1])
    for part in range(folds):
        inside = part_P == part
        others = win_CP[:, ~inside].mean(axis=1) if (~inside).any() else win_CP.mean(axis=1)
        win_P[inside] = win_CP[int(others.argmax()), inside]
    return replace(outcomes[0], win_P=win_P).figure("the choice, made on other prompts")
