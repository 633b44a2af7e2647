"""The published heuristics of web pages: Gopher, C4 and FineWeb, each as limits on statistics.

They were set by looking at crawled pages. Of answers that people rated helpful each costs 14 to
31%, most of them for being short (docs/curation.md). So every limit is a parameter, and there are
two sets of them: `published`, as the papers have them, and `alignment`, where those that cost good
answers are off.

The papers leave much open (what a word is, whether blank lines count). Where they do, this follows
the code that FineWeb was made with, but for its words, which are spaCy's tokens there and runs
between white space here.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import numpy as np

from karat.curation.limits import Statistic
from karat.curation.pages import (
    ALPHABETIC,
    ENDS,
    SPOKEN,
    STOP,
    STOP_WORDS,
    Floats,
    Pages,
    ends_sentence,
    share,
)

Least = Annotated[float, msgspec.Meta(ge=0)] | None
Part = Annotated[float, msgspec.Meta(ge=0, le=1)] | None

# Sentences end in these. Source: the larger scripts of Unicode's property Sentence_Terminal.
TERMINAL = frozenset(".!?։؟۔܂।॥။။።፧។៕᠃᠉‼⁇⁈⁉。．！？｡꓿꘎")
BULLETS = ("•", "-")
ELLIPSES = ("...", "…")


class Gopher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a text's words and lines; None for none.

    Source: Rae et al. 2021 (2112.11446) App. A1.1, quality filtering.
    """

    min_words: Least = 50
    max_words: Least = 100_000
    min_word_length: Least = 3
    max_word_length: Least = 10
    max_hashes: Least = 0.1
    max_ellipses: Least = 0.1
    max_bullet_lines: Part = 0.9
    max_ellipsis_lines: Part = 0.3
    min_alphabetic_words: Part = 0.8
    min_stop_words: Least = 2


GOPHER = {
    "published": Gopher(),
    # Short answers, numbers, code, lists and other languages than English are no faults. What ends
    # its lines in an ellipsis was cut off.
    "alignment": Gopher(
        min_words=None, min_word_length=None, max_word_length=None, max_hashes=None,
        max_ellipses=None, max_bullet_lines=None, min_alphabetic_words=None, min_stop_words=None,
    ),
}  # fmt: skip


def gopher(pages: Pages, limits: Gopher) -> list[Statistic]:
    """Words, their mean length, # and … per word, lines that begin with a bullet or end in an
    ellipsis, words with a letter, and how many of eight common English words occur.

    Words without letter or digit do not count as words, but do where others are set against them.
    """
    spoken_W = (pages.marks & SPOKEN) > 0
    spoken = pages.sum_words(spoken_W).astype(np.float64)
    letters = pages.sum_words(np.where(spoken_W, pages.word_sizes, 0))
    words = pages.word_counts
    bullets = pages.per_line(lambda line: line.startswith(BULLETS), pages.bare_lines)
    trailing = pages.per_line(lambda line: line.endswith(ELLIPSES), pages.bare_lines)
    lines = _lines(pages)
    alphabetic = share(pages.sum_words((pages.marks & ALPHABETIC) > 0), words)
    return [
        Statistic("words", spoken, limits.min_words, limits.max_words),
        Statistic("mean word length", share(letters, spoken),
                  limits.min_word_length, limits.max_word_length),
        Statistic("hashes per word", share(pages.each(lambda text: text.count("#")), words),
                  high=limits.max_hashes, kind="share"),
        Statistic("ellipses per word", share(pages.each(_ellipses), words),
                  high=limits.max_ellipses, kind="share"),
        Statistic("bullet lines", share(pages.sum_lines(bullets), lines),
                  high=limits.max_bullet_lines, kind="share"),
        Statistic("ellipsis lines", share(pages.sum_lines(trailing), lines),
                  high=limits.max_ellipsis_lines, kind="share"),
        Statistic("alphabetic words", alphabetic, limits.min_alphabetic_words, kind="share"),
        Statistic("stop words", _stop_words(pages), limits.min_stop_words),
    ]  # fmt: skip


def _ellipses(text: str) -> int:
    return text.count("...") + text.count("…")


def _lines(pages: Pages) -> Floats:
    """Lines of each text, blank ones too, but for what follows the last line end."""
    last = np.array([text.endswith("\n") or not text for text in pages.texts], np.int64)
    return (np.diff(pages.line_ends) - last).astype(np.float64)


def _stop_words(pages: Pages) -> Floats:
    """How many different ones occur."""
    number_W = pages.marks // STOP
    places = np.flatnonzero(number_W)
    seen = np.zeros((len(pages), len(STOP_WORDS) + 1), np.bool_)
    seen[pages.owners[places], number_W[places]] = True
    return np.asarray(seen.sum(axis=1), np.float64)


