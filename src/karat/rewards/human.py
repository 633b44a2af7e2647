"""Human ratings from a file: the mean of the raters, how many they were, how far apart.

A rating belongs to a prompt and a response, not to a line of a run, so it is found by a digest of
both and holds wherever the same two meet again. A response that nobody rated has no score: it is
not a bad one. One file may hold lines of several kinds:

    {"key": "5d0c…", "row": "91e2…", "index": 0, "rater": "ann",
     "values": {"helpfulness": 3, "correctness": 4}, "time": "2026-03-01T09:30:00Z"}
    {"prompt": "…", "response": "…", "helpfulness": 3, "correctness": 4, …}
    {"prompt": "…", "response_1": "…", "response_2": "…", "preference_strength": -2}

The first is what karat appends to `ratings.jsonl` (`rating_line`); `key` is `rating_key` in hex,
`row` and `index` say where it was rated and are for people. The others are HelpSteer's: `messages`
may stand for `prompt`, `values` for the fields, a list of numbers for several raters; a negative
strength prefers response 1. A line is of its `rater`, or of one of its own where it names none. A
rater who rates a response again has changed his mind: the later line counts. What the review page
writes besides (edits, what was taken back) is told in karat.rewards.review_lines.

Source: HelpSteer2 (2406.08673) §2, for the mean of raters and `spread`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson

from karat.errors import RecipeError
from karat.rewards.base import UNBOUNDED, Ask, Candidates, Scale, Scores
from karat.rewards.head import ATTRIBUTES, SCALE
from karat.rewards.places import beside
from karat.rewards.rated_files import chat_of, messages_of, read_records, text_of
from karat.rewards.review_lines import RATINGS, told
from karat.row import Message, canonical, digest

PREFERENCE = "preference"
STRENGTH: Scale = (-3.0, 3.0)
# What a record may hold beside its ratings; numbers among them rate nothing.
_OTHER = ("key", "row", "index", "rater", "time", "prompt", "messages", "response", "values")
_PAIRS = (
    ("response_1", "response_2", "preference_strength"),
    ("response1", "response2", "overall_preference"),
)
Held = dict[bytes, dict[str, dict[str, float]]]  # key → attribute → rater → value


def rating_key(messages: Sequence[Message], response: str) -> bytes:
    """What a rating belongs to: 16 bytes of the conversation and the response, whose white space at
    the ends does not count."""
    said = [(message.role, message.content.strip()) for message in messages]
    return digest("rating", canonical(said), response.strip())


def rating_line(
    messages: Sequence[Message], response: str, values: Mapping[str, float], *, rater: str,
    time: str, row: str = "", index: int = 0,
) -> bytes:  # fmt: skip
    """A line of `ratings.jsonl`, with its line end. `time` is UTC, as ISO 8601."""
    record = {
        "key": rating_key(messages, response).hex(), "row": row, "index": index, "rater": rater,
        "values": dict(values), "time": time,
    }  # fmt: skip
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)


class HumanReward:
    """Ratings by people: an Asking reward that asks nobody; see rewards.base.

    Each rated attribute on its own scale, the mean over raters; `raters`, their number; `spread`,
    the widest difference between two raters on one attribute. `preference`: the mean strength
    −3–3 over a response's comparisons, which compares within one prompt only.
    """

    rewards: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    sampling: Mapping[str, Any] = {}
    shows = (0, 0)  # to no model

    def __init__(self, path: Path, scales: Mapping[str, Scale], licence: str = "") -> None:
        held, self.scales = _read(path, scales)
        self.name = f"human/{path.stem}"
        self.licence = licence
        self.within_prompt = frozenset({PREFERENCE}) & frozenset(self.scales)
        self.attributes: dict[str, Scale] = {**self.scales, "raters": (1.0, float("inf"))}
        if set(self.scales) != {PREFERENCE}:
            self.attributes["spread"] = (0.0, float("inf"))
        self.scores = {key: scores for key, one in held.items() if (scores := self._scores(one))}
        said = canonical([(key.hex(), scores) for key, scores in sorted(self.scores.items())])
        self.identity = f"{self.name}@{digest(said, size=8).hex()}"

    def _scores(self, rated: Mapping[str, Mapping[str, float]]) -> Scores | None:
        """Of one response; None where it lacks an attribute."""
        if any(name not in rated for name in self.scales):
            return None
        own = {name: rated[name] for name in self.scales}
        # In order of value: a mean must not depend on the order of the file.
        scores = {name: fmean(sorted(values.values())) for name, values in own.items()}
        scores["raters"] = float(len({rater for values in own.values() for rater in values}))
        if "spread" in self.attributes:
            graded = (values.values() for name, values in own.items() if name != PREFERENCE)
            scores["spread"] = max(max(values) - min(values) for values in graded)
        return scores

    def calls(self, n: int) -> int:
        return 0

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The ratings of each response; None where it was not rated on every attribute."""
        found = (self.scores.get(rating_key(job.prompt, text)) for text in job.responses)
        return [dict(scores) if scores else None for scores in found]


