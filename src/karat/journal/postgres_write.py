"""One group as one statement: a single message to the server and back, and one transaction.

Rows go as JSON, which msgspec writes from the records as they are: in groups of 256 it took 6 µs of
this process's time for a record and its attempt, where COPY took 24 and arrays of columns 53. Each
part is done only where the number of the group is new to the server, so that a group whose commit
was never acknowledged can be sent again. What all of it costs: benchmarks/journal.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from karat.journal.base import Group, Held, held_of
from karat.journal.postgres_connect import Base
from karat.journal.postgres_schema import TIMES, type_of
from karat.ledger import ATTEMPTS, BUCKETED, BY, CALLS, SUMS, BatchRow, Record, rolled_up

GONE = "\ufffd"  # stands for a NUL, which PostgreSQL has no place for in a text
BYTES, TEXT = b"b", b"t"  # what `raw` begins with
AT_ONCE = 5000  # keys of one query
_encode = msgspec.json.Encoder().encode


class _Stored(Record):
    """A record whose answer does not go into a text."""

    raw: bytes | None = None


def _from(names: Iterable[str], number: int, *coded: str) -> str:
    """A parameter as a table; base64 for the columns `coded`."""
    kinds = ", ".join(f"{n} {'text' if n in coded else type_of(n)}" for n in names)
    return f"json_to_recordset(${number}::json) AS given({kinds}) WHERE EXISTS (SELECT 1 FROM new)"


_STORED = (*CALLS, "raw")
_CODED = ("key", "raw")
_DECODED = (f"decode({name}, 'base64')" if name in _CODED else name for name in _STORED)
_INSERT = f"INSERT INTO calls ({', '.join(_STORED)}) SELECT {', '.join(_DECODED)} FROM"
_IN_ORDER = "ORDER BY decode(key, 'base64')"  # of everybody's locks: no two wait for each other
_ANEW = ", ".join(f"{n} = excluded.{n}" for n in _STORED if n != "key")
_SUMMED = ", ".join(f"{n} {'double precision' if n in TIMES else 'bigint'}" for n in SUMS)
_ADDED = ", ".join(f"{n} = sums.{n} + excluded.{n}" for n in SUMS)


def _typed(names: Iterable[str]) -> str:
    return ", ".join(f"{n} {'bigint' if n in ('minute', 'bucket') else 'text'}" for n in names)


_WRITE = f"""
WITH new AS (
    UPDATE writers SET last = $2 WHERE id = $1 AND last < $2 RETURNING 1
), made AS (
    {_INSERT} {_from(_STORED, 3, *_CODED)} {_IN_ORDER} ON CONFLICT (key) DO NOTHING RETURNING 1
), tried AS (
    INSERT INTO attempts ({", ".join(ATTEMPTS)})
    SELECT {", ".join(ATTEMPTS)} FROM {_from(ATTEMPTS, 4)}
), by_minute AS (
    INSERT INTO minutes AS sums ({", ".join((*BY, *SUMS))}, writer)
    SELECT {", ".join((*BY, *SUMS))}, $1 FROM json_to_recordset($5::json)
    AS given({_typed(BY)}, {_SUMMED}) WHERE EXISTS (SELECT 1 FROM new)
    ON CONFLICT ({", ".join(BY)}, writer) DO UPDATE SET {_ADDED}
), by_bucket AS (
    INSERT INTO latencies AS sums ({", ".join(BUCKETED)}, count, writer)
    SELECT {", ".join(BUCKETED)}, count, $1 FROM json_to_recordset($6::json)
    AS given({_typed(BUCKETED)}, count bigint) WHERE EXISTS (SELECT 1 FROM new)
    ON CONFLICT ({", ".join(BUCKETED)}, writer) DO UPDATE SET count = sums.count + excluded.count
)%s
SELECT (SELECT count(*) FROM new), (SELECT count(*) FROM made)
"""
_PUT = _WRITE % ""
_REPLACE = _WRITE % (
    f""", replaced AS (
    {_INSERT} {_from(_STORED, 7, *_CODED)} {_IN_ORDER}
    ON CONFLICT (key) DO UPDATE SET {_ANEW}, rowid = DEFAULT
)"""
)
_READ = (
    "SELECT key, sample, content, finish_reason, more, raw FROM calls WHERE key = ANY($1::bytea[])"
)
PUT_BATCH = (
    "INSERT INTO batches VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO UPDATE SET "
    + ", ".join(f"{n} = excluded.{n}" for n in BatchRow.__struct_fields__[1:])
)


class Letter:
    """A group as it is sent, made once however often that is tried."""

    def __init__(self, group: Group, writer: int, number: int) -> None:
        self._records = group.records
        replacing = {one.key: one for one in group.replacing}
        if replacing:  # one statement does not touch a row twice
            self._records = [one for one in self._records if one.key not in replacing]
        minutes, latencies = rolled_up(group.attempts, group.replays)
        self._sql = _REPLACE if replacing else _PUT
        self._values: list[object] = [
            writer, number, _rows(self._records), _json(group.attempts),
            _json([dict(zip((*BY, *SUMS), (*by, *sums), strict=True))
                   for by, sums in minutes.items()]),
            _json([dict(zip((*BUCKETED, "count"), (*by, count), strict=True))
                   for by, count in latencies.items()]),
        ]  # fmt: skip
        if replacing:
            self._values.append(_rows(list(replacing.values())))

    def send(self, base: Base) -> dict[bytes, Held]:
        """Writes it, once; returns what others had recorded under its keys and differs."""
        ((new, made),) = base.execute(self._sql, self._values, prepare=True).fetchall()
        if new and made == len(self._records):
            return {}
        held = find(base, [one.key for one in self._records])
        return {
            one.key: held[one.key]
            for one in self._records
            if one.key in held and held[one.key] != held_of(one)
        }


def find(base: Base, keys: Sequence[bytes]) -> dict[bytes, Held]:
    """What is recorded under these keys."""
    found: dict[bytes, Held] = {}
    for start in range(0, len(keys), AT_ONCE):
        some = list(keys[start : start + AT_ONCE])
        for key, sample, content, finish, more, raw in base.execute(_READ, (some,), binary=True):
            if raw is not None:
                content = raw[1:] if raw[:1] == BYTES else raw[1:].decode()
            found[key] = sample, content, finish, more
    return found


def _rows(records: list[Record]) -> str:
    """As JSON, answers that PostgreSQL has no text for in `raw`."""
    if all(type(one.content) is str and "\0" not in one.content for one in records):
        return _json(records)
    return _json([_stored(one) for one in records])


def _stored(record: Record) -> Record:
    content = record.content
    made = _Stored(**msgspec.structs.asdict(record))
    if isinstance(content, bytes):
        made.content, made.raw = f"{len(content):,} bytes", BYTES + content
    elif "\0" in content:
        made.content, made.raw = content.replace("\0", GONE), TEXT + content.encode()
    return made


def _json(rows: Sequence[Any]) -> str:
    data = _encode(rows)
    if b"\\u0000" in data and any(_has_nul(row) for row in rows):
        data = _encode([_without_nul(row) for row in rows])
    return data.decode()


def _fields(row: Any) -> dict[str, Any]:
    return row if isinstance(row, dict) else msgspec.structs.asdict(row)


def _has_nul(row: Any) -> bool:
    return any(isinstance(value, str) and "\0" in value for value in _fields(row).values())


def _without_nul(row: Any) -> dict[str, Any]:
    return {
        name: value.replace("\0", GONE) if isinstance(value, str) else value
        for name, value in _fields(row).items()
    }
