"""What each benchmark reports of its units: the lines of its table, each a tally over prompts.

The first line is the figure the benchmark is quoted by, the others are what it is made of. A tally
knows how it follows from sums over prompts, so the interval of a weighted mean of sections draws
prompts like that of a plain accuracy.

Source: as karat.evaluating.benchmarks says for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from karat.evaluating.benchmarks import (
    DOMAINS,
    LLMBAR,
    PRIOR,
    PRIOR_SECTION,
    PRIOR_WEIGHT,
    REWARDBENCH2,
    SECTIONS,
)
from karat.evaluating.items import Floats, Ints
from karat.evaluating.units import MANY, MARGINS, ONE, Units
from karat.scoring.credit import TIES_WEIGHTS
from karat.scoring.sections import mean_credit, subset_means, subset_sums, weighted_mean
from karat.scoring.tallies import Tally

Flags = NDArray[np.bool_]
STRENGTHS = {1.0: "slightly better", 2.0: "better", 3.0: "much better"}


class Line(NamedTuple):
    """`level` 0 is the set, 1 a part, 2 a part of it. credit_U is what its units got, NaN for those
    that are not of this line: for tests that need units rather than sums."""

    label: str
    level: int
    tally: Tally
    credit_U: Floats

    @property
    def n(self) -> int:
        """Units that were scored."""
        return int((~np.isnan(self.credit_U)).sum())


def lines(kind: str, found: Units) -> list[Line]:
    """The table of a set. Lines of which nothing was scored are in it, with n = 0."""
    return list(_TABLES.get(kind, _plain)(found))


def _plain(found: Units) -> Iterator[Line]:
    """All units alike, then by subset, then by how clearly people preferred."""
    yield _line("all", 0, found, np.ones(len(found.subset_U), np.bool_))
    if len(found.subsets) > 1:
        for place, name in enumerate(found.subsets):
            yield _line(name or "(no subset)", 1, found, found.subset_U == place)
    known = found.strength_U[np.isfinite(found.strength_U)]
    if len(np.unique(known)) > 1:
        for strength, name in STRENGTHS.items():
            yield _line(name, 1, found, np.round(found.strength_U) == strength)


def _arena(found: Units) -> Iterator[Line]:
    yield _line("decided votes", 0, found, np.ones(len(found.subset_U), np.bool_))


def _ratings(found: Units) -> Iterator[Line]:
    yield _line("all", 0, found, np.ones(len(found.subset_U), np.bool_))
    yield _line("2 points apart or more", 1, found, found.strength_U >= 2)


def _line(label: str, level: int, found: Units, of_U: Flags, column: int = 0) -> Line:
    credit_U = np.where(of_U, found.credit_UK[:, column], np.nan)
    return Line(label, level, mean_credit(credit_U, found.prompt_U, found.prompts), credit_U)


# --- weighed ones --------------------------------------------------------------------------------


def _made(
    label: str, level: int, found: Units, figure: Callable[[Floats], Floats], of_U: Flags,
    columns: Sequence[int] = (0,),
) -> Line:  # fmt: skip
    """A line whose figure is a function of the means_..SK of all subsets."""
    size = len(found.subsets)
    sums = subset_sums(
        found.credit_UK, np.asarray(found.subset_U), size, found.prompt_U, found.prompts
    )

    def of_sums(sums: Floats) -> Floats:
        return figure(subset_means(sums, size))

    credit_U = np.where(of_U, found.credit_UK[:, list(columns)].mean(axis=1), np.nan)
    return Line(label, level, Tally(sums, of_sums), credit_U)


def _within(found: Units, names: Sequence[str]) -> Flags:
    places = [found.place(name) for name in names]
    of_U: Flags = np.isin(found.subset_U, [place for place in places if place >= 0])
    return of_U


def _weights(found: Units, weights: dict[str, float]) -> Floats:
    return np.array([weights.get(name, 0.0) for name in found.subsets])


def _weighed(means: Floats, sections: Sequence[Floats], count: Sequence[float]) -> Floats:
    values = [weighted_mean(means[..., 0], weights_S) for weights_S in sections]
    return weighted_mean(np.stack(values, axis=-1), np.array(count))


def _rewardbench(found: Units) -> Iterator[Line]:
    parts = {name: {k: float(v) for k, v in of.items()} for name, of in SECTIONS.items()}
    parts[PRIOR_SECTION] = dict.fromkeys(PRIOR, 1.0)
    there = {name: of for name, of in parts.items() if set(of) & set(found.subsets)}
    sections = [_weights(found, of) for of in there.values()]
    count = [PRIOR_WEIGHT if name == PRIOR_SECTION else 1.0 for name in there]
    whole = partial(_weighed, sections=sections, count=count)
    yield _made("score", 0, found, whole, np.ones(len(found.subset_U), np.bool_))
    for (name, of), weights_S in zip(there.items(), sections, strict=True):
        figure = partial(_weighed, sections=[weights_S], count=[1.0])
        yield _made(name, 1, found, figure, _within(found, list(of)))
        for subset in of:
            if subset in found.subsets:
                yield _line(subset, 2, found, _within(found, [subset]))


def _llmbar(found: Units) -> Iterator[Line]:
    known = [name for name in LLMBAR if name in found.subsets]
    names = [*known, *(name for name in found.subsets if name not in known)]
    if len(names) == 1:  # a mean of one part says the same twice
        yield _line(names[0] or "all", 0, found, _within(found, names))
        return
    whole = partial(_weighed, sections=[_weights(found, dict.fromkeys(names, 1.0))], count=[1.0])
    yield _made("mean of the parts", 0, found, whole, np.ones(len(found.subset_U), np.bool_))
    adversarial = [name for name in known if name != LLMBAR[0]]
    if adversarial and len(adversarial) < len(names):
        mean = _weights(found, dict.fromkeys(adversarial, 1.0))
        figure = partial(_weighed, sections=[mean], count=[1.0])
        yield _made("adversarial", 1, found, figure, _within(found, adversarial))
    for name in names:
        yield _line(name, 1, found, _within(found, [name]))


def _rewardbench2(found: Units) -> Iterator[Line]:
    order = [*(name for name in REWARDBENCH2 if name in found.subsets)]
    names = [*order, *(n for n in found.subsets if n not in (*order, ONE, MANY, MARGINS))]
    ties = (found.place(MANY), found.place(ONE), found.place(MARGINS))
    has_ties = max(ties) >= 0

    def of_ties(means: Floats) -> Floats:
        if min(ties) < 0:  # as officially: nothing can be said without both twins
            return np.full(means.shape[:-2], np.nan)
        many, one, margins = (means[..., place, :] for place in ties)
        parts = (many[..., 0], one[..., 0], *np.moveaxis(margins, -1, 0))
        total = np.zeros(means.shape[:-2])
        for weight, part in zip(TIES_WEIGHTS, parts, strict=True):
            total = total + weight * part
        return total

    def whole(means: Floats) -> Floats:
        values = [means[..., found.place(name), 0] for name in names]
        values += [of_ties(means)] if has_ties else []
        return weighted_mean(np.stack(values, axis=-1), np.ones(len(values)))

    if len(names) == 1 and not has_ties:
        yield _line(names[0], 0, found, _within(found, names))
        return
    yield _made("mean of the subsets", 0, found, whole, np.ones(len(found.subset_U), np.bool_))
    for name in names:
        yield _line(name, 1, found, _within(found, [name]))
    if has_ties:
        yield _made("Ties", 1, found, of_ties, _within(found, [MANY, ONE]))
        yield _line("all right above all wrong, one right", 2, found, _within(found, [ONE]))
        yield _line("all right above all wrong, many right", 2, found, _within(found, [MANY]))
        yield _line("gap wider than spread", 2, found, _within(found, [MARGINS]), 0)
        yield _line("gap wider than spread, both", 2, found, _within(found, [MARGINS]), 1)


# --- RM-Bench ------------------------------------------------------------------------------------

_CELLS = {
    "easy": [3, 6, 7], "normal": [0, 4, 8], "hard": [1, 2, 5],
}  # fmt: skip  # of nine, row by row: rows are right answers, columns wrong ones


def _rmbench(found: Units) -> Iterator[Line]:
    size = len(found.subsets)
    sums = subset_sums(
        found.credit_UK, np.asarray(found.subset_U), size, found.prompt_U, found.prompts
    )
    parts: dict[str, list[str]] = {}
    for name in DOMAINS:
        if name in found.subsets:
            parts.setdefault(name.partition("-")[0], []).append(name)

    def line(
        label: str, level: int, domains: Sequence[Sequence[str]], kinds: Sequence[str]
    ) -> Line:
        groups = [[found.place(name) for name in names] for names in domains]
        cells = [_CELLS[kind] for kind in kinds]
        figure = partial(_grid_mean, size=size, groups=groups, cells=cells)
        used = [cell for some in cells for cell in some]
        of_U = _within(found, [name for names in domains for name in names])
        credit_U = np.where(of_U, found.credit_UK[:, used].mean(axis=1), np.nan)
        return Line(label, level, Tally(sums, figure), credit_U)

    every = list(parts.values())
    yield line("mean of the domains", 0, every, list(_CELLS))
    for kind in _CELLS:
        yield line(kind, 1, every, [kind])
    for domain, names in parts.items():
        yield line(domain, 1, [names], list(_CELLS))
        for kind in _CELLS:
            yield line(f"{domain}, {kind}", 2, [names], [kind])
        if len(names) > 1:
            for name in names:
                yield line(name, 2, [[name]], list(_CELLS))


def _grid_mean(
    sums: Floats, size: int, groups: Sequence[Sequence[int]], cells: Sequence[Sequence[int]]
) -> Floats:
    """The mean over domains, each of all its subsets' items, of the mean over kinds of cells."""
    sums_SK = sums.reshape(*sums.shape[:-1], size, -1)
    values = []
    for places in groups:
        total = sums_SK[..., list(places), :].sum(axis=-2)
        count = total[..., -1]
        kinds = [total[..., list(some)].mean(axis=-1) for some in cells]
        mean = np.mean(kinds, axis=0)
        values.append(np.where(count == 0, np.nan, mean / np.where(count == 0, 1, count)))
    return weighted_mean(np.stack(values, axis=-1), np.ones(len(values)))


_TABLES: dict[str, Callable[[Units], Iterator[Line]]] = {
    "rewardbench": _rewardbench, "rewardbench2": _rewardbench2, "rmbench": _rmbench,
    "llmbar": _llmbar, "ratings": _ratings, "arena": _arena,
}  # fmt: skip

__all__ = ["Ints", "Line", "lines"]
