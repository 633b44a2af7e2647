"""sql: whether a response is SQL, and whether its tables and columns exist.

Parsed by sqlglot in the row's dialect. Its parser takes more than a dialect has and reads two words
as a column with an alias, so that a text passes only as statements; what it cannot parse but knows
to be a command is left undecided. Where the row brings its tables (`schema_sql`), SQLite then
prepares each statement on them, in memory and with its time, its size and its reach held.

Source: sqlglot 30, `parse` and `Command`; SQLite, "Defense Against The Dark Arts" §1.
"""

from __future__ import annotations

import logging
import sqlite3
from functools import cache
from typing import Any, Literal, NamedTuple, get_args

from karat.verifiers._fences import given
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()  # `schema_sql` and `dialect` where there are some
EXTRA = "sql"
PACKAGE = "sqlglot"

Dialect = Literal[
    "", "bigquery", "clickhouse", "databricks", "duckdb", "hive", "mysql", "oracle", "postgres",
    "presto", "redshift", "snowflake", "spark", "sqlite", "starrocks", "teradata", "trino", "tsql",
]  # fmt: skip
LONGEST = 100_000  # characters
STEPS = 1_000_000  # of SQLite's virtual machine per row: some tens of milliseconds
BYTES = 1_000_000  # of one value, of one statement; and pages of the database
_STATEMENTS = (
    "Query", "DML", "Values", "Create", "Drop", "Alter", "TruncateTable", "Analyze", "Describe",
    "Transaction", "Commit", "Rollback", "Set", "Use", "Grant", "Revoke", "Comment", "Show",
    "Pragma", "Attach", "Detach", "Merge", "Cache", "Uncache", "Refresh", "Kill", "Copy",
)  # fmt: skip
_FORBIDDEN_CALLS = {"load_extension", "readfile", "writefile", "edit", "fts3_tokenizer"}
_FORBIDDEN = {
    sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH, sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_CREATE_VTABLE, sqlite3.SQLITE_DROP_VTABLE,
}  # fmt: skip


def verify(item: Item, *, dialect: Dialect = "") -> Verdict:
    """True where the response is one or more SQL statements: all of it, or its last block of SQL.

    `meta["dialect"]` goes before `dialect`; "" reads what most dialects share and more. With
    `meta["schema_sql"]` (CREATE TABLE and the like, as SQLite reads them) statements must also fit
    these tables, and are SQLite's unless said otherwise; one in another dialect is translated
    first, and undecided where SQLite lacks what it uses.
    """
    schema = item.meta.get("schema_sql")
    named = item.meta.get("dialect") or dialect or ("sqlite" if schema is not None else "")
    if named not in get_args(Dialect):
        return Verdict(None, f"no dialect {named!r} is known here"[:100])
    text = given(item.response, ("sql", named, "sqlite", "mysql", "postgresql", "postgres"))
    if not text:
        return Verdict(False, "no SQL in the response")
    if len(text) > LONGEST:
        return Verdict(None, f"over {LONGEST} characters")
    try:
        statements, verdict = _parsed(text, named)
    except RecursionError:
        return Verdict(None, "nested too deep to be parsed")
    if verdict.passed is not True or schema is None:
        return verdict
    if not isinstance(schema, str):
        return Verdict(None, "the row's schema_sql is not a text")
    return _prepared(statements, schema, exact=named == "sqlite")


class Statement(NamedTuple):
    """One statement in SQLite's dialect, and the tables and columns that it names."""

    text: str
    creates: bool
    names: frozenset[str]


def _parsed(text: str, dialect: str) -> tuple[list[Statement], Verdict]:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # it warns of each Command
    try:
        trees = [tree for tree in sqlglot.parse(text, read=dialect or None) if tree is not None]
    except SqlglotError as error:
        return [], Verdict(False, f"does not parse: {_first(error)}")
    if not trees:
        return [], Verdict(False, "no SQL in the response")
    known = tuple(getattr(exp, name) for name in _STATEMENTS if hasattr(exp, name))
    for tree in trees:
        if isinstance(tree, exp.Command):
            return [], Verdict(None, "a statement that is not understood here")
        bare = type(tree) is exp.Select and not tree.expressions and dialect != "duckdb"
        if not isinstance(tree, known) or bare:
            return [], Verdict(False, "not a statement")
    try:
        return [_translated(tree) for tree in trees], Verdict(True)
    except SqlglotError as error:
        return [], Verdict(None, f"cannot be translated: {_first(error)}")


def _translated(tree: Any) -> Statement:
    from sqlglot import exp

    named = {node.name.lower() for node in tree.find_all(exp.Column, exp.Table)}
    text = tree.sql(dialect=_brackets())
    return Statement(text, isinstance(tree, exp.Create), frozenset(named))


@cache
def _brackets() -> Any:
    """SQLite with names in brackets: a name in double quotes that is no column is a text to it."""
    from sqlglot.dialects.sqlite import SQLite

    class Brackets(SQLite):
        class Tokenizer(SQLite.Tokenizer):
            IDENTIFIERS = [("[", "]"), '"', "`"]  # noqa: RUF012  # sqlglot's own declaration

    return Brackets


def _first(error: Exception) -> str:
    """What an error of sqlglot says, without its quotation of the text."""
    return str(error).partition("\n")[0].partition(". Line")[0].partition(" but got <")[0][:200]


def _prepared(statements: list[Statement], schema: str, exact: bool) -> Verdict:
    """Whether SQLite prepares each on these tables. What creates something is carried out."""
    base = sqlite3.connect(":memory:", isolation_level=None)
    try:
        try:
            _hold(base)
            base.executescript(schema)
        except (sqlite3.Error, ValueError) as error:
            return Verdict(None, f"the row's schema_sql cannot be used: {error}")
        for one in statements:
            base.set_progress_handler(lambda: 1, STEPS)
            try:
                base.execute(one.text if one.creates else f"EXPLAIN {one.text}").fetchone()
            except (sqlite3.Error, ValueError) as error:
                return _refused(str(error), one.names, exact)
        return Verdict(True)
    finally:
        base.close()


def _hold(base: sqlite3.Connection) -> None:
    base.execute(f"PRAGMA max_page_count = {BYTES // 100}")
    base.execute("PRAGMA trusted_schema = OFF")
    base.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, BYTES)
    base.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, BYTES)
    base.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    base.set_authorizer(_allowed)
    base.set_progress_handler(lambda: 1, STEPS)


def _allowed(action: int, _: Any, second: Any, *__: Any) -> int:
    called = action == sqlite3.SQLITE_FUNCTION and str(second).lower() in _FORBIDDEN_CALLS
    return sqlite3.SQLITE_DENY if called or action in _FORBIDDEN else sqlite3.SQLITE_OK


def _refused(error: str, names: frozenset[str], exact: bool) -> Verdict:
    """What an error of SQLite says of the response; of a translation, only that a name is none."""
    if "not authorized" in error or "prohibited" in error or "interrupted" in error:
        return Verdict(None, f"not carried out here: {error}")
    kind, _, name = error.partition(": ")
    missing = kind in ("no such table", "no such column", "ambiguous column name")
    if exact or (missing and name.rpartition(".")[2].lower() in names):
        return Verdict(False, error)
    return Verdict(None, f"SQLite cannot tell: {error}")
