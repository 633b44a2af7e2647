"""JSON records: one per line, or the items of one list, a few in memory.

Each record is decoded alone, so that a broken one costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson

MAX_RECORD = 64 * 2**20  # bytes; a longer line is a binary file or a missing line end
CHUNK = 2**20
MANY_LEVELS = 200  # of lists and objects; Python writes five times as many
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|[\[\]{},]|"', re.S)


class Record(NamedTuple):
    """One record and its place. `value` is None where it could not be read: `problem` says why."""

    where: str
    value: dict[str, Any] | None
    problem: str = ""
    raw: bytes = b""


def _decode(where: str, raw: bytes) -> Record:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return Record(where, None, _why_not_json(raw), raw)
    if not isinstance(value, dict):
        return Record(where, None, "not a JSON object", raw)
    # One that may be nested too deep to be written again says itself what it was.
    deep = raw.count(b"[") + raw.count(b"{") > MANY_LEVELS
    return Record(where, value, raw=raw if deep else b"")


def _why_not_json(raw: bytes) -> str:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if "\0" in text:
        return "not JSON: NUL in the text"
    if re.search(r"[:\[,]\s*(NaN|-?Infinity)\b", text):
        return "not JSON: NaN or Infinity"
    if re.search(r"\\u[dD][89a-fA-F]", text):
        return "not JSON: half of a surrogate pair"
    return "not JSON"


def json_lines(stream: BinaryIO, name: str) -> Iterator[Record]:
    number = 0
    while line := stream.readline(MAX_RECORD):
        number += 1
        if len(line) == MAX_RECORD and not line.endswith(b"\n"):
            while (rest := stream.readline(MAX_RECORD)) and not rest.endswith(b"\n"):
                pass
            yield Record(f"{name}:{number}", None, "longer than 64 MiB", line[:CHUNK])
        elif not line.isspace():
            yield _decode(f"{name}:{number}", line)


def json_items(stream: BinaryIO, name: str) -> Iterator[Record]:
    """The items of one JSON list, found by their commas, so that a broken one costs only itself."""
    data, start, at, depth, number = b"", 0, 0, 0, 0
    while chunk := stream.read(CHUNK):
        data, at, start = data[start:] + chunk, at - start, 0
        for token in _TOKEN.finditer(data, at):
            at, sign = token.start(), token.group()
            if sign == b'"':  # a text that goes on in the next chunk
                break
            at = token.end()
            if depth == 1 and sign in (b",", b"]", b"}"):
                item, start = data[start : token.start()], at
                if item.strip() or sign == b",":
                    number += 1
                    yield _decode(f"{name}: item {number}", item)
            if sign in (b"[", b"{"):
                depth += 1
                start = at if depth == 1 else start
            elif sign in (b"]", b"}"):
                depth -= 1
            if depth == 0:
                rest = (data[at:] + stream.read(CHUNK)).strip()
                if rest:
                    yield Record(f"{name}: end", None, "text after the list", rest)
                return
        if len(data) - start > MAX_RECORD:
            break
    problem = "not JSON: the list does not end"
    yield Record(f"{name}: item {number + 1}", None, problem, data[start:])
