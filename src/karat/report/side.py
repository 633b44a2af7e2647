"""One data set as columns of digests and numbers: what is needed to compare it with another.

A million rows are two gigabytes of text and sixty megabytes of this. Files of karat's own are read
by columns, batch after batch; any other file row by row. Both give the same for the same rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat import parquet
from karat.columns import first_kept, owners, score_values
from karat.curation.shingles import digests, normalise
from karat.errors import RecipeError
from karat.report.survey_source import own_file, read_foreign
from karat.table import to_batch

AT_ONCE = 4096  # rows
SHARES = ("source", "model", "task", "topic", "difficulty", "split")  # whose shares are compared
Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]
Progress = Callable[[float], None]
_FIELD = "responses.list.element."
COLUMNS = [
    "messages", f"{_FIELD}content", f"{_FIELD}model", f"{_FIELD}kept", f"{_FIELD}finish_reason",
    f"{_FIELD}scores", "source", "meta", "dropped",
]  # fmt: skip


class Side(NamedTuple):
    """A data set's rows that are not dropped, in file order.

    `prompts_N` and `answers_N` are digests of what is asked (all turns but the system's) and of the
    answer that was chosen; `numbers` by name are NaN where a row has none: words, responses, and
    the chosen answer's scores. `places_N` are the rows' numbers in the file.
    """

    name: str
    prompts_N: Keys
    answers_N: Keys
    places_N: NDArray[np.int64]
    numbers: dict[str, Floats]
    shares: dict[str, Counter[str]]
    left_out: Counter[str]  # rows of a file that cannot be taken, by why
    cut_off: int = 0  # chosen answers that stopped at a limit of length

    @property
    def rows(self) -> int:
        return len(self.prompts_N)

    @property
    def scores(self) -> list[str]:
        """The names of `numbers` that are scores."""
        return [name for name in self.numbers if name not in WORDS]


WORDS = ("words of the prompt", "words of the answer", "responses a row")


def read_side(path: Path, name: str | None = None, told: Progress = lambda _: None) -> Side:
    """The data of a run, a file or a folder that `read` can read. `told` hears the share read.

    Raises: RecipeError.
    """
    file = own_file(path)
    made = _Made()
    if file is None:
        rows = read_foreign(path)
        while part := list(islice(rows, AT_ONCE)):
            made.left_out.update(row.dropped.partition(" (")[0] for row in part if row.dropped)
            made.take(to_batch([row for row in part if row.dropped is None]))
    else:
        for batch, share in _batches(file):
            made.take(batch)
            told(share)
    return made.side(str(path) if name is None else name)


def _batches(path: Path) -> Iterator[tuple[pa.RecordBatch, float]]:
    """(batch, share of the file read after it). Raises: RecipeError."""
    try:
        with parquet.Parts(path) as file:
            total, done = max(1, file.num_rows), 0
            for batch in file.iter_batches(AT_ONCE, columns=COLUMNS):
                done += batch.num_rows
                yield batch, done / total
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{path} cannot be read ({error}); run the recipe again") from error


class _Made:
    """A side while it is read."""

    def __init__(self) -> None:
        self._prompts, self._answers = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        self._places = [np.zeros(0, np.int64)]
        self._numbers: dict[str, list[tuple[int, Floats]]] = {name: [] for name in WORDS}
        self._shares: dict[str, Counter[str]] = {name: Counter() for name in SHARES}
        self.left_out: Counter[str] = Counter()
        self._cut = self._rows = self._seen = 0

    def take(self, batch: pa.RecordBatch) -> None:
        """Takes in the rows of a batch that are not dropped."""
        live = pc.is_null(batch.column("dropped"))
        places = np.flatnonzero(live.to_numpy(zero_copy_only=False)) + self._seen
        self._seen += batch.num_rows
        if len(places) < batch.num_rows:
            batch = batch.filter(live)
        if not batch.num_rows:
            return
        responses = batch.column("responses")
        flat, chosen = responses.flatten(), first_kept(responses)
        asked = normalise(_filled(asked_texts(batch.column("messages"))))
        answer = normalise(_filled(flat.field("content").take(chosen)))
        self._prompts.append(digests(asked))
        self._answers.append(digests(answer))
        self._places.append(places)
        counts = pc.fill_null(pc.list_value_length(responses), 0).to_numpy(zero_copy_only=False)
        for name, values in zip(WORDS, (_words(asked), _words(answer), counts), strict=True):
            self._numbers[name].append((self._rows, values.astype(np.float64)))
        scores = flat.field("scores").take(chosen)
        for key in pc.unique(scores.flatten().field("key")).to_pylist():
            found = self._numbers.setdefault(key, [])
            found.append((self._rows, score_values(_full(scores), key)))
        finish = flat.field("finish_reason").take(chosen)
        self._cut += pc.sum(pc.equal(finish, "length")).as_py() or 0
        self._count(batch, flat.field("model").take(chosen))
        self._rows += batch.num_rows

    def _count(self, batch: pa.RecordBatch, models: pa.Array) -> None:
        for name, column in (("source", batch.column("source")), ("model", models)):
            for one in pc.value_counts(column).to_pylist():
                value = one["values"] or ("given" if name == "model" else "")
                self._shares[name][value] += one["counts"]
        for one in pc.value_counts(batch.column("meta")).to_pylist():
            text = one["values"]
            meta = orjson.loads(text) if text and text != "{}" else {}
            for name in SHARES[2:]:
                if isinstance(value := meta.get(name), str):
                    self._shares[name][value] += one["counts"]

    def side(self, name: str) -> Side:
        numbers = {}
        for key, parts in self._numbers.items():
            column = np.full(self._rows, np.nan)
            for start, values in parts:
                column[start : start + len(values)] = values
            column[~np.isfinite(column)] = np.nan
            numbers[key] = column
        return Side(
            name, np.concatenate(self._prompts), np.concatenate(self._answers),
            np.concatenate(self._places), numbers, self._shares, self.left_out, self._cut,
        )  # fmt: skip


def asked_texts(messages: pa.ListArray) -> pa.Array:
    """All turns of each row but the system's, joined by line ends."""
    flat = messages.flatten()
    asked = pc.not_equal(flat.field("role"), "system")
    kept = pc.fill_null(asked, True).to_numpy(zero_copy_only=False).astype(bool)
    counts = np.bincount(owners(messages)[kept], minlength=len(messages))
    offsets = pa.array(np.append(0, np.cumsum(counts)), pa.int32())
    contents = _filled(flat.field("content")).filter(pa.array(kept))
    return pc.binary_join(pa.ListArray.from_arrays(offsets, contents), "\n")


def _filled(texts: pa.Array) -> pa.Array:
    return pc.fill_null(texts, "")


def _full(lists: pa.ListArray) -> pa.ListArray:
    """The same lists, those of rows without an answer empty instead of absent, from offset 0."""
    return pa.concat_arrays([lists]) if not lists.null_count else pc.if_else(
        pc.is_valid(lists), lists, pa.scalar([], lists.type)
    )  # fmt: skip


def _words(texts: pa.Array) -> NDArray[np.int64]:
    """Words of texts whose white space is folded."""
    blanks = pc.count_substring(texts, " ").to_numpy(zero_copy_only=False).astype(np.int64)
    some = pc.greater(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    words: NDArray[np.int64] = blanks + some
    return words


def reasons(path: Path, prompts: Keys) -> Counter[str]:
    """Why a run dropped these prompts, as its dropped.parquet says; each is counted once.

    Raises: RecipeError.
    """
    found: Counter[str] = Counter()
    left = np.unique(prompts)
    try:
        with parquet.Parts(path) as file:
            for batch in file.iter_batches(AT_ONCE, columns=["messages", "dropped"]):
                keys = digests(normalise(_filled(asked_texts(batch.column("messages")))))
                here, first = np.unique(keys, return_index=True)
                hits = np.isin(here, left)
                why = batch.column("dropped").take(pa.array(first[hits])).to_pylist()
                found.update((text or "").partition(" (")[0] for text in why)
                left = left[~np.isin(left, here[hits])]
    except (OSError, pa.ArrowException) as error:
        raise RecipeError(f"{path} cannot be read ({error}); run the recipe again") from error
    return found
