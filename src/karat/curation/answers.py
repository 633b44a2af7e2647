"""Short answers against each other and against the passage they were found in, without a model.

SQuAD's F1 is the base. It is a share of words and knows no contradiction: "240 metres" and "310
metres" have half of theirs in common, "it was in 1871" all of those of "not in 1871". Two answers
that exclude each other agree to 0 here.

Source: Rajpurkar et al. 2016 (1606.05250) §6.1, evaluate-v1.1.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from karat.curation.answer_words import Word, words
from karat.curation.chunking import Span

# Words that any passage holds: what an answer shares with one is counted without them.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "and are as at be because been but by can did do does for from had has have he her his if "
        "in into is it its not of on or she so than that their them then there these they this "
        "those to was were when where which who will with would",
    )
)
_NOT = frozenset(
    re.findall(
        r"\S+",
        "not no never neither nor without cannot nicht kein keine nie pas jamais nunca non mai не",
    )
)
_BUT = frozenset(
    ("but", "until", "till", "only", "rather", "instead", "before", "sondern", "sino", "mais", "ma")
)
NEAR = 3  # words before an answer in which it can be denied
_YES = "yes|yeah|ja|oui|sí|sim|да"
_NO = r"(?:no|nope|nein|non|não|nee|нет)\b(?!\.?\s?\d)"
_VERDICT = re.compile(
    rf"\W*(?:(?P<yes>{_YES})|{_NO})\b(?P<both>\s(?:and|or)\s(?:{_YES}|{_NO})\b)?", re.IGNORECASE
)
_VERDICT_FIRST = re.compile(rf"^\W*(?:{_YES}|{_NO})\s*[,.;:!–—-]\s*(?=\w)", re.IGNORECASE)
_ARROW = re.compile(r"(?<!-)-+>|=>|<-+(?!\d)")
_OPERATOR = re.compile(
    r"[<>!=]=|[<>≤≥≠≈=]|(?<=[\w)])\s*[+×÷·]\s*(?=[\w(])|(?<=\d)\s*[*−-]\s*(?=\d)"
)
_SAME_OPERATOR = {"<=": "≤", ">=": "≥", "!=": "≠", "==": "=", "*": "×", "·": "×", "−": "-"}
SPREAD, SLACK = 2, 8  # the words that may hold an answer's: SPREAD times as many and SLACK more
HOLDS = 0.6  # of an answer's telling words: a passage with so many together may say it


class Support(NamedTuple):
    """Where a passage says what an answer says. `share` in 0 … 1: of the answer's telling words,
    how many stand there, 1 where the whole answer does."""

    span: Span
    share: float


def token_f1(one: str, two: str) -> float:
    """The harmonic mean of precision and recall of shared words, each counted as often as it
    stands: 0 … 1. Texts without a word are equal to each other and to nothing else."""
    return _f1(_texts(words(one)), _texts(words(two)))


def agreement(one: str, two: str, question: str = "") -> float:
    """How far two answers say the same, 0 … 1: their F1, or 1 where the shorter one stands whole in
    the longer one, as "1610" does in "It was in 1610".

    Words that the question has said already are not counted: two sentences that repeat it would
    agree whatever they say. An answer that has no others must stand whole in the other one.

    0 where they exclude each other: one says yes and the other no or both; each has a number, a
    letter or an operator that the other has not (5% and $5, plan A and plan B, x > 3 and x < 3);
    the one that stands in the other is denied there ("not in 1610", in some languages of Europe).
    """
    verdicts = _verdict(one), _verdict(two)
    if all(verdicts) and verdicts[0] != verdicts[1]:
        return 0.0
    if not all(verdicts):  # "No, in 1610" names the year as "1610" does
        one, two = _VERDICT_FIRST.sub("", one), _VERDICT_FIRST.sub("", two)
    said = set(_texts(words(question, short=True)))
    pair = words(one, short=True), words(two, short=True)
    sides = [_beside(pair[0], pair[1]), _beside(pair[1], pair[0])]
    fresh = [[word for word in side if word.text not in said] for side in sides]
    compared = fresh if all(fresh) else sides
    exact = [{word.text for word in side if word.is_exact} for side in compared]
    if _apart(*exact) or _apart(_operators(one), _operators(two)):
        return 0.0
    short, long = sorted(map(_texts, compared), key=len)
    place = _find(short, long) if short else -1
    if place >= 0:
        return 0.0 if _denied(long[: place + 1]) else 1.0
    return 0.0 if any(fresh) and not all(fresh) else _f1(short, long)


def contains(text: str, answer: str) -> bool:
    """Whether the answer's words stand in a text one after another."""
    wanted = words(answer)
    return bool(wanted) and _find(_texts(wanted), _texts(_beside(words(text), wanted))) >= 0


def holds(text: str, answer: str, question: str = "") -> bool:
    """Whether a text may say what an answer says, if in other words: a doubt is a yes."""
    return support(text, answer, question).share >= HOLDS


def support(passage: str, answer: str, question: str = "") -> Support:
    """The shortest stretch of a passage that holds the most of an answer's words.

    Its first occurrence where the answer stands in the passage word by word. Otherwise words that
    any passage holds (of, is, and) and those that the question has said already are not counted,
    unless the answer has no others.
    """
    said = words(answer)
    inside, wanted = _beside(words(passage), said), _texts(said)
    first = _find(wanted, _texts(inside)) if wanted else -1
    if first >= 0:
        last = inside[first + len(wanted) - 1]
        return Support(Span(inside[first].start, last.end), 1.0)
    known = _COMMON.union(_texts(words(question)))
    telling = Counter([word for word in wanted if word not in known] or wanted)
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


# --- words ---------------------------------------------------------------------------------------


def _texts(found: Sequence[Word]) -> list[str]:
    return [word.text for word in found]


def _beside(one: Sequence[Word], two: Sequence[Word]) -> list[Word]:
    """The words of one text, a number with its mark where the other has it with another only."""
    marks: dict[str, set[str]] = {}
    for word in two:
        marks.setdefault(word.text, set()).add(word.mark)
    return [
        word._replace(text=word.text + word.mark)
        if word.mark and not marks.get(word.text, {""}) & {"", word.mark}
        else word
        for word in one
    ]


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


# --- contradictions ------------------------------------------------------------------------------


def _apart(one: set[str], two: set[str]) -> bool:
    """Whether each has something that the other has not."""
    return bool(one - two) and bool(two - one)


def _verdict(answer: str) -> str:
    """Yes, no or both where an answer begins with it; else empty."""
    found = _VERDICT.match(answer)
    return "" if found is None else "both" if found["both"] else "yes" if found["yes"] else "no"


def _operators(answer: str) -> set[str]:
    found = (sign.strip() for sign in _OPERATOR.findall(_ARROW.sub(" ", answer)))
    return {_SAME_OPERATOR.get(sign, sign) for sign in found}


def _denied(text: list[str]) -> bool:
    """Whether the last word is denied by one of those just before it."""
    for place in range(len(text) - 2, max(-1, len(text) - 2 - NEAR), -1):
        word = text[place]
        if word in _BUT:
            return False
        numbered = word == "no" and text[place + 1][:1].isdigit()  # "No. 5"
        if (word in _NOT or word.endswith("n't")) and not numbered:
            return True
    return False
