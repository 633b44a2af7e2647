"""The ledger's tables in a schema of PostgreSQL, and how one of an older karat becomes today's.

The same columns as in SQLite, so that readers ask the same of both. Beyond them: `writers` has a
row for each process that wrote and the number of its last group, by which a group is known whose
commit was not acknowledged; `writer` keeps the sums of a hundred processes from waiting for each
other's locks; `rowid` counts records as SQLite does by itself. Text is compared by its bytes.
"""

from __future__ import annotations

import hashlib

from karat.errors import RunError
from karat.journal.address import PostgresAddress
from karat.journal.postgres_connect import Base, name_of
from karat.ledger import ATTEMPTS, BUCKETED, BY, CALLS, REALS, SUMS, WHOLE

TIMES = ("latency_ms", "queue_ms")  # of the sums: milliseconds, not counted


def type_of(name: str) -> str:
    """Of a column of calls or attempts."""
    if name in WHOLE:
        return "bigint"
    if name in REALS:
        return "double precision"
    return "bytea" if name == "key" else "text"


_TEXT = 'text COLLATE "C"'


def _columns(names: tuple[str, ...]) -> str:
    kinds = {name: type_of(name) for name in names}
    return ", ".join(f"{n} {_TEXT if kind == 'text' else kind}" for n, kind in kinds.items())


def _summed(names: tuple[str, ...]) -> str:
    kinds = {name: "bigint" if name in ("minute", "bucket") else _TEXT for name in names}
    return ", ".join(f"{name} {kind} NOT NULL" for name, kind in kinds.items())


# An answer that is no text, or one with a NUL, is in `raw`, behind a byte that says which; what
# `content` then has is for people.
_TABLES = f"""
CREATE TABLE calls ({_columns(CALLS)}, raw bytea, rowid bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (key));
CREATE TABLE attempts ({_columns(ATTEMPTS)}, PRIMARY KEY (id));
CREATE TABLE minutes ({_summed(BY)},
    {", ".join(f"{n} {'double precision' if n in TIMES else 'bigint'} NOT NULL" for n in SUMS)},
    writer bigint NOT NULL, PRIMARY KEY ({", ".join(BY)}, writer)) WITH (fillfactor = 70);
CREATE TABLE latencies ({_summed(BUCKETED)}, count bigint NOT NULL, writer bigint NOT NULL,
    PRIMARY KEY ({", ".join(BUCKETED)}, writer)) WITH (fillfactor = 70);
CREATE TABLE batches (id text PRIMARY KEY, route text, state text, created double precision,
    remote text, requests bytea);
CREATE TABLE writers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    last bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
"""
# Without it, what judged a row or failed for it is found by reading all attempts of the run.
_BY_ROW = "CREATE INDEX attempts_row ON attempts (row); CREATE INDEX calls_row ON calls (row);"
MIGRATIONS = (_TABLES, _BY_ROW)  # in their order; a released one is never changed


def key_of(address: PostgresAddress, what: str) -> int:
    """The number of an advisory lock: of this schema, for one purpose."""
    made = hashlib.blake2b(f"karat {what} {address.schema}".encode(), digest_size=8)
    return int.from_bytes(made.digest(), signed=True)


def enter(base: Base, address: PostgresAddress) -> None:
    """Statements of this connection mean the tables of this schema."""
    base.execute(f"SET search_path TO {address.quoted}")


def version_of(base: Base, address: PostgresAddress) -> int:
    """How many migrations a schema has seen; 0 where there are no tables yet.

    Raises: RunError for one of a newer karat.
    """
    ((there,),) = base.execute("SELECT to_regclass($1)", (f"{address.quoted}.karat",))
    if there is None:
        return 0
    ((version,),) = base.execute(f"SELECT version FROM {address.quoted}.karat")
    if version > len(MIGRATIONS):
        raise RunError(
            f"{address} was written by a newer karat (format {version}, this one reads "
            f"{len(MIGRATIONS)}); use that version, or another schema"
        )
    return int(version)


def migrate(base: Base, address: PostgresAddress) -> None:
    """Brings a schema to what this karat writes, once, whoever else does the same just now.

    Raises: psycopg.Error, RunError.
    """
    if version_of(base, address) == len(MIGRATIONS):
        return
    with base.transaction():
        base.execute("SELECT pg_advisory_xact_lock($1)", (key_of(address, "tables"),))
        there = base.execute("SELECT 1 FROM pg_namespace WHERE nspname = $1", (address.schema,))
        if there.fetchone() is None:
            base.execute(f"CREATE SCHEMA {address.quoted}")
        version = version_of(base, address)
        base.execute(f"SET LOCAL search_path TO {address.quoted}")
        if version == 0:
            _check_empty(base, address)
            base.execute("CREATE TABLE karat (version bigint NOT NULL)")
            base.execute("INSERT INTO karat VALUES (0)")
        for sql in MIGRATIONS[version:]:
            base.execute(sql)
        base.execute("UPDATE karat SET version = $1", (len(MIGRATIONS),))


def _check_empty(base: Base, address: PostgresAddress) -> None:
    found = base.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = $1 LIMIT 1", (address.schema,),
    ).fetchone()  # fmt: skip
    if found is not None:
        raise RunError(
            f"the schema {address.schema} of {name_of(address)} is another program's (it holds "
            f"{found[0]}); name another as ?schema=NAME"
        )
