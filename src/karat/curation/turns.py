"""Turns of a dialogue as text: whether one says anything new, and where a cut-off one can end.

Two models that talk to each other drift into loops and run into token limits. Both are seen in the
text alone, so that no further call is needed to end a dialogue well.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from karat.curation.shingles import UNSPACED_RANGES

SAME = 0.6  # share of an earlier turn's telling words from which a turn that adds none repeats it
QUOTED = 5  # words from which a turn that stands in an earlier one word by word repeats it
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in UNSPACED_RANGES)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:['’][^\W_]+)*")
# Words that make no question another one.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an the and or but so of in on at to for with from by as is are was were be been am do "
        "does did done has have had will would can could should shall may might must it its this "
        "that these those there here i me my we our us you your they them their he she his her "
        "what which who when where why how please tell explain know want like also just really "
        "more some any about ok again than then if not no yes let",
    )
)
_PAIRS = ('""', "''", "“”", "‘’", "«»", "「」", "『』", "``")
_END = re.compile(r"(?<=[^\s.?!…])[.?!…]{1,9}[\"'”’)\]*_]{0,4}(?=\s|$)|[。！？]+[」』）”]*")
_LIST_MARK = re.compile(r"(?:^|\s)(?:\(?\d{1,3}|[A-Za-z])\.$")
_MARK_SIZE = 6  # characters in which a list mark and what stands before it fit


def unquoted(text: str) -> str:
    """Without white space, quotation marks or emphasis around the whole."""
    text = text.strip()
    for mark in ("**", "__"):
        if len(text) > 4 and text.startswith(mark) and text.endswith(mark) and text.count(mark) < 3:
            text = text[2:-2].strip()
    marks = text[:1] + text[-1:]
    if len(text) > 2 and marks in _PAIRS and not set(marks) & set(text[1:-1]):
        text = text[1:-1].strip()
    return text


def repeats(turn: str, earlier: Iterable[str]) -> bool:
    """Whether a turn says what an earlier one said.

    That is: the same text but for case and punctuation; `QUOTED` words or more that stand in an
    earlier turn as they are; or no telling word that the earlier one had not, and at least `SAME`
    of those it had ("Can you tell me how to keep basil alive?" after "How do I keep basil alive on
    the windowsill?"). One new name or number makes a new question, which a plain share of common
    words would take for a repeat the longer the question is.
    """
    new = words(turn)
    return any(_repeats(new, words(other)) for other in earlier)


def _repeats(new: list[str], old: list[str]) -> bool:
    if new == old:
        return True
    if len(new) >= QUOTED and f" {' '.join(new)} " in f" {' '.join(old)} ":
        return True
    told, had = set(new) - _COMMON, set(old) - _COMMON
    return bool(told) and told <= had and len(told) >= SAME * len(had)


def words(text: str) -> list[str]:
    """The words of a text without case and punctuation; of scripts without spaces, characters."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("’", "'"))


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last whole sentence or line; empty where it has none.

    Code that is not closed cannot be ended anywhere: it goes as a whole. A heading whose content
    was lost goes with it.
    """
    if text.count("```") % 2:
        text = text[: text.rindex("```")].rstrip()
    ends = [m.end() for m in _END.finditer(text) if not _is_list_mark(text, m.end())]
    kept = text[: max(ends[-1] if ends else 0, text.rfind("\n"), 0)].rstrip()
    if kept.rstrip("*_").endswith((":", "：")):
        ends = [end for end in ends if end <= len(kept)]
        kept = kept[: max(ends[-1] if ends else 0, kept.rfind("\n"), 0)].rstrip()
    return kept


def _is_list_mark(text: str, end: int) -> bool:
    """Whether the full stop that ends there stands behind the number or letter of a list item."""
    return bool(_LIST_MARK.search(text[max(0, end - _MARK_SIZE) : end]))
