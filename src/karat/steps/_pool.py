"""The responses to a batch of prompts, flat, and the gates that they pass before any is chosen.

All work is on columns: a batch holds a thousand rows, and the only Python objects made for them are
the reasons of those that are left with nothing. R: response, P: row (prompt).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Table, owners, score_values
from karat.steps._ranking import Ranking, Spread, open_flags
from karat.steps._strata import Strata
from karat.wording import below

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GRADES = ["id", *(f"responses.list.element.{name}" for name in ("model", "scores", "kept"))]
COLUMNS = [*GRADES, "responses.list.element.content"]  # what `open` needs


class Candidates:
    """One batch's responses. `passing` shrinks gate by gate; `reasons` says, for each row left with
    nothing, at which one.

    Responses that an earlier step turned down are no candidates, unless `all_of_them` are wanted.
    """

    def __init__(
        self, batch: pa.RecordBatch, ranking: Ranking, *, all_of_them: bool = False
    ) -> None:
        self.ids = batch.column("id")
        responses = batch.column("responses")
        flat = responses.flatten()
        self.rows = len(responses)
        self.owner_R = owners(responses)
        self._all_scores = flat.field("scores")
        self.scores_R = ranking.values(self._all_scores)
        self._flat = flat
        model = flat.field("model").dictionary_encode()
        self.models: list[str] = model.dictionary.to_pylist()
        self.model_R: Ints = model.indices.to_numpy(zero_copy_only=False)
        self.open_R = open_flags(flat)
        self.kept_R = flags(pc.fill_null(flat.field("kept"), False))
        self._candidate = np.ones_like(self.open_R) if all_of_them else self.open_R
        self.graded: Flags = self._candidate & np.isfinite(self.scores_R)
        self.passing: Flags = np.ones(len(self.owner_R), np.bool_)
        self._alive_P: Flags = np.ones(self.rows, np.bool_)
        self.reasons: dict[str, str] = {}
        self.duplicates = 0

    @property
    def content(self) -> pa.Array:
        """The texts, where the batch has them."""
        return self._flat.field("content")

    # --- figures -------------------------------------------------------------------------------

    def level(self, spread: Spread) -> Floats:
        """level_R: scores as they enter figures; NaN for what is no graded candidate."""
        level_R = np.full(len(self.scores_R), np.nan)
        level_R[self.graded] = spread.level(self.scores_R[self.graded], self.owner_R[self.graded])
        return level_R

    def count(self, spread: Spread, level_R: Floats, among: Flags) -> None:
        """Takes the levelled scores of the flagged responses into a spread."""
        for code, name in enumerate(self.models):
            spread.take(level_R[among & (self.model_R == code)], name)

    # --- gates ---------------------------------------------------------------------------------

    def open(self) -> None:
        """What every response must be before it is ranked: there, not empty, graded, no repeat."""
        words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(self.content))
        text = pc.binary_join(words, " ")
        self.let(self._candidate, "no response")
        self.let(flags(pc.not_equal(text, "")), "empty response")
        self.let(self.graded, "not graded")
        self._merge_equal(text.dictionary_encode().indices.to_numpy(zero_copy_only=False))
        self._ranked = self.passing

    def floors(self, floors: Mapping[str, float]) -> None:
        """Lets only responses on that reach every floor."""
        for key, floor in floors.items():
            scores_R = self.score(key)
            self.let(scores_R >= floor, f"below floor {key}", scores_R, floor)

    def score(self, key: str) -> Floats:
        """Another score of the responses; NaN where they have none."""
        return score_values(self._all_scores, key)

    def let(
        self, fine: Flags, reason: str, scores: Floats | None = None, limit: float = np.inf
    ) -> None:
        """Lets only the responses that are `fine` on; `limit` is what their scores had to reach."""
        before, self.passing = self.passing, self.passing & fine
        lost_P = self._lose()
        tops_P = np.full(self.rows, np.nan) if scores is None else self._tops(before, scores)
        for row in lost_P:
            detail = "" if scores is None else f" (best {below(tops_P[row], limit)})"
            if scores is not None and tops_P[row] == -np.inf:
                detail = " (not graded)"
            self.reasons[self.ids[row].as_py()] = reason + detail

    def require_margin(self, least: float, sigma: float) -> None:
        """Lets only rows on whose best passing response is `least` σ above their median."""
        margin_P = self.tops() - self._medians(self._ranked)
        fine_P = margin_P >= least * sigma
        self.passing = self.passing & fine_P[self.owner_R]
        for row in self._lose():
            wide = margin_P[row] / sigma if sigma else 0.0
            self.reasons[self.ids[row].as_py()] = f"margin too small ({wide:.2f}σ)"

    def tops(self) -> Floats:
        """The best score of each row among what passes; -inf where nothing does."""
        return self._tops(self.passing, self.scores_R)

    def _lose(self) -> Ints:
        """The rows that have nothing left since the last gate."""
        left_P = np.bincount(self.owner_R[self.passing], minlength=self.rows) > 0
        lost_P = np.flatnonzero(self._alive_P & ~left_P)
        self._alive_P = left_P
        return lost_P

    def _tops(self, among: Flags, scores: Floats) -> Floats:
        """The best score of each row among the flagged responses; -inf where none has one."""
        tops_P = np.full(self.rows, -np.inf)
        some = among & np.isfinite(scores)
        np.maximum.at(tops_P, self.owner_R[some], scores[some])
        return tops_P

    def _merge_equal(self, text: Ints) -> None:
        """Of a row's equal texts only one goes on: rather one that no step turned down, then the
        highest graded, then the first."""
        at = np.flatnonzero(self.passing)
        keys = (at, -self.scores_R[at], ~self.open_R[at], text[at], self.owner_R[at])
        at = at[np.lexsort(keys)]
        first = starts(self.owner_R[at]) | starts(text[at])
        self.passing = np.zeros_like(self.passing)
        self.passing[at[first]] = True
        self.duplicates = int((~first).sum())

    def _medians(self, among: Flags) -> Floats:
        """The median score of each row's flagged responses; NaN where there is none."""
        at = np.flatnonzero(among)
        at = at[np.lexsort((self.scores_R[at], self.owner_R[at]))]
        counts_P = np.bincount(self.owner_R[at], minlength=self.rows)
        some = counts_P > 0
        n = counts_P[some]
        head = (np.cumsum(counts_P) - counts_P)[some]
        score = self.scores_R[at]
        median_P = np.full(self.rows, np.nan)
        median_P[some] = (score[head + (n - 1) // 2] + score[head + n // 2]) / 2
        return median_P


class Pool(NamedTuple):
    """What all candidates of a table are like: their spread, how many live rows there are, and the
    strata these are in."""

    spread: Spread
    rows: int
    strata: Strata


def measured(
    table: Table, ranking: Ranking, per: Sequence[str] = (), *, all_of_them: bool = False
) -> Pool:
    """All graded candidates of a table; with `all_of_them`, those turned down as well."""
    spread, strata, rows = Spread(within=ranking.within), Strata(per), 0
    for found in table.each(_measured, ranking, per, all_of_them):
        spread.merge(found.spread)
        strata.merge(found.strata)
        rows += found.rows
    return Pool(spread, rows, strata)


def _measured(part: Table, ranking: Ranking, per: Sequence[str], all_of_them: bool) -> Pool:
    spread, strata, count = Spread(within=ranking.within), Strata(per), 0
    for batch in part.batches([*GRADES, *strata.columns]):
        rows = Candidates(batch, ranking, all_of_them=all_of_them)
        rows.count(spread, rows.level(spread), rows.graded)
        strata.of(batch)
        count += rows.rows
    return Pool(spread, count, strata)


def flags(array: pa.Array) -> Flags:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)


def starts(sorted_values: Ints) -> Flags:
    """Where a value differs from the one before it; the first always does."""
    return np.append(True, sorted_values[1:] != sorted_values[:-1])[: len(sorted_values)]
