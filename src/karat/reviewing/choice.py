"""Which answers of a row a reviewer is asked about, and in which order they stand.

The order never hangs on who wrote them or how they were graded: a reviewer who has noticed that the
left one is the teacher's is no longer blind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from karat.row import Response, Row, digest

# The attribute that is a grader's one figure, best first; and those that are no grade at all.
FIGURES = ("reward", "value", "helpfulness", "score", "preference")
NO_GRADES = ("uncertainty", "disagreement", "raters", "spread", "reward_debiased", "preferred")


class Asked(NamedTuple):
    """How a row came, and what is asked about it; `main` is the score the run chose by."""

    drawn: str
    mode: str
    answers: int
    main: str | None
    seed: int


def main_scores(keys: Sequence[str]) -> list[str]:
    """One score of each grader. A route's is left out: it is made of its graders' own."""
    by_grader: dict[str, list[str]] = {}
    for key in keys:
        grader, _, name = key.rpartition(".")
        if grader == "verifier":
            by_grader[key] = [key]
        elif grader and grader not in ("route", "human") and name not in NO_GRADES:
            by_grader.setdefault(grader, []).append(key)
    return [
        next((f"{grader}.{name}" for name in FIGURES if f"{grader}.{name}" in own), own[0])
        for grader, own in by_grader.items()
    ]


def answers_of(row: Row, asked: Asked, keys: Sequence[str]) -> list[int]:
    """Places in the row's responses, as they are to be shown: each text once, two where they are
    compared, up to `answers` where they are rated."""
    places = _distinct(row)
    turn = {place: _turn(row, place, asked.seed) for place in places}
    random = sorted(places, key=turn.__getitem__)
    if asked.drawn == "random":
        wanted = random
    elif asked.drawn == "disagreement":
        wanted = [*_favourites(row, places, main_scores(keys)), *_best(row, places, asked.main)]
    else:
        doubt = (
            [key for key in keys if key.endswith(".uncertainty")] if asked.mode == "rate" else []
        )
        first = sorted(places, key=lambda place: -_doubt(row.responses[place], doubt))
        wanted = first if doubt else _best(row, places, asked.main)
    chosen = list(dict.fromkeys([*wanted, *random]))[: max(1, asked.answers)]
    return sorted(chosen, key=turn.__getitem__)


def _distinct(row: Row) -> list[int]:
    """The first response with each text, white space aside."""
    first: dict[str, int] = {}
    for place, response in enumerate(row.responses):
        first.setdefault(response.content.strip(), place)
    return list(first.values())


def _turn(row: Row, place: int, seed: int) -> bytes:
    return digest("shown", str(seed), row.id, row.responses[place].content.strip(), size=8)


def _best(row: Row, places: list[int], key: str | None) -> list[int]:
    """By a score, best first; those without it in no order of their own."""
    if key is None:
        return []
    known = [place for place in places if key in row.responses[place].scores]
    return sorted(known, key=lambda place: -row.responses[place].scores[key])


def _favourites(row: Row, places: list[int], keys: Sequence[str]) -> list[int]:
    """Each grader's best answer, those chosen by fewest first."""
    best = [ranked[0] for key in keys if (ranked := _best(row, places, key))]
    return sorted(dict.fromkeys(best), key=best.count)


def _doubt(response: Response, keys: Sequence[str]) -> float:
    return max((response.scores.get(key, 0.0) for key in keys), default=0.0)
