"""What a score must reach, where that differs from row to row: a cut for each stratum.

One strict cut over everything keeps the easy prompts and throws the hard ones away, which made
benchmarks worse (Llama 3, 2407.21783). Cut within each task or topic, a quarter of every one stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from karat.columns import Table
from karat.steps._pool import COLUMNS, Candidates
from karat.steps._ranking import Ranking
from karat.steps._strata import Strata as Strata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Tops = tuple[Floats, NDArray[np.int32]]  # of rows: the best score, the stratum


def tops(table: Table, ranking: Ranking, strata: Strata, floors: Mapping[str, float]) -> list[Tops]:
    """The best score of every row of a table, before any minimum; finds the strata on the way."""
    found = []
    for (top_P, code_P), own in table.each(_tops, ranking, strata.per, floors):
        found.append((top_P, strata.merge(own).astype(np.int32)[code_P]))
    return found


def _tops(
    part: Table, ranking: Ranking, per: Sequence[str], floors: Mapping[str, float]
) -> tuple[Tops, Strata]:
    """The best scores of the rows of a part that have one, and their strata."""
    strata, best, codes = Strata(per), [np.zeros(0)], [np.zeros(0, np.int32)]
    for batch in part.batches([*COLUMNS, *strata.columns]):
        rows = Candidates(batch, ranking)
        rows.open()
        rows.floors(floors)
        top_P, code_P = rows.tops(), strata.of(batch)
        best.append(top_P[top_P > -np.inf])
        codes.append(code_P[top_P > -np.inf].astype(np.int32))
    return (np.concatenate(best), np.concatenate(codes)), strata


def cuts(tops: Iterable[Tops], share: float, strata: Strata) -> Floats:
    """cut_S: the best score of the last row within each stratum's top share.

    `tops` are the best scores of rows that have a response to rank, and their strata. The share is
    rounded up, so every stratum keeps a row. Memory is 12 bytes a row, and 24 more while they are
    sorted.
    """
    parts = list(tops)
    top_P = np.concatenate([np.zeros(0), *(top for top, _ in parts)])
    code_P = np.concatenate([np.zeros(0, np.int32), *(code for _, code in parts)])
    order = np.lexsort((-top_P, code_P))
    counts_S = np.bincount(code_P, minlength=len(strata.names))
    # Less a hair, so that a quarter of 8 rows is 2 whatever the product's last bit.
    stay_S = np.maximum(np.ceil(share * counts_S - 1e-9).astype(np.int64), 1)
    last_S = np.cumsum(counts_S) - counts_S + stay_S - 1
    cut_S = np.full(len(counts_S), np.inf)
    some = counts_S > 0
    cut_S[some] = top_P[order][last_S[some]]
    return cut_S


class Bar:
    """What a response's ranking score must reach: `limit`, and the cut of its stratum; or in its
    place one of the scores in `also`. `missed` is the reason for a row that reaches none."""

    def __init__(self, limit: float, also: Mapping[str, float], per: Sequence[str]) -> None:
        self.limit, self._also, self._per = limit, also, per
        self.cut_S: Floats | None = None
        self._missed = "below minimum"

    def cut(self, share: float, tops: Iterable[Tops], strata: Strata) -> None:
        """Sets the cuts of a top share."""
        self.cut_S = cuts(tops, share, strata)
        of = f" of its {' and '.join(self._per)}" if self._per else ""
        self._missed = f"not in the top {100 * share:.6g}%{of}"

    def apply(self, rows: Candidates, code_P: Ints, floors: Mapping[str, float]) -> None:
        """Lets only responses on that reach the bar and every floor."""
        if not self._also:
            rows.let(rows.scores_R >= self.limit, "below minimum", rows.scores_R, self.limit)
        rows.floors(floors)
        if self.cut_S is None and not self._also:
            return
        bar_R = np.full(len(rows.scores_R), self.limit)
        if self.cut_S is not None:
            bar_R = np.maximum(bar_R, self.cut_S[code_P][rows.owner_R])
        fine_R = rows.scores_R >= bar_R
        for key, least in self._also.items():
            fine_R |= rows.score(key) >= least
        rows.let(fine_R, ", nor ".join([self._missed, *self._also]), rows.scores_R)
