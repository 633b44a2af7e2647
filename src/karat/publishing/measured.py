"""What is measured of a run's files when its papers are written: how much text, in which languages,
and what the journal knows of when, and of which version of a model answered."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from karat import parquet
from karat.errors import RecipeError
from karat.journal import look_up
from karat.rundir import Run
from karat.verifiers._language import can_tell, language_of

AT_ONCE = 4_096  # rows of one part
SAMPLED = 1_000  # answers whose language is told
LEAST_SHARE = 0.02  # of a language that is named
BYTES_A_TOKEN = 4
COLUMNS = ["source", "response", "messages.list.element.content", "responses.list.element.content"]


class Measured(msgspec.Struct, frozen=True):
    """`tokens`: of all texts, a token taken as 4 bytes, by who wrote the prompt; `languages`: share
    of a sample of answers by ISO code, most first, None without a detector; `first` and `last`: the
    days of the first and the last call, UTC; `served`: by model, what its service says answered."""

    rows: int
    tokens: dict[str, int]
    languages: dict[str, float] | None
    first: str
    last: str
    served: dict[str, tuple[str, ...]]


def measure(run: Run) -> Measured:
    """Of a finished run. Raises: RecipeError, RunError."""
    rows, sizes, sample = _texts(run)
    first, last = _days(run)
    return Measured(rows, sizes, _languages(sample), first, last, _served(run))


def _texts(run: Run) -> tuple[int, dict[str, int], list[str]]:
    """(rows, tokens by source, answers from all over the file)."""
    rows, sizes, sample = 0, Counter[str](), list[str]()
    try:
        with parquet.Parts(run.accepted_file) as file:
            stride = max(1, file.num_rows // SAMPLED)
            for batch in file.iter_batches(AT_ONCE, columns=COLUMNS):
                _add_sizes(sizes, batch)
                places = range(-rows % stride, batch.num_rows, stride)
                texts = batch.column("response").take(pa.array(places, pa.int64()))
                sample += [text for text in texts.to_pylist() if text]
                rows += batch.num_rows
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{run.accepted_file} cannot be read ({error}); run it again") from None
    return rows, {name: size // BYTES_A_TOKEN for name, size in sorted(sizes.items())}, sample


def _add_sizes(sizes: Counter[str], batch: pa.RecordBatch) -> None:
    sources = batch.column("source").dictionary_encode()
    for name in ("messages", "responses"):
        lists = batch.column(name)
        lengths = pc.fill_null(pc.binary_length(lists.flatten().field("content")), 0)
        of_row = pa.table({"source": sources.take(pc.list_parent_indices(lists)), "size": lengths})
        summed = of_row.group_by("source").aggregate([("size", "sum")])
        for row in summed.to_pylist():
            sizes[str(row["source"])] += row["size_sum"] or 0


def _languages(sample: list[str]) -> dict[str, float] | None:
    if not can_tell():
        return None
    found = Counter(code for text in sample if (code := language_of(text)))
    total = max(1, sum(found.values()))
    return {code: n / total for code, n in found.most_common() if n / total >= LEAST_SHARE}


def _days(run: Run) -> tuple[str, str]:
    asked = "SELECT min(minute), max(minute) FROM minutes WHERE attempts > 0"
    found = look_up(run.journal, asked) or [(None, None)]
    first, last = (
        "" if minute is None else datetime.fromtimestamp(minute * 60, UTC).strftime("%Y-%m-%d")
        for minute in found[0]
    )
    return first, last


def _served(run: Run) -> dict[str, tuple[str, ...]]:
    asked = (
        "SELECT DISTINCT model, served FROM attempts WHERE outcome = 'answered' AND served <> '' "
        "AND served IS NOT NULL ORDER BY model, served"
    )
    found: dict[str, tuple[str, ...]] = {}
    for model, served in look_up(run.journal, asked):
        found[model] = (*found.get(model, ()), served)
    return found
