"""sql: statements pass, words do not; tables and columns must exist; nothing outside is touched."""

from __future__ import annotations

import logging
import time

import pytest

from karat.errors import RecipeError
from karat.verifiers.base import Item, accepted, find

pytest.importorskip("sqlglot")
TABLES = (
    "CREATE TABLE t (a INT, b TEXT); CREATE TABLE [odd name] (c INT); INSERT INTO t VALUES (1, '')"
)


def check(response, schema=None, **options):
    meta = {} if schema is None else {"schema_sql": schema}
    return find("sql").verify(Item((), response, "stop", meta), **options)


@pytest.mark.parametrize(
    "response",
    [
        "SELECT 1",
        "select a, count(*) from t group by a having count(*) > 1;",
        "WITH x AS (SELECT 1 AS n) SELECT n FROM x UNION ALL SELECT 2",
        "(SELECT 1) UNION (SELECT 2)",
        "INSERT INTO t (a) VALUES (1)",
        "UPDATE t SET a = 2 WHERE b = 'x'; DELETE FROM t",
        "CREATE TABLE u (id INT PRIMARY KEY)",
        "ALTER TABLE t ADD COLUMN c INT",
        "DROP TABLE IF EXISTS t",
        "BEGIN; COMMIT",
        "Use this:\n\n```sql\nSELECT a FROM t\n```\n\nIt reads t.",
    ],
)
def test_statements_pass(response):
    assert check(response).passed is True


@pytest.mark.parametrize(
    "response",
    [
        "",
        "-- nothing",
        "hello world",
        "hello",
        "1 + 1",
        "SELECT",
        "SELECT a FROM",
        "SELECT a FROM t WHERE",
        "SELEC a FROM t",
        "SELECT a b c FROM t",
        "SELECT 'a",
        "SELECT (a FROM t",
        "The query is SELECT 1",
        "SELECT 1; nonsense here",
    ],
)
def test_what_is_no_statement_does_not(response):
    assert check(response).passed is False


def test_the_dialect_is_the_row_s_or_the_option_s():
    top = "SELECT TOP 5 a FROM t"
    assert check(top, dialect="tsql").passed
    assert check("SELECT `a` FROM `t`", dialect="mysql").passed
    assert check("FROM t", dialect="duckdb").passed
    item = Item((), "SELECT a FROM t LIMIT 5 OFFSET", "stop", {"dialect": "klingon"})
    assert find("sql").verify(item).passed is None
    assert accepted("sql", {"dialect": "mysql"}) == {"dialect": "mysql"}
    with pytest.raises(RecipeError, match="verifier 'sql': option 'dialect'"):
        accepted("sql", {"dialect": "klingon"})


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("SELECT a FROM t", ""),
        ("SELECT c FROM [odd name]", ""),
        ("SELECT c FROM t", "no such column: c"),
        ("SELECT a FROM u", "no such table: u"),
        ('SELECT "c" FROM t', "no such column: c"),  # to SQLite alone it would be a text
        ("DELETE FROM t WHERE c = 1", "no such column: c"),
        ("INSERT INTO t VALUES (1)", "table t has 2 columns but 1 values were supplied"),
        ("CREATE TABLE u (z INT); SELECT z FROM u", ""),
        ("SELECT x.a FROM t x JOIN t y ON x.a = y.a WHERE a = 1", "ambiguous column name: a"),
    ],
)
def test_tables_and_columns_must_exist(response, reason):
    verdict = check(response, TABLES)
    assert (verdict.passed, verdict.reason) == (not reason, reason)


def test_other_dialects_are_translated_and_undecided_where_sqlite_lacks_what_they_use():
    assert check("SELECT a::TEXT FROM t", TABLES, dialect="postgres").passed is True
    assert check("SELECT z::TEXT FROM t", TABLES, dialect="postgres").passed is False
    month = check("SELECT DATE_TRUNC('month', a) FROM t", TABLES, dialect="postgres")
    assert month.passed is None
    assert check("SELECT some_function(a) FROM t", TABLES, dialect="oracle").passed is None
    assert check("SELECT some_function(a) FROM t", TABLES).passed is False


@pytest.mark.parametrize("schema", ["CREATE TABLE", 3, "SELECT \ud800", "ATTACH 'x.db' AS x"])
def test_tables_that_cannot_be_made_decide_nothing(schema):
    assert check("SELECT 1", schema).passed is None


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"


@pytest.mark.parametrize(
    "response",
    [
        "ATTACH DATABASE '{}/x.db' AS y",
        "PRAGMA journal_mode = WAL",
        "VACUUM INTO '{}/x.db'",
        "SELECT load_extension('{}/x.so')",
        "CREATE TABLE u AS SELECT load_extension('{}/x.so') AS x",
        "CREATE VIRTUAL TABLE u USING fts5(x)",
        f"CREATE TABLE u AS {ENDLESS}",
        "CREATE TABLE u AS SELECT zeroblob(1000000000) AS x",
        ENDLESS,
    ],
)
def test_nothing_is_reached_and_nothing_runs_for_long(response, tmp_path):
    start = time.process_time()
    verdict = check(response.format(tmp_path), TABLES)
    assert verdict.passed is not True or response == ENDLESS  # prepared, and never run
    assert time.process_time() - start < 5
    assert list(tmp_path.iterdir()) == []


def test_odd_texts(caplog):
    assert check("SELECT " + "(" * 5000 + "1" + ")" * 5000).passed is None
    assert check("SELECT 1 -- " + "x" * 200_000).passed is None
    assert check("SHOW TABLES").passed is None
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
