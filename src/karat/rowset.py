"""Rows: the accepted or the dropped rows of a run, read from their Parquet as they are used.

A million rows must not have to fit into memory to look at ten of them. So this holds a path and no
rows: length, columns, iteration and indexing each read what they need, a batch at a time. What
needs all of it (a pandas frame, an Arrow table) says so by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import pyarrow as pa

from karat import parquet
from karat.display import shown
from karat.errors import RecipeError, did_you_mean
from karat.flat import flat_table
from karat.row import Row
from karat.table import SCHEMA, from_batch

if TYPE_CHECKING:
    import datasets
    import pandas
    import polars

SHOWN = 5  # rows in a notebook
BATCH = 1024  # rows that are read at once
NEEDS = {
    "pandas": "pip install 'karat[frames]'",
    "polars": "pip install 'karat[frames]'",
    "datasets": "pip install 'karat[hf]'",
}
Flat = bool | Literal["responses"]


class Rows:
    """The accepted or dropped rows of a run: `run.accepted`, `run.dropped`.

    `rows[0]` and `for row in rows` give karat.Row, `rows[:3]` a list of them, `rows["prompt"]` a
    column. The columns are prompt, response and score (of the best kept response) and then all that
    a row has; `karat.table.SCHEMA` says it. They are read from disk anew at each use: of a run that
    was run again they are the new ones. Raises: RecipeError where there are none yet, or what is
    there cannot be read.
    """

    def __init__(self, path: Path, kind: str = "rows") -> None:
        self.path = path
        self.kind = kind
        with opened_rows(path):
            pass

    # --- as rows -------------------------------------------------------------------------------

    def __len__(self) -> int:
        with opened_rows(self.path) as file:
            return file.num_rows

    def __iter__(self) -> Iterator[Row]:
        with opened_rows(self.path) as file:
            for batch in file.iter_batches(BATCH, columns=SCHEMA.names):
                yield from from_batch(batch)

    @overload
    def __getitem__(self, key: int) -> Row: ...
    @overload
    def __getitem__(self, key: slice) -> list[Row]: ...
    @overload
    def __getitem__(self, key: str) -> pa.ChunkedArray: ...

    def __getitem__(self, key: int | slice | str) -> Any:
        """A row, some rows, or a column. Raises: IndexError, KeyError, TypeError."""
        if isinstance(key, str):
            return self._columns([key]).column(0)
        if isinstance(key, slice):
            places = range(len(self))[key]
            return self._at(list(places))
        if not hasattr(key, "__index__"):
            raise TypeError(
                f"rows[{key!r}]: give a number, a slice such as [:3], or the name of a column"
            )
        size, place = len(self), key.__index__()
        if not -size <= place < size:
            raise IndexError(f"rows[{place}]: there are {size:,} rows, the first is rows[0]")
        return self._at([place % size])[0]

    def _at(self, places: list[int]) -> list[Row]:
        """The rows at these places, in this order; only row groups that hold one are read."""
        wanted, found = set(places), dict[int, Row]()
        with opened_rows(self.path) as file:
            for group in file.groups():
                if not wanted.intersection(range(group.first, group.first + group.rows)):
                    continue
                first = group.first
                for batch in parquet.batches(group.file, BATCH, SCHEMA.names, [group.number]):
                    held = sorted(wanted.intersection(range(first, first + batch.num_rows)))
                    rows = from_batch(batch.take(pa.array([p - first for p in held], pa.int64())))
                    found.update(zip(held, rows, strict=True))
                    first += batch.num_rows
        return [found[place] for place in places]

    # --- as columns ----------------------------------------------------------------------------

    @property
    def num_rows(self) -> int:
        """How many rows there are."""
        return len(self)

    @property
    def schema(self) -> pa.Schema:
        """The columns with their types."""
        with opened_rows(self.path) as file:
            return file.schema_arrow

    @property
    def column_names(self) -> list[str]:
        """The columns, those a person looks for first."""
        return list(self.schema.names)

    def _columns(self, names: Sequence[str]) -> pa.Table:
        known = self.column_names
        for name in names:
            if name not in known:
                raise KeyError(f"no column {name!r}; {did_you_mean(str(name), known)}")
        with opened_rows(self.path) as file:
            return file.read(list(names))

    def select(self, columns: Sequence[str]) -> pa.Table:
        """Some columns of all rows, in memory. Raises: KeyError for a column there is not."""
        return self._columns([columns] if isinstance(columns, str) else columns)

    def equals(self, other: Rows | pa.Table) -> bool:
        """Whether another's rows are the same, all columns of them."""
        theirs = other.to_arrow() if isinstance(other, Rows) else other
        return bool(self.to_arrow().equals(theirs))

    def to_pylist(self) -> list[dict[str, Any]]:
        """A dictionary for each row, all columns of it."""
        return list(self.to_arrow().to_pylist())

    def to_arrow(self, *, flat: Flat = False) -> pa.Table:
        """All rows as an Arrow table.

        With `flat` there are no lists in it: one line for each row (True) with its best kept
        response, or for each response ("responses"), with every score as a column `reward.name`
        and every plain field of `meta` as `meta.name`. Raises: RecipeError, ValueError.
        """
        if flat not in (False, True, "responses"):
            raise ValueError(
                f"flat={flat!r}: give True for one line a row, or 'responses' for one a response"
            )
        with opened_rows(self.path) as file:
            if not flat:
                return file.read()
            return flat_table(file.iter_batches(BATCH), each_response=flat == "responses")

    def to_pandas(self, *, flat: Flat = False) -> pandas.DataFrame:
        """All rows as a pandas frame; `flat` as in `to_arrow`. Raises: RecipeError without
        pandas."""
        with needed("to_pandas", "pandas"):
            import pandas  # noqa: F401
        found: pandas.DataFrame = self.to_arrow(flat=flat).to_pandas()
        return found

    def to_polars(self, *, flat: Flat = False) -> polars.DataFrame:
        """All rows as a polars frame; `flat` as in `to_arrow`. Raises: RecipeError without
        polars."""
        with needed("to_polars", "polars"):
            import polars
        found = polars.from_arrow(self.to_arrow(flat=flat))
        assert isinstance(found, polars.DataFrame)
        return found

    def to_hf(self, *, flat: Flat = False) -> datasets.Dataset:
        """All rows as a Hugging Face Dataset in memory; `flat` as in `to_arrow`. For more than fits
        there: `datasets.load_dataset("parquet", data_files=…)`. Raises: RecipeError without
        datasets."""
        with needed("to_hf", "datasets"):
            import datasets
        # What a file's metadata says of itself may be anybody's.
        return datasets.Dataset(self.to_arrow(flat=flat).replace_schema_metadata(None))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For whatever takes Arrow: polars.DataFrame(rows), pyarrow.table(rows), DuckDB."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    # --- shown ---------------------------------------------------------------------------------

    if not TYPE_CHECKING:  # a checker is to find a wrong name

        def __getattr__(self, name: str) -> Any:
            known = [one for one in dir(type(self)) if not one.startswith("_")]
            hint = did_you_mean(name, known)
            if hasattr(pa.Table, name) and not name.startswith("_"):
                hint = f"an Arrow table has it: rows.to_arrow().{name}"
            raise AttributeError(f"Rows has no '{name}'; {hint}")

    def __repr__(self) -> str:
        try:
            return f"<{shown.count(len(self), f'{self.kind} row')} in {shown.line(str(self.path))}>"
        except RecipeError as error:
            return f"<rows in {shown.line(str(self.path))}: {shown.line(str(error), 200)}>"

    def _repr_html_(self) -> str:
        try:
            return shown.fragment(*self.parts(SHOWN))
        except RecipeError as error:
            return shown.fragment(shown.paragraph(str(error)))

    def parts(self, most: int) -> list[shown.Html]:
        """The first rows as a table in HTML, and how many there are. Raises: RecipeError."""
        columns = ["prompt", "response", "score", "dropped"]
        columns = [name for name in columns if name in self.column_names]
        with opened_rows(self.path) as file:
            total = file.num_rows
            batch = next(file.iter_batches(most, columns=columns), None)
        lines = [] if batch is None else batch.slice(0, most).to_pylist()
        if not any(one["dropped"] for one in lines):
            columns.remove("dropped")
        cells = [
            [shown.score(one[name]) if name == "score" else one[name] or "" for name in columns]
            for one in lines
        ]
        figures = "".join("n" if name == "score" else "-" for name in columns)
        said = shown.count(total, f"{self.kind} row")
        more = f", the first {len(lines)} of them" if total > len(lines) else ""
        head = shown.paragraph(shown.bold(said), shown.small(f"{more.lstrip(', ')}"))
        return [head, shown.table(columns, cells, figures)] if lines else [head]


@contextmanager
def needed(method: str, package: str) -> Iterator[None]:
    """Raises: RecipeError that says how to get a package that is not installed."""
    try:
        yield
    except ImportError as error:
        why = "" if error.name == package else f" ({error})"
        raise RecipeError(f"{method} needs {package}{why}: {NEEDS[package]}") from None


@contextmanager
def opened_rows(path: Path) -> Iterator[parquet.Parts]:
    """A result of a run. Raises: RecipeError when it is not there, or not whole."""
    try:
        with parquet.Parts(path) as file:
            if missing := set(SCHEMA.names) - set(file.schema_arrow.names):
                raise damaged(path, f"no column {min(missing)}")
            yield file
    except FileNotFoundError:
        raise RecipeError(
            f"{path.parent} has no {path.name}: run it to the end; nothing is paid for twice"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def damaged(path: Path, reason: object) -> RecipeError:
    """What is said of a file of a run that cannot be read."""
    return RecipeError(
        f"{path} cannot be read ({reason}): remove it and run the recipe again into the same "
        "directory; nothing is paid for twice"
    )
