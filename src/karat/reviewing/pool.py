"""The rows of a run that can be reviewed, as columns: a million of them must not be objects.

Kept and dropped rows are one pool. A reviewer who saw only what a reward chose could say nothing
about what it turned down.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat import parquet
from karat.columns import READ_ROWS, score_values
from karat.curation.normal import digests
from karat.curation.words import mix
from karat.errors import RecipeError
from karat.row import Row, digest
from karat.rundir import Run
from karat.stage import read_meta
from karat.table import SCHEMA, from_batch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Stamp = tuple[tuple[int, ...], ...]

SCORES = "responses.list.element.scores"
SAMPLE_ROWS = 2_000  # of each file, in which the names of scores are looked for
LICENCES = "licences"


class Pool:
    """The rows with a response of one run, numbered through accepted and dropped ones.

    `count_P`: how many responses each has; `turn_P`: a number by which rows are drawn at random,
    the same for everybody; `keys`: the scores there are, `main` the one the run chose by. Reads
    the ids once: some 30 bytes a row. Raises: RecipeError for a run without results.
    """

    def __init__(self, run: Run, seed: int = 0) -> None:
        self.files = _tables(run)
        if not self.files:
            raise RecipeError(
                f"{run.path.name} has no rows yet: they can be reviewed once it ended"
            )
        self.seed = seed
        self.stamp = stamp_of(run)
        try:
            self._read()
        except (OSError, pa.ArrowException, KeyError) as error:
            raise RecipeError(
                f"the rows of {run.path.name} cannot be read ({error}); run its recipe again"
            ) from error

    def _read(self) -> None:
        ids, counts, places = [], [], []
        keys: dict[str, None] = {}
        first = 0
        for file in self.files:
            seen = 0
            for batch in _batches(file, ["id", "responses.list.element.index"]):
                ids.append(batch.column("id"))
                counts.append(np.diff(batch.column("responses").offsets.to_numpy()))
                places.append(np.arange(first, first + batch.num_rows))
                first += batch.num_rows
            for batch in _batches(file, [SCORES]):
                flat = batch.column("responses").flatten().field("scores").flatten().field("key")
                keys |= dict.fromkeys(flat.unique().to_pylist())
                seen += batch.num_rows
                if seen >= SAMPLE_ROWS:
                    break
        count_P = np.concatenate([np.zeros(0, np.int64), *counts]).astype(np.int64)
        held = count_P > 0
        every = pa.chunked_array(ids, pa.string()).combine_chunks()
        self.ids: pa.StringArray = every.filter(pa.array(held))
        self.count_P: Ints = count_P[held]
        self.place_P: Ints = np.concatenate([np.zeros(0, np.int64), *places])[held]
        self.turn_P: Hashes = turns(self.ids, self.seed)
        self.keys = list(keys)
        self.main = self._main()
        groups = [parquet.Parts(file).groups() for file in self.files]
        self._groups = [group for of_file in groups for group in of_file]
        self._ends = list(accumulate(group.rows for group in self._groups)) or [0]

    def _main(self) -> str | None:
        found = (read_meta(file).get("ranking") for file in self.files)
        main = next((key for key in found if key in self.keys), None)
        ends = (".reward", ".helpfulness")
        return main or next((key for end in ends for key in self.keys if key.endswith(end)), None)

    def __len__(self) -> int:
        return len(self.count_P)

    def find(self, row: str) -> int | None:
        """The number of the row with this id."""
        place = int(pc.index(self.ids, row).as_py())
        return None if place < 0 else place

    def row(self, place: int) -> tuple[Row, list[str]]:
        """(row, its licences) by number: only its row group is read."""
        return next((row, licences) for _, row, licences in self.rows([place]))

    def rows(self, places: Iterable[int]) -> Iterator[tuple[int, Row, list[str]]]:
        """(number, row, its licences) of these, in order of the files; each row group once."""
        by_group: dict[int, list[tuple[int, int]]] = {}
        for place in places:
            at = int(self.place_P[place])
            number = bisect_right(self._ends, at)
            first = self._ends[number - 1] if number else 0
            by_group.setdefault(number, []).append((at - first, place))
        for number, wanted in sorted(by_group.items()):
            wanted.sort()
            found = _taken(self._groups[number], [at for at, _ in wanted])
            for (_, place), (row, licences) in zip(wanted, found, strict=True):
                yield place, row, licences

    def scores(self, keys: Sequence[str]) -> tuple[Ints, Floats]:
        """(owner_R, scores_RK): of every response in the pool, NaN where it has none."""
        parts, owners = [np.zeros((0, len(keys)))], [np.zeros(0, np.int64)]
        number = 0
        for file in self.files:
            for batch in _batches(file, [SCORES]):
                responses = batch.column("responses")
                held_P = np.diff(responses.offsets.to_numpy())
                scores = responses.flatten().field("scores")
                columns = [score_values(scores, key) for key in keys]
                parts.append(np.stack(columns, axis=1) if columns else np.zeros((len(scores), 0)))
                full = held_P[held_P > 0]
                owners.append(np.repeat(np.arange(number, number + len(full)), full))
                number += len(full)
        found = np.concatenate(parts)
        found[~np.isfinite(found)] = np.nan
        return np.concatenate(owners), found

    def flagged(self) -> Floats:
        """sigma_P: how far apart graders are on rows that the step cross_validate marked; NaN of
        the others."""
        found, number = np.full(len(self), np.nan), 0
        for file in self.files:
            for batch in _batches(file, ["meta", "responses.list.element.index"]):
                held = pc.list_value_length(batch.column("responses"))
                metas = batch.column("meta").filter(pc.greater(held, 0))
                hits = pc.match_substring(metas, '"disagreement"').to_numpy(zero_copy_only=False)
                for place in np.flatnonzero(hits).tolist():
                    said = orjson.loads(metas[place].as_py()).get("disagreement")
                    sigma = said.get("sigma") if isinstance(said, dict) else None
                    if isinstance(sigma, int | float):
                        found[number + place] = sigma
                number += len(metas)
        return found


def turns(ids: pa.Array, seed: int) -> Hashes:
    """A number for each id, as good as random and the same for the same seed."""
    salt = np.uint64(int.from_bytes(digest("review", str(seed), size=8), "little"))
    return mix(digests(ids) ^ salt) if len(ids) else np.zeros(0, np.uint64)


def stamp_of(run: Run) -> Stamp:
    """What tells the files of a run from those it had before."""
    return tuple(stamp for file in _tables(run) if (stamp := parquet.stamp(file)) is not None)


def _tables(run: Run) -> list[Path]:
    """Raises: RecipeError."""
    try:
        return [file for file in (run.accepted_file, run.dropped_file) if parquet.exists(file)]
    except OSError as error:  # of a store
        raise RecipeError(f"the rows of {run.path.name} cannot be read ({error})") from error


def _batches(file: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with parquet.Parts(file) as opened:
        yield from opened.iter_batches(16 * READ_ROWS, columns=columns)


def _taken(group: parquet.Group, places: list[int]) -> list[tuple[Row, list[str]]]:
    with parquet.opened(group.file) as opened:
        names = [*SCHEMA.names, *({LICENCES} & set(opened.schema_arrow.names))]
        table = opened.read_row_group(group.number, columns=names).take(places)
    (batch,) = table.combine_chunks().to_batches()
    rows = from_batch(batch.select(SCHEMA.names))
    licences: list[Any] = [[]] * len(rows)
    if LICENCES in names:
        licences = [held or [] for held in batch.column(LICENCES).to_pylist()]
    return list(zip(rows, licences, strict=True))
