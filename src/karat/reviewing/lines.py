"""What the review page writes for each thing a reviewer says; see karat.rewards.review_lines.

A rating names its response by key, so that the file can be given away without the texts. What a
person typed, and the two answers of a comparison, stand in full: they must outlive the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from karat.errors import RecipeError
from karat.reviewing.store import now
from karat.rewards.head import ATTRIBUTES, SCALE
from karat.rewards.human import rating_key
from karat.rewards.review_lines import COMPARISON, EDIT, RATING, SKIP, mark_of
from karat.row import Response, Row

MOST_NAME = 40  # characters of a reviewer's name
MOST_TEXT = 200_000  # of a comment or an edited answer
STRONGEST = 3


class How(msgspec.Struct, frozen=True):
    """Who said it, by which queue the row came, how long it took, and what is noted beside it."""

    rater: str
    drawn: str = ""
    of: int = 1
    seconds: float = 0.0
    comment: str = ""


def reviewer(name: str) -> str:
    """A reviewer's name as it is kept. Raises: RecipeError."""
    plain = " ".join(name.split())
    if not plain or len(plain) > MOST_NAME or not plain.isprintable():
        raise RecipeError(
            f"give your name in 1 to {MOST_NAME} letters, as it stands in the ratings"
        )
    return plain


def key_of(row: Row, response: Response) -> str:
    """What a response is named by, in hex."""
    return rating_key(row.messages, response.content).hex()


def rating(row: Row, response: Response, values: Mapping[str, Any], how: How) -> dict[str, Any]:
    """A response rated on some of the five attributes, whole numbers 0–4. Raises: RecipeError."""
    low, high = SCALE
    for name, value in values.items():
        if name not in ATTRIBUTES:
            raise RecipeError(f"'{name}' is no attribute; there is {', '.join(ATTRIBUTES)}")
        if type(value) is not int or not low <= value <= high:
            raise RecipeError(f"{name} is rated {low:g} to {high:g}, not {value!r:.20}")
    key = key_of(row, response)
    return {
        "key": key, "row": row.id, "index": response.index, "rater": how.rater,
        "values": dict(values), "time": now(),
        "review": _review(RATING, how, [key], mark_of(how.rater, RATING, key), call=response.call),
    }  # fmt: skip


def comparison(
    row: Row, first: Response, second: Response, strength: int, both_bad: bool, how: How
) -> dict[str, Any]:
    """Two responses: −3 the first is much better, 3 the second, 0 neither. Raises: RecipeError."""
    if type(strength) is not int or abs(strength) > STRONGEST or (both_bad and strength):
        raise RecipeError(f"a preference is −{STRONGEST} to {STRONGEST}, and 0 where both are bad")
    keys = [key_of(row, first), key_of(row, second)]
    mark = mark_of(how.rater, COMPARISON, *keys)
    return {
        "messages": _messages(row), "response_1": first.content, "response_2": second.content,
        "preference_strength": strength, "row": row.id, "rater": how.rater, "time": now(),
        "review": _review(COMPARISON, how, keys, mark, both_bad=both_bad),
    }  # fmt: skip


def edit(
    row: Row, response: Response, text: str, licences: Sequence[str], how: How
) -> dict[str, Any]:
    """A response as the reviewer would have it. Raises: RecipeError."""
    if not text.strip():
        raise RecipeError("the edited answer is empty; leave the answer as it was instead")
    if "\0" in text or len(text) > MOST_TEXT:
        raise RecipeError(f"an edited answer has at most {MOST_TEXT:,} characters, and no NUL")
    key = key_of(row, response)
    more = {"model": response.model, "source": row.source, "licences": list(licences)}
    return {
        "messages": _messages(row), "response": response.content, "edited": text, "row": row.id,
        "index": response.index, "rater": how.rater, "time": now(),
        "review": _review(EDIT, how, [key], mark_of(how.rater, EDIT, key), **more),
    }  # fmt: skip


def skip(row: Row, how: How) -> dict[str, Any]:
    """A row that the reviewer would not judge."""
    mark = mark_of(how.rater, SKIP, row.id)
    return {
        "row": row.id, "rater": how.rater, "time": now(), "review": _review(SKIP, how, [], mark)
    }  # fmt: skip


def _review(
    kind: str, how: How, keys: Sequence[str], mark: str, **more: Any
) -> dict[str, Any]:  # fmt: skip
    if len(how.comment) > MOST_TEXT:
        raise RecipeError(f"a comment has at most {MOST_TEXT:,} characters")
    found: dict[str, Any] = {"kind": kind, "mark": mark, "keys": list(keys), "drawn": how.drawn}
    found |= {"of": how.of, "seconds": round(max(0.0, how.seconds), 1)}
    if how.comment:
        found["comment"] = how.comment
    return found | {name: value for name, value in more.items() if value not in ("", False, [])}


def _messages(row: Row) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in row.messages]
