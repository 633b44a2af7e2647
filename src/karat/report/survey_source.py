"""Where a survey's texts come from: a run, a file of karat's own, or whatever `read` can read.

Rows of a passage and a question about it are measured by the question alone: measured whole, they
would say how varied the documents are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow as pa

from karat import parquet, places
from karat.columns import Table
from karat.errors import RecipeError
from karat.report.run_diversity import question_in
from karat.row import Row
from karat.rundir import Run
from karat.steps._files import input_files, read_files
from karat.steps._mapping import NAME_ONE
from karat.steps._shapes import look
from karat.steps.read import SAMPLES, read
from karat.table import SCHEMA

On = Literal["prompt", "response", "conversation"]


class Source:
    """The texts of a data set: those of `column`, or else what `on` says of each row.

    `left_out` counts rows without one, by reason; `questions` those measured by their question.
    """

    def __init__(self, data: Path, on: On, column: str | None = None) -> None:
        self.name = str(data)
        self.left_out: dict[str, int] = {}
        self.questions = 0
        self._data, self._on, self._column = data, on, column

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(text, meta) of every row that has a text. Raises: RecipeError."""
        file = own_file(self._data)
        found = self._foreign() if file is None else self._own(Table(file))
        for text, meta in found:
            if text.strip():
                yield text, meta
            else:
                self._leave(f"no {self._column or self._on}")

    def why_none(self) -> str:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in self.left_out.items())
        return f"left out: {reasons}" if reasons else "it is empty"

    def _leave(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def _own(self, table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
        batches = table.batches(["meta", "source"])
        for texts, batch in zip(table.texts(self._on), batches, strict=True):
            metas, sources = (batch.column(name).to_pylist() for name in ("meta", "source"))
            for text, held, source in zip(texts, metas, sources, strict=True):
                meta = orjson.loads(held)
                yield self._chosen(text, meta), {"source": source, **meta}

    def _chosen(self, text: str, meta: dict[str, Any]) -> str:
        """The text of one of karat's own rows; its columns are those of meta."""
        if self._column is not None:
            value = look(meta, self._column)
            return value if isinstance(value, str) else ""
        asked = question_in(meta) if self._on == "prompt" else ""
        self.questions += bool(asked)
        return asked or text

    def _foreign(self) -> Iterator[tuple[str, dict[str, Any]]]:
        try:
            for row in read_foreign(self._data, self._column):
                if row.dropped is not None:
                    self._leave(row.dropped.partition(" (")[0])
                else:
                    yield _text(row, self._on), row.meta
        except RecipeError as error:
            told = str(error).removesuffix(NAME_ONE)
            if told == str(error):
                raise
            raise RecipeError(f"{told}name the text: --column {self._wordiest()}") from None

    def _wordiest(self) -> str:
        """The column with most text in it: most likely the one that is meant."""
        characters = Counter({"NAME": 0})
        for record in islice(read_files(input_files(self._data), self._data), SAMPLES):
            for name, value in (record.value or {}).items():
                characters[name] += len(value) if isinstance(value, str) else 0
        return characters.most_common(1)[0][0]


def own_file(path: Path) -> Path | None:
    """The table of karat's own rows behind a run or a file; None where it is no such file.

    Raises: RecipeError.
    """
    data = path
    if path.is_dir() and (path / "recipe.yaml").is_file():
        path = Run.open(path).accepted_file
        if not parquet.exists(path):
            raise RecipeError(
                f"{data} has no {path.name}: run it to the end; nothing is paid for twice"
            )
    if path.suffix != ".parquet" or not parquet.exists(path):
        return None
    try:
        held = set(parquet.schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{path} is not Parquet: {error}") from None
    return path if held >= set(SCHEMA.names) else None


def read_foreign(path: Path, column: str | None = None) -> Iterator[Row]:
    """The rows of any other file or folder, as the step `read` makes them. Raises: RecipeError."""
    yield from reading(read.check({"path": str(path), "prompt": column}))


def reading(params: dict[str, Any]) -> Iterator[Row]:
    """The rows of `read` with these parameters, outside of a run."""
    rows: Iterator[Row] = read.function(_Reader(), **params)
    yield from rows


class _Reader:
    """As much of a step's context as `read` touches: paths are the user's, warnings go nowhere.

    What it would warn of, which columns it took, can be seen in the result.
    """

    def path(self, name: str) -> Path:
        return places.place(name)

    def warn(self, text: str) -> None:
        pass


def _text(row: Row, on: On) -> str:
    """A row's text, as Table.texts has it."""
    turns = [message.content for message in row.messages]
    answer = [response.content for response in row.kept()[:1]]
    if on == "prompt":
        return turns[-1] if turns else ""
    return "\n".join(filter(None, answer if on == "response" else [*turns, *answer]))
