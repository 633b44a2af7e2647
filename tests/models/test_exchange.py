"""Workers that share endpoints through a hub: fair within seconds, together never above a limit."""

from __future__ import annotations

import asyncio
import time

import pytest
from asking import request
from conftest import mostly_slow
from hub_line import Near
from server import Server
from test_limits import run_fast
from test_limits_pace import Bucket
from test_neighbours import Run as Calls

from karat.hub import Hub
from karat.journal import open_journal
from karat.models.endpoint import Asker, Endpoint
from karat.models.exchange import UNHEARD, Exchange, Table
from karat.models.limits import Limiter
from karat.models.neighbours import Neighbour
from karat.models.pace import Pace
from karat.models.sharing import Sharing, share_of
from karat.models.spec import parse_model
from karat.station import Station

HERE = "https://service.example/v1 secret-key"


# --- words ---------------------------------------------------------------------------------------


def carried(table, exchanges):
    for name, exchange in exchanges.items():
        exchange.heard(table.exchange(name, exchange.words()), len(exchanges))


def test_what_one_says_the_others_read_and_nobody_else():
    table, exchanges = Table(), {name: Exchange(3) for name in "abc"}
    a, b, c = (exchanges[name].mailbox(HERE) for name in "abc")
    elsewhere = exchanges["c"].mailbox("another")
    a.publish(Neighbour(rate=5.0, demand=True))
    elsewhere.publish(Neighbour(rate=7.0))
    carried(table, exchanges)
    assert b.read() == {"a.0": Neighbour(rate=5.0, demand=True)} == c.read()
    assert a.read() == {}
    a.leave()
    carried(table, exchanges)
    assert b.read() == {}
    told = str([exchange.words() for exchange in exchanges.values()])
    assert not any(part in told for part in ("service", "example", "secret"))


def test_two_models_of_one_endpoint_are_neighbours_in_their_own_process_too():
    table, exchanges = Table(), {name: Exchange(2) for name in "ab"}
    teacher, judge = (exchanges["a"].mailbox(HERE) for _ in range(2))
    other = exchanges["b"].mailbox(HERE)
    teacher.publish(Neighbour(rate=1.0))
    judge.publish(Neighbour(rate=2.0))
    carried(table, exchanges)
    assert sorted(word.rate for word in other.read().values()) == [1.0, 2.0]
    assert [word.rate for word in teacher.read().values()] == [2.0]


def test_who_is_silent_or_gone_is_heard_no_more():
    clock = [0.0]
    table = Table(lambda: clock[0], stale_s=5)
    said = {"x": [Neighbour(rate=1.0)]}
    table.exchange("a", said)
    clock[0] = 4.0
    assert table.exchange("b", {"x": []}) == {"x": {"a.0": said["x"][0]}}
    clock[0] = 6.0
    assert table.exchange("b", {"x": []}) == {"x": {}}
    table.exchange("a", said)
    table.forget("a")
    assert table.exchange("b", {"x": []}) == {"x": {}}


def test_until_something_is_heard_each_takes_its_part_and_no_more():
    table, exchanges = Table(), {name: Exchange(4) for name in "abcd"}
    for name in exchanges:
        table.join(name)
    box = exchanges["a"].mailbox(HERE)
    assert list(box.read().values()) == [UNHEARD] * 3
    exchanges["a"].heard(table.exchange("a", exchanges["a"].words()), 4)
    assert list(box.read().values()) == [UNHEARD] * 3  # they have joined and said nothing yet
    carried(table, exchanges)
    carried(table, exchanges)
    assert box.read() == {}


