"""A database that goes away, comes back, or was never right: nothing lost or counted twice."""

from __future__ import annotations

import asyncio
import importlib
import threading
import time

import pytest
from both_kinds import attempt, record, with_journal
from postgres import PASSWORD

from karat import RunError
from karat.journal import LateError, look_up, looking, open_journal
from karat.row import digest

psycopg = pytest.importorskip("psycopg")
MIGRATIONS = pytest.importorskip("karat.journal.postgres_schema").MIGRATIONS


def counted(address):
    ((calls,),) = look_up(address, "SELECT count(*) FROM calls")
    ((tries,),) = look_up(address, "SELECT count(*) FROM attempts")
    ((summed, nano),) = look_up(address, "SELECT sum(attempts), sum(cost_nano) FROM minutes")
    ((timed,),) = look_up(address, "SELECT sum(count) FROM latencies WHERE measure = ?", "latency")
    return calls, tries, summed, nano, timed


def test_a_server_that_crashes_under_load_costs_time_and_nothing_else(postgres, pg_place):
    done, said = [], []

    async def writer(journal, number):
        for i in range(1_000_000):
            one = record(f"{number}-{i}")
            assert await journal.put([one], attempt(cost_nano=2)) == {}
            done.append(one.key)
            if len(await journal.get([one.key])) != 1:
                raise AssertionError("what was put is not there")
            if ended.is_set():
                return

    async def more(count):
        until = len(done) + count
        async with asyncio.timeout(60):
            while len(done) < until:  # noqa: ASYNC110  whoever writes has no event to set
                await asyncio.sleep(0.01)

    async def work(journal):
        other = open_journal(pg_place, patience_s=30)
        journal.say = said.append
        tasks = [asyncio.ensure_future(writer(one, f"{n}{name}"))
                 for n in range(20) for name, one in (("a", journal), ("b", other))]  # fmt: skip
        for _ in range(2):
            await more(100)
            await asyncio.to_thread(postgres.stop, at_once=True)
            await asyncio.sleep(0.2)
            await asyncio.to_thread(postgres.start)
        await more(100)
        ended.set()
        await asyncio.gather(*tasks)
        await other.close()

    ended = asyncio.Event()
    with_journal(pg_place, work, patience_s=30)
    count = len(done)
    assert count >= 300
    assert counted(pg_place) == (count, count, count, 2 * count, count)
    assert sum("does not answer" in text and "tried again" in text for text in said) >= 1
    assert sum("is back after" in text for text in said) >= 1


class Cutting:
    """A connection that is lost once, after the server has committed."""

    def __init__(self, base):
        self._base = base

    def __getattr__(self, name):
        return getattr(self._base, name)

    def execute(self, sql, *args, **more):
        done = self._base.execute(sql, *args, **more)
        if "WITH new AS" in sql and not Cutting.cut:
            Cutting.cut = True
            raise psycopg.OperationalError("the connection is lost")
        return done


def test_a_commit_that_was_not_acknowledged_is_not_done_again(pg_place, monkeypatch):
    Cutting.cut = False
    connect = importlib.import_module("karat.journal.postgres_connect").connect
    monkeypatch.setattr(
        "karat.journal.postgres_connect.connect", lambda address: Cutting(connect(address))
    )

    async def work(journal):
        told = await journal.put([record(1), record(2)], attempt(cost_nano=5))
        return told, await journal.get([digest("1")])

    told, held = with_journal(pg_place, work)
    assert (told, len(held), Cutting.cut) == ({}, 1, True)
    assert counted(pg_place) == (2, 1, 1, 5, 1)


def test_patience_has_an_end_that_says_what_to_do(postgres, pg_place):
    async def work(journal):
        postgres.stop(at_once=True)
        began = time.monotonic()
        try:
            with pytest.raises(RunError, match=r"does not answer.*Run again"):
                await journal.put([record(1)], attempt())
            with pytest.raises(RunError, match=r"does not answer"):
                await journal.get([digest("1")])
            return time.monotonic() - began
        finally:
            postgres.start()

    assert 0.4 < with_journal(pg_place, work, patience_s=0.5) < 3
    assert counted(pg_place) == (0, 0, None, None, None)


