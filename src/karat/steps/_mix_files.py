"""The files that `mix` chooses rows from: those of people, others, and earlier rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from karat import parquet, places
from karat.context import Context
from karat.curation.shingles import Ints
from karat.elsewhere import accepted_at
from karat.errors import RecipeError
from karat.row import Row, digest
from karat.steps._edited import edited_rows, reviews_at
from karat.steps._mixing import Rows
from karat.steps.read import read
from karat.table import SCHEMA, from_batch

AT_ONCE = 256  # rows of a stored file in memory


def names_of(human: Any) -> list[str]:
    return [human] if isinstance(human, str) else list(human or ())


def reading(path: str, source: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the step `read` is to do. Raises: RecipeError."""
    return read.check({"path": path, "source": source, **given})


class File:
    """A file of rows to choose from: what is known of them, and which are chosen."""

    def __init__(
        self, path: str, human: bool, weight: float | None, cap: int | None,
        records: Callable[[], Iterator[Row]],
    ) -> None:  # fmt: skip
        self.path, self.human, self.weight, self.cap = path, human, weight, cap
        self._records = records
        self.skipped = dict.fromkeys(("unusable", "no_answer", "duplicate"), 0)
        self.rows: Rows
        self.order: Ints = np.zeros(0, np.int64)  # those that may be taken, in turn
        self.chosen: Ints = np.zeros(0, np.int64)

    def answered(self, counts: dict[str, int]) -> Iterator[Row]:
        """The rows that have a prompt and an answer, one of them kept."""
        for row in self._records():
            if row.dropped is not None:
                counts["unusable"] += 1
            elif not any(response.content.strip() for response in row.responses):
                counts["no_answer"] += 1
            else:
                _keep_one(row)
                yield row

    def there(self) -> int:
        """How much of it is fresh."""
        return int(self.rows.size[self.order].sum())

    def limit(self) -> int:
        """How much there is to take."""
        return self.there() if self.cap is None else min(self.cap, self.there())

    def again(self) -> Iterator[Row]:
        """The usable rows once more, not counted again."""
        yield from self.answered(dict.fromkeys(self.skipped, 0))


def files_of(
    ctx: Context, human: Any, given: dict[str, float], caps: dict[str, int], params: dict[str, Any]
) -> list[File]:
    def records(path: str, source: str) -> Callable[[], Iterator[Row]]:
        reviews = reviews_at(ctx.path(path))
        if reviews is not None:  # of a run: never its own rows, which are a model's
            return lambda: edited_rows(reviews, strict=source == "human")
        reads = reading(path, source, params)
        return lambda: read.function(ctx, **reads)

    weights = human if isinstance(human, dict) else dict.fromkeys(names_of(human))
    return [
        File(path, source == "human", weight, caps.get(path), records(path, source))
        for source, parts in (("human", weights), ("given", given))
        for path, weight in parts.items()
    ]


def _keep_one(row: Row) -> None:
    answers = [response for response in row.responses if response.content.strip()]
    kept = max(answers, key=lambda response: response.scores.get("human.preferred", 0.0))
    for response in row.responses:
        response.kept = response is kept


def earlier_rows(path: Path, number: int, *, ctx: Context) -> Iterator[Row]:
    """The accepted rows of an earlier round: of a run's directory or one of its files, or of any
    file that `read` reads. Under new ids, since two rounds may have written the same prompt, and
    with `meta.round` where there is none.

    Raises: RecipeError.
    """
    try:
        file = accepted_at(path)
        if file != path and not parquet.exists(file):
            raise RecipeError(f"{path} has no accepted.parquet: run it to the end, or name a file")
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {places.shown(error)}") from None
    for row in _stored(file, ctx):
        if row.dropped is None:
            row.id = digest(row.id, str(number), size=8).hex()
            row.meta.setdefault("round", number)
            yield row


def _stored(file: Path, ctx: Context) -> Iterator[Row]:
    if file.suffix != ".parquet" or not _is_own(file):
        yield from read.function(ctx, **read.check({"path": str(file)}))
        return
    with parquet.Parts(file) as stored:
        for batch in stored.iter_batches(AT_ONCE, columns=SCHEMA.names):
            yield from from_batch(batch)


def _is_own(file: Path) -> bool:
    """Whether it has the columns of karat's rows. Raises: RecipeError."""
    try:
        return set(SCHEMA.names) <= set(parquet.schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{file} is not Parquet: {error}") from None
