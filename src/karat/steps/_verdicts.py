"""Which rows repeat which, and what that says to each part of a table.

Where a table is in parts, each part's share is written into a folder beside it, and read where the
part is decided; the ids of rows that stay are looked up in their parts. So a hundred machines are
not each told what a million rows repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from karat import parquet, places
from karat.columns import Decision, Table
from karat.curation.closeness import Floats
from karat.errors import RunError
from karat.uploads import sink

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Found = tuple[Ints, Ints, Floats, Flags]  # rows that go, rows that stay, similarities, whether same

SHOWN = {"jaccard": "", "rouge_l": "ROUGE-L ", "semantic": "cosine "}


class Verdicts(msgspec.Struct):
    """Rows that go, rising; for each the row that stays, how similar the two are, and whether they
    say the same to the letter. Rows are numbered through all parts; part p begins at base_P[p]."""

    base: Ints
    row: Ints
    stay: Ints
    similarity: Floats
    same: Flags

    def stands_for(self) -> tuple[Ints, Ints]:
        """(rows, rising, and how many rows each stands for) of those that others repeat."""
        stays, times = np.unique(self.stay, return_counts=True)
        return stays, times + 1

    def notes(self) -> dict[str, int]:
        stays, times = self.stands_for()
        exact = int(self.same.sum())
        return {
            "exact_duplicates": exact,
            "near_duplicates": len(self.row) - exact,
            "clusters": len(stays),
            "largest_cluster": int(times.max(initial=0)),
        }

    def of(self, number: int) -> Verdicts:
        """Those on the rows of one part."""
        first, end = np.searchsorted(self.row, self.base[number : number + 2])
        mine = slice(first, end)
        return Verdicts(
            self.base, self.row[mine], self.stay[mine], self.similarity[mine], self.same[mine]
        )


@contextmanager
def room_beside(path: Path) -> Iterator[None]:
    """Says what to do where there is no room for what is kept beside a stage."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write beside {path}: {places.shown(error)}; make room and run again: it goes "
            "on from there"
        ) from error


def verdicts(base: Ints, found: list[Found]) -> Verdicts:
    """What was found here and there, in the order of the rows."""
    row, stay, similarity, same = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(row)
    return Verdicts(base, row[order], stay[order], similarity[order], same[order])


# --- a table in one file -------------------------------------------------------------------------


def decided(found: Verdicts, ids: list[str], measure: str, mark: bool) -> Decision:
    """The decision on a table whose live rows have these ids."""
    rows = [ids[row] for row in found.row.tolist()]
    kept = (ids[row] for row in found.stay.tolist())
    reasons = _reasons(kept, found.similarity.tolist(), found.same.tolist(), measure)
    made = Decision(drop=dict(zip(rows, reasons, strict=True)))
    if mark:
        pairs = zip(*(column.tolist() for column in found.stands_for()), strict=True)
        made.meta = {ids[row]: {"stands_for": times} for row, times in pairs}
    return made


def _reasons(
    kept: Iterable[str], similarity: list[float], same: list[bool], measure: str
) -> Iterator[str]:
    name = SHOWN[measure]
    for stay, close, equal in zip(kept, similarity, same, strict=True):
        near = f"near duplicate (of {stay}, {name}{close:.2f})"
        yield f"exact duplicate (of {stay})" if equal else near


# --- a table in parts ----------------------------------------------------------------------------


def decided_apart(
    table: Table, folder: Path, found: Verdicts, measure: str, mark: bool
) -> Decision:  # fmt: skip
    """The decision on each part. What it needs is in the folder, which goes when all are made."""
    places.make_folder(folder)
    stays, times = found.stands_for()
    bounds = np.searchsorted(stays, found.base).tolist()
    of_part = [slice(first, end) for first, end in pairwise(bounds)]
    parts = table.parts()
    items = [(part, stays[of_part[part.number]] - found.base[part.number]) for part in parts]
    ids = pa.chunked_array(table.spread.map(_ids, items), pa.string())
    for number, marked in enumerate(of_part):
        mine, base = found.of(number), found.base[number]
        share = pa.table({
            "row": mine.row - base, "kept": ids.take(pa.array(np.searchsorted(stays, mine.stay))),
            "similarity": mine.similarity, "same": mine.same,
        })  # fmt: skip
        if mark:
            marks = pa.table({"row": stays[marked] - base, "stands_for": times[marked]})
            share = pa.concat_tables([share, marks], promote_options="default")
        _write(_file(folder, number), share)
    return Decision(each=partial(_decide, folder, measure), gather=partial(forget, folder))


def _ids(item: tuple[Table, Ints]) -> pa.Array:
    """The ids of some live rows of a part."""
    part, rows = item
    if not len(rows):
        return pa.array([], pa.string())
    columns = [batch.column("id") for batch in part.batches(["id"])]
    return pa.chunked_array(columns).take(pa.array(rows)).combine_chunks()


def _decide(folder: Path, measure: str, part: Table) -> Decision:
    share = parquet.Parts(_file(folder, part.number)).read()
    ids = part.ids() if share.num_rows else []
    drops = share.filter(pc.is_valid(share.column("kept")))
    rows = [ids[row] for row in drops.column("row").to_pylist()]
    kept, close, same = (drops.column(n).to_pylist() for n in ("kept", "similarity", "same"))
    made = Decision(drop=dict(zip(rows, _reasons(kept, close, same, measure), strict=True)))
    if "stands_for" in share.column_names:
        marks = share.filter(pc.is_valid(share.column("stands_for")))
        pairs = zip(*(marks.column(n).to_pylist() for n in ("row", "stands_for")), strict=True)
        made.meta = {ids[row]: {"stands_for": times} for row, times in pairs}
    return made


def forget(folder: Path, _: list[dict[str, Any]]) -> dict[str, Any]:
    """Once all parts are decided."""
    places.remove(folder)
    return {}


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.verdicts.parquet"


def _write(path: Path, share: pa.Table) -> None:
    made = sink(path)
    try:
        pq.write_table(share, made.where)
        made.commit()
    except BaseException:
        made.discard()
        raise