class C4(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of what is left of a text when lines that are no sentences are taken out.

    Source: Raffel et al. 2020 (1910.10683) §2.2; tensorflow/datasets, text/c4_utils.py, for the
    order of its tests, lines of cookies and terms, and words of over 1,000 characters.
    """

    min_sentences: Least = 5
    curly_brackets: bool = False  # whether they are allowed
    lorem_ipsum: bool = False
    min_line_words: Annotated[int, msgspec.Meta(ge=0)] = 3
    max_word_length: Annotated[int, msgspec.Meta(ge=1)] = 1000


C4S = {
    "published": C4(),
    "alignment": C4(min_sentences=None, curly_brackets=True),  # short answers, code and tables
}
_POLICY = (
    "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
    "use cookies",
)  # fmt: skip
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")
C4_ENDS = (".", "?", "!", '"', "'")


def c4(pages: Pages, limits: C4) -> list[Statistic]:
    """Sentences in the lines that C4 keeps, curly brackets and "lorem ipsum" in them.

    C4 keeps lines of three words or more that end as sentences do and speak of neither JavaScript
    nor cookies. It also takes the others out of the text, which a filter does not.
    """
    ends_W = (pages.marks & ENDS) > 0
    words_L = pages.words_per_line
    last_L = np.cumsum(words_L) - 1
    ended_L = np.append(ends_W, False)[np.where(words_L > 0, last_L, len(ends_W))]
    sentences = pages.sum_words_of_lines(ends_W) + ~ended_L
    kept = pages.per_line(_is_sentence, pages.bare_lines) & (words_L >= limits.min_line_words)
    lorem, curly = np.zeros((2, len(kept)), np.bool_)
    long_W = pages.word_sizes > limits.max_word_length
    looked_at = np.flatnonzero(pages.each(_needs_a_look).astype(np.bool_) | pages.sum_words(long_W))
    ends = pages.line_ends
    for text in looked_at:
        for line in range(ends[text], ends[text + 1]):
            if words_L[line] >= limits.min_line_words:
                lorem[line], curly[line], sentences[line] = _look(pages.bare_lines[line], limits)
                kept[line] = True
    counts = [pages.sum_lines(values) for values in (lorem, curly, np.where(kept, sentences, 0))]
    found = [values.astype(np.float64) for values in counts]
    return [
        Statistic("lorem ipsum", found[0], high=None if limits.lorem_ipsum else 0),
        Statistic("curly brackets", found[1], high=None if limits.curly_brackets else 0),
        Statistic("sentences", found[2], limits.min_sentences),
    ]


def _is_sentence(line: str) -> bool:
    return line.endswith(C4_ENDS) and not line.endswith("...")


def _needs_a_look(text: str) -> bool:
    """Whether more decides about a line than how it ends."""
    if "{" in text or "[" in text:
        return True
    lower = text.lower()
    return "javascript" in lower or "lorem ipsum" in lower or any(p in lower for p in _POLICY)


def _look(line: str, limits: C4) -> tuple[bool, bool, int]:
    """(lorem ipsum, a curly bracket, sentences) of a line; nothing of one that C4 takes out."""
    words = line.split()
    line = _CITATION.sub("", line)
    if not _is_sentence(line) or max(map(len, words)) > limits.max_word_length:
        return False, False, 0
    lower = line.lower()
    if "lorem ipsum" in lower:
        return True, False, 0
    if "javascript" in lower:
        return False, False, 0
    if "{" in line:
        return False, True, 0
    return False, False, 0 if any(phrase in lower for phrase in _POLICY) else count_sentences(line)


def count_sentences(line: str) -> int:
    """Sentences of a line: its words that end as a sentence does, and what follows the last."""
    ends = list(map(ends_sentence, line.split()))
    return sum(ends) + (not ends[-1] if ends else 0)


class FineWeb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a text's lines; None for none. `short_line` is in characters.

    Source: Penedo et al. 2024 (2406.17557) §3.5, custom filters; the last limit is that of the code
    it was made with (huggingface/datatrove, fineweb_quality_filter.py).
    """

    min_ended_lines: Part = 0.12
    max_short_lines: Part = 0.67
    short_line: Annotated[int, msgspec.Meta(ge=1)] = 30
    max_repeated_lines: Part = 0.01
    max_line_ends: Least = 0.3


FINEWEB = {
    "published": FineWeb(),
    # One short line is an answer; code repeats its lines, lists and poems have many.
    "alignment": FineWeb(
        min_ended_lines=None, max_short_lines=None, max_repeated_lines=0.3, max_line_ends=None
    ),
}


def fineweb(pages: Pages, limits: FineWeb) -> list[Statistic]:
    """Lines that end as a sentence does, short ones, characters in lines said before, and line ends
    per word. Blank lines count for the last only."""
    written = pages.written
    lines = pages.sum_lines(written)
    ended = written & pages.per_line(lambda line: line[-1:] in TERMINAL, pages.lines)
    short = written & (pages.line_sizes <= limits.short_line)
    breaks = np.diff(pages.line_ends) - 1
    return [
        Statistic("lines that end as sentences", share(pages.sum_lines(ended), lines),
                  limits.min_ended_lines, kind="share"),
        Statistic("short lines", share(pages.sum_lines(short), lines),
                  high=limits.max_short_lines, kind="share"),
        Statistic("characters in repeated lines",
                  share(_repeated_lines(pages), pages.sizes - breaks),
                  high=limits.max_repeated_lines, kind="share"),
        Statistic("line ends per word", share(breaks, pages.word_counts),
                  high=limits.max_line_ends, kind="share"),
    ]  # fmt: skip


def _repeated_lines(pages: Pages) -> Floats:
    """Characters in written lines that stand further up in their text too."""
    found = np.zeros(len(pages))
    ends, lines, written = pages.line_ends.tolist(), pages.lines, pages.written
    for text in range(len(pages)):
        here = slice(ends[text], ends[text + 1])
        own = [line for line, some in zip(lines[here], written[here], strict=True) if some]
        if len(set(own)) < len(own):
            found[text] = sum(map(len, own)) - sum(map(len, set(own)))
    return found
