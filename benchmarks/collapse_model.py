"""The language model of collapse.py: word trigrams with interpolated Kneser-Ney smoothing.

Small enough to be trained hundreds of times in minutes and yet a real model: it smooths, backs off,
gives held-out text a probability and writes text of its own. It is sampled from as it is, but for
the uniform floor, which only stands for words it never saw: no model proposes those.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

END, START, FIRST = 0, 1, 2  # word numbers: a text's end, what stands before it, the first word
ORDER = 3
DISCOUNT = 0.75
LONGEST = 200  # words of a text that is written
TOKEN = re.compile(r"\w+|[^\w\s]")


class Vocabulary:
    """The words of some texts, lower case, as numbers from FIRST on."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.words = sorted({word for text in texts for word in TOKEN.findall(text.lower())})
        self._numbers = {word: number for number, word in enumerate(self.words, FIRST)}
        self.size = len(self.words) + FIRST

    def read(self, texts: Sequence[str]) -> list[Ints]:
        """The known words of each text; others are left out."""
        numbers = self._numbers
        return [
            np.array([numbers[w] for w in TOKEN.findall(t.lower()) if w in numbers], np.int64)
            for t in texts
        ]

    def write(self, texts: Sequence[Ints]) -> list[str]:
        return [" ".join(self.words[word - FIRST] for word in text) for text in texts]


class _Level:
    """Counts of one length of n-grams, sorted, with where each context's lie."""

    def __init__(self, grams: Ints, counts: Ints, size: int) -> None:
        self.grams, self.counts = grams, counts
        self.words = grams % size
        self.contexts, self.starts = np.unique(grams // size, return_index=True)
        self.ends = np.append(self.starts[1:], len(grams))
        self.sums = np.append(0, np.cumsum(counts))

    def find(self, contexts: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        place = np.minimum(np.searchsorted(self.contexts, contexts), len(self.contexts) - 1)
        return place, self.contexts[place] == contexts

    def count(self, grams: Ints) -> Ints:
        place = np.minimum(np.searchsorted(self.grams, grams), len(self.grams) - 1)
        return np.where(self.grams[place] == grams, self.counts[place], 0)


class Model:
    """Source: interpolated Kneser-Ney, Chen and Goodman 1999 (Computer Speech & Language 13)."""

    def __init__(self, texts: Sequence[Ints], size: int) -> None:
        self.size = size
        flat, _ = _padded(texts)
        keys = _grams(flat, ORDER, size)
        keys = keys[flat[ORDER - 1 :] != START]
        grams, counts = np.unique(keys, return_counts=True)
        self.levels = [_Level(grams, counts, size)]
        for length in range(ORDER - 1, 0, -1):
            # A shorter one counts the different words that stood before it.
            grams, counts = np.unique(grams % size**length, return_counts=True)
            self.levels.append(_Level(grams, counts, size))

    def log_probability(self, texts: Sequence[Ints]) -> tuple[Floats, Ints]:
        """(nats_T, words_T): log-probability of each text with its end, and how many words."""
        flat, owner = _padded(texts)
        said = np.flatnonzero(flat[ORDER - 1 :] != START)
        keys = _grams(flat, ORDER, self.size)[said]
        p_W = np.full(len(keys), 1.0 / (self.size - 1))
        for length, level in enumerate(reversed(self.levels), 1):
            grams = keys % self.size**length
            place, there = level.find(grams // self.size)
            first, last = level.starts[place], level.ends[place]
            total = level.sums[last] - level.sums[first]
            kept = np.maximum(level.count(grams) - DISCOUNT, 0) / total
            back = DISCOUNT * (last - first) / total
            p_W = np.where(there, kept + back * p_W, p_W)
        own = owner[ORDER - 1 :][said]
        return (
            np.bincount(own, np.log(p_W), minlength=len(texts)),
            np.bincount(own, minlength=len(texts)),
        )

    def write(self, count: int, rng: np.random.Generator) -> list[Ints]:
        """Texts drawn from the model, none empty, at most LONGEST words."""
        texts: list[Ints] = []
        while len(texts) < count:
            texts += [text for text in self._some(count - len(texts), rng) if len(text)]
        return texts

    def _some(self, count: int, rng: np.random.Generator) -> list[Ints]:
        told = np.full((count, LONGEST + ORDER - 1), START, np.int64)
        running, length = np.arange(count), np.full(count, LONGEST)
        for at in range(ORDER - 1, LONGEST + ORDER - 1):
            context = np.zeros(len(running), np.int64)
            for back in range(ORDER - 1, 0, -1):
                context = context * self.size + told[running, at - back]
            word = self._next(context, rng)
            told[running, at] = word
            length[running[word == END]] = at - (ORDER - 1)
            running = running[word != END]
            if not len(running):
                break
        return [row[ORDER - 1 :][:n] for row, n in zip(told, length, strict=True)]

    def _next(self, context: Ints, rng: np.random.Generator) -> Ints:
        """A word for each context: one of its occurrences, which with the discount's part of its
        count gives way to what the shorter context says."""
        word = np.zeros(len(context), np.int64)
        open_ = np.arange(len(context))
        for length, level in zip(range(ORDER, 0, -1), self.levels, strict=True):
            place, there = level.find(context[open_] % self.size ** (length - 1))
            low, high = level.sums[level.starts[place]], level.sums[level.ends[place]]
            drawn = np.searchsorted(level.sums, rng.integers(low, high), "right") - 1
            stays = rng.random(len(open_)) >= DISCOUNT / level.counts[drawn]
            done = there & (stays | (length == 1))
            word[open_[done]] = level.words[drawn[done]]
            open_ = open_[~done]
        return word


def _padded(texts: Sequence[Ints]) -> tuple[Ints, Ints]:
    before, end = np.full(ORDER - 1, START), np.array([END])
    flat = np.concatenate(list(chain.from_iterable((before, text, end) for text in texts)))
    owner = np.repeat(np.arange(len(texts)), [len(text) + ORDER for text in texts])
    return flat, owner


def _grams(flat: Ints, length: int, size: int) -> Ints:
    key = np.zeros(len(flat) - length + 1, np.int64)
    for offset in range(length):
        key = key * size + flat[offset : len(flat) - length + 1 + offset]
    return key
