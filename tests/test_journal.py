"""The journal: what put has promised is there, whatever happens next."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from conftest import environment

from karat import RunError
from karat.journal import look_up, looking, open_journal
from karat.journal.base import held_of
from karat.journal.sqlite import SqliteJournal
from karat.ledger import Attempt, Record, line_of, new_id
from karat.row import digest


def record(number, **more):
    key = digest(str(number))
    fields = {"key": key, "attempt": 1, "kind": "chat", "model": "m", "step": "s", "row": "r"}
    return Record(**{**fields, "sample": 0, "content": f"text {number}", **more})


def attempt(number=0, **more):
    fields = {"id": new_id(), "kind": "chat", "role": "teacher", "model": "m"}
    return Attempt(**{**fields, "route": "m", "step": "s", "row": "r", "started": 61.0, **more})


def counted(path):
    """How many records another program sees."""
    with sqlite3.connect(path) as base:
        ((count,),) = base.execute("SELECT count(*) FROM calls")
    base.close()
    return count


def with_journal(path, work):
    async def main():
        journal = open_journal(path)
        try:
            return await work(journal)
        finally:
            await journal.close()

    return asyncio.run(main())


def test_a_record_is_there_for_others_once_put_returns(tmp_path):
    async def work(journal):
        await journal.put([record(1)], attempt())
        return counted(tmp_path / "j")

    assert with_journal(tmp_path / "j", work) == 1


def test_records_come_back_whole(tmp_path):
    full = record(
        1, finish_reason="stop", prompt_tokens=3, completion_tokens=2**40, cost_nano=5,
        started=1.25, more='{"a": "α\\u0000"}', content="two\nlines \x00 α",
    )  # fmt: skip

    async def work(journal):
        await journal.put([full], attempt())
        (found,) = journal.query("SELECT * FROM calls")
        return found

    stored = with_journal(tmp_path / "j", work)
    assert stored == line_of(full)


def test_get_finds_what_is_recorded_and_nothing_else(tmp_path):
    async def work(journal):
        await journal.put([record(1, sample=4, finish_reason="length")], attempt())
        return await journal.get([digest("1"), digest("2")])

    assert with_journal(tmp_path / "j", work) == {digest("1"): (4, "text 1", "length", None)}


def test_it_knows_what_an_earlier_run_has_bought(tmp_path):
    async def first(journal):
        await journal.put([record(1)], attempt())
        return journal.earlier(record(1).key)

    async def then(journal):
        await journal.put([record(2)], attempt())
        return [journal.earlier(record(number).key) for number in (1, 2, 3)]

    assert with_journal(tmp_path / "j", first) is False
    assert with_journal(tmp_path / "j", then) == [True, False, False]


def test_the_first_record_of_a_key_stays(tmp_path):
    async def work(journal):
        await journal.put([record(1)], attempt())
        await journal.put([record(1, content="later")], attempt())
        return (await journal.get([digest("1")]))[digest("1")][1]

    assert with_journal(tmp_path / "j", work) == "text 1"


def test_records_put_together_are_committed_together(tmp_path, monkeypatch):
    commits = []
    commit = SqliteJournal._commit
    monkeypatch.setattr(
        SqliteJournal,
        "_commit",
        lambda self, group: (commits.append(len(group.records)), commit(self, group)),
    )

    async def work(journal):
        await asyncio.gather(*(journal.put([record(i)], attempt()) for i in range(500)))
        return counted(tmp_path / "j")

    assert with_journal(tmp_path / "j", work) == 500
    assert len(commits) <= 5


def test_a_cancelled_writer_loses_nothing(tmp_path):
    async def work(journal):
        task = asyncio.ensure_future(journal.put([record(1)], attempt()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with_journal(tmp_path / "j", work)
    assert counted(tmp_path / "j") == 1


def test_close_writes_what_nobody_waited_for(tmp_path):
    async def work(journal):
        journal.note(attempt(outcome="failed", status=400, message="refused"))
        task = asyncio.ensure_future(journal.put([record(1)], attempt()))
        await asyncio.sleep(0)
        return task

    with_journal(tmp_path / "j", work)
    assert counted(tmp_path / "j") == 1
    with sqlite3.connect(tmp_path / "j") as base:
        found = base.execute("SELECT status, message FROM attempts WHERE outcome = 'failed'")
        assert found.fetchall() == [(400, "refused")]
    base.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from test_journal import attempt, record
from karat.journal import open_journal

async def main():
    journal, done = open_journal(Path(sys.argv[1])), 0
    async def writer(number):
        i = 0
        while True:
            await journal.put([record(f"{number}-{i}")], attempt())
            print(f"{number}-{i}", flush=True)
            i += 1
    await asyncio.gather(*(writer(n) for n in range(20)))

asyncio.run(main())
"""


