"""A batch of texts taken apart once: lines, words, and what every rule of quality counts in them.

The published filters all look at the same few things, and each splits a text anew. Here a batch is
split once: lines and words of all texts lie flat beside each other, and a word that occurs a
thousand times is looked at once. What is left to a rule is arithmetic on arrays.

A word is a run between white space, as `str.split` finds it; a line is what stands between two line
ends. Published code differs in what it calls a word (spaCy's tokens in datatrove), the papers do
not say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_WORDS = 200_000  # of a lexicon before it forgets
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP_NUMBERS = {word: number for number, word in enumerate(STOP_WORDS, 1)}
# A word has a letter or a digit, where others are marks ("-", "=", "•"); has a letter; ends as a
# sentence does; is a stop word, whose number counts in units of STOP.
SPOKEN, ALPHABETIC, ENDS, STOP = 1, 2, 4, 8
_ALPHABETIC = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?]+[\"')\]]*$")


class Pages:
    """Texts with what is counted in them; computed when first asked for, then kept."""

    def __init__(self, texts: Sequence[str], lexicon: Lexicon | None = None) -> None:
        self.texts = texts
        self._lexicon = Lexicon() if lexicon is None else lexicon

    def __len__(self) -> int:
        return len(self.texts)

    def each(self, count: Callable[[str], float]) -> Floats:
        """value_T: a figure of each whole text."""
        return np.fromiter(map(count, self.texts), np.float64, len(self.texts))

    @cached_property
    def sizes(self) -> Ints:
        """Characters of each text."""
        return np.fromiter(map(len, self.texts), np.int64, len(self.texts))

    # --- lines ---

    @cached_property
    def _lines(self) -> list[list[str]]:
        return [text.split("\n") for text in self.texts]

    @cached_property
    def lines(self) -> list[str]:
        """The lines of all texts, flat."""
        return list(chain.from_iterable(self._lines))

    @cached_property
    def line_ends(self) -> Ints:
        """Where each text's lines begin among `lines_L`, and the end."""
        return _ends(map(len, self._lines), len(self.texts))

    @cached_property
    def line_sizes(self) -> Ints:
        """Characters of each line."""
        return np.fromiter(map(len, self.lines), np.int64, len(self.lines))

    @cached_property
    def bare_lines(self) -> list[str]:
        """The lines without white space around them."""
        return list(map(str.strip, self.lines))

    @cached_property
    def written(self) -> Flags:
        """Whether there is more than white space on a line."""
        return np.fromiter(map(bool, self.bare_lines), np.bool_, len(self.bare_lines))

    def per_line(self, test: Callable[[str], object], lines: Sequence[str]) -> Flags:
        """What a test says of each line."""
        return np.fromiter(map(bool, map(test, lines)), np.bool_, len(lines))

    def sum_lines(self, values_L: NDArray[np.generic]) -> Ints:
        """The sum over each text's lines, of which every text has one at least."""
        if not len(self.texts):
            return np.zeros(0, np.int64)
        return np.add.reduceat(values_L.astype(np.int64), self.line_ends[:-1])

    # --- words ---

    @cached_property
    def _words(self) -> list[list[str]]:
        return list(map(str.split, self.lines))

    @cached_property
    def words_per_line(self) -> Ints:
        return np.fromiter(map(len, self._words), np.int64, len(self._words))

    @cached_property
    def word_counts(self) -> Ints:
        """How many words each text has."""
        return self.sum_lines(self.words_per_line)

    @cached_property
    def word_ends(self) -> Ints:
        """Where each text's words begin among all, and the end."""
        return np.append(0, np.cumsum(self.word_counts))

    @cached_property
    def _looked_up(self) -> tuple[Ints, Ints, Ints]:
        words = chain.from_iterable(self._words)
        return self._lexicon.look_up(words, int(self.word_ends[-1]))

    @property
    def words(self) -> Ints:
        """The number of each word, text after text."""
        return self._looked_up[0]

    @property
    def word_sizes(self) -> Ints:
        """Characters of each word."""
        return self._looked_up[1]

    @property
    def marks(self) -> Ints:
        """What each word has, as a sum of SPOKEN, ALPHABETIC, ENDS and a stop word's number."""
        return self._looked_up[2]

    def sum_words(self, values_W: NDArray[np.generic]) -> Ints:
        """The sum over each text's words; 0 where there are none."""
        return _sums(values_W, self.word_ends)

    def sum_words_of_lines(self, values_W: NDArray[np.generic]) -> Ints:
        """The sum over each line's words; 0 where there are none."""
        return _sums(values_W, np.append(0, np.cumsum(self.words_per_line)))

    @cached_property
    def owners(self) -> Ints:
        """The text that each word belongs to."""
        return np.repeat(np.arange(len(self.texts)), self.word_counts)


class Lexicon:
    """Words met so far, each looked at once. One for all batches of a run makes it a few seconds
    less; it forgets when it is full, at about 40 MB, and what is found never depends on it."""

    def __init__(self) -> None:
        self._words = _Numbers()
        self._sizes, self._marks = np.zeros(0, np.int64), np.zeros(0, np.int64)

    def look_up(self, words: Iterable[str], count: int) -> tuple[Ints, Ints, Ints]:
        """(number, characters, marks) of each of `count` words."""
        if len(self._words) > MOST_WORDS:
            self._words.clear()
            self._sizes, self._marks = self._sizes[:0], self._marks[:0]
        found = np.fromiter(map(self._words.__getitem__, words), np.int64, count)
        new = list(islice(self._words, len(self._sizes), None))
        self._sizes = np.append(self._sizes, np.array(list(map(len, new)), np.int64))
        self._marks = np.append(self._marks, np.array(list(map(_marks, new)), np.int64))
        return found, self._sizes[found], self._marks[found]


class _Numbers(dict[str, int]):
    """Numbers words in order of their first use."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self)
        return number


def ends_sentence(word: str) -> bool:
    """Whether a sentence ends with this word: a full stop, with what closes behind it."""
    return _SENTENCE_END.search(word) is not None


def _marks(word: str) -> int:
    alphabetic = _ALPHABETIC.search(word) is not None
    spoken = alphabetic or any(map(str.isalnum, word))
    marks = SPOKEN * spoken + ALPHABETIC * alphabetic + ENDS * ends_sentence(word)
    return marks + STOP * _STOP_NUMBERS.get(word, 0)


def _sums(values: NDArray[np.generic], ends: Ints) -> Ints:
    total: Ints = np.append(0, np.cumsum(values, dtype=np.int64))
    return total[ends[1:]] - total[ends[:-1]]


def share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    """part / whole; NaN where the whole is 0: there is nothing to have a share of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = part.astype(np.float64) / whole
    return np.where(whole == 0, np.nan, found)


def _ends(counts: Iterable[int], total: int) -> Ints:
    return np.append(0, np.cumsum(np.fromiter(counts, np.int64, total)))
