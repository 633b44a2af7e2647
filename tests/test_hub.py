"""The hub: sums of what workers do, counts of units, and workers that come, go, die and return."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hub_line import Near
from server import Server

from karat.context import Services
from karat.errors import RunError
from karat.hub import MOST_GONE, RECKONED, Hub, Report
from karat.journal import open_journal
from karat.ledger import NANO
from karat.live import Pace, snapshot, written
from karat.models.budget import Budget, BudgetError
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.endpoint import Asker, Tally
from karat.models.leases import RUN, Need, Standing
from karat.models.neighbours import Neighbour
from karat.models.purses import ledger_of
from karat.models.spec import parse_model
from karat.recipe import Recipe
from karat.row import Message
from karat.rundir import Run
from karat.stage import StepStats
from karat.station import Station
from karat.walk import Monitor, Seen, WorkerState


def hub_with(*names, **more):
    clock = [100.0]
    hub = Hub(more.pop("ledger", lambda route: 0), clock=lambda: clock[0], **more)
    for number, name in enumerate(names):
        hub.join(name, f"node-{name}", 100 + number)
    return hub, clock


def at_work(rows_in, rows_out, low=0, flying=0, calls=0, in_flight=0, unit="u", **more):
    stats = [StepStats("respond", rows_in, rows_out, {"low": low} if low else {})]
    tallies = {"teacher": Tally(calls=calls, answers=calls, in_flight=in_flight, cost_nano=calls)}
    return Report(units={unit: stats}, in_flight={"respond": flying}, tallies=tallies, **more)


# --- sums ----------------------------------------------------------------------------------------


def test_what_workers_do_is_added_up():
    hub, clock = hub_with("a", "b")
    hub.begin("a", "u1")
    hub.begin("b", "u2")
    hub.report("a", at_work(30, 20, 4, 6, 40, 5, "u1", warnings=["w", "v"]))
    clock[0] += 2
    hub.report("b", at_work(10, 7, 1, 2, 12, 3, "u2", warnings=["w"]))
    seen = hub.seen()
    assert seen.in_flight == {"respond": 8}
    tally = seen.tallies["teacher"]
    assert (tally.calls, tally.in_flight, tally.cost_nano) == (52, 8, 52)
    assert seen.warnings == ["w", "v"]
    assert [one.rows_out for (one,) in seen.under_way.values()] == [20, 7]
    a, b = seen.workers
    assert (a.name, a.node, a.pid, a.state, a.in_flight, a.rows) == (
        "a", "node-a", 100, "working", 5, 24,
    )  # fmt: skip
    assert (a.seen_s, b.seen_s) == (2.0, 0.0)
    clock[0] += 10
    assert {one.state for one in hub.seen().workers} == {"silent"}


def test_a_unit_that_is_done_is_counted_once():
    hub, _ = hub_with("a")
    hub.begin("a", "u1")
    hub.report("a", at_work(10, 8, flying=2, unit="u1"))
    hub.done("a", "u1", 10)
    hub.report("a", at_work(10, 9, flying=0, unit="u1"))  # sent before it knew
    seen = hub.seen()
    assert seen.under_way == {}
    assert (seen.workers[0].units, seen.workers[0].rows) == (1, 10)


def test_what_a_worker_did_stays_when_it_is_gone():
    hub, _ = hub_with("a", "b", "c")
    hub.begin("a", "u1")
    for name in "abc":
        hub.report(name, at_work(5, 5, calls=7, in_flight=3, unit="u1"))
    hub.lost("a")
    hub.leave("b", at_work(5, 5, calls=9, unit="u1"))
    seen = hub.seen()
    tally = seen.tallies["teacher"]
    assert (tally.calls, tally.in_flight) == (7 + 9 + 7, 3)
    assert [one.state for one in seen.workers] == ["lost", "left", "idle"]
    assert seen.under_way == {}  # its rows are walked again


def test_a_worker_that_returns_is_told_apart_from_what_it_was():
    hub, _ = hub_with("a")
    hub.report("a", at_work(5, 5, calls=7))
    hub.join("a", "other-node", 7)  # restarted before anybody said that it was lost
    hub.report("a", at_work(1, 1, calls=2, term=1))
    seen = hub.seen()
    (one,) = seen.workers
    assert (one.node, one.restarts, one.state) == ("other-node", 1, "idle")
    assert seen.tallies["teacher"].calls == 9
    hub.leave("a", Report(term=1))
    hub.join("a", "other-node", 8)  # of the next stage: nothing was lost
    assert hub.seen().workers[0].restarts == 1


def test_who_was_given_up_is_told_so_and_counts_no_more():
    hub, _ = hub_with("a")
    hub.lost("a")
    reply = hub.report("a", at_work(5, 5, calls=7))
    assert (reply.gone, reply.stop) == (True, True)
    assert hub.report("never", Report()).gone
    assert hub.seen().tallies == {}
    with pytest.raises(RunError, match="given up"):
        hub.lease("a", Need(Standing(RUN, "", 5), [1]))


def test_those_long_gone_are_forgotten():
    hub, _ = hub_with(*(f"w{n}" for n in range(3 * MOST_GONE)))
    for n in range(3 * MOST_GONE - 1):
        hub.lost(f"w{n}")
    workers = hub.seen().workers
    assert len(workers) == MOST_GONE + 1
    assert workers[-1].state == "idle"


def test_everybody_is_told_to_stop():
    hub, _ = hub_with("a")
    assert not hub.report("a", Report()).stop
    hub.stop()
    assert hub.report("a", Report()).stop
    assert hub.join("b", "n", 1).stop


def test_words_travel_with_the_reports():
    hub, _ = hub_with("a", "b")
    hub.report("a", Report(words={"x": [Neighbour(rate=3.0)]}))
    reply = hub.report("b", Report(words={"x": []}))
    assert reply.others == {"x": {"a.0": Neighbour(rate=3.0)}}
    assert reply.workers == 2
    hub.lost("a")
    assert hub.report("b", Report(words={"x": []})).others == {"x": {}}


# --- money ---------------------------------------------------------------------------------------


def test_money_of_the_lost_is_settled_and_seen():
    spent = [1000]
    hub, _ = hub_with("a", "b", ledger=lambda route: spent[0], budget_usd=2000 / NANO)
    said = Standing(RUN, "", 2000)
    assert hub.lease("a", Need(said, [600])).fits == 0
    assert hub.seen().spent_nano == 1000
    assert hub.lease("b", Need(said, [600])).fits is None
    spent[0] += 50
    hub.lost("a")
    assert hub.seen().spent_nano == 1050
    assert hub.lease("b", Need(said, [600])).fits == 0
    assert hub.limit(RUN, 1500) > 0
    assert hub.report("b", Report(purses=[said])).short == [RUN]


def test_once_all_have_left_what_the_lost_spent_is_exact():
    spent = [1000]
    hub, _ = hub_with("a", "b", ledger=lambda route: spent[0], budget_usd=2000 / NANO)
    for name in "ab":
        assert hub.lease(name, Need(Standing(RUN, "", 2000), [100])).fits == 0
    spent[0] += 40 + 10  # by b, which has not said so yet, and by a
    hub.lost("a")
    assert {hub.seen().spent_nano for _ in range(2 * RECKONED)} == {1050}
    hub.leave("b", Report(purses=[Standing(RUN, "", 2000, spent=40, returned=60)]))
    assert hub.seen().spent_nano == 1050


# --- what the driver shows -----------------------------------------------------------------------


@pytest.fixture
def monitor(make_recipe, journal):
    recipe = Recipe.load(make_recipe({"model": "openai/loop", "base_url": "http://127.0.0.1:1/v1"}))
    client = Client(recipe.models, None, Budget(5))
    found = Monitor(Services(recipe, client), recipe.labels)
    found.begin(["respond"])
    return found


def test_progress_and_live_json_show_sums_of_all_workers(monitor, tmp_path):
    monitor.expected, monitor.executor = 100, "ray"
    monitor.stats["respond"].rows_in = monitor.stats["respond"].rows_out = 40
    unit = [StepStats("respond", 20, 12, {"respond: low": 3})]
    monitor.hear(
        Seen(
            {"u1": unit, "u2": unit}, {"respond": 10}, {"teacher": Tally(calls=9, unpriced=True)},
            2 * NANO, ["odd"], [], [WorkerState("w0", "node", 7, rows=35, state="working")],
        )
    )  # fmt: skip
    state = snapshot(monitor, Pace())
    respond = state.steps[1]
    assert (respond.rows_in, respond.rows_out, respond.in_flight) == (80, 64, 10)
    assert respond.dropped == {"respond: low": 6}
    assert (state.calls, state.unpriced, state.cost_usd) == (9, True, 2.0)
    assert (state.executor, state.workers[0].rows) == ("ray", 35)
    assert monitor.services.warnings == ["odd"]
    assert state.projected_usd == pytest.approx(2 + 2 * (100 / 70 - 1))

    monitor.stats["respond"].add(unit[0])  # u1 is done, and its figures came with it
    monitor.ended("u1")
    respond = snapshot(monitor, Pace()).steps[1]
    assert (respond.rows_in, respond.rows_out) == (80, 64)

    async def write():
        async with written(Run(tmp_path)) as writer:
            writer.follow(monitor)

    asyncio.run(write())
    told = json.loads((tmp_path / "live.json").read_bytes())
    assert (told["executor"], told["workers"][0]["node"]) == ("ray", "node")


# --- stations ------------------------------------------------------------------------------------

PRICE = {"input": 0, "output": 1000}  # 7 tokens an answer: 7,000,000 billionths of a dollar


def working(tmp_path, work, limit_usd, server, workers=3, **model):
    """`work(hub, line, stations, clients)`, with one journal for all."""

    async def main():
        journal = open_journal(tmp_path / "journal.sqlite")
        hub = Hub(ledger_of(journal.query), limit_usd)
        line = Near(hub)
        stations = [Station(f"w{n}", line, workers, tick_s=0.05) for n in range(workers)]
        spec = parse_model(server.model(price=PRICE, max_tokens=10, **model))
        clients = []
        for n, station in enumerate(stations):
            await station.join("node", n)
            clients.append(station.client({"m": spec}, journal, limit_usd))
        try:
            return await work(hub, line, stations, clients)
        finally:
            for station, client in zip(stations, clients, strict=True):
                await station.leave()
                await client.close()
            await journal.close()

    return asyncio.run(main())


async def ask(client, text):
    request = ChatRequest((Message("user", text),), 1, seed=5)
    await client.chat("m", request, Asker("respond", text))


async def seen_when(hub, wanted, seconds=5.0):
    end = time.monotonic() + seconds
    while not wanted(hub.seen()):
        assert time.monotonic() < end, hub.seen()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("whose", ["run", "model"])
def test_workers_spend_a_budget_to_the_end_and_not_beyond(tmp_path, whose):
    async def work(hub, line, stations, clients):
        async def until_refused(client, n):
            for i in range(100):
                try:
                    await ask(client, f"{n} {i}")
                except BudgetError as error:
                    return str(error)
            return ""

        calls = (until_refused(c, f"{w} {n}") for w, c in enumerate(clients) for n in range(4))
        said = await asyncio.wait_for(asyncio.gather(*calls), 20)
        name = "the budget" if whose == "run" else "the budget of model 'openai/loop'"
        assert all(text.startswith(f"{name} of $0.5 would be crossed: $0.4") for text in said)
        await seen_when(hub, lambda seen: seen.tallies["m"].errands == 0)
        return hub.seen()

    with Server(latency_s=0.01) as server:
        if whose == "run":
            seen = working(tmp_path, work, 0.5, server)
        else:
            seen = working(tmp_path, work, None, server, budget_usd=0.5)
        answered = sum(server.served.values())
    assert seen.spent_nano == answered * 7_000_000 <= 0.5 * NANO
    assert 0.5 * NANO - seen.spent_nano < 10_000_000 + 100_000  # less than another worst case
    assert seen.tallies["m"].answers == answered


def test_what_a_killed_worker_bought_counts(tmp_path):
    async def work(hub, line, stations, clients):
        await asyncio.gather(*(ask(client, str(n)) for n, client in enumerate(clients)))
        stations[0]._keeping.cancel()  # it says no more, and dies
        await asyncio.gather(*(ask(clients[0], f"late {n}") for n in range(5)))
        hub.lost("w0")
        await seen_when(hub, lambda seen: seen.spent_nano == 8 * 7_000_000)
        await ask(clients[1], "once more")
        await seen_when(hub, lambda seen: seen.spent_nano == 9 * 7_000_000)
        assert hub.keeper.purses[RUN].lent_nano >= 0
        stations[0].trouble = RunError("killed")

    with Server() as server:
        working(tmp_path, work, 1.0, server)


def test_a_stop_reaches_every_worker_and_its_calls(tmp_path):
    async def work(hub, line, stations, clients):
        asking = [asyncio.ensure_future(ask(c, f"{c} {n}")) for c in clients for n in range(6)]
        await seen_when(hub, lambda seen: sum(w.in_flight for w in seen.workers) >= 3)
        hub.stop()
        done = await asyncio.wait_for(asyncio.gather(*asking, return_exceptions=True), 10)
        errors = [one for one in done if one is not None]
        assert errors
        assert all("stopped" in str(error) for error in errors)
        assert all("stopped" in str(station.trouble) for station in stations)

    with Server(latency_s=0.1) as server:
        working(tmp_path, work, 1.0, server, concurrency=3)


def test_who_waits_for_money_when_a_run_stops_does_not_go_on_waiting(tmp_path):
    async def work(hub, line, stations, clients):
        first = asyncio.ensure_future(ask(clients[0], "first"))
        await seen_when(hub, lambda seen: sum(w.in_flight for w in seen.workers) == 1)
        others = [asyncio.ensure_future(ask(client, "other")) for client in clients[1:]]
        await seen_when(hub, lambda seen: sum(w.in_flight for w in seen.workers) == 3)
        hub.stop()
        done, _ = await asyncio.wait(others, timeout=5)
        assert [str(one.exception()) for one in done] == ["stopped before this call was sent"] * 2
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    with Server(latency_s=20) as server:
        working(tmp_path, work, 0.015, server)


def test_a_hub_that_is_gone_ends_the_worker_and_says_so(tmp_path):
    async def work(hub, line, stations, clients):
        await ask(clients[0], "before")
        line.down = True
        await asyncio.wait_for(stations[0]._keeping, 5)
        assert "does not reach the hub" in str(stations[0].trouble)
        with pytest.raises(RunError, match="stopped"):
            await ask(clients[0], "after")

    with Server() as server:
        working(tmp_path, work, 1.0, server)


def test_what_the_hub_itself_refuses_is_told_in_its_own_words():
    class Remote(Near):
        """Wraps what is raised, as a remote call does."""

        async def lease(self, *args):
            try:
                return await super().lease(*args)
            except RunError as error:
                wrapped = RuntimeError("Traceback …")
                wrapped.cause = error
                raise wrapped from error

    async def main():
        hub = Hub(lambda route: 0, 1.0)
        station = Station("w", Remote(hub), 1)
        with pytest.raises(RunError) as caught:
            await station._lease(Need(Standing(RUN, "", NANO), [1]))
        assert str(caught.value).startswith("worker w was given up")

    asyncio.run(main())


def test_units_under_way_are_reported_with_their_warnings_once(tmp_path, monitor):
    async def work(hub, line, stations, clients):
        hub.begin("w0", "u")
        stations[0].begin("u", monitor)
        monitor.stats["respond"].rows_in = 9
        monitor.stats["respond"].drop("low (3)")
        monitor.in_flight["respond"] = 2
        monitor.services.warn("odd")
        await seen_when(hub, lambda seen: "u" in seen.under_way and seen.warnings == ["odd"])
        seen = hub.seen()
        assert (seen.in_flight, seen.workers[0].rows) == ({"read": 0, "respond": 2}, 0)
        assert seen.under_way["u"][1].dropped == {"low": 1}
        await asyncio.sleep(0.12)
        assert stations[0].report().warnings == []
        stations[0].done("u")
        await seen_when(hub, lambda seen: not seen.under_way)

    with Server() as server:
        working(tmp_path, work, None, server)
