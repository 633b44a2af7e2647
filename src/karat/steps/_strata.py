"""Strata: rows alike in some fields of `meta`, numbered as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from karat.context import Context

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SHOWN = 50  # strata in a report, the largest


class Strata:
    """The strata of a table, or of a part of it; S: stratum.

    A row that lacks a field is alike with others that lack it. `names` are in the order in which
    strata came; of parts that are merged in their order, that of the whole table.
    """

    def __init__(self, per: Sequence[str]) -> None:
        self.per = list(per)
        self.names: list[str] = []
        self._codes: dict[bytes, int] = {}
        self._met: set[str] = set()
        self._named: set[str] = set()

    @property
    def columns(self) -> list[str]:
        return ["meta"] if self.per else []

    def of(self, batch: pa.RecordBatch) -> Ints:
        """code_P: the stratum of each row."""
        if not self.per:
            self._code(b"[]")
            return np.zeros(batch.num_rows, np.int64)
        metas = map(orjson.loads, batch.column("meta").to_pylist())
        # As JSON, so that 1 and "1", "a, b" and "c" stay apart.
        keys = (orjson.dumps([meta.get(field) for field in self.per]) for meta in metas)
        return np.fromiter(map(self._code, keys), np.int64, batch.num_rows)

    def merge(self, later: Strata) -> Ints:
        """Takes in the strata of the rows that follow; gives the number that each of them has
        here."""
        return np.fromiter(map(self._code, later._codes), np.int64, len(later._codes))

    def counts(self, code_P: Ints, kept_P: Flags) -> Ints:
        """rows_2S: of these rows how many are in each stratum, and of the kept ones."""
        size = len(self.names)
        return np.stack([np.bincount(code_P, minlength=size),
                         np.bincount(code_P[kept_P], minlength=size)])  # fmt: skip

    def warn(self, ctx: Context) -> None:
        """Says of which fields no row has a value."""
        for field in self.per if self.names else []:
            if field not in self._met:
                ctx.warn(f"per: no row has the meta field '{field}', so it tells no strata apart")

    def shares(self, rows_2S: Ints, cut_S: Floats | None) -> dict[str, Any]:
        """Rows, kept rows and cut of each of the largest strata, by their `counts`."""
        rows_S, kept_S = rows_2S
        largest = np.lexsort((np.arange(len(self.names)), -rows_S))[:SHOWN]
        return {
            self.names[s]: {
                "rows": int(rows_S[s]),
                "kept": int(kept_S[s]),
                "share": float(kept_S[s] / rows_S[s]),
                **({} if cut_S is None else {"cut": finite(cut_S[s : s + 1])}),
            }
            for s in largest.tolist()
        }

    def _code(self, key: bytes) -> int:
        """The number of rows that have these values; null is none."""
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.names)
            self.names.append(self._name(key))
        return code

    def _name(self, key: bytes) -> str:
        """How the stratum is called in the report: a name of its own."""
        values = orjson.loads(key)
        self._met.update(
            field for field, value in zip(self.per, values, strict=True) if value is not None
        )
        texts = ["none" if value is None else str(value) for value in values]
        name = ", ".join(texts) if values else "all"
        if name in self._named:
            name = key.decode()
        self._named.add(name)
        return name


def finite(values: Floats) -> float | None:
    """The only value of an array, where it is a number."""
    return float(values[0]) if len(values) and np.isfinite(values[0]) else None