def load(
    name: str,
    folder: Path,
    *,
    attributes: dict[str, tuple[float, float]] = {},  # noqa: B006  read only
    licence: str = "",
) -> HumanReward:
    """The ratings behind `human/FILE`: JSON, JSON lines or Parquet, relative to the recipe; of a
    run's directory, what its reviewers said.

    `attributes` {name: [low, high]}: which of the file's fields to read, and their scales; without,
    HelpSteer's five where they are there, else every number. Raises: RecipeError.
    """
    for key, (low, high) in attributes.items():
        if not low < high:
            raise RecipeError(f"attributes: '{key}: [{low:g}, {high:g}]' is no scale")
    path = beside(folder, name)
    return HumanReward(path / RATINGS if path.is_dir() else path, attributes, licence)


def _read(path: Path, scales: Mapping[str, Scale]) -> tuple[Held, dict[str, Scale]]:
    """The ratings in a file, and the attributes it has with their scales. Raises: RecipeError."""
    held: Held = {}
    seen: dict[str, None] = {}
    for where, record in told(read_records(path), "grades"):
        try:
            for key, attribute, rater, value in _ratings(where, record, scales):
                seen[attribute] = None
                if scales and attribute not in scales:
                    continue
                low, high = scales.get(attribute) or _scale(attribute)
                if not low <= value <= high:
                    raise ValueError(f"{attribute} {value:g} is out of {low:g} to {high:g}")
                held.setdefault(key, {}).setdefault(attribute, {})[rater] = value
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecipeError(f"{where}: no rating karat knows: {error!r}") from error
    if not seen:
        raise RecipeError(
            f"{path}: no rating in it; see karat.rewards.human for the lines it takes"
        )
    if not scales and seen.keys() & set(ATTRIBUTES):
        # Who rated a response need not have compared it too; strengths are read where asked for.
        seen.pop(PREFERENCE, None)
    order = [*(name for name in ATTRIBUTES if name in seen), *sorted(set(seen) - set(ATTRIBUTES))]
    if lacking := [name for name in scales if name not in seen]:
        raise RecipeError(f"{path}: no rating of '{lacking[0]}'; there is: {', '.join(order)}")
    return held, {name: scales.get(name) or _scale(name) for name in scales or order}


def _scale(attribute: str) -> Scale:
    if attribute in ATTRIBUTES:
        return SCALE
    return STRENGTH if attribute == PREFERENCE else UNBOUNDED


def _ratings(
    where: str, record: dict[str, Any], scales: Mapping[str, Scale]
) -> Iterator[tuple[bytes, str, str, float]]:
    """(key, attribute, rater, value) of each rating in a record."""
    rater = str(record.get("rater") or where)
    for first, second, strength in _PAIRS:
        if strength in record:
            messages, value = _messages(record), _number(record[strength])
            texts = (text_of(record[first]), text_of(record[second]))
            for text, own in zip(texts, (-value, value), strict=True):
                yield rating_key(messages, text), PREFERENCE, where, own
            return
    if "key" in record:
        key = bytes.fromhex(record["key"])
    else:
        key = rating_key(_messages(record), text_of(record["response"]))
    for attribute, value in _values(record, scales).items():
        numbers = value if isinstance(value, list) else [value]
        for place, number in enumerate(numbers):
            who = f"{rater}/{place}" if isinstance(value, list) else rater
            yield key, attribute, who, _number(number)


def _messages(record: Mapping[str, Any]) -> Sequence[Message]:
    given = (record[name] for name in ("messages", "context") if record.get(name))
    prompt = next(given, None) or record["prompt"]
    return messages_of(prompt) if isinstance(prompt, str) else chat_of(prompt)


def _values(record: Mapping[str, Any], scales: Mapping[str, Scale]) -> Mapping[str, Any]:
    values: Mapping[str, Any] = record.get("values") or {
        name: value
        for name, value in record.items()
        if name not in _OTHER and isinstance(value, int | float | list)
    }
    if scales:  # what else is in the file need not rate anything
        values = {name: v for name, v in values.items() if name in scales or _rates(v)}
    if not scales and all(name in values for name in ATTRIBUTES):
        return {name: values[name] for name in ATTRIBUTES}
    return values


def _rates(value: object) -> bool:
    """Whether a field rates: one number, or one of each rater. A flag does not, nor do words."""
    numbers = value if isinstance(value, list) and value else [value]
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise TypeError(f"a number was wanted, not {value!r}")
    return float(value)
