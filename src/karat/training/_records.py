"""One record of people's ratings or preferences, read by what its keys say it is.

Published sets differ in little but field names, so no file needs a format, and one file may hold
records of several kinds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from karat.rewards.head import ATTRIBUTES, SCALE
from karat.rewards.rated_files import text_of
from karat.training._items import Item, Line, Rated, group_of, number, prompt_of
from karat.training._preferences import STRENGTHS, arena, chosen_of, compared, labelled, tree

# What a mangled record may raise on its way through here.
MANGLED = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RecursionError)
_NO_RATINGS = ("feedback", "feedback1", "edited_response", "good_edited_response")


def items_of(record: Mapping[str, Any]) -> Iterator[Item]:
    """What a record holds; a text is the reason why it holds nothing.

    Raises: one of MANGLED for a record of no known shape.
    """
    for first, second, strength in STRENGTHS:
        if strength in record:
            yield compared(record, first, second, record[strength])
            return
    if "key" in record or "rater" in record or isinstance(record.get("values"), dict):
        yield _line(record)
    elif "response" in record and any(name in record for name in ATTRIBUTES):
        yield _rated(record)
    elif "chosen" in record:
        yield from chosen_of(record)
    elif "output_1" in record:
        yield labelled(record)
    elif any(name in record for name in ("responses_a", "conversation_a", "response_a")):
        yield arena(record)
    elif isinstance(record.get("prompt"), dict):
        yield from tree(record["prompt"], ())
    elif any(name in record for name in _NO_RATINGS):
        raise ValueError(
            "HelpSteer3's feedback and edit sets hold words about responses and no ratings; take "
            "nvidia/HelpSteer3:preference"
        )
    else:
        fields = ", ".join(sorted(map(str, record))[:8])
        raise ValueError(
            f"its fields are {fields or 'none'}; wanted are prompt, response and ratings such as "
            "helpfulness, or a pair such as prompt, chosen and rejected"
        )


# --- ratings -------------------------------------------------------------------------------------


def _rated(record: Mapping[str, Any]) -> Rated | str:
    ratings = tuple(_mean(_marks(name, record.get(name))) for name in ATTRIBUTES)
    if all(map(math.isnan, ratings)):
        return "not rated"
    messages = prompt_of(record)
    return Rated(messages, text_of(record["response"]), ratings, group_of(messages))


def _line(record: Mapping[str, Any]) -> Line | str:
    values = record["values"] if isinstance(record.get("values"), dict) else record
    found = {name: _marks(name, values.get(name)) for name in ATTRIBUTES}
    found = {name: marks for name, marks in found.items() if marks}
    rater = str(record.get("rater") or "")
    if not found:
        return "not rated on the five attributes"
    if "key" in record:
        return Line(found, rater, bytes.fromhex(text_of(record["key"])).hex())
    messages, response = prompt_of(record), text_of(record["response"])
    group_of(messages)  # raises where there is no user turn
    return Line(found, rater, "", messages, response)


def _marks(name: str, value: object) -> tuple[float, ...]:
    """The ratings of one attribute: one, or one of each rater. Those that are NaN are left out."""
    given = value if isinstance(value, list) else [value]
    marks = tuple(mark for mark in map(number, given) if not math.isnan(mark))
    if any(not SCALE[0] <= mark <= SCALE[1] for mark in marks):
        raise ValueError(f"{name} {value} is outside {SCALE[0]:g}–{SCALE[1]:g}")
    return marks


def _mean(marks: Sequence[float]) -> float:
    return math.fsum(marks) / len(marks) if marks else math.nan
