"""Short answers against each other and against the passage they were found in, without a model.

Words are compared as the SQuAD evaluation does: without case, punctuation and articles. Here a
hyphen parts words rather than joining them, and a character is a word where a script is written
without spaces, so that one rule serves all languages.

Source: Rajpurkar et al. 2016 (1606.05250) §6.1, evaluate-v1.1.py.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from karat.curation.chunking import UNSPACED, Span

_WORD = re.compile(rf"\d+(?:[.,]\d+)*|[{UNSPACED}]|[^\W\d_{UNSPACED}]+(?:['’][^\W\d_{UNSPACED}]+)*")
_ARTICLES = frozenset(("a", "an", "the"))
# Words that any passage holds: what an answer shares with one is counted without them.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "and are as at be because been but by can did do does for from had has have he her his if "
        "in into is it its not of on or she so than that their them then there these they this "
        "those to was were when where which who will with would",
    )
)
_DECLINED = re.compile(
    r"\bnot (?:in|mentioned|stated|given|specified|provided|said|answered|known|found|enough|clear)"
    r"\b|\b(?:does|do|did)(?: not|n['’]t) (?:say|state|mention|provide|specify|contain|answer|tell"
    r"|know|give|include)\b|\b(?:cannot|can not|can['’]t|unable to) (?:answer|be|say|tell|find|"
    r"determine|provide)\b|\bunanswerable\b|\bno answer\b|^\W*(?:unknown|n/?a|none)\W*$",
    re.IGNORECASE,
)
SPREAD, SLACK = 2, 8  # the words that may hold an answer's: SPREAD times as many and SLACK more


class Word(NamedTuple):
    """A word as it is compared, and where it stands."""

    text: str
    start: int
    end: int


class Support(NamedTuple):
    """Where a passage says what an answer says. `share` in 0 … 1: of the answer's telling words,
    how many stand there, 1 where the whole answer does."""

    span: Span
    share: float


def words(text: str) -> list[Word]:
    """The words of a text that are compared."""
    found = ((m[0].casefold().replace("’", "'"), *m.span()) for m in _WORD.finditer(text))
    return [
        Word(word.replace(",", "") if word[0].isdigit() else word, start, end)
        for word, start, end in found
        if word not in _ARTICLES
    ]


def token_f1(one: str, two: str) -> float:
    """The harmonic mean of precision and recall of shared words, each counted as often as it
    stands: 0 … 1. Texts without a word are equal to each other and to nothing else."""
    return _f1(_texts(one), _texts(two))


def agreement(one: str, two: str, question: str = "") -> float:
    """How far two answers say the same, 0 … 1: their F1, or 1 where the shorter one stands whole in
    the longer one, as "1610" does in "It was in 1610".

    Words that the question has said already are not counted: two sentences that repeat it would
    agree whatever they say. An answer that has no others must stand whole in the other one.
    """
    said = set(_texts(question))
    sides = [_texts(one), _texts(two)]
    fresh = [[word for word in side if word not in said] for side in sides]
    short, long = sorted(fresh if all(fresh) else sides, key=len)
    if short and _find(short, long) >= 0:
        return 1.0
    return 0.0 if any(fresh) and not all(fresh) else _f1(short, long)


def contains(text: str, answer: str) -> bool:
    """Whether the answer's words stand in a text one after another."""
    wanted = _texts(answer)
    return bool(wanted) and _find(wanted, _texts(text)) >= 0


def declines(answer: str) -> bool:
    """Whether an answer says that there is none."""
    return not words(answer) or bool(_DECLINED.search(answer))


def support(passage: str, answer: str, question: str = "") -> Support:
    """The shortest stretch of a passage that holds the most of an answer's words.

    Its first occurrence where the answer stands in the passage word by word. Otherwise words that
    any passage holds (of, is, and) and those that the question has said already are not counted,
    unless the answer has no others.
    """
    inside, wanted = words(passage), _texts(answer)
    first = _find(wanted, [word.text for word in inside]) if wanted else -1
    if first >= 0:
        last = inside[first + len(wanted) - 1]
        return Support(Span(inside[first].start, last.end), 1.0)
    said = _COMMON.union(_texts(question))
    telling = Counter([word for word in wanted if word not in said] or wanted)
    room = SPREAD * len(wanted) + SLACK
    best, found = (0, 0), Span(0, 0)
    for place, word in enumerate(inside):
        if word.text not in telling:
            continue
        left, held = telling.copy(), 0
        for other in inside[place : place + room]:
            if left[other.text] > 0:
                left[other.text] -= 1
                held += 1
                if (held, word.start - other.end) > best:
                    best, found = (held, word.start - other.end), Span(word.start, other.end)
    return Support(found, best[0] / telling.total() if telling else 0.0)


def _texts(text: str) -> list[str]:
    return [word.text for word in words(text)]


def _f1(one: list[str], two: list[str]) -> float:
    if not one or not two:
        return float(one == two)
    shared = (Counter(one) & Counter(two)).total()
    return 2 * shared / (len(one) + len(two))


def _find(wanted: list[str], text: list[str]) -> int:
    """Where a run of words begins in another, or -1."""
    size = len(wanted)
    for place in range(len(text) - size + 1):
        if text[place] == wanted[0] and text[place : place + size] == wanted:
            return place
    return -1
