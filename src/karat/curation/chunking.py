"""Cuts a text into passages: where sections, paragraphs or sentences end, never inside a word.

A passage is a span of its text and nothing else, so that whatever is later found in it can be
pointed at in the document it came from. The text is gone through once with one passage in memory.

Sizes are counted in words: runs between white space, as everywhere in karat a character each where
a script is written without spaces. A run of more than 100 characters is no word, and is cut.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from karat.curation.shingles import UNSPACED_RANGES

LONGEST_WORD = 100  # characters
INSIDE, LINE, SENTENCE, PARAGRAPH, SECTION = range(5)  # what ends before a word
BEHIND_HEADING = -1  # the worst place to cut: a heading belongs to what follows it

UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED_RANGES)
# Marks and closing punctuation stay with the character they follow.
_WORD = re.compile(rf"[{UNSPACED}][^\w\s]*|[^\s{UNSPACED}]{{1,{LONGEST_WORD}}}")
_END = re.compile(r"[.!?…。！？][\"'”’»)\]」』]*$")
_NO_END = re.compile(
    r"(?:^|\W)(?:Mr|Mrs|Ms|Dr|Prof|St|vs|cf|al|approx|No|Fig|Eq|Sec|Vol|e\.g|i\.e|\w)\.$"
    r"|^\(?\d{1,3}[.)]$",  # an initial, and the number of a list item
    re.IGNORECASE,
)


class Span(NamedTuple):
    """Characters start … end - 1 of a text."""

    start: int
    end: int


def words_of(text: str) -> Iterator[Span]:
    """The words of a text, as sizes count them."""
    return (Span(*found.span()) for found in _WORD.finditer(text))


def cut(text: str, size: int, overlap: int, headings: Sequence[Span] = ()) -> Iterator[Span]:
    """The passages of a text, in order; together they hold every word of it.

    A passage has at most `size` words and, but for a text's only or last one, more than half of
    them. It ends before a heading if there is one in its second half, else at the last paragraph,
    sentence, line or word that ends there. The last passage is never a scrap of less than a
    quarter, where there is another.

    The next passage repeats at most `overlap` words, as many whole sentences as they hold; only
    where this one had to end inside a sentence, whole lines or else just that many words. None are
    repeated across a heading. `overlap` is at most size // 2, so that each passage has words of its
    own.
    """
    words = words_of(text)
    places = _Places(text, headings)
    spare = size // 4
    window: list[Span] = []
    while True:
        window += islice(words, size + spare + 1 - len(window))
        count = len(window)
        if count <= size:
            break
        last = size if count > size + spare else min(size, count - spare)
        ranks = places.before(window[: last + 1])
        end = max(range(size // 2 + 1, last + 1), key=lambda place: (ranks[place], place))
        yield Span(window[0].start, window[end - 1].end)
        del window[: _next_start(ranks, end, overlap)]
    if window:
        yield Span(window[0].start, window[-1].end)


def _next_start(ranks: Sequence[int], end: int, overlap: int) -> int:
    """The word that the next passage begins with, where this one ends before the word `end`."""
    if ranks[end] == SECTION:
        return end
    for least in (SECTION, SENTENCE, LINE):
        found = next((place for place in range(end - overlap, end) if ranks[place] >= least), end)
        if found < end or ranks[end] >= least:
            return found
    return end - overlap


class _Places:
    """What ends in front of each word."""

    def __init__(self, text: str, headings: Sequence[Span]) -> None:
        self._text = text
        self._starts = {heading.start for heading in headings}
        self._ends = {heading.end for heading in headings}

    def before(self, words: Sequence[Span]) -> list[int]:
        """A rank for each word; INSIDE for the first, whose place is no cut."""
        found = [INSIDE] * len(words)
        for place in range(1, len(words)):
            found[place] = self._rank(words[place - 1], words[place])
        return found

    def _rank(self, one: Span, two: Span) -> int:
        if two.start in self._starts:
            return SECTION
        if one.end in self._ends:
            return BEHIND_HEADING
        lines = self._text.count("\n", one.end, two.start)
        if lines > 1:
            return PARAGRAPH
        if self._ends_sentence(self._text[one.start : one.end], self._text[two.start]):
            return SENTENCE
        return LINE if lines else INSIDE

    @staticmethod
    def _ends_sentence(word: str, following: str) -> bool:
        return bool(_END.search(word)) and not following.islower() and not _NO_END.search(word)
