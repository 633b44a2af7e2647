"""The calls of one row, out of a journal: found, added up, looked for only so long as allowed."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from karat.ledger import INSERT_ATTEMPT, INSERT_CALL, SCHEMA, Attempt, Record, line_of
from karat.web.rows.calls import ledger

PROMPT, ANSWER, JUDGED, OTHER = (bytes([n]) * 16 for n in range(4))
WROTE = {PROMPT.hex(): "the prompt", ANSWER.hex(): "response 1"}


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.sqlite"
    body = '{"messages":[{"role":"user","content":"Write"},{"role":"x","content":[1]}],"seed":7}'
    with closing(sqlite3.connect(path)) as base, base:
        base.executescript(SCHEMA)
        _put(base, 1, "prompts", "parent", [(PROMPT, "1. Why?", 1000)], body=body)
        _put(base, 2, "respond", "row", [], outcome="retried", cost_nano=50, error="wait",
             message="busy", status=429)  # fmt: skip
        _put(base, 3, "respond", "row", [(ANSWER, "Because.", 2000)], try_number=1, body="{" * 99)
        _put(base, 4, "grade", "row", [(JUDGED, b"\0\1", 4000)], role="judge")
        _put(base, 5, "grade", "another", [(OTHER, "no", 8000)], role="judge")
    return path


def _put(
    base: sqlite3.Connection, number: int, step: str, row: str, answers: list[Any], **more: Any
) -> None:
    facts = {"role": "teacher", **more}
    attempt = Attempt(number, "chat", model="p/m", route="", step=step, row=row,
                      started=float(number), **facts)  # fmt: skip
    base.execute(INSERT_ATTEMPT, msgspec.structs.astuple(attempt))
    for place, (key, content, nano) in enumerate(answers):
        record = Record(key, number, "chat", "p/m", step, row, place, content, cost_nano=nano)
        base.execute(INSERT_CALL, line_of(record))


def test_all_calls_of_a_row_are_found_and_added_up(journal: Path) -> None:
    found = ledger(journal, WROTE, "row", 20)
    assert [call.id for call in found.calls] == [1, 2, 3, 4]
    assert [answer.wrote for call in found.calls for answer in call.answers] == [
        "the prompt", "response 1", ""
    ]  # fmt: skip
    assert found.cost_usd == pytest.approx(7050e-9)
    assert (found.whole, found.missing, found.why) == (True, 0, "")
    first, tried, _, judged = found.calls
    assert (first.seed, first.turns) == (7, [("user", "Write"), ("x", "[1]")])
    assert (tried.outcome, tried.status, tried.message) == ("retried", 429, "busy")
    assert judged.answers[0].content == "2 bytes"


def test_without_time_the_calls_that_a_row_names_are_there(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as base, base:
        base.executemany(
            INSERT_ATTEMPT,
            (msgspec.structs.astuple(Attempt(n, "chat", "judge", "p/m", "", "s", "z", 9.0))
             for n in range(10, 30_000)),
        )  # fmt: skip
    found = ledger(journal, WROTE, "row", 0.0)
    assert not found.whole
    assert {1, 3} <= {call.id for call in found.calls}
    assert ledger(journal, WROTE, "row", 20).whole


def test_a_cost_that_nobody_knows_is_not_added_up(journal: Path) -> None:
    with closing(sqlite3.connect(journal)) as base, base:
        base.execute("UPDATE calls SET cost_nano = NULL WHERE attempt = 4")
    assert ledger(journal, WROTE, "row", 20).cost_usd is None


def test_keys_of_another_journal_are_counted_as_missing(journal: Path) -> None:
    wrote = {**WROTE, "ff" * 16: "response 2", "no key": "response 3"}
    assert ledger(journal, wrote, "row", 20).missing == 2


def test_what_cannot_be_read_is_said(journal: Path, tmp_path: Path) -> None:
    assert "no journal" in ledger(tmp_path / "none.sqlite", WROTE, "row", 1).why
    with closing(sqlite3.connect(journal)) as base, base:
        base.execute("PRAGMA user_version = 99")
    assert "another version" in ledger(journal, WROTE, "row", 1).why
    journal.write_bytes(b"not a database at all" * 99)
    assert "cannot be read" in ledger(journal, WROTE, "row", 1).why


def test_a_row_is_a_value_and_never_a_statement(journal: Path) -> None:
    found = ledger(journal, {}, "row' OR 1=1 --", 20)
    assert found.calls == []
