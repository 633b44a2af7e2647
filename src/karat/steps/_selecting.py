"""What `select` knows of every row: a vector, a score, a length, its words, its stratum.

Read in one pass. Memory a row: 1 KB for the vector, 4 bytes a word for the figures, and its id;
twice that while the batches are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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
from karat.steps._bars import Strata
from karat.steps._pool import flags
from karat.steps._ranking import open_flags

On = Literal["prompt", "response", "conversation"]


class Rows:
    """The live rows of a table as arrays; N: row."""

    def __init__(self, table: Table, on: On, scores: Sequence[str], per: Sequence[str]) -> None:
        self.strata = Strata(per)
        self.bigrams = Bigrams()
        vectors: list[Vectors] = [embed([])]
        lengths, found = [np.zeros(0)], [np.zeros(0)]
        codes: list[Ints] = [np.zeros(0, np.int64)]
        self.ids: list[str] = []
        fields = ["content", "scores", "kept"]
        columns = ["id", "messages", *(f"responses.list.element.{name}" for name in fields)]
        for batch in table.batches([*columns, *self.strata.columns]):
            prompts, answers = _texts(batch, on)
            compared = _compared(prompts, answers, on)
            self.ids += batch.column("id").to_pylist()
            vectors.append(embed(compared.to_pylist()))
            for chunk in chunks(normalise(compared)):
                self.bigrams.add(words(chunk))
            lengths.append(_lengths(prompts, answers))
            found.append(_scores(batch, scores))
            codes.append(self.strata.of(batch))
        self.vectors: Vectors = np.concatenate(vectors)
        self.length_N: Floats = np.concatenate(lengths)
        self.score_N: Floats = np.concatenate(found)
        self.code_N: Ints = np.concatenate(codes)


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