# --- a stated width ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "workers", "part"), [(64, 4, 16), (10, 4, 3), (2, 4, 1), (None, 4, None)]
)
def test_a_stated_concurrency_is_divided_and_no_answer_is_bought_again(width, workers, part):
    second = {"model": "openai/b", "base_url": "http://127.0.0.1:1/v1", "concurrency": 8}
    first = {"model": "openai/a", "base_url": "http://127.0.0.1:1/v1", "rpm": 60}
    if width is not None:
        first["concurrency"] = width
    spec = parse_model([first, second])
    share = share_of(spec, workers)
    assert (share.concurrency, share.fallbacks[0].concurrency) == (part, 2)
    assert share.rpm == 60  # what is stated in time is divided by what the others take
    for one, other in zip(spec.route(), share.route(), strict=True):
        assert one.identity() == other.identity()
    assert spec.meaning() == share.meaning()
    assert share_of(spec, 1) == spec


def test_a_model_in_the_process_is_not_divided():
    spec = parse_model({"model": "embedded/static-words", "concurrency": 6}, {})
    assert share_of(spec, 3).concurrency == 6


def test_each_keeps_to_its_part_of_a_width():
    hub = Hub(lambda route: 0)

    async def main():
        spec = parse_model({"model": "openai/a", "base_url": "http://127.0.0.1:1/v1",
                            "concurrency": 10})  # fmt: skip
        found = []
        for name in "abc":
            station = Station(name, Near(hub), 3)
            await station.join("here", 1)
            endpoint = station._connect("m", spec)
            found.append(endpoint.limiter.width)
            await endpoint.close()
        lone = Endpoint(spec)
        assert found == [4, 4, 4]
        assert lone.limiter.width == 10
        await lone.close()

    asyncio.run(main())


# --- limits in a simulated minute ----------------------------------------------------------------


class Member(Calls):
    """A worker of a simulation that exchanges words through a table."""

    def __init__(self, name, table, bucket, workers, tick_s, phase_s, **limits):
        self.exchange = Exchange(workers, tick_s)
        self.name, self.table, self.workers = name, table, workers
        self.limiter = Limiter(64, neighbours=self.exchange.mailbox(HERE), **limits)
        self.bucket, self.pause_s, self.ends = bucket, 0.0, []
        table.join(name)
        self.tasks = [asyncio.ensure_future(self.calls(100 * ord(name) + i)) for i in range(64)]
        self.tasks.append(asyncio.ensure_future(self.report(phase_s)))

    async def report(self, phase_s):
        await asyncio.sleep(phase_s)
        while True:
            self.exchange.heard(self.table.exchange(self.name, self.exchange.words()), self.workers)
            await asyncio.sleep(self.exchange.tick_s)


@pytest.mark.parametrize(("names", "tick_s"), [("abcde", 1.0), ("abc", 0.2)])
@pytest.mark.parametrize("stated", [False, True], ids=["found by refusals", "stated"])
def test_a_limit_is_used_up_in_equal_parts_and_what_one_leaves_the_others_take(
    stated, names, tick_s
):
    async def main():
        table = Table(asyncio.get_running_loop().time)
        bucket = Bucket(1e6, 1e6, 1.0) if stated else Bucket(100, 20, 1.0)
        limits = {"rpm": 6000} if stated else {}
        members = [
            Member(name, table, bucket, len(names), tick_s, 0.19 * n * tick_s, **limits)
            for n, name in enumerate(names)
        ]
        await asyncio.sleep(15)
        rates = [member.rate(5) for member in members]
        assert 93 <= sum(rates) <= 104, rates
        assert min(rates) >= 0.7 * max(rates), rates
        await members[0].stop()
        table.forget("a")  # as the hub does when it leaves or is lost
        await asyncio.sleep(7)
        rates = [member.rate(3) for member in members[1:]]
        assert 88 <= sum(rates) <= 106, rates
        for member in members[1:]:
            await member.stop()

    run_fast(main())


class Said:
    """A mailbox in which a test says what the others say."""

    tick_s = 1.0

    def __init__(self):
        self.others = {}

    def publish(self, mine):
        pass

    def read(self):
        return self.others

    def leave(self):
        pass