def test_closing_that_is_cancelled_does_not_wait_for_a_server_that_is_away(postgres, pg_place):
    async def main():
        journal = open_journal(pg_place)
        postgres.stop(at_once=True)
        try:
            putting = asyncio.ensure_future(journal.put([record(1)], attempt()))
            await asyncio.sleep(0.05)
            closing = asyncio.ensure_future(journal.close())
            await asyncio.sleep(0.3)
            closing.cancel()
            began = time.monotonic()
            await asyncio.gather(closing, return_exceptions=True)
            with pytest.raises(RunError, match="does not answer"):
                await putting
            return time.monotonic() - began
        finally:
            postgres.start()

    assert asyncio.run(main()) < 3


def test_one_run_at_a_time_has_a_schema_also_after_a_crash(postgres, pg_place):
    async def work(journal):
        journal.claim()
        other = open_journal(pg_place)
        with pytest.raises(RunError, match="in use by another karat"):
            other.claim()
        postgres.stop(at_once=True)
        postgres.start()
        await journal.put([record(1)], attempt())  # on a connection that holds the lock again
        journal.claim()
        with pytest.raises(RunError, match="in use by another karat"):
            other.claim()
        await other.close()

    with_journal(pg_place, work)
    with_journal(pg_place, lambda journal: asyncio.to_thread(journal.claim))


def test_one_that_lost_its_schema_to_another_run_stops(pg_place, monkeypatch):
    monkeypatch.setattr("karat.journal.postgres.RECLAIM_S", 0.3)

    async def work(journal):
        journal.claim()
        other = open_journal(pg_place)
        with psycopg.connect(**connection(pg_place), autocommit=True) as base:
            base.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = "
                         "'advisory' AND pid <> pg_backend_pid()")  # fmt: skip
        await asyncio.sleep(0.1)
        other.claim()
        try:
            with pytest.raises(RunError, match="in use by another karat"):
                await journal.put([record(1)], attempt())
        finally:
            await other.close()

    with_journal(pg_place, work)


def connection(address):
    return {
        "host": address.host, "port": address.port, "user": address.user,
        "dbname": address.database,
    }  # fmt: skip


def test_many_that_open_at_once_make_the_tables_once(pg_place):
    failures = []

    def begin():
        try:
            asyncio.run(open_and_close())
        except BaseException as error:
            failures.append(error)

    async def open_and_close():
        journal = open_journal(pg_place)
        await journal.put([record("same"), record(threading.get_ident())], attempt())
        await journal.close()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert counted(pg_place)[:3] == (9, 8, 8)
    ((version,),) = look_up(pg_place, "SELECT version FROM karat")
    assert version == len(MIGRATIONS)


def test_a_schema_of_an_older_karat_is_brought_up_to_date_with_what_it_holds(pg_place, monkeypatch):
    monkeypatch.setattr("karat.journal.postgres_schema.MIGRATIONS", MIGRATIONS[:1])

    async def fill(journal):
        await journal.put([record(1)], attempt(row="sought"))

    with_journal(pg_place, fill)
    indexes = "SELECT count(*) FROM pg_indexes WHERE schemaname = ? AND indexname LIKE '%_row'"
    assert look_up(pg_place, indexes, pg_place.schema) == [(0,)]
    monkeypatch.undo()

    async def look(journal):
        return await journal.get([digest("1")])

    assert len(with_journal(pg_place, look)) == 1
    assert look_up(pg_place, indexes, pg_place.schema) == [(2,)]
    assert look_up(pg_place, "SELECT row FROM attempts WHERE row = ?", "sought") == [("sought",)]


def test_a_newer_schema_and_another_programs_are_left_alone(pg_place):
    with_journal(pg_place, lambda journal: journal.get([]))
    with psycopg.connect(**connection(pg_place)) as base:
        base.execute(f"UPDATE {pg_place.quoted}.karat SET version = 99")
    with pytest.raises(RunError, match=r"newer karat \(format 99"):
        open_journal(pg_place)
    with psycopg.connect(**connection(pg_place)) as base:
        base.execute(f"DROP SCHEMA {pg_place.quoted} CASCADE; CREATE SCHEMA {pg_place.quoted}; "
                     f"CREATE TABLE {pg_place.quoted}.theirs (x int)")  # fmt: skip
    with pytest.raises(RunError, match=r"another program's \(it holds theirs\)"):
        open_journal(pg_place)


