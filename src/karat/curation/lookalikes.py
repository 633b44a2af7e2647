"""Texts that look like an item of an evaluation set: the nearest item by cosine of embeddings.

A paraphrase shares no run of 13 words with what it says again. Static embeddings see which words a
text has and not what they say together, so a lookalike is a suspicion, and is never counted with
what was found word for word.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from karat.curation.embedding import Floats, embed
from karat.curation.normal import Ints

AT_ONCE = 1024  # texts compared together
DIGITS = 4  # a cosine is rounded to
SLACK = 2e-4  # more than rounding and a fast product's error together


class Matches(msgspec.Struct):
    """Texts as near to a passage as the threshold: text_M, the nearest passage, their cosine."""

    text: Ints
    passage: Ints
    cosine: NDArray[np.float64]


class Lookalikes:
    """The vectors of passages: 1 KB each. About 1,000 texts a CPU second are compared with them."""

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._vectors_QD = embed(list(texts))
        self._threshold = threshold

    def find(self, texts: pa.Array, before: int = 0) -> Matches:
        """The texts that look like a passage, numbered from `before`; of equals the first."""
        found = [Matches(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
        for start in range(0, len(texts) if len(self._vectors_QD) else 0, AT_ONCE):
            part = pc.fill_null(texts[start : start + AT_ONCE], "").to_pylist()
            found.append(self._nearest(embed(part), before + start))
        return Matches(
            np.concatenate([one.text for one in found]),
            np.concatenate([one.passage for one in found]),
            np.concatenate([one.cosine for one in found]),
        )

    def _nearest(self, vectors_ND: Floats, first: int) -> Matches:
        """A fast product says which passages can be the nearest; its last bits hang on the machine
        and on the other texts, so the cosines of those few are summed again, each by itself."""
        rough_NQ = vectors_ND @ self._vectors_QD.T
        least_N = np.maximum(rough_NQ.max(axis=1), self._threshold) - SLACK
        text, passage = np.nonzero(rough_NQ >= least_N[:, None])
        pairs_MD = vectors_ND[text].astype(np.float64) * self._vectors_QD[passage]
        cosine = np.round(pairs_MD.sum(axis=1), DIGITS)
        order = np.lexsort((passage, -cosine, text))  # of equals the first
        best = order[np.append(True, np.diff(text[order]) > 0)[: len(order)]]
        best = best[cosine[best] >= self._threshold]
        return Matches(text[best] + first, passage[best], cosine[best])