def test_kill_9_leaves_everything_acknowledged(tmp_path):
    here = str(Path(__file__).parent)
    env = environment(PYTHONPATH=os.pathsep.join([here, environment()["PYTHONPATH"]]))
    child = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "j")],
        stdout=subprocess.PIPE,
        env=env,
        text=True,
    )
    with child:
        said = [child.stdout.readline().strip() for _ in range(2000)]
        time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
        said += child.stdout.read().split("\n")[:-1]
    assert len(said) > 2000

    async def work(journal):
        return await journal.get([digest(number) for number in said])

    assert len(with_journal(tmp_path / "j", work)) == len(said)


def opened(path):
    async def work(journal):
        await journal.put([record(1)], attempt())

    with_journal(path, work)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda p: p.write_bytes(b"this is no database at all" * 100), "is damaged"),
        (lambda p: (opened(p), p.write_bytes(p.read_bytes()[:40] + b"\xff" * 8000)), "is damaged"),
        (lambda p: p.mkdir(), "check the folder's permissions"),
    ],
)
def test_a_file_that_cannot_be_a_journal_says_what_to_do(tmp_path, prepare, message):
    prepare(tmp_path / "j")
    with pytest.raises(RunError) as caught:
        opened(tmp_path / "j")
    assert message in str(caught.value)
    assert str(tmp_path / "j") in str(caught.value)


def test_a_journal_of_a_newer_karat_is_left_alone(tmp_path):
    opened(tmp_path / "j")
    with sqlite3.connect(tmp_path / "j") as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(RunError, match=r"another version of karat \(format 99, this one reads"):
        opened(tmp_path / "j")


def test_a_journal_of_the_format_without_checksums_is_taken(tmp_path):
    path = tmp_path / "j"

    async def put(journal):
        await journal.put([record(1), record(2)], attempt())

    with_journal(path, put)
    with closing(sqlite3.connect(path)) as base:
        base.executescript("ALTER TABLE calls DROP COLUMN crc; PRAGMA user_version = 3")
    assert look_up(path, "SELECT count(*) FROM calls") == [(2,)]  # as it is

    async def more(journal):
        await journal.put([record(3)], attempt())
        return await journal.get([record(n).key for n in (1, 2, 3)])

    assert with_journal(path, more) == {record(n).key: held_of(record(n)) for n in (1, 2, 3)}
    assert look_up(path, "SELECT count(*) FROM calls WHERE crc IS NULL") == [(2,)]


@pytest.mark.parametrize(
    "damage", ["content = 'other'", "content = x'00'", "content = 3", "sample = 'x'", "more = '{}'",
               "finish_reason = x'ff'", "content = CAST(x'ff' AS TEXT)"]
)  # fmt: skip
def test_what_is_not_as_it_was_written_counts_as_missing_and_is_replaced(tmp_path, damage):
    path, told = tmp_path / "j", []

    async def put(journal):
        await journal.put([record(1), record(2)], attempt())

    with_journal(path, put)
    with closing(sqlite3.connect(path)) as base:
        base.execute(f"UPDATE calls SET {damage} WHERE key = ?", (record(1).key,))
        base.commit()

    async def again(journal):
        journal.say = told.append
        keys = [record(1).key, record(2).key]
        assert list(await journal.get(keys)) == keys[1:]
        assert list(await journal.get(keys)) == keys[1:]
        assert await journal.put([record(1)], attempt()) == {}
        return await journal.get(keys)

    assert with_journal(path, again) == {record(n).key: held_of(record(n)) for n in (1, 2)}
    (said,) = told
    assert str(path) in said
    assert "bought again" in said


def test_of_thousands_of_damaged_answers_five_are_told(tmp_path):
    path, told = tmp_path / "j", []

    async def put(journal):
        await journal.put([record(n) for n in range(50)], attempt())

    with_journal(path, put)
    with closing(sqlite3.connect(path)) as base:
        base.execute("UPDATE calls SET crc = crc + 1")
        base.commit()

    async def again(journal):
        journal.say = told.append
        return await journal.get([record(n).key for n in range(50)])

    assert with_journal(path, again) == {}
    assert len(told) == 5
    assert told[-1].endswith("(more are not told)")


def test_somebody_elses_database_is_left_alone(tmp_path):
    with sqlite3.connect(tmp_path / "j") as base:
        base.execute("CREATE TABLE theirs (x)")
    base.close()
    with pytest.raises(RunError, match="j"):
        opened(tmp_path / "j")
    with sqlite3.connect(tmp_path / "j") as base:
        assert base.execute("SELECT name FROM sqlite_master").fetchall() == [("theirs",)]
    base.close()