def test_a_pace_changes_hands_when_somebody_comes_or_goes_and_not_when_one_stands_still():
    box, pace = Said(), Pace()
    pace.shared(50.0)
    sharing = Sharing(box, pace, None, None)
    sharing.begin(0.0)
    searching, found = Neighbour(demand=True), Neighbour(rate=50.0, demand=True)
    heard = [
        (searching, 50),
        (found, 50),  # beside this one: nothing of it is this one's
        (searching, 50),  # it was refused, and waits
        (found, 50),
        (None, 100),  # it left
        (found, 50),  # a newcomer, who took its share of what this one had
    ]  # fmt: skip
    for now, (other, rate) in enumerate(heard, 1):
        box.others = {} if other is None else {"a": other}
        sharing.tick(float(now), held=True)
        assert pace.rate == pytest.approx(rate)


# --- three clients, one server -------------------------------------------------------------------

RATE = 90.0


class Loaded:
    """A client that asks all it can, through a station of its own."""

    def __init__(self, name, hub, path, server, **limits):
        self.station = Station(name, Near(hub), 3, tick_s=0.25)
        self.name, self.path, self.server, self.limits = name, path, server, limits
        self.ends = []
        self.stopped = False

    async def start(self):
        await self.station.join("here", 1)
        self.journal = open_journal(self.path / f"{self.name}.sqlite")
        model = parse_model(self.server.model(concurrency=48, **self.limits))
        self.client = self.station.client({"m": model}, self.journal, None)
        self.tasks = [asyncio.ensure_future(self.calls(n)) for n in range(16)]

    async def calls(self, number):
        asked = 0
        while not self.stopped:
            asked += 1
            text = f"{self.name} {number} {asked}"
            await self.client.chat("m", request(text), Asker("respond", text))
            self.ends.append(time.monotonic())

    async def stop(self):
        self.stopped = True
        self.client.stop()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.station.leave()
        await self.client.close()
        await self.journal.close()

    def rate(self, begin, end):
        return sum(begin < at <= end for at in self.ends) / (end - begin)


@pytest.mark.parametrize(
    "stated", mostly_slow([False, True], 2), ids=["found by refusals", "stated"]
)
def test_three_clients_of_one_server_share_what_it_allows(tmp_path, stated):
    hub = Hub(lambda route: 0)

    async def main(server):
        limits = {"rpm": round(RATE * 60)} if stated else {}
        workers = [Loaded(name, hub, tmp_path, server, **limits) for name in "abc"]
        await asyncio.gather(*(worker.start() for worker in workers))
        settle_s, measure_s = (1.5, 1.5) if stated else (4.5, 2.5)
        await asyncio.sleep(settle_s)
        begin, refused = time.monotonic(), server.refused
        await asyncio.sleep(measure_s)
        end = time.monotonic()
        rates = [worker.rate(begin, end) for worker in workers]
        # Where nobody states a rate the server keeps to it itself, and after a stall it lets what
        # it saved up through at once.
        assert 0.85 * RATE <= sum(rates) <= (1.05 * RATE + 4 if stated else 1.5 * RATE), rates
        assert min(rates) >= 0.7 * max(rates), rates
        # Of a hundred three to six, where the machine does not stall.
        assert server.refused - refused <= 0.15 * sum(rates) * measure_s
        seen = hub.seen()
        assert [worker.name for worker in seen.workers] == ["a", "b", "c"]
        assert sum(worker.in_flight for worker in seen.workers) > 0
        if stated:
            await workers[0].stop()
            await asyncio.sleep(1)
            begin = time.monotonic()
            await asyncio.sleep(1.5)
            rates = [worker.rate(begin, begin + 1.5) for worker in workers[1:]]
            assert 0.85 * RATE <= sum(rates) <= 1.05 * RATE + 4, rates
        await asyncio.gather(*(worker.stop() for worker in workers[stated:]))
        answered = sum(len(worker.ends) for worker in workers)
        assert hub.seen().tallies["m"].answers >= answered  # the last ones were told no task

    behaviour = {} if stated else {"rate": RATE}
    with Server(latency_s=0.05, **behaviour) as server:
        asyncio.run(main(server))
