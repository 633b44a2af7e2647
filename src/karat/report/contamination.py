"""How much of what a model will be tested with a data set holds: `karat contamination`.

The data are a run, a file of karat's own, or whatever `read` can read; documents are read by their
column. Nothing is dropped: the report says which items occur, in which rows, and with which words.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from rich.console import Group, RenderableType
from rich.text import Text

from karat.columns import Table
from karat.curation.normal import Ints
from karat.errors import RecipeError
from karat.report.cells import LINE, clean, grid
from karat.report.survey_source import own_file, read_foreign
from karat.row import Row
from karat.steps._contamination import On, Rules, Searcher, needed_columns, row_texts
from karat.steps._evaluation_sets import Columns, load_sets, problem, texts_in
from karat.steps._files import input_files, read_files
from karat.steps._mapping import NAME_ONE
from karat.steps._shapes import look

AT_ONCE = 1024  # rows
COLUMNS = ("row", "id", "benchmark", "item", "part", "ngrams", "covered", "words", "word", "cosine",
           "text")  # fmt: skip

Batch = tuple[pa.Array, Ints, list[str]]  # texts, the row of the batch each is of, the rows' ids


class Contamination(msgspec.Struct):
    """`benchmarks`: of each set its items, those found, rows with one, examples. `hits`: every row
    with an item, as a line of the CSV. `left_out`: rows that could not be read, by reason."""

    name: str
    rows: int
    contaminated: int
    looks_like: int
    n: int
    on: str
    benchmarks: list[dict[str, Any]]
    hits: list[dict[str, Any]]
    left_out: dict[str, int]

    def as_tree(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__struct_fields__}

    def write_csv(self, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            lines = csv.DictWriter(file, COLUMNS)
            lines.writeheader()
            lines.writerows(self.hits)


def contamination(
    data: Path,
    against: Sequence[str],
    rules: Rules,
    on: On = "any",
    column: str | None = None,
    columns: Columns | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Contamination:
    """What of the sets `against` is in `data`. Raises: RecipeError, RunError."""
    columns = columns or Columns()
    if not against:
        raise RecipeError("name an evaluation set: --against gsm8k, or a file of your own")
    if wrong := problem(against, Path, columns):
        raise RecipeError(wrong)
    for name in against:
        say(f"reading {name}")
    search = Searcher(load_sets(against, Path, columns), rules)
    say(f"searching {data}")
    rows, ids, left_out = 0, list[str](), dict[str, int]()
    for texts, owner, named in _batches(data, on, column, left_out):
        search.find(texts, owner + rows)
        ids += named
        rows += len(named)
    if not rows:
        raise RecipeError(f"{data} has no rows to search")
    found = search.hits(rows)
    exact = {hit.row for hit in found if hit.cosine is None}
    return Contamination(
        name=str(data),
        rows=rows,
        contaminated=len(exact),
        looks_like=len({hit.row for hit in found} - exact),
        n=rules.n,
        on=column or on,
        benchmarks=search.summary(found),
        hits=[{"row": hit.row, "id": ids[hit.row], **search.fact(hit)} for hit in found],
        left_out=left_out,
    )


# --- the data ------------------------------------------------------------------------------------


def _batches(data: Path, on: On, column: str | None, left_out: dict[str, int]) -> Iterator[Batch]:
    file = None if column else own_file(data)
    if file is not None:
        for batch in Table(file).batches(["id", *needed_columns(on)]):
            texts, owner = row_texts(batch, on)
            yield texts, owner, batch.column("id").to_pylist()
        return
    rows = _documents(data, column, left_out) if column else _foreign(data, on, left_out)
    while part := list(islice(rows, AT_ONCE)):
        texts = [text for _, mine in part for text in mine]
        owner = np.repeat(np.arange(len(part)), [len(mine) for _, mine in part])
        yield pa.array(texts, pa.string()), owner, [name for name, _ in part]


def _documents(
    data: Path, column: str, left_out: dict[str, int]
) -> Iterator[tuple[str, list[str]]]:
    """(id, texts) of every record that has the column."""
    for record in read_files(input_files(data), data):
        texts = texts_in(look(record.value, column)) if record.value else []
        if record.value and texts:
            yield str(record.value.get("id") or ""), texts
        else:
            reason = f"without {column}" if record.value else "unreadable"
            left_out[reason] = left_out.get(reason, 0) + 1


def _foreign(data: Path, on: On, left_out: dict[str, int]) -> Iterator[tuple[str, list[str]]]:
    """(id, texts) of every row that `read` makes of a file."""
    try:
        for row in read_foreign(data):
            if row.dropped is None:
                yield row.id, _texts(row, on)
            else:
                reason = row.dropped.partition(" (")[0]
                left_out[reason] = left_out.get(reason, 0) + 1
    except RecipeError as error:
        told = str(error).removesuffix(NAME_ONE)
        if told == str(error):
            raise
        raise RecipeError(f"{told}name the text: --column NAME") from None


def _texts(row: Row, on: On) -> list[str]:
    """A row's texts, as `row_texts` has them."""
    turns = [m.content for m in row.messages if on == "any" or m.role != "system"]
    answers = row.responses if on == "any" else row.kept()[:1]
    return [
        *(turns if on != "response" else []),
        *(one.content for one in answers if on != "prompt"),
    ]


# --- on a terminal -------------------------------------------------------------------------------


def contamination_text(found: Contamination) -> RenderableType:
    """A line for each set, then what was found, then what must be known of it."""
    alike = any("items_alike" in one for one in found.benchmarks)
    more = ["look alike", "rows alike"] if alike else []
    table = grid("evaluation set", "items", "found", "share", "wholly", "rows", *more)
    for one in found.benchmarks:
        cells = [f"{one[key]:,}" for key in ("items", "items_found")]
        cells += [f"{one['share']:.1%}", f"{one['items_whole']:,}", f"{one['rows']:,}"]
        cells += [f"{one[key]:,}" for key in ("items_alike", "rows_alike")] if alike else []
        table.add_row(clean(one["benchmark"], LINE), *cells)
    share = found.contaminated / found.rows
    head = (
        f"{found.name}: {found.contaminated:,} of {found.rows:,} rows ({share:.2%}) share "
        f"{found.n} words in a row with an evaluation item"
    )
    parts: list[RenderableType] = [clean(head, 4 * LINE, "bold"), Text(), table]
    for one in found.benchmarks:
        for hit in one["examples"]:
            place = f"{one['benchmark']} {hit['item']} in row {hit['row']}, {hit['covered']:.0%}: "
            parts += [Text(), Text.assemble(clean(place, LINE, "dim"), clean(hit["text"]))]
    notes = [f"Left out: {count:,} {reason}." for reason, count in found.left_out.items()]
    if found.looks_like:
        notes.append(
            f"Rows that only look like an item, no proof of anything: {found.looks_like:,}."
        )
    notes.append("Rows count from 0. The share in an example is of the item's words.")
    return Group(*parts, Text(), *(clean(note, 4 * LINE, "dim") for note in notes))
