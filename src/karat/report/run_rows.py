"""Some rows of a run for a reader: prompts, candidates side by side, scores, reasons; all cut.

What stands here was written by models and by strangers. It is text and nothing else, its unseen
signs are shown, and whatever is cut says how long it was.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from karat.report.recommendation import plain
from karat.report.run_scores import in_order
from karat.row import Response, Row
from karat.visible import visible

PROMPT, ANSWER, NAME = 1_200, 900, 160  # characters
MOST_ANSWERS, MOST_TURNS, MOST_SCORES = 8, 12, 12
FACTS = ("topic", "macro_topic", "task", "persona", "difficulty", "file", "language")


class ShownAnswer(NamedTuple):
    """`score` is the one that answers were ranked by. `kept` is None where nothing chose. `scores`
    are (reward, its attributes with their values)."""

    head: str
    score: str
    content: str
    kept: bool | None
    scores: list[tuple[str, str]]
    note: str


class ShownRow(NamedTuple):
    """`turns` are (role, text). `more` says what is left out."""

    id: str
    turns: list[tuple[str, str]]
    answers: list[ShownAnswer]
    dropped: str
    facts: list[tuple[str, str]]
    more: str


def shown_row(row: Row, ranking: str | None = None) -> ShownRow:
    """A row as text; `ranking` is the score its answers were chosen by."""
    turns = [(visible(m.role, NAME), visible(m.content, PROMPT)) for m in row.messages]
    # The kept ones first, else as they are.
    order = sorted(enumerate(row.responses), key=lambda one: one[1].kept is not True)
    answers = [_answer(place, response, ranking) for place, response in order[:MOST_ANSWERS]]
    left = [
        f"{len(listed) - most:,} more {what}"
        for listed, most, what in (
            (row.responses, MOST_ANSWERS, "answers"), (turns, MOST_TURNS, "turns before these"),
        )
        if len(listed) > most
    ]  # fmt: skip
    return ShownRow(
        visible(row.id, NAME), turns[-MOST_TURNS:], answers,
        visible(row.dropped or "", 400), _facts(row), ", ".join(left),
    )  # fmt: skip


def _answer(place: int, response: Response, ranking: str | None) -> ShownAnswer:
    ranked = response.scores.get(ranking or "")
    note = {"length": "cut off at max_tokens"}.get(response.finish_reason, "")
    return ShownAnswer(
        f"{place + 1}. {visible(response.model or 'as given', NAME)}",
        "" if ranked is None else plain(ranked),
        visible(response.content, ANSWER), response.kept, _scores(response, ranking), note,
    )  # fmt: skip


def _scores(response: Response, ranking: str | None) -> list[tuple[str, str]]:
    """By reward, so that its name stands once."""
    found: dict[str, list[str]] = {}
    for key in in_order(response.scores, ranking)[:MOST_SCORES]:
        reward, _, attribute = key.rpartition(".")
        said = f"{visible(attribute, NAME)} {plain(response.scores[key])}"
        found.setdefault(visible(reward, NAME), []).append(said)
    return [(reward, " · ".join(said)) for reward, said in found.items()]


def _facts(row: Row) -> list[tuple[str, str]]:
    found: list[tuple[str, Any]] = [("source", row.source)]
    found += [(key, row.meta[key]) for key in FACTS if key in row.meta]
    return [(key, visible(str(value), NAME)) for key, value in found if value not in (None, "")]
