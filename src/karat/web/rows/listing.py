"""One page of rows: which they are, how many there are, and enough of each to choose one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from karat.columns import best_texts, last_texts
from karat.web.rows.asked import Filter, View, replaced
from karat.web.rows.engine import Engine, Stop, Summary
from karat.web.rows.files import Holding, Places
from karat.web.rows.flat import Names, facts, split_reason
from karat.web.rows.search import Search

EXCERPT = 320  # characters of a text in a list


class Line(msgspec.Struct):
    """One row in a list. `number` counts in the view from 0; `response` is None where none was
    kept; `score` is of the listing's key."""

    place: int
    number: int
    id: str
    prompt: str
    response: str | None
    kept: bool
    step: str
    reason: str
    detail: str
    models: list[str]
    responses: int
    prompt_length: int
    length: int | None
    source: str
    score: float | None = None


class Listing(msgspec.Struct):
    """A page. `count` rows are in the view, of which `accepted`; with `more` it is at least so
    many, after `looked` of `total` rows were read for a text. `summary` is None while there is no
    index; then nothing but the order of the run can be shown."""

    lines: list[Line]
    count: int
    more: bool
    looked: int
    total: int
    score: str
    summary: Summary | None = None


def needs_index(held: Holding, view: View) -> bool:
    """Whether a view can only be shown once the run has an index."""
    asked = msgspec.structs.replace(view.filter, q="")
    return bool(view.sort) or not asked.plain or bool(asked.kept and not held.final)


def listing(
    held: Holding, engine: Engine | None, view: View, search: Search | None, stop: Stop
) -> Listing:
    """The page of a view. `search` where it asks for a text. Raises: MovedError, StoppedError."""
    summary = None if engine is None else engine.summary(view.filter, stop)
    more = False
    if search is not None:
        places, count, more = _found(engine, view, search, stop)
    else:
        count = _bounds(held, view.filter)[1] if summary is None else summary.count
        places = _places(held, engine, view, count, stop)
    score = _score_of(held, view, engine)
    lines = _lines(held, engine, view, places, score, stop)
    looked, total = (search.looked, search.total) if search is not None else (count, count)
    return Listing(lines, count, more, looked, total, score, summary)


def _bounds(held: Holding, asked: Filter) -> tuple[int, int]:
    """(first place, rows) of a filter that the files themselves answer."""
    if asked.kept == "accepted":
        return 0, held.accepted
    if asked.kept == "dropped":
        return held.accepted, held.count - held.accepted
    return 0, held.count


def _places(held: Holding, engine: Engine | None, view: View, count: int, stop: Stop) -> list[int]:
    if engine is not None and not (view.plain and not view.filter.kept):
        return [int(place) for place in engine.places(view, stop, view.first, view.size)]
    start, rows = _bounds(held, view.filter)
    return list(range(start + min(view.first, rows), start + min(view.first + view.size, rows)))


def candidates(held: Holding, engine: Engine | None, view: View, stop: Stop) -> Places | None:
    """The places among which a text is looked for, in the order of the run; None for all."""
    asked = msgspec.structs.replace(view.filter, q="")
    if asked == Filter():
        return None
    if engine is not None:
        return engine.places(replaced(View(asked), q=""), stop)
    start, rows = _bounds(held, asked)
    return np.arange(start, start + rows)


def _found(
    engine: Engine | None, view: View, search: Search, stop: Stop
) -> tuple[list[int], int, bool]:
    """(places, rows found, whether there may be more) of a search's page.

    Only what was found can be put in order, so that one in another order than the run's looks at
    all rows first, or at as many as it has time for.
    """
    end = view.first + view.size
    search.until(None if view.sort else end + 1, stop)
    hits = list(search.hits)
    if view.sort and engine is not None:
        among = np.array(hits, np.int64)
        rest = Stop(max(2.0, stop.until - time.monotonic()))  # to sort what there was time to find
        places = engine.places(view, rest, view.first, view.size, among=among)
        return [int(place) for place in places], len(hits), not search.done
    return hits[view.first : end], len(hits), not search.done


def _score_of(held: Holding, view: View, engine: Engine | None) -> str:
    """The score that is shown: what is sorted or filtered by, else what rows were chosen by."""
    known = () if engine is None else engine.names.scores
    for key in (view.sort, view.filter.score, held.ranking or ""):
        if key in known:
            return key
    return known[0] if known else (held.ranking or "")


def _lines(
    held: Holding, engine: Engine | None, view: View, places: Sequence[int], score: str, stop: Stop
) -> list[Line]:
    if not places:
        return []
    stop.check()
    texts = held.read(places, _columns(held, engine), _excerpts if held.final else _cut_out)
    listed = texts.to_pylist()
    known = listed if engine is None else engine.facts(places, stop)
    found = []
    for number, (place, text, fact) in enumerate(zip(places, listed, known, strict=True)):
        step, reason, detail = split_reason(text["dropped"] or "")
        found.append(
            Line(
                place, view.first + number, text["id"] or "", text["prompt"] or "",
                text["response"], text["dropped"] is None, step, reason, detail,
                fact["models"] or [], fact["responses"] or 0, fact["prompt_length"]
                if engine is None else fact["prompt"] or 0, fact["length"], fact["source"] or "",
                _score(fact, view, score, engine),
            )
        )  # fmt: skip
    return found


def _score(fact: dict[str, Any], view: View, score: str, engine: Engine | None) -> float | None:
    if engine is None or not score:
        return fact.get("score")
    of = view.filter.of if score == view.filter.score else ""
    found: float | None = fact[f"s{engine.names.scores.index(score)}{f'_{of}' if of else ''}"]
    return found


def _columns(held: Holding, engine: Engine | None) -> list[str] | None:
    """What is read of each row: with an index only its texts, which are most of what is slow."""
    if engine is not None and held.final:
        return ["id", "prompt", "response", "dropped"]
    return None


def _excerpts(batch: pa.RecordBatch) -> pa.RecordBatch:
    return _facts_of(batch, batch.column("prompt"), batch.column("response"))


def _cut_out(batch: pa.RecordBatch) -> pa.RecordBatch:
    return _facts_of(
        batch, last_texts(batch.column("messages")), best_texts(batch.column("responses"))
    )


def _facts_of(batch: pa.RecordBatch, prompt: pa.Array, response: pa.Array) -> pa.RecordBatch:
    """The columns of a line; where whole rows were read, the facts an index would have told."""
    columns = {
        "id": batch.column("id"), "dropped": batch.column("dropped"),
        "prompt": pc.utf8_slice_codeunits(prompt, 0, EXCERPT + 1),
        "response": pc.utf8_slice_codeunits(response, 0, EXCERPT + 1),
    }  # fmt: skip
    if "responses" in batch.schema.names:
        known = facts(batch, Names())
        columns |= {
            name: known.column(name) for name in ("models", "responses", "length", "source")
        }
        columns["prompt_length"] = known.column("prompt")
    if "score" in batch.schema.names:
        columns["score"] = batch.column("score")
    return pa.RecordBatch.from_pydict(columns)
