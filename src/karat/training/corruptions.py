"""Spoiled copies of human-rated responses, with the ratings they deserve.

Rated sets hold answers of large models; a small model under rejection sampling also writes loops,
stumps, echoes and answers to something else. A reward that has never seen them can be fooled by
them, so each rated response is also spoiled on purpose: to train on, at a low weight, and to test
on. The ratings given here are karat's own judgement, not a human's; the card says so.
"""

from __future__ import annotations

import random
import re

import numpy as np
from numpy.typing import NDArray

_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")
_GENERIC = (
    "I'm sorry, but I can't help with that.",
    "I don't know.",
    "Could you please clarify your question?",
    "Sure! Here is the answer to your question.",
    "As an AI language model, I don't have personal opinions.",
    "I am not sure what you mean. Please provide more context.",
)

# Changes to the five ratings of the response that was spoiled …
_LOWERED = {
    "truncated": (-1.0, -0.8, -1.0, -0.2, -0.5),
    "last sentence repeated": (-1.2, -1.0, -2.0, -0.3, 1.0),
    "early loop": (-1.8, -1.6, -2.2, -0.6, 0.0),
    "half another answer": (-1.5, -1.5, -1.5, 0.0, 0.0),
}
# … or their highest values, where what is left owes nothing to the response.
_CAPPED = {
    "words shuffled": (0.3, 0.5, 0.0, 1.0, 1.5),
    "answer to another prompt": (0.2, 0.2, 1.5, 1.5, 1.8),
    "empty": (0.0, 0.0, 0.0, 0.0, 0.0),
    "prompt echoed": (0.2, 0.2, 1.0, 1.0, 1.0),
    "generic reply": (0.4, 0.4, 2.5, 0.3, 0.3),
    "phrase looped": (0.0, 0.0, 0.0, 0.3, 1.5),
}
TRAINED = (*_LOWERED, *_CAPPED)
KINDS = (*TRAINED, "first sentence only")  # the last is tested on only: a short answer is no fault


def spoil(response: str, prompt: str, other: str, rng: random.Random) -> dict[str, str]:
    """One spoiled copy of each of `KINDS`; `other` is a response to another prompt."""
    parts = [s for s in _SENTENCES.split(response) if s.strip()] or [""]
    words = response.split() or [""]
    cut = response[: int(len(response) * rng.uniform(0.25, 0.75))].rstrip()
    if cut.endswith((".", "!", "?")):
        cut = cut[:-1].rpartition(" ")[0]
    start = rng.randint(1, min(3, len(parts)))
    other_parts = [s for s in _SENTENCES.split(other) if s.strip()]
    half = len(parts) // 2
    return {
        "truncated": cut,
        "last sentence repeated": response + (" " + parts[-1]) * 10,
        "early loop": " ".join(parts[:start]) + (" " + parts[start - 1]) * rng.randint(4, 14),
        "half another answer": " ".join(other_parts[:half] + parts[half:]),
        "words shuffled": " ".join(rng.sample(words, len(words))),
        "answer to another prompt": other,
        "empty": "",
        "prompt echoed": prompt,
        "generic reply": rng.choice(_GENERIC),
        "phrase looped": (" ".join(words[:8]) + " ") * rng.randint(5, 39),
        "first sentence only": parts[0],
    }


def ratings_of(kind: str, ratings_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """The five ratings, 0–4, of a response rated `ratings_A` once spoiled in this way."""
    if kind in _CAPPED:
        return np.asarray(np.minimum(ratings_A, _CAPPED[kind]))
    return np.asarray(np.clip(ratings_A + np.array(_LOWERED[kind]), 0.0, 4.0))
