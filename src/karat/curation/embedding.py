"""Embeddings with no model server, no key and no network: a static table of token vectors.

Each token of all-MiniLM-L6-v2 was run through that model once, when karat was built; here a text
is the weighted sum of its tokens' vectors. Word order is lost and so is context, in exchange for
thousands of texts per CPU second from a file of 8 MB: enough to see what a set of prompts is
about, to find paraphrases and to group them. assets/minilm-static.md says how near it comes to
MiniLM itself. tools/static_embedding.py makes the table.

Source: minishlab/model2vec, model2vec/distill (one forward pass a token, PCA, SIF weights from
ranks by Zipf's law); SIF: Arora et al. 2017, "A simple but tough-to-beat baseline for sentence
embeddings".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from karat.curation.wordpiece import WordPiece

Floats = NDArray[np.float32]

ASSET = Path(__file__).with_name("assets") / "minilm-static.npz"
DIGEST = "85814a8add4db5e6"  # blake2b of the asset; keys hold it: another table, other vectors
IDENTITY = f"minilm-static@{DIGEST}"
DIMENSIONS = 256
TEXT_CHARS = 100_000  # of a longer text only the beginning is looked at
CHUNK_TOKENS = 8_192  # summed at once: 8 MB


def embed(texts: Sequence[str]) -> Floats:
    """vectors_ND: one row of length 1 and D = 256 a text; of zeros where no word is known.

    A vector depends on its text alone, to the last bit. A token said k times counts √k times:
    against MiniLM that agrees better than k.
    """
    table = _table()
    vectors_ND = np.zeros((len(texts), DIMENSIONS), np.float32)
    first, tokens, lengths = 0, list[int](), list[int]()
    for place, text in enumerate(texts, 1):
        found = table.pieces(text[:TEXT_CHARS])
        tokens += found
        lengths.append(len(found))
        if len(tokens) >= CHUNK_TOKENS or place == len(texts):
            table.add(tokens, lengths, vectors_ND[first:place])
            first, tokens, lengths = place, [], []
    norm = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    vectors_ND /= np.where(norm > 0, norm, 1)
    return vectors_ND


def count_tokens(text: str) -> int:
    """How many known tokens `embed` would sum."""
    return len(_table().pieces(text[:TEXT_CHARS]))


class _Table:
    """The token vectors: rows_VD in int8, each to be multiplied by its scale."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as stored:
            self._rows_VD: NDArray[np.int8] = stored["rows"]
            self._scale_V: Floats = stored["scale"]
            vocabulary = bytes(stored["tokens"]).decode().split("\n")
        self.pieces = WordPiece({token: row for row, token in enumerate(vocabulary)})

    def add(self, tokens: list[int], lengths: list[int], out: Floats) -> None:
        """Writes the sum of each text's vectors into its row of `out`."""
        if not tokens:
            return
        many = len(self._scale_V)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        pairs, count = np.unique(owner * many + np.array(tokens), return_counts=True)
        text, token = np.divmod(pairs, many)
        weight = np.sqrt(count, dtype=np.float32) * self._scale_V[token]
        weighted = self._rows_VD[token] * weight[:, None]
        starts = np.flatnonzero(np.append(True, text[1:] != text[:-1]))
        out[text[starts]] = np.add.reduceat(weighted, starts, axis=0)


@cache
def _table() -> _Table:
    return _Table(ASSET)