def test_a_migration_that_fails_leaves_nothing_behind(pg_place, monkeypatch):
    broken = (*MIGRATIONS, "CREATE TABLE half (x int); SELECT 1 / 0")
    monkeypatch.setattr("karat.journal.postgres_schema.MIGRATIONS", broken)
    with pytest.raises(RunError, match="division by zero"):
        open_journal(pg_place)
    monkeypatch.undo()
    assert look_up(pg_place, "SELECT 1") == []


@pytest.fixture
def stranger(postgres, pg_place):
    """A user who may log in and nothing else; the schema of `pg_place` is not there."""
    name = "stranger"
    with psycopg.connect(**connection(pg_place), autocommit=True) as base:
        base.execute(f"DROP ROLE IF EXISTS {name}")
        secret = PASSWORD.replace("'", "''")
        base.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{secret}'")
    return postgres.address(pg_place.schema, user=name)


def test_a_user_without_rights_is_told_what_to_ask_for(stranger, pg_place):
    with pytest.raises(RunError, match=r"CREATE SCHEMA \"run .*AUTHORIZATION stranger"):
        open_journal(stranger)
    with psycopg.connect(**connection(pg_place), autocommit=True) as base:
        base.execute(f"CREATE SCHEMA {pg_place.quoted} AUTHORIZATION stranger")

    async def work(journal):
        await journal.put([record(1)], attempt())

    with_journal(stranger, work)
    with psycopg.connect(**connection(pg_place), autocommit=True) as base:
        base.execute(f"DROP SCHEMA {pg_place.quoted} CASCADE; DROP ROLE stranger")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"database": "nowhere"}, "has no database 'nowhere'; create it"),
        ({"user": "nobody"}, "refuses the password of 'nobody'; set PGPASSWORD"),
        ({"options": (("sslmode", "require"),)}, "offers no SSL"),
        ({"port": 1}, r"does not answer \(.*refused.*\); is it running\?"),
        ({"host": "no-such-host.invalid"}, "cannot be found|does not answer"),
    ],
)
def test_what_cannot_be_reached_says_what_to_do(postgres, pg_place, changed, message):
    address = postgres.address(pg_place.schema, **changed)
    for ask in (lambda: open_journal(address), lambda: look_up(address, "SELECT 1")):
        with pytest.raises(RunError, match=message) as caught:
            ask()
        assert PASSWORD not in str(caught.value)


def test_a_wrong_password_is_refused_and_not_repeated(pg_place, monkeypatch):
    for secret in ("wrong-secret", ""):
        monkeypatch.setenv("PGPASSWORD", secret)
        with pytest.raises(RunError, match="refuses the password of 'karat'") as caught:
            open_journal(pg_place)
        assert "wrong-secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_look_cannot_write_and_has_an_end(pg_place):
    with_journal(pg_place, lambda journal: journal.get([]))
    with pytest.raises(RunError, match="only reads"):
        look_up(pg_place, "DELETE FROM calls RETURNING 1")
    with looking(pg_place, 0.1) as look:
        with pytest.raises(LateError, match=r"not read within 0\.1 s"):
            list(look.rows("SELECT pg_sleep(5)"))
        look.end_at(time.monotonic() + 5)
        assert list(look.rows("SELECT count(*) FROM calls")) == [(0,)]
    assert look_up(pg_place, "SELECT '?', count(*) FROM calls WHERE row <> ?", "x") == [("?", 0)]


def test_looks_share_a_few_connections(pg_place):
    with_journal(pg_place, lambda journal: journal.get([]))
    counts = []

    def look():
        counts.append(look_up(
            pg_place, "SELECT count(*) FROM pg_stat_activity WHERE application_name = ? AND "
            "pg_sleep(0.01) IS NOT NULL", "karat",
        )[0][0])  # fmt: skip

    threads = [threading.Thread(target=look) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counts) == 20
    assert max(counts) <= 4
