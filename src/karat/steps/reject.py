"""reject: rejection sampling: of each prompt's answers, the best ones by a reward.

Scores are compared within one prompt only. A strict threshold over all prompts removes the hard
ones and made benchmarks worse (Llama 3, FACTS §3), so the argmax per prompt decides and thresholds
are for the user to add, in the reward's own units or in its σ over this run.

Two passes over the file with one batch in memory: the reward's mean and σ first, then the choices.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Decision, Table, score_values
from karat.context import Context
from karat.curation.moments import Moments
from karat.step import Positive, ScoreKey, step

Flags = NDArray[np.bool_]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

FIELDS = ("content", "model", "scores", "kept")
COLUMNS = ["id", *(f"responses.list.element.{name}" for name in FIELDS)]


@step
def reject(
    table: Table,
    ctx: Context,
    *,
    by: ScoreKey,
    best: Positive = 1,
    minimum: float | None = None,
    floors: dict[ScoreKey, float] = {},  # noqa: B006  read only
    margin_sigma: Annotated[float, msgspec.Meta(ge=0)] | None = None,
    minimum_sigma: float | None = None,
    ties: Literal["first", "shortest", "drop", "all"] = "first",
) -> Decision:
    """Keeps each row's `best` highest-scored responses and drops the rows where none passes.

    A response passes when its text is not empty, it is graded, its `by` score is at least `minimum`
    and at least mean + `minimum_sigma`·σ, and each score in `floors` is at least its floor. Mean
    and σ (population) are those of `by` over all graded candidates of this run: one pair for the
    reward, never one per generating model, whose own figures stand in the notes. Responses equal up
    to whitespace count once, the highest graded standing for all. Responses that an earlier step
    turned down are no candidates.

    `margin_sigma`: a row's best passing response must be at least that many σ above the median of
    the row's graded candidates; a lone one has a margin of 0. The median, not the runner-up: as n
    grows the gap to the runner-up shrinks, that to the median grows like the maximum of n draws.

    `ties`, among equal scores: `first` in the row; the `shortest` in characters, then the first;
    `drop` the row where the last place kept is tied with the first one left out; `all`: keep every
    response that ties with the last place, hence more than `best`.

    Source: per-prompt argmax: Llama 2 (2307.09288) §3.2.3, Llama 3 (2407.21783) §4.2; margins in
    σ of the reward model: AIR (2504.03612).
    """
    spread, chosen = _Spread(), _Spread()
    for batch in table.batches(COLUMNS):
        rows = _Rows(batch, by)
        spread.add(rows, rows.graded)
    total = spread.total()
    limit = _limit(minimum, minimum_sigma, total)
    drop, keep = dict[str, str](), [np.zeros(0, np.bool_)]
    duplicates = tied = 0
    for batch in table.batches(COLUMNS):
        rows = _Rows(batch, by)
        rows.gates(limit, floors)
        if margin_sigma is not None:
            rows.require_margin(margin_sigma, total.sigma)
        keep.append(rows.choose(best, ties))
        drop.update(rows.reasons)
        chosen.add(rows, keep[-1])
        duplicates += rows.duplicates
        tied += rows.tied
    if total.n == 0 and drop:
        ctx.warn(f"no response has a score '{by}': nothing could be ranked")
    elif total.n > 1 and total.sigma == 0:
        ctx.warn(f"all {total.n:,} graded responses have the same '{by}': the choice is arbitrary")
    notes = {"ranking": by, "duplicate_responses": duplicates, "tied_rows": tied}
    notes |= _figures(spread, chosen, None if limit == -np.inf else limit)
    return Decision(drop=drop, keep=np.concatenate(keep), notes=notes)


def _limit(minimum: float | None, minimum_sigma: float | None, total: Moments) -> float:
    """The lowest `by` score that passes: the stricter of the two minimums."""
    limit = -np.inf if minimum is None else minimum
    if minimum_sigma is None or total.n == 0:
        return limit
    return max(limit, total.mean + minimum_sigma * total.sigma)


class _Spread:
    """Moments of the ranking score for each generating model."""

    def __init__(self) -> None:
        self.models: dict[str, Moments] = {}

    def add(self, rows: _Rows, among: Flags) -> None:
        for code, name in enumerate(rows.models):
            values = rows.scores_R[among & (rows.model_R == code)]
            if len(values):
                mean = float(values.mean())
                m2 = float(((values - mean) ** 2).sum())
                self.models.setdefault(name, Moments()).merge(len(values), mean, m2)

    def total(self) -> Moments:
        total = Moments()
        for _, part in sorted(self.models.items()):
            total.merge(part.n, part.mean, part.m2)
        return total


def _figures(before: _Spread, after: _Spread, limit: float | None) -> dict[str, Any]:
    """What ranking changed: over all graded candidates, over the kept, and by generating model."""
    total, kept, none = before.total(), after.total(), Moments()
    return {
        "mean_before": total.mean if total.n else None,
        "mean_after": kept.mean if kept.n else None,
        "sigma": total.sigma if total.n else None,
        "candidates": total.n,
        "kept": kept.n,
        "limit": limit,
        "per_model": {
            name or "given": {
                "mean": moments.mean,
                "sigma": moments.sigma,
                "n": moments.n,
                "kept": after.models.get(name, none).n,
            }
            for name, moments in sorted(before.models.items())
        },
    }


class _Rows:
    """One batch's responses, flat, and the gates they go through. R: response, P: row (prompt).

    `passing` shrinks gate by gate; `reasons` says, for each row left with nothing, at which one.
    """

    def __init__(self, batch: pa.RecordBatch, by: str) -> None:
        self._ids = batch.column("id")
        responses = batch.column("responses")
        flat = responses.flatten()
        counts_P = np.diff(responses.offsets.to_numpy())
        self._size = len(counts_P)
        self.owner_R: Ints = np.repeat(np.arange(self._size), counts_P)
        self._all_scores = flat.field("scores")
        self.scores_R: Floats = score_values(self._all_scores, by)
        self._content = flat.field("content")
        model = flat.field("model").dictionary_encode()
        self.models: list[str] = model.dictionary.to_pylist()
        self.model_R: Ints = model.indices.to_numpy(zero_copy_only=False)
        self._candidate = _flags(pc.fill_null(flat.field("kept"), True))
        self.graded: Flags = self._candidate & np.isfinite(self.scores_R)
        self.passing: Flags = np.ones(len(self.owner_R), np.bool_)
        self._alive_P: Flags = np.ones(self._size, np.bool_)
        self.reasons: dict[str, str] = {}
        self.duplicates = self.tied = 0

    def gates(self, limit: float, floors: dict[str, float]) -> None:
        """Everything that a response must pass before it is ranked."""
        words = pc.utf8_split_whitespace(pc.utf8_trim_whitespace(self._content))
        text = pc.binary_join(words, " ")
        self._let(self._candidate, "no response")
        self._let(_flags(pc.not_equal(text, "")), "empty response")
        self._let(self.graded, "not graded")
        self._merge_equal(text.dictionary_encode().indices.to_numpy(zero_copy_only=False))
        self._candidates = self.passing
        self._let(self.scores_R >= limit, "below minimum", self.scores_R)
        for key, floor in floors.items():
            scores_R = score_values(self._all_scores, key)
            self._let(scores_R >= floor, f"below floor {key}", scores_R)

    def _let(self, fine: Flags, reason: str, scores: Floats | None = None) -> None:
        """Lets only the responses that are `fine` on."""
        before, self.passing = self.passing, self.passing & fine
        lost_P = self._lose()
        tops_P = np.full(self._size, np.nan) if scores is None else self._tops(before, scores)
        for row in lost_P:
            detail = "" if scores is None else f" (best {tops_P[row]:.2f})"
            if scores is not None and tops_P[row] == -np.inf:
                detail = " (not graded)"
            self.reasons[self._ids[row].as_py()] = reason + detail

    def _lose(self) -> Ints:
        """The rows that have nothing left since the last gate."""
        left_P = np.bincount(self.owner_R[self.passing], minlength=self._size) > 0
        lost_P = np.flatnonzero(self._alive_P & ~left_P)
        self._alive_P = left_P
        return lost_P

    def _tops(self, among: Flags, scores: Floats) -> Floats:
        """The best score of each row among the flagged responses; -inf where none has one."""
        tops_P = np.full(self._size, -np.inf)
        some = among & np.isfinite(scores)
        np.maximum.at(tops_P, self.owner_R[some], scores[some])
        return tops_P

    def _merge_equal(self, text: Ints) -> None:
        """Of a row's equal texts only the highest graded, then the first, goes on."""
        at = np.flatnonzero(self.passing)
        at = at[np.lexsort((at, -self.scores_R[at], text[at], self.owner_R[at]))]
        first = _starts(self.owner_R[at]) | _starts(text[at])
        self.passing = np.zeros_like(self.passing)
        self.passing[at[first]] = True
        self.duplicates = int((~first).sum())

    def require_margin(self, least: float, sigma: float) -> None:
        """Lets only rows on whose best passing response is `least` σ above their median."""
        margin_P = self._tops(self.passing, self.scores_R) - self._medians(self._candidates)
        fine_P = margin_P >= least * sigma
        self.passing = self.passing & fine_P[self.owner_R]
        for row in self._lose():
            wide = margin_P[row] / sigma if sigma else 0.0
            self.reasons[self._ids[row].as_py()] = f"margin too small ({wide:.2f}σ)"

    def _medians(self, among: Flags) -> Floats:
        """The median score of each row's flagged responses; NaN where there is none."""
        at = np.flatnonzero(among)
        at = at[np.lexsort((self.scores_R[at], self.owner_R[at]))]
        counts_P = np.bincount(self.owner_R[at], minlength=self._size)
        some = counts_P > 0
        n = counts_P[some]
        head = (np.cumsum(counts_P) - counts_P)[some]
        score = self.scores_R[at]
        median_P = np.full(self._size, np.nan)
        median_P[some] = (score[head + (n - 1) // 2] + score[head + n // 2]) / 2
        return median_P

    def choose(self, best: int, ties: str) -> Flags:
        """keep_R: the `best` of each row among the responses that passed."""
        at = np.flatnonzero(self.passing)
        second = at
        if ties == "shortest":
            second = pc.utf8_length(self._content.take(pa.array(at))).to_numpy()
        at = at[np.lexsort((at, second, -self.scores_R[at], self.owner_R[at]))]
        owner, score = self.owner_R[at], self.scores_R[at]
        head = np.flatnonzero(_starts(owner))
        counts = np.diff(np.append(head, len(at)))
        keep = np.arange(len(at)) - np.repeat(head, counts) < best
        last = head[counts > best] + best - 1  # the last place kept, where others are left out
        last = last[score[last] == score[last + 1]]
        self.tied = len(last)
        if ties == "all":
            least_P = np.full(self._size, np.inf)
            least_P[owner[last]] = score[last]
            keep |= score >= least_P[owner]
        elif ties == "drop":
            keep &= ~np.isin(owner, owner[last])
            for place in last:
                self.reasons[self._ids[owner[place]].as_py()] = f"tie (at {score[place]:.2f})"
        keep_R = np.zeros_like(self.passing)
        keep_R[at[keep]] = True
        return keep_R


def _flags(array: pa.Array) -> Flags:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)


def _starts(sorted_values: Ints) -> Flags:
    """Where a value differs from the one before it; the first always does."""
    return np.append(True, sorted_values[1:] != sorted_values[:-1])[: len(sorted_values)]
