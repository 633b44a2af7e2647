"""Hard negatives: passages that look like an answer to a question and are none.

A passage that answers the question after all teaches the opposite of what it should. Those that may
say the answer are therefore left out by the same test that an answer's own passage has to pass, and
those too similar to the question by a ceiling relative to it.

Source: NV-Retriever (2407.15831), a ceiling for negatives relative to the positive.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from karat.curation.answers import holds


def hard_negatives(
    meta: dict[str, Any], candidates: list[dict[str, Any]], count: int, hardest: float | None
) -> list[dict[str, Any]]:
    """The `count` candidates most similar to the question that do not answer it.

    `meta` holds question, answer and passage. `hardest`: of the passage's own similarity to the
    question, what a negative's may reach; None for no ceiling.
    """
    question, answer = meta["question"], meta["answer"]
    fit = [other for other in candidates if not holds(other["passage"], answer, question)]
    if not fit or not count:
        return []
    from karat.curation.embedding import embed  # its table loads only where it is needed

    texts = [question, meta["passage"], *(other["passage"] for other in fit)]
    asked, positive, *others = embed(texts)
    similarity = np.round(np.stack(others) @ asked, 4).tolist()
    ceiling = 1.0 if hardest is None else hardest * float(positive @ asked)
    ranked = sorted(zip(similarity, range(len(fit)), strict=True), key=lambda p: (-p[0], p[1]))
    return [{**fit[place], "similarity": near} for near, place in ranked if near <= ceiling][:count]
