"""Whatever reads a ledger says the same of a file and of a database."""

from __future__ import annotations

import asyncio
import json
from datetime import date, datetime
from itertools import product
from types import SimpleNamespace

import pyarrow as pa
import pytest

from karat import costs, ping, planning
from karat.comparison.paid import paid_answers, shared_cost
from karat.journal import changed_at, journal_of, look_up, open_journal
from karat.journal.grouping import KEYS as KEYS_OF_COSTS
from karat.ledger import EPOCH_MS, Attempt, Record
from karat.licensing import counting
from karat.licensing.rows import Licences
from karat.models.client import Client
from karat.publishing import measured, provenance
from karat.report import build, grading, run_ledger
from karat.web.accounts import calls, ledgers
from karat.web.gateway import keys as gateway_keys
from karat.web.rows.calls import ledger
from karat.web.rows.single import _wrote  # noqa: F401  the page's own way in still exists

NOON = datetime(2026, 3, 28, 12).timestamp()  # a day before clocks are put forward in Europe
MODELS = ("openai/Ä", "openai/b", "groq/a", "bare")
STEPS = ("respond", "key:Anna", "KEY:anna", "grade")
ERRORS = ("", "", "wait", "retry")


def attempts():
    """With what databases might read in ways of their own: order of letters, NULL, halves, case."""
    made = []
    for i, (model, step, error) in enumerate(product(MODELS, STEPS, ERRORS)):
        at = NOON + i * 1800 + (0.5 if i % 3 else 0.0)
        failed = error and "retried" if i % 2 else error and "failed"
        made.append(Attempt(
            (round(at * 1000) - EPOCH_MS << 20) + i, "chat" if i % 5 else "score",
            ("teacher", "judge", "Role")[i % 3], model, f"route {model}", step, f"row {i % 7}", at,
            served="" if i % 4 else f"served {i}", samples=1 + i % 3, queue_ms=i / 8,
            ttft_ms=None if i % 2 else 10.0 + i, latency_ms=100.0 * i + 0.25,
            status=429 if error else 200, outcome=failed or "answered", error=error,
            message=f"It's 50% of “{model}”? {'x' * 500}" if error else "", prompt_tokens=10 + i,
            cached_tokens=i % 4, completion_tokens=i, tokens_from=("reported", "estimated")[i % 2],
            cost_nano=None if i % 6 == 5 else 10**9 + i, body='{"seed": 3, "messages": []}',
        ))  # fmt: skip
    return made


