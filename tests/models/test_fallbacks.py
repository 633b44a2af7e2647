"""Another model answers while the first is down: no row lost, nothing paid twice, cost right."""

from __future__ import annotations

import asyncio

import pytest
from asking import ask, ledger, request, with_client
from server import Server

from karat.errors import ProviderError, RecipeError, RunError
from karat.models import endpoint as endpoints
from karat.models.endpoint import Asker, Meter
from karat.models.spec import parse_model

PRICE = {"input": 1.0, "output": 3.0}
CHEAP = {"input": 0.1, "output": 0.3}


def down(*answer):
    return lambda number, body: (*answer, {})


def billed(server, price):
    """What the server itself says it delivered, in nano-dollars: 10 and 7 tokens an answer."""
    calls = sum(server.served.values())
    return round(calls * 1000 * (10 * price["input"] + 7 * price["output"]))


@pytest.mark.parametrize("fault", [(500, b"broken"), (900, b""), (503, b"busy"), (402, b"{}")])
def test_two_endpoints_one_failing_half_way(journal, fault):
    def script(number, body):
        return (*fault, {}) if number > 100 else None

    with Server(script=script, latency_s=0.01) as first, Server(latency_s=0.01) as second:
        teacher = [
            first.model(price=PRICE, concurrency=16),
            second.model(model="openai/other", price=CHEAP, concurrency=16),
        ]
        found = ask(journal, teacher, *(request(f"{i}") for i in range(200)))
        assert all(answers[0].content for answers in found)
        whole = billed(first, PRICE) + billed(second, CHEAP)
        served = sum(first.served.values()), sum(second.served.values())
    assert served == (100, 100)
    by = {a[0].model for a in found}
    assert by == {"openai/loop", "openai/other"}
    assert sum(row["cost_nano"] for row in ledger(journal)) == whole
    attempts = ledger(journal, table="attempts")
    assert sum(row["cost_nano"] for row in attempts) == whole
    assert sum(row["cost_nano"] for row in ledger(journal, table="minutes")) == whole
    # Nobody waits out eight tries at a model that is down.
    assert len([a for a in attempts if a["error"]]) <= 16 + endpoints.DOWN_AFTER


def test_what_a_stand_in_answered_is_not_bought_again(journal):
    with Server(script=down(500, b"")) as first, Server() as second:
        teacher = [first.model(), second.model(model="openai/other")]
        before = ask(journal, teacher, *(request(f"{i}") for i in range(20)))
        sent = len(first.requests), len(second.requests)
        assert ask(journal, teacher, *(request(f"{i}") for i in range(20))) == before
        assert (len(first.requests), len(second.requests)) == sent


def test_a_model_that_recovers_is_asked_again(journal, monkeypatch):
    monkeypatch.setattr(endpoints, "REST_S", (0.2, 0.2))

    def script(number, body):
        return (500, b"", {}) if number <= 30 else None

    async def work(client):
        asker = Asker("s", "r")
        await asyncio.gather(*(client.chat("m", request(f"{i}"), asker) for i in range(8)))
        assert not client.endpoint("m").is_up()
        for probe in range(40):
            await asyncio.sleep(0.21)
            (answer,) = await client.chat("m", request(f"late {probe}"), asker)
            if answer.model == "openai/loop":
                break
        (answer,) = await client.chat("m", request("after"), asker)
        return answer.model

    with Server(script=script) as first, Server() as second:
        teacher = [first.model(), second.model(model="openai/other")]
        assert with_client(journal, teacher, work) == "openai/loop"


def test_a_refused_request_is_refused_by_nobody_else(journal):
    with Server(script=down(400, b"{}")) as first, Server() as second:
        with pytest.raises(ProviderError, match="400"):
            ask(journal, [first.model(), second.model(model="openai/other")], request())
        assert len(second.requests) == 0


def test_when_all_are_down_the_last_one_says_why(journal):
    with (
        Server(script=down(401, b"{}")) as first,
        Server(script=down(402, b"{}")) as second,
        pytest.raises(RunError, match="top it up"),
    ):
        ask(journal, [first.model(), second.model(model="openai/other")], request())


