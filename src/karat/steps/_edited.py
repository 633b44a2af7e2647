"""Rows that people wrote while reviewing a run: edited answers, as `mix` takes them.

A row counts as human where people wrote its prompt and its answer (karat.report.build), and a
rating writes neither. So of all that a reviewer says only edits make rows; and of these only such
as answer a person's prompt with words that are for the most part the person's. What falls short is
a dropped row with the reason, so that the report counts it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from karat import places
from karat.errors import RecipeError
from karat.rewards.rated_files import chat_of, read_records, text_of
from karat.rewards.review_lines import EDIT, OWN_WORDS, RATINGS, own_share, review_of, standing
from karat.row import Response, Row, row_id

MANGLED = (KeyError, TypeError, ValueError, AttributeError)


def reviews_at(path: Path) -> Path | None:
    """The file of a run's reviews, where `path` is one or a run that may have one; else None."""
    if places.is_remote(path):  # reviews lie in a run's own folder
        return None
    if path.is_dir():
        return path / RATINGS if (path / "recipe.yaml").is_file() else None
    if path.name != RATINGS or not path.is_file():
        return None
    with path.open("rb") as file:
        first = file.readline(2**20)
    try:
        record = orjson.loads(first)
    except orjson.JSONDecodeError:
        return None
    ours = isinstance(record, dict) and "rater" in record and "time" in record
    return path if ours and ("key" in record or review_of(record)) else None


def edited_rows(path: Path, *, least: float = OWN_WORDS, strict: bool = True) -> Iterator[Row]:
    """A row for each answer that stands edited in a file of reviews, in the order of the file.

    `strict`: only people's rows live: the prompt was a person's, and so are `least` of the answer's
    words. Else all live, and the answer is still its model's, for the report's human share and for
    licences. In `meta.edited` stand who edited, which model's answer, and the share of own words.

    Raises: RecipeError where the file has no such row, or cannot be read.
    """
    dropped: dict[str, int] = {}
    live = 0
    for where, record in _edits(path):
        try:
            row = _row(record, strict)
        except MANGLED as error:
            raise RecipeError(f"{where}: no edit of an answer: {error!r}") from error
        if strict:
            _judge(row, least)
        if row.dropped is None:
            live += 1
        else:
            reason = row.dropped.partition(" (")[0]
            dropped[reason] = dropped.get(reason, 0) + 1
        yield row
    if not live:
        raise RecipeError(_none_of(path, dropped))


def _edits(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        raise RecipeError(
            f"{path.parent} has no {path.name}: its rows are a model's, and nobody has reviewed "
            "them yet; edit answers on the page Review, or name a file of people's rows"
        )
    for where, record in standing(read_records(path)):
        review = review_of(record) if isinstance(record, dict) else None
        if review is not None and review["kind"] == EDIT:
            yield where, record


def _row(record: dict[str, Any], strict: bool) -> Row:
    messages = list(chat_of(record["messages"]))
    original, edited = text_of(record["response"]), text_of(record["edited"])
    said = record["review"]
    model, share = str(said.get("model") or ""), own_share(original, edited)
    meta: dict[str, Any] = {
        "edited": {"by": text_of(record["rater"]), "of": model, "share": round(share, 3)}
    }
    if licences := said.get("licences"):
        meta["licence"] = ", ".join(map(str, licences))
    response = Response(edited, "" if strict else model)
    return Row(row_id(messages, {}), messages, [response], str(said.get("source") or "given"), meta)


def _judge(row: Row, least: float) -> None:
    share = row.meta["edited"]["share"]
    if row.source != "human":
        made = row.source == "synthetic"
        what = "a model wrote the prompt" if made else "who wrote the prompt is unknown"
        row.dropped = f"{what} (source {row.source})"
    elif share < least:
        row.dropped = f"most of the answer is the model's (own words {share:.2f}, under {least:g})"


def _none_of(path: Path, dropped: dict[str, int]) -> str:
    if not dropped:
        return f"{path}: nobody has edited an answer, and ratings alone make no human rows"
    reasons = ", ".join(f"{count:,}: {reason}" for reason, count in dropped.items())
    return (
        f"{path}: none of {sum(dropped.values()):,} edited answers is a human row ({reasons}); say "
        "`source: human` in the step read where people wrote the prompts, or name this file under "
        "`given`"
    )
