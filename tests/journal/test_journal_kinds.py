"""What both kinds of journals promise, each with the same test."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from both_kinds import attempt, record, with_journal

from karat.journal import is_there, look_up, open_journal, stamp_of
from karat.ledger import CALLS, BatchRow
from karat.row import digest


def test_records_come_back_whole_and_of_the_same_types(address):
    records = [
        record(1, finish_reason="stop", prompt_tokens=3, completion_tokens=2**40, cost_nano=5,
               started=1.25, more='{"a": "α\\u0000"}', content="two\nlines \\u0000 α 🎈"),
        record(2, content="a NUL \x00 within"),
        record(3, content=b"\x00\xff bytes \\x", kind="embed"),
        record(4, content="", cost_nano=None),
        record(5, content=b""),
    ]  # fmt: skip

    async def work(journal):
        assert await journal.put(records, attempt(message="no\x00", body="{}")) == {}
        held = await journal.get([one.key for one in records] + [digest("none")])
        return held, list(
            journal.query(f"SELECT {', '.join(CALLS)} FROM calls WHERE sample = ?", 0)
        )

    held, stored = with_journal(address, work)
    assert held == {one.key: (0, one.content, one.finish_reason, one.more) for one in records}
    assert [type(hit[1]) for hit in held.values()] == [type(one.content) for one in records]
    assert next(row for row in stored if row[0] == records[0].key) == msgspec.structs.astuple(
        records[0]
    )


def test_the_first_record_of_a_key_stays_and_the_second_is_told(address):
    async def work(journal):
        other = open_journal(address, shared=True)
        assert await journal.put([record(1), record(2)], attempt()) == {}
        told = await other.put([record(1, content="later"), record(3)], attempt(cost_nano=7))
        same = await other.put([record(2)], attempt())
        held = await journal.get([digest("1"), digest("3")])
        await other.close()
        return told, same, held, list(journal.query("SELECT sum(cost_nano) FROM minutes"))

    told, same, held, paid = with_journal(address, work, shared=True)
    assert told == {digest("1"): (0, "text 1", "", None)}
    assert same == {}
    assert held == {digest("1"): (0, "text 1", "", None), digest("3"): (0, "text 3", "", None)}
    assert paid == [(7,)]  # what was lost was paid for as well


def test_two_of_one_group_under_one_key_are_told_apart(address):
    async def work(journal):
        return await asyncio.gather(
            journal.put([record(1)], attempt()), journal.put([record(1, content="b")], attempt())
        )

    assert with_journal(address, work) == [{}, {digest("1"): (0, "text 1", "", None)}]


def test_records_that_replace_others_do(address):
    async def work(journal):
        await journal.put([record(1)], attempt())
        mark = journal.mark()
        await asyncio.gather(
            journal.put([record(1, content="b"), record(2)], attempt(), replace=True),
            journal.put([record(3)], attempt()),
        )
        later = open_journal(address, shared=True, since=mark)
        earlier = [later.earlier(digest(str(number))) for number in (1, 2, 3)]
        await later.close()
        return earlier, await journal.get([digest(str(number)) for number in (1, 2, 3)])

    earlier, held = with_journal(address, work)
    assert earlier == [False, False, False]
    assert [hit[1] for hit in held.values()] == ["b", "text 2", "text 3"]


def test_a_worker_that_opens_later_agrees_on_what_an_earlier_run_bought(address):
    async def first(journal):
        await journal.put([record(1)], attempt())

    async def then(journal):
        since = journal.mark()
        await journal.put([record(2)], attempt())
        worker = open_journal(address, shared=True, since=since)
        mine, theirs = (
            [one.earlier(digest(str(number))) for number in (1, 2, 3)] for one in (journal, worker)
        )
        await worker.close()
        return mine, theirs

    with_journal(address, first)
    assert with_journal(address, then) == ([True, False, False], [True, False, False])


def test_batches_are_kept_and_changed(address):
    row = BatchRow("a", "route", "submitting", 5.5, None, b"\x00\x01")

    async def work(journal):
        await journal.put_batch(row)
        await journal.put_batch(msgspec.structs.replace(row, state="submitted", remote="r"))
        return journal.batches()

    assert with_journal(address, work) == [
        BatchRow("a", "route", "submitted", 5.5, "r", b"\x00\x01")
    ]


def test_a_journal_is_there_once_it_was_opened_and_changes_with_each_commit(address):
    assert (is_there(address), look_up(address, "SELECT 1 FROM calls"), stamp_of(address)) == (
        False, [], (),
    )  # fmt: skip

    async def work(journal):
        stamps = {stamp_of(address)}
        for number in range(2):
            await journal.put([record(number)], attempt())
            stamps.add(stamp_of(address))
        return len(stamps), look_up(address, "SELECT count(*) FROM calls WHERE step = ?", "s")

    assert with_journal(address, work) == (3, [(2,)])
    assert is_there(address)


def test_a_cancelled_close_still_writes(address):
    async def main():
        journal = open_journal(address)
        putting = asyncio.ensure_future(journal.put([record(1)], attempt()))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(journal.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await asyncio.wait_for(putting, 5)

    asyncio.run(main())
    assert look_up(address, "SELECT count(*) FROM calls") == [(1,)]


@pytest.mark.parametrize("at_once", [1, 200])
def test_sums_are_those_of_the_attempts_whoever_wrote_them(address, at_once):
    async def work(journal):
        others = [open_journal(address, shared=True) for _ in range(3)]
        for start in range(0, 400, at_once * 4) if at_once > 1 else range(0, 8, 4):
            await asyncio.gather(
                *(one.put([record(f"{start + i}-{n}")],
                          attempt(started=60.0 * (i % 3), latency_ms=100.0, cost_nano=3))
                  for n, one in enumerate([journal, *others]) for i in range(at_once))
            )  # fmt: skip
        journal.note_replays("m", "s", "teacher", "chat", 5)
        for one in others:
            await one.close()

    with_journal(address, work, shared=True)
    ((count, cost, latency),) = look_up(
        address, "SELECT count(*), sum(cost_nano), sum(latency_ms) FROM attempts"
    )
    sums = "SELECT sum(attempts), sum(cost_nano), sum(latency_ms), sum(replayed) FROM minutes"
    assert look_up(address, sums) == [(count, cost, latency, 5)]
    buckets = "SELECT sum(count) FROM latencies WHERE measure = 'latency'"
    assert look_up(address, buckets) == [(count,)]
    assert type(look_up(address, sums)[0][0]) is int


def test_writers_that_want_the_same_keys_in_any_order_do_not_stop_each_other(address):
    async def work(journal):
        others = [journal, *(open_journal(address, shared=True) for _ in range(3))]
        found = []
        for replace in (False, True):
            for _ in range(3):
                found += await asyncio.gather(
                    *(one.put([record(i, content=f"{n}") for i in order], attempt(),
                              replace=replace)
                      for order in (range(60), range(59, -1, -1))
                      for n, one in enumerate(others))
                )  # fmt: skip
        held = await journal.get([digest(str(i)) for i in range(60)])
        for one in others[1:]:
            await one.close()
        return found, held

    found, held = with_journal(address, work, shared=True)
    assert len(held) == 60
    assert any(found[:24])
    assert not any(found[24:])
    assert look_up(address, "SELECT count(*) FROM attempts") == [(48,)]
