"""Lines that people's reviews leave in `ratings.jsonl`: four kinds, and which of them stand.

The file only grows. What a reviewer says again replaces what the same reviewer said of the same
thing before, and what is taken back counts no more; both stay in the file as its history. So every
reader must read it alike, and reads it through `standing`. A line of karat's review page has an
object `review` with its `kind` and a `mark`, which names the reviewer and what was reviewed:

    {"key": …, "row": …, "index": 2, "rater": "ann", "values": {…}, "time": …, "review": {…}}
    {"messages": […], "response_1": "…", "response_2": "…", "preference_strength": -2, "rater": …,
     "row": …, "time": …, "review": {…}}
    {"messages": […], "response": "…", "edited": "…", "rater": …, "row": …, "review": {…}}
    {"row": …, "rater": "ann", "time": …, "review": {"kind": "skip", "mark": …}}
    {"rater": "ann", "time": …, "review": {"kind": "withdrawal", "mark": …}}

A line without it is somebody else's and stands as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Literal

from karat.row import digest

RATINGS = "ratings.jsonl"
RATING, COMPARISON, EDIT, SKIP, WITHDRAWAL = KINDS = (
    "rating", "comparison", "edit", "skip", "withdrawal",
)  # fmt: skip
OWN_WORDS = 0.5  # of an answer, from which on it is the person's more than the model's
Placed = tuple[str, dict[str, Any]]  # where it stands, and the record
_WORD = re.compile(r"\w+|[^\w\s]")


def mark_of(rater: str, kind: str, *what: str) -> str:
    """What a later line replaces an earlier one by: the reviewer, and a row or responses' keys."""
    return digest("review", rater, kind, *sorted(what), size=8).hex()


def review_of(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The object `review` of a line of karat's; None of any other line."""
    found = record.get("review")
    known = isinstance(found, dict) and found.get("kind") in KINDS and "mark" in found
    return found if known else None


def standing(records: Iterable[Placed]) -> Iterator[Placed]:
    """The records that count, in the order in which each was first said; those of reviews come
    last, since only the end of a file tells which of them stand."""
    held: dict[str, Placed] = {}
    for where, record in records:
        review = review_of(record) if isinstance(record, dict) else None
        if review is None:
            yield where, record
        elif review["kind"] == WITHDRAWAL:
            held.pop(review["mark"], None)
        else:
            held[review["mark"]] = where, record
    yield from held.values()


def told(records: Iterable[Placed], use: Literal["grades", "training"]) -> Iterator[Placed]:
    """What stands, as records of shapes that rate or compare.

    An answer that a person edited is preferred to what it was: a pair, for `training` alone, since
    `grades` are of responses a run may hold. What rates nothing (a skip, a mere comment) is left
    out.
    """
    for where, record in standing(records):
        review = review_of(record) if isinstance(record, dict) else None
        kind = review and review["kind"]
        if kind == EDIT and use == "training":
            yield where, pair_of(record)
        elif kind in (None, COMPARISON) or (kind == RATING and record.get("values")):
            yield where, record


def pair_of(edit: Mapping[str, Any]) -> dict[str, Any]:
    """An edited answer as the better one of a pair."""
    return {
        "messages": edit["messages"], "chosen": edit["edited"], "rejected": edit["response"],
    }  # fmt: skip


def own_share(original: str, edited: str) -> float:
    """The share of an edited answer's words that are the person's own, 0–1.

    A word is the model's where it stands between the same two neighbours as in the model's answer,
    or with one of them at either side: words that were only moved about in whole phrases are not
    new. Punctuation counts as a word does.
    """
    theirs, mine = (_WORD.findall(text.casefold()) for text in (original, edited))
    if not mine:
        return 0.0
    known = set(pairwise(["", *theirs, ""]))
    flags = [pair in known for pair in pairwise(["", *mine, ""])]
    return sum(not (left or right) for left, right in pairwise(flags)) / len(mine)