def test_a_models_own_budget_moves_on_to_the_next(journal):
    with Server() as first, Server() as second:
        teacher = [
            first.model(price=PRICE, budget_usd=0.0002, concurrency=1),
            second.model(model="openai/other", price=CHEAP),
        ]
        ask(journal, teacher, *(request(f"{i}", max_tokens=7) for i in range(30)))
        paid = billed(first, PRICE)
        assert 0 < paid <= 200_000
        assert sum(first.served.values()) + sum(second.served.values()) == 30
        # What the first run spent counts in the next.
        ask(journal, teacher, *(request(f"more {i}", max_tokens=7) for i in range(5)))
        assert billed(first, PRICE) == paid


def test_a_models_own_budget_stops_the_run_where_nobody_stands_in(journal):
    with Server() as server:
        model = server.model(price=PRICE, budget_usd=0.0002, concurrency=1)
        with pytest.raises(RunError, match="budget of model 'openai/loop'"):
            ask(journal, model, *(request(f"{i}", max_tokens=7) for i in range(30)))
        assert 0 < billed(server, PRICE) <= 200_000


def test_a_list_is_a_model_with_fallbacks():
    spec = parse_model(["embedded/smollm2-135m", {"model": "openai/x", "concurrency": 2}])
    assert [one.model for one in spec.route()] == ["embedded/smollm2-135m", "openai/x"]
    assert spec.fallbacks[0].concurrency == 2
    with pytest.raises(RecipeError, match="empty"):
        parse_model([])


def test_the_time_of_a_machine_is_shared_among_the_calls_under_way():
    meter = Meter()
    one = meter.enter(10.0)
    two = meter.enter(12.0)
    assert meter.leave(one, 16.0) == pytest.approx(2 + 4 / 2)
    assert meter.leave(two, 17.0) == pytest.approx(4 / 2 + 1)
    three = meter.enter(20.0)
    assert meter.leave(three, 21.5) == pytest.approx(1.5)


def test_a_machine_by_the_hour_costs_its_busy_time(journal):
    with Server(latency_s=0.1) as server:
        model = server.model(price={"hour": 36.0}, concurrency=4)
        ask(journal, model, *(request(f"{i}") for i in range(8)))
    paid = sum(row["cost_nano"] for row in ledger(journal, table="attempts")) / 1e9
    assert 0.2 <= paid / 0.01 <= 0.8  # two rounds of .1 s at one cent a second, and overhead


def test_parts_that_the_first_answered_are_not_bought_again_from_the_next(journal):
    def script(number, body):
        return (500, b"", {}) if body["seed"] % 2 else None

    with Server(script=script, max_n=1) as first, Server() as second:
        teacher = [first.model(attempts=1), second.model(model="openai/other")]
        before = ask(journal, teacher, request(n=6, seed=10))
        assert [a.model for a in before[0]] == ["openai/loop", "openai/other"] * 3
        assert len(ledger(journal)) == 6
        sent = len(first.requests), len(second.requests)
        assert ask(journal, teacher, request(n=6, seed=10)) == before
        assert (len(first.requests), len(second.requests)) == sent


def test_a_spent_budget_is_one_warning_however_many_rows_it_turns_away(journal):
    warnings = set()

    async def work(client):
        client.till.warn = warnings.add
        for i in range(8):
            await client.chat("m", request("x" * 50 * i, max_tokens=7), Asker("s", "r"))

    with Server() as first, Server() as second:
        teacher = [
            first.model(price=PRICE, budget_usd=0.000001), second.model(model="openai/other"),
        ]  # fmt: skip
        with_client(journal, teacher, work)
    assert warnings == {"openai/loop is out of budget; others answer for it"}


def test_calls_that_fail_side_by_side_tell_of_one_outage(journal):
    async def work(client):
        endpoint, now = client.endpoint("m"), asyncio.get_running_loop().time()
        for _ in range(20):
            endpoint.leave_alone("busy")
        return endpoint._rests_until - now

    with Server() as server:
        rest_s = with_client(journal, [server.model(), server.model(model="openai/b")], work)
    assert rest_s == pytest.approx(endpoints.REST_S[0], abs=1)
