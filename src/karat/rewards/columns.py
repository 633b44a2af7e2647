"""What a head reads: surface features, and projections of the static embeddings of both texts.

The surface says how an answer is made, an embedding what it is about. Of 256 directions a few
hundred prompts teach few, so an embedding comes in through its principal components: of the
response, of the prompt, and of their product, whose sum is the cosine and whose parts say in which
topics an answer agrees with its prompt. Everything needs the text alone and no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from karat.curation.embedding import DIMENSIONS, embed
from karat.rewards.asks import read_ask
from karat.rewards.features import NAMES, features_of

if TYPE_CHECKING:
    from karat.row import Message

Floats = NDArray[np.float64]

SURFACE = len(NAMES)
RAW = SURFACE + 2 * DIMENSIONS
PARTS = ("response", "prompt", "product")
_PRODUCT_SCALE = 16.0  # the product of two vectors of length 1 has parts of about 1/256


def read_raw(prompt: Sequence[Message], responses: Sequence[str], static: bool = True) -> Floats:
    """raw_NR: surface features, the response's embedding, the prompt's; zeros without `static`."""
    ask = read_ask(prompt)
    raw_NR = np.zeros((len(responses), RAW))
    raw_NR[:, :SURFACE] = features_of(ask, responses)
    if static and len(responses):
        vectors = embed([ask.text, *responses])
        raw_NR[:, SURFACE : SURFACE + DIMENSIONS] = vectors[1:]
        raw_NR[:, SURFACE + DIMENSIONS :] = vectors[0]
    return raw_NR


@dataclass(frozen=True, slots=True)
class Columns:
    """Turns raw_NR into the F columns a head reads.

    `axes` holds, by name of `PARTS`, a mean and K directions of embedding space: rows_KD, the mean
    first. The cosine of prompt and response is a column wherever there is any part.
    """

    surface: bool
    axes: dict[str, NDArray[np.float32]]

    @property
    def static(self) -> bool:
        """Whether embeddings are needed."""
        return bool(self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each column."""
        names = list(NAMES) if self.surface else []
        for part, rows_KD in self.axes.items():
            names += [f"{part}_{i}" for i in range(len(rows_KD) - 1)]
        return (*names, *(["cosine"] if self.axes else []))

    def of(self, raw_NR: Floats) -> Floats:
        """x_NF. A row hangs on itself alone, to the last bit, whatever stands beside it."""
        columns = [raw_NR[:, :SURFACE]] if self.surface else []
        for part, rows_KD in self.axes.items():
            mean_D, axes_DK = rows_KD[0].astype(np.float64), rows_KD[1:].T.astype(np.float64)
            # One row at a time: a product of the whole matrix rounds differently for different N.
            rows = [(vector_D - mean_D) @ axes_DK for vector_D in part_of(raw_NR, part)]
            columns.append(np.array(rows).reshape(-1, axes_DK.shape[1]))
        if self.axes:
            columns.append(part_of(raw_NR, "product").sum(axis=1, keepdims=True) / _PRODUCT_SCALE)
        return np.concatenate(columns, axis=1)


def part_of(raw_NR: Floats, part: str) -> Floats:
    """vectors_ND: the embedding of the response or of the prompt, or their product."""
    response_ND = raw_NR[:, SURFACE : SURFACE + DIMENSIONS]
    prompt_ND = raw_NR[:, SURFACE + DIMENSIONS : RAW]
    if part == "response":
        return response_ND
    return prompt_ND if part == "prompt" else response_ND * prompt_ND * _PRODUCT_SCALE


def principal_axes(vectors_ND: Floats, count: int) -> NDArray[np.float32]:
    """rows_KD: the mean, then the `count` directions of greatest spread, each divided by it."""
    mean_D = vectors_ND.mean(axis=0)
    centred_ND = vectors_ND - mean_D
    spread_D, axes_DD = np.linalg.eigh(centred_ND.T @ centred_ND / max(len(vectors_ND), 1))
    kept = np.argsort(-spread_D)[: min(count, max(len(vectors_ND) - 1, 1))]
    kept = kept[spread_D[kept] > 1e-9] if (spread_D[kept] > 1e-9).any() else kept[:1]
    scale_K = np.sqrt(np.maximum(spread_D[kept], 1e-9))
    return np.vstack([mean_D, axes_DD[:, kept].T / scale_K[:, None]]).astype(np.float32)
