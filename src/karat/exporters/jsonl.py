"""jsonl: one line per kept response, with everything a person asks about it.

Loaders settle a column's type by a file's first ten megabytes and fail on whatever comes later, so
every line has the same shape: `scores` has the same keys throughout, null where a response has
none, and `meta`, whose keys differ from row to row, is JSON text as it is in accepted.parquet.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from karat.exporters.base import Exported, accepted_rows, files_of, turns, write_parts
from karat.row import Response, Row
from karat.rundir import Run
from karat.table import plain

SETTLED_BYTES = 4 * 2**20  # well inside the first block that Hugging Face datasets reads

FILES = files_of("data.jsonl")  # what this export writes; an older run's are removed first


def export(run: Run, folder: Path) -> Exported:
    """Writes `data.jsonl`, or `data.train.jsonl` and so on where rows have a `meta.split`. Left
    out: rows without a kept response.

    A score that no response of the first four megabytes carries would come as a surprise to
    loaders: it goes into meta, under "scores".
    """
    keys = _settled(run.accepted_file)

    def lines(row: Row, made: Exported) -> Iterator[dict[str, Any]]:
        kept = row.kept()
        if not kept:
            made.leave_out("no kept response")
        return (_line(row, response, keys) for response in kept)

    return write_parts(run.accepted_file, folder / FILES[0], "data", lines)


def _line(row: Row, response: Response, keys: list[str]) -> dict[str, Any]:
    late = {key: value for key, value in response.scores.items() if key not in keys}
    meta = {**row.meta, "scores": late} if late else row.meta
    return {
        "id": row.id,
        "messages": turns(row.messages),
        "response": response.content,
        "scores": {key: response.scores.get(key) for key in keys},
        "model": response.model,
        "source": row.source,
        "meta": orjson.dumps(plain(meta)).decode(),
        "call": response.call,
    }


def _settled(path: Path) -> list[str]:
    """The score keys of the responses that make the file's first lines, in order of first sight."""
    keys: dict[str, None] = {}
    size = 0
    for row in accepted_rows(path):
        prompt = sum(len(message.content) for message in row.messages)
        for response in row.kept():
            keys.update(dict.fromkeys(response.scores))
            size += prompt + len(response.content)
        if size > SETTLED_BYTES:
            break
    return list(keys)