ATTEMPTS = attempts()
ANSWERED = [one for one in ATTEMPTS if not one.error]
RECORDS = {
    one.id: [
        Record(f"{one.id}-{n}".encode(), one.id, one.kind, one.model, one.step, one.row, n,
               b"\x00\x01" if one.role == "Role" else f"answer {n}", "stop", None, 5, 6,
               one.cost_nano and one.cost_nano // 2, one.started, f"scope {n % 2}")
        for n in range(one.samples)
    ]
    for one in ANSWERED
}  # fmt: skip
KEYS = [one.key.hex() for records in RECORDS.values() for one in records]


async def fill(address):
    mine, other = open_journal(address, shared=True), open_journal(address, shared=True)
    for i, one in enumerate(ATTEMPTS):
        journal = mine if i % 3 else other
        if one.error:
            journal.note(one)
        else:
            await journal.put(RECORDS[one.id], one)
    mine.note_replays("openai/b", "key:Anna", "teacher", "chat", 7)
    await other.close()
    await mine.close()


@pytest.fixture(scope="module")
def both(postgres, tmp_path_factory):
    """Two folders with the same ledger: one beside it, one in a database."""
    folders = [tmp_path_factory.mktemp(name) / "run" for name in ("file", "database")]
    for folder in folders:
        folder.mkdir()
    address = postgres.address("readers_agree")
    (folders[1] / "places.json").write_text(json.dumps({"journal": str(address)}))
    for folder in folders:
        asyncio.run(fill(journal_of(folder)))
    return folders


def said(folder):
    """Everything that readers make of the folder's ledger."""
    address = journal_of(folder)
    for by, since in product(KEYS_OF_COSTS, (None, date(2026, 3, 29))):
        yield f"read {by} {since}", costs.read(address, by, since)
        yield f"days {by} {since}", costs.read_days(address, by, since)
    whole = costs.costs([folder], "provider")
    yield "costs", (whole.lines, whole.total, whole.warnings, len(whole.runs))
    for what in (run_ledger.model_lines, run_ledger.cost_lines, run_ledger.faults,
                 run_ledger.series, run_ledger.paid_usd, planning.spent_usd,
                 planning._measure, ping._attempt):  # fmt: skip
        yield what.__name__, what(address)
    yield "recorded", planning._recorded(None, address)
    run = SimpleNamespace(journal=address)
    yield "days", measured._days(run)
    yield "served", measured._served(run)
    yield "per step", look_up(address, provenance._PER_STEP)
    yield "called", set(look_up(address, "SELECT DISTINCT model FROM minutes"))
    yield "writers", Licences({}, {}, address)._look_up(KEYS)
    asked = pa.array([*KEYS, "", "00"])
    yield "writers of", counting._writers_of(asked, address).to_pylist()
    yield "errors", look_up(address, ledgers._ERRORS.format(since=0))
    book = ledgers.Ledger("slug", "name", folder, address, None)
    yield "is long", calls._is_long(book)
    for question in ({}, {"provider": "openai"}, {"provider": "bare"}, {"model": "groq/a"},
                     {"key": "Anna"}, {"step": "KEY:anna"}, {"role": "judge"}, {"error": "wait"},
                     {"status": "failed"}, {"status": "429"}, {"day": "2026-03-29"}):  # fmt: skip
        found = calls.latest([book], calls.asked_of(question), 20)
        yield f"latest {question}", [one[1:] for one in found.calls], found.more, found.partly
    for row in ("row 1", "row 3"):
        yield row, ledger(address, dict.fromkeys(KEYS[:20], "response"), row, 5.0)
    (folder / "keys.json").write_bytes(
        b'{"keys": [{"name": "Anna", "sha256": "x", "created": 0}, '
        b'{"name": "anna", "sha256": "y", "created": 0}]}'
    )
    yield "keys", gateway_keys.listed(folder)
    yield from asyncio.run(opened(address))


async def opened(address):
    """What is asked of an open journal."""
    journal = open_journal(address)
    try:
        found = [
            ("models", build.models(journal)), ("failures", build._failures(journal)),
            ("total", build.total_cost(journal)),
            ("graded", grading._cost(journal, "grade", ["openai/b", "groq/a"])),
            ("shared", shared_cost(journal, "grade")),
            ("paid", paid_answers(journal, {f"row {i}": KEYS[i::7] for i in range(7)}, "respond",
                                  {f"route {model}" for model in MODELS})),
            ("spent", Client._spent(SimpleNamespace(journal=journal), SimpleNamespace(
                budget_usd=1, identity=lambda: f"route {MODELS[0]}"))),
            ("held", await journal.get(map(bytes.fromhex, KEYS))),
            ("earlier", journal.earlier(bytes.fromhex(KEYS[0]))),
        ]  # fmt: skip
    finally:
        await journal.close()
    return found


def types_of(tree):
    """The types in it, whole numbers and others told apart."""
    if isinstance(tree, dict):
        return {key: types_of(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [types_of(one) for one in tree]
    return type(tree).__name__


@pytest.mark.parametrize(
    ("zone", "fine"), [("UTC", True), ("Europe/Berlin", False), ("America/St_Johns", True)]
)
def test_every_reader_says_the_same_of_both(both, zone, fine, monkeypatch):
    import time

    monkeypatch.setenv("TZ", zone)
    time.tzset()
    monkeypatch.setattr(planning, "scopes", lambda recipe: dict.fromkeys(STEPS, "scope 1"))
    if not fine:
        monkeypatch.setattr(run_ledger, "FINE", 0)
    try:
        of_file, of_database = (list(said(folder)) for folder in both)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [name for name, *_ in of_file] == [name for name, *_ in of_database]
    for one, other in zip(of_file, of_database, strict=True):
        assert one == other, one[0]
        assert types_of(one) == types_of(other), one[0]
    silent = {name for name, *told in of_file if not any(told)}
    assert silent <= {"is long", "graded", "total", "shared"}  # of some a price is not known


def test_both_say_when_they_were_written_to(both):
    times = [changed_at(journal_of(folder)) for folder in both]
    assert all(time > NOON for time in times[1:])
    assert times[1] == pytest.approx(ATTEMPTS[-1].started, abs=1)


def test_days_are_those_of_the_clock_here(both):
    found = costs.read_days(journal_of(both[0]), "run")
    days = {}
    for one in ATTEMPTS:
        day = datetime.fromtimestamp(one.started).date().isoformat()
        days[day] = days.get(day, 0) + 1
    assert {one.day: one.attempts for one in found} == days
