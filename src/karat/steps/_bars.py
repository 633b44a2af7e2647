"""What a score must reach, where that differs from row to row: a cut for each stratum.

One strict cut over everything keeps the easy prompts and throws the hard ones away, which made
benchmarks worse (Llama 3, 2407.21783). Cut within each task or topic, a quarter of every one stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from karat.context import Context
from karat.steps._pool import Candidates

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHOWN = 50  # strata in a report, the largest


class Strata:
    """Rows alike in some fields of `meta`, numbered as they come; one that lacks a field is alike
    with others that lack it. S: stratum."""

    def __init__(self, per: Sequence[str]) -> None:
        self.per = list(per)
        self.names: list[str] = []
        self._codes: dict[bytes, int] = {}
        self._met: set[str] = set()
        self._named: set[str] = set()
        self.rows_S = np.zeros(0, np.int64)
        self.kept_S = np.zeros(0, np.int64)

    @property
    def columns(self) -> list[str]:
        return ["meta"] if self.per else []

    def of(self, batch: pa.RecordBatch) -> Ints:
        """code_P: the stratum of each row."""
        if not self.per:
            self._code({})
            return np.zeros(batch.num_rows, np.int64)
        metas = map(orjson.loads, batch.column("meta").to_pylist())
        codes = [self._code({field: meta.get(field) for field in self.per}) for meta in metas]
        return np.array(codes, np.int64)

    def count(self, code_P: Ints, kept_P: Flags) -> None:
        """Counts a batch's rows, and those that keep a response."""
        self.rows_S = _grown(self.rows_S, len(self.names)) + np.bincount(
            code_P, minlength=len(self.names)
        )
        self.kept_S = _grown(self.kept_S, len(self.names)) + np.bincount(
            code_P[kept_P], minlength=len(self.names)
        )

    def warn(self, ctx: Context) -> None:
        """Says of which fields no row has a value."""
        for field in self.per if self.names else []:
            if field not in self._met:
                ctx.warn(f"per: no row has the meta field '{field}', so it tells no strata apart")

    def shares(self, cut_S: Floats | None) -> dict[str, Any]:
        """Rows, kept rows and cut of each of the largest strata."""
        largest = np.lexsort((np.arange(len(self.names)), -self.rows_S))[:SHOWN]
        return {
            self.names[s]: {
                "rows": int(self.rows_S[s]),
                "kept": int(self.kept_S[s]),
                "share": float(self.kept_S[s] / self.rows_S[s]),
                **({} if cut_S is None else {"cut": finite(cut_S[s : s + 1])}),
            }
            for s in largest.tolist()
        }

    def _code(self, values: dict[str, Any]) -> int:
        """The number of rows that have these values; null is none."""
        key = orjson.dumps(list(values.values()))  # 1 and "1", "a, b" and "c" stay apart
        if key not in self._codes:
            self._codes[key] = len(self.names)
            self.names.append(self._name(values))
        return self._codes[key]

    def _name(self, values: dict[str, Any]) -> str:
        """How the stratum is called in the report: a name of its own."""
        self._met.update(field for field, value in values.items() if value is not None)
        texts = ["none" if value is None else str(value) for value in values.values()]
        name = ", ".join(texts) if values else "all"
        if name in self._named:
            name = orjson.dumps(list(values.values())).decode()
        self._named.add(name)
        return name


def _grown(counts: Ints, size: int) -> Ints:
    return np.pad(counts, (0, size - len(counts)))


def finite(values: Floats) -> float | None:
    """The only value of an array, where it is a number."""
    return float(values[0]) if len(values) and np.isfinite(values[0]) else None


def cuts(tops: Iterable[tuple[Floats, Ints]], share: float, strata: Strata) -> Floats:
    """cut_S: the best score of the last row within each stratum's top share.

    `tops` are the best scores of rows and their strata, batch by batch, -inf for rows without a
    response to rank, which count as no rows. The share is rounded up, so every stratum keeps a row.
    """
    parts = [(top_P[top_P > -np.inf], code_P[top_P > -np.inf]) for top_P, code_P in tops]
    top_P = np.concatenate([np.zeros(0), *(top for top, _ in parts)])
    code_P = np.concatenate([np.zeros(0, np.int64), *(code for _, code in parts)])
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

    def cut(self, share: float, tops: Iterable[tuple[Floats, Ints]], strata: Strata) -> None:
        """Sets the cuts of a top share."""
        self.cut_S = cuts(tops, share, strata)
        of = f" of its {' and '.join(self._per)}" if self._per else ""
        self._missed = f"not in the top {100 * share:.6g}%{of}"

    def apply(self, rows: Candidates, code_P: Ints, floors: Mapping[str, float]) -> None:
        """Lets only responses on that reach the bar and every floor."""
        if not self._also:
            rows.let(rows.scores_R >= self.limit, "below minimum", rows.scores_R)
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
