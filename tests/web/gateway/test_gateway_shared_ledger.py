"""Gateways on one ledger in a real PostgreSQL: what any of them spends is spent for all."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import time
from itertools import count

import pytest
from click.testing import CliRunner
from conftest import wait_for
from gated import COST_NANO, PRICE, ask, made, refusal
from later import later
from postgres import PASSWORD
from wired import Upstream, Wired

from karat.cli import main
from karat.costs import costs
from karat.errors import RunError
from karat.ledger import Attempt
from karat.rundir import Lock, Run
from karat.web import serve
from karat.web.gateway import books, keys
from karat.web.gateway.ledger import Ledger, place_of
from karat.web.gateway.purse import QuotaError

openai = later("openai")

numbers = count(1)
SHORT = {"max_tokens": 7}  # reserves about 120 microdollars and costs 80


# --- purses, to the nano-dollar ------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path, pg_place):
    """shared(): another ledger over the same schema, in a folder of its own."""
    locks = []

    def open_():
        runs = tmp_path / f"runs-{len(locks)}"
        locks.append(Lock(place_of(runs, str(pg_place))).__enter__())
        return Ledger(place_of(runs, str(pg_place)))

    yield open_
    for lock in locks:
        lock.__exit__()


async def spend(ledger, nano, *purses, step="key:team"):
    """Buys something, as the client does."""
    for purse in purses:
        await purse.reserve(nano)
    await ledger.journal.put([], attempt(step, nano))
    for purse in purses:
        purse.settle(nano, nano)


def attempt(step, nano):
    return Attempt(next(numbers), "chat", "gateway", "m", "m", step, "r", time.time(),
                   cost_nano=nano)  # fmt: skip


def test_each_is_told_what_the_others_spent_and_counts_its_own_once(shared, monkeypatch):
    monkeypatch.setattr(books, "EVERY_S", 0.02)

    async def main():
        ledgers = [shared() for _ in range(2)]
        purses = [one.purse(1e-6, "key 'team'", "key:team") for one in ledgers]
        every = [one.purse(None, "the server") for one in ledgers]
        for ledger in ledgers:
            await ledger.books.look()
            ledger.follow()

        async def one(place):
            for _ in range(12):
                await spend(ledgers[place], 10, purses[place], every[place])
                await spend(ledgers[place], 5, every[place], step="key:other")
                await asyncio.sleep(0.01)

        await asyncio.gather(one(0), one(1))
        await asyncio.gather(*(ledger.books.look() for ledger in ledgers))
        found = [purse.spent_nano for purse in (*purses, *every)]
        ends = [ledger.close() for ledger in ledgers]
        await asyncio.gather(*ends)
        return found

    assert asyncio.run(main()) == [240, 240, 360, 360]  # 12 of 10, and of 5, each


def test_where_little_is_left_it_is_looked_up_before_a_call(shared):
    async def main():
        here, there = shared(), shared()
        mine, theirs = (one.purse(1e-6, "key 'team'", "key:team") for one in (here, there))
        await spend(there, 500, theirs)
        await mine.reserve(20)  # told before the first
        mine.settle(20, 0)
        told = [mine.spent_nano]
        await spend(there, 430, theirs)
        await mine.reserve(20)  # much is left, as far as is known here
        mine.settle(20, 0)
        told.append(mine.spent_nano)
        await here.books.look()
        await spend(there, 30, theirs)
        await mine.reserve(30)  # less than 5%
        mine.settle(30, 30)
        told.append(mine.spent_nano)
        with pytest.raises(QuotaError):
            await mine.reserve(20)
        await asyncio.gather(here.close(), there.close())
        return told

    assert asyncio.run(main()) == [500, 500, 990]


def test_minutes_that_are_over_are_not_asked_for_again(shared, monkeypatch):
    async def main():
        here, there = shared(), shared()
        now = books._minute()
        old = there.purse(1, "x", "key:team")
        await spend(there, 100, old)
        team = here.purse(1, "x", "key:team")
        late = here.purse(1, "x", "key:team", (now + 600) * 60.0)  # made after all that
        await here.books.look()
        told = [(team.spent_nano, late.spent_nano)]
        monkeypatch.setattr(books, "_minute", lambda: now + 200)
        await here.books.look()
        assert here.books._from == now + 200 - books.LATE_MIN
        new = here.purse(1, "x", "key:team")
        await here.books.look()
        told.append((team.spent_nano, new.spent_nano))
        del new, late
        gc.collect()
        assert len(here.books._accounts) == 1  # a key that is gone is forgotten
        await asyncio.gather(here.close(), there.close())
        return told

    assert asyncio.run(main()) == [(100, 0), (100, 100)]


# --- whole servers -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service():
    with Upstream() as made:
        yield made


def test_two_servers_and_one_budget(tmp_path, pg_place, service, monkeypatch):
    monkeypatch.setattr(books, "EVERY_S", 0.05)
    models = {"loop": service.model(price=PRICE)}
    one = Wired(tmp_path / "one", models, journal=str(pg_place))
    two = Wired(tmp_path / "two", models, journal=str(pg_place))
    with one, two:
        secret = made(one, budget_usd=230e-6)
        shutil.copy(one.gateway.run.path / keys.FILE, two.gateway.run.path / keys.FILE)
        before = len(service.requests)
        ask(one, secret, **SHORT)
        ask(two, secret, **SHORT)
        (purse,) = (key.purse for key in one.gateway.keyring._keys.values())
        wait_for(lambda: purse.spent_nano == 2 * COST_NANO)
        for server in (one, two):
            error = refusal(server, secret, openai.RateLimitError, **SHORT)
            assert error.code == "insufficient_quota"
        assert len(service.requests) == before + 2
        other = made(one, "rich")
        monkeypatch.setattr(books.Books, "_read", _away)
        fresh = made(one, "fresh", budget_usd=1)
        assert refusal(one, fresh, openai.InternalServerError).code == "gateway_unavailable"
        assert ask(one, other, **SHORT).choices  # has no limit
        assert PASSWORD.encode() not in one.written()
    listed = keys.listed(tmp_path / "two" / keys.FOLDER)
    assert [key["spent_usd"] for key in listed] == [2 * COST_NANO / 1e9]
    found = costs([tmp_path / "two"], by="step")
    assert sum(line.cost_nano for line in found.lines) == 3 * COST_NANO
    monkeypatch.undo()
    with Wired(tmp_path / "two", models, budget_usd=250e-6) as again:  # it remembers
        assert refusal(again, secret, openai.RateLimitError).code == "insufficient_quota"
        assert again.gateway.run.elsewhere.journal == str(pg_place)


def _away(*_):
    raise RunError("PostgreSQL at nowhere does not answer")


def test_what_is_wrong_with_it_is_said_before_the_address_is_bound(tmp_path, monkeypatch, pg_place):
    monkeypatch.setattr(serve, "bind", lambda _: pytest.fail("it was bound"))

    def refused(runs, journal, status):
        made = CliRunner().invoke(main, ["serve", "--runs", str(runs), "--journal", journal])
        assert made.exit_code == status, made.output
        return made.output

    assert "begins with postgresql://" in refused(tmp_path, "mysql://u:secret@h/x", 2)
    free = str(pg_place).replace(f":{pg_place.port}", ":1")
    assert "does not answer" in refused(tmp_path, free, 1)
    assert not Run(tmp_path / keys.FOLDER).places_file.exists()  # nothing is remembered of it
    monkeypatch.setenv("PGPASSWORD", PASSWORD)  # and put back
    said = refused(tmp_path, str(pg_place).replace("@", ":not-it@", 1), 1)
    assert "not-it" not in said
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    (tmp_path / keys.FOLDER / "journal.sqlite").write_bytes(b"")
    said = refused(tmp_path, str(pg_place), 2)
    assert "keeps its journal in that folder" in said
    assert said.rstrip().endswith("name another directory in --runs")
    (tmp_path / keys.FOLDER / "places.json").write_text(json.dumps({"journal": str(pg_place)}))
    assert "leave out --journal" in refused(tmp_path, "postgresql://h/other", 2)
