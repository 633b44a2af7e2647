"""What `select` knows of every row: a vector, a score, a length, its words, its stratum.

Read in one pass, each part where it is: to find a row's words and its vector is what takes long.
What is chosen hangs on all rows, so all that is known of them comes together. Memory a row: 1 KB
for the vector, 4 bytes a word for the figures, and its id; twice that while the parts are joined.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.columns import Table, best_texts, joined_texts, last_texts, owners, score_values
from karat.curation.arms import Bigrams
from karat.curation.embedding import embed
from karat.curation.selection import Floats, Ints, Vectors
from karat.curation.shingles import chunks, normalise, words
from karat.errors import RunError
from karat.steps._pool import flags
from karat.steps._ranking import open_flags
from karat.steps._strata import Strata

On = Literal["prompt", "response", "conversation"]
T = TypeVar("T", bound=np.generic)


class Rows:
    """The live rows of a table, or of a part of it, as arrays; N: row."""

    def __init__(self, per: Sequence[str]) -> None:
        self.strata = Strata(per)
        self.bigrams = Bigrams()
        self.ids: list[str] = []
        self.vectors: Vectors = embed([])
        self.length_N: Floats = np.zeros(0)
        self.score_N: Floats = np.zeros(0)
        self.code_N: Ints = np.zeros(0, np.int64)
        self.ends: list[int] = []  # of the parts: the number of rows up to there

    def by_part(self, reasons: Mapping[int, str]) -> list[dict[str, str]]:
        """Of each part the reasons of its rows, by their ids."""
        found: list[dict[str, str]] = [{} for _ in self.ends]
        for place, why in reasons.items():
            found[bisect_right(self.ends, place)][self.ids[place]] = why
        return found


def read_rows(table: Table, on: On, scores: Sequence[str], per: Sequence[str]) -> Rows:
    """The rows of a table, read where its parts are."""
    rows = Rows(per)
    parts: list[Rows] = []
    for part in table.each(_read, on, scores, per):
        part.code_N = rows.strata.merge(part.strata)[part.code_N] if len(part.ids) else part.code_N
        rows.bigrams.merge(part.bigrams)
        rows.ids += part.ids
        rows.ends.append(len(rows.ids))
        parts.append(part)
    rows.vectors = _joined([part.vectors for part in parts])
    rows.length_N = _joined([part.length_N for part in parts])
    rows.score_N = _joined([part.score_N for part in parts])
    rows.code_N = _joined([part.code_N for part in parts])
    return rows


def _read(part: Table, on: On, scores: Sequence[str], per: Sequence[str]) -> Rows:
    rows = Rows(per)
    vectors, lengths, found, codes = [rows.vectors], [rows.length_N], [rows.score_N], [rows.code_N]
    fields = ["content", "scores", "kept"]
    columns = ["id", "messages", *(f"responses.list.element.{name}" for name in fields)]
    for batch in part.batches([*columns, *rows.strata.columns]):
        prompts, answers = _texts(batch, on)
        compared = _compared(prompts, answers, on)
        rows.ids += batch.column("id").to_pylist()
        vectors.append(embed(compared.to_pylist()))
        for chunk in chunks(normalise(compared)):
            rows.bigrams.add(words(chunk))
        lengths.append(_lengths(prompts, answers))
        found.append(_scores(batch, scores))
        codes.append(rows.strata.of(batch))
    rows.vectors = np.concatenate(vectors)
    rows.length_N, rows.score_N = np.concatenate(lengths), np.concatenate(found)
    rows.code_N = np.concatenate(codes)
    return rows


def _joined(parts: list[NDArray[T]]) -> NDArray[T]:
    """One array of several; a single one as it is, which may be large."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _texts(batch: pa.RecordBatch, on: str) -> tuple[pa.Array, pa.Array]:
    """The prompt of each row, all turns for a conversation, and its first kept response."""
    messages = batch.column("messages")
    prompts = joined_texts(messages) if on == "conversation" else last_texts(messages)
    return pc.fill_null(prompts, ""), pc.fill_null(best_texts(batch.column("responses")), "")


def _compared(prompts: pa.Array, answers: pa.Array, on: str) -> pa.Array:
    if on == "prompt":
        return prompts
    return answers if on == "response" else pc.binary_join_element_wise(prompts, answers, "\n")


def _lengths(prompts: pa.Array, answers: pa.Array) -> Floats:
    """Characters of the response; of the prompt in a row without one."""
    length = pc.utf8_length(answers).to_numpy(zero_copy_only=False)
    asked = pc.utf8_length(prompts).to_numpy(zero_copy_only=False)
    return np.asarray(np.where(length > 0, length, asked), np.float64)


def _scores(batch: pa.RecordBatch, keys: Sequence[str]) -> Floats:
    """score_P: the best response's, of those that no step turned down; NaN where none has one.

    Of several keys it is their product. Raises: RunError for a product with a negative score.
    """
    best_P = np.full(batch.num_rows, np.nan)
    if not keys:
        return best_P
    responses = batch.column("responses")
    flat = responses.flatten()
    score_R = np.ones(len(flat))
    for key in keys:
        one_R = score_values(flat.field("scores"), key)
        if len(keys) > 1 and (one_R < 0).any():
            raise RunError(
                f"complexity: the score '{key}' is negative for some responses, and a product of "
                "scores then ranks nothing; leave complexity out, or use scores from 0 up"
            )
        score_R *= one_R
    graded = np.isfinite(score_R) & _open(flat)
    np.fmax.at(best_P, owners(responses)[graded], score_R[graded])
    return best_P


def _open(flat: pa.StructArray) -> NDArray[np.bool_]:
    """Responses that speak for their row: not turned down, not empty."""
    said = flags(pc.not_equal(pc.utf8_trim_whitespace(flat.field("content")), ""))
    return open_flags(flat) & said