ENDLESS = "WITH RECURSIVE e(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM e) SELECT count(*) FROM e"
PRETENCE = {
    "view": f"ALTER TABLE minutes RENAME TO old; CREATE VIEW minutes AS {ENDLESS};",
    "trigger": "CREATE TRIGGER t AFTER INSERT ON calls BEGIN DELETE FROM calls; END;",
    "virtual": "CREATE VIRTUAL TABLE found USING fts5(x);",
    "worked out": "DROP TABLE latencies; CREATE TABLE latencies (minute INTEGER, "
    "count AS(length(hex(zeroblob(minute)))));",
}


@pytest.mark.parametrize("what", PRETENCE)
def test_a_journal_that_computes_what_it_holds_is_another_programs(tmp_path, what):
    opened(tmp_path / "j")
    assert look_up(tmp_path / "j", "SELECT count(*) FROM batches") == [(0,)]
    with closing(sqlite3.connect(tmp_path / "j")) as base:
        base.executescript(PRETENCE[what])
    with pytest.raises(RunError, match="j is another program's database"):
        look_up(tmp_path / "j", "SELECT count(*) FROM batches")


def test_one_look_has_an_end(tmp_path):
    opened(tmp_path / "j")
    late = pytest.raises(RunError, match=r"not read within 0\.05 s")
    with late, looking(tmp_path / "j", 0.05) as base:
        list(base.rows(ENDLESS))


def test_a_lock_held_too_long_is_named(tmp_path, monkeypatch):
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.1}))
    opened(tmp_path / "j")
    other = connect(tmp_path / "j")
    other.execute("BEGIN IMMEDIATE")

    async def work(journal):
        await journal.put([record(2)], attempt())

    with pytest.raises(RunError, match="in use by another program"):
        with_journal(tmp_path / "j", work)
    other.rollback()
    other.close()
    assert counted(tmp_path / "j") == 1


def test_damage_inside_is_told_as_damage(tmp_path):
    async def fill(journal):
        await journal.put([record(i, content="x" * 500) for i in range(400)], attempt())

    with_journal(tmp_path / "j", fill)
    data = bytearray((tmp_path / "j").read_bytes())
    data[8192:-4096] = b"\xa5" * (len(data) - 12288)
    (tmp_path / "j").write_bytes(data)

    async def look(journal):
        await journal.get([digest(str(i)) for i in range(400)])

    with pytest.raises(RunError, match="is damaged"):
        with_journal(tmp_path / "j", look)


FULL = """
import asyncio, resource, sys
from pathlib import Path
from test_journal import attempt, record
from karat.errors import RunError
from karat.journal import open_journal

async def main():
    journal = open_journal(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    kept = 0
    try:
        while True:
            await journal.put([record(kept, content="x" * 1000)], attempt())
            kept += 1
    except RunError as error:
        print(kept, error)
    await journal.close()

asyncio.run(main())
"""


def test_a_full_disk_is_told_and_what_was_acknowledged_is_there(tmp_path):
    here = str(Path(__file__).parent)
    env = environment(PYTHONPATH=os.pathsep.join([here, environment()["PYTHONPATH"]]))
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "j")],
        capture_output=True,
        env=env,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    kept, _, message = done.stdout.partition(" ")
    assert int(kept) > 5
    assert "no space left" in message
    assert counted(tmp_path / "j") == int(kept)


def test_looking_up_works_while_a_run_is_writing_and_finds_nothing_where_nothing_is(tmp_path):
    async def work(journal):
        await journal.put([record(1)], attempt())
        return look_up(tmp_path / "j", "SELECT count(*) FROM calls")

    assert with_journal(tmp_path / "j", work) == [(1,)]
    assert look_up(tmp_path / "absent", "SELECT count(*) FROM calls") == []
    assert not (tmp_path / "absent").exists()


def test_looking_up_a_damaged_journal_says_so(tmp_path):
    (tmp_path / "j").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunError, match="is damaged"):
        look_up(tmp_path / "j", "SELECT count(*) FROM calls")


def test_closing_tells_what_could_not_be_written(tmp_path):
    async def work(journal):
        journal.note(attempt(outcome="failed", status=400))
        with sqlite3.connect(tmp_path / "j") as base:
            base.execute("DROP TABLE attempts")
        base.close()

    with pytest.raises(RunError, match="no such table"):
        with_journal(tmp_path / "j", work)


def test_closing_that_is_cancelled_still_writes(tmp_path):
    async def main():
        journal = open_journal(tmp_path / "j")
        putting = asyncio.ensure_future(journal.put([record(1)], attempt()))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(journal.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.wait_for(putting, 5)

    asyncio.run(main())
    assert counted(tmp_path / "j") == 1
