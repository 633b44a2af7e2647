"""Budgets of a key, of the server and of a model: none is overdrawn, whoever asks how often."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from gated import ASK, COST_NANO, PRICE, ask, gated, made, refusal
from later import later
from wired import Upstream, Wired

from karat.costs import costs
from karat.web.gateway import keys

openai = later("openai")


@pytest.fixture(scope="module")
def service():
    with Upstream() as made:
        yield made


@pytest.fixture
def wired(tmp_path, service):
    models = {
        "loop": service.model(price=PRICE), "free": service.model(),
        "capped": service.model(model="openai/capped", price=PRICE, budget_usd=1e-6),
    }  # fmt: skip
    with Wired(tmp_path, models) as made:
        yield made


# A request reserves about 120 microdollars (its prompt at two characters a token, 7 tokens) and
# costs 80.
SHORT = {"max_tokens": 7}


def test_who_has_spent_its_budget_is_refused(wired, service):
    secret = made(wired, budget_usd=230e-6)
    before = len(service.requests)
    for _ in range(2):
        ask(wired, secret, **SHORT)
    error = refusal(wired, secret, openai.RateLimitError, **SHORT)
    assert (error.status_code, error.code) == (429, "insufficient_quota")
    assert error.type == "insufficient_quota"
    assert "$" not in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert len(service.requests) == before + 2
    other = made(wired, "other")
    assert ask(wired, other, **SHORT).choices  # it is nobody else's


def test_side_by_side_a_budget_is_not_overdrawn(tmp_path):
    with gated(tmp_path, {"latency_s": 0.05}) as (_, wired, upstream):
        secret = made(wired, budget_usd=300e-6)

        async def main():
            address = f"{wired.url}/v1"
            async with openai.AsyncOpenAI(api_key=secret, base_url=address, max_retries=0) as asks:
                calls = (asks.chat.completions.create(**ASK, **SHORT) for _ in range(12))
                return await asyncio.gather(*calls, return_exceptions=True)

        found = asyncio.run(main())
        answered = [one for one in found if not isinstance(one, Exception)]
        assert len(answered) == len(upstream.requests)
        assert 1 <= len(answered) <= 3
        assert all(isinstance(e, openai.RateLimitError) for e in found if isinstance(e, Exception))
        (key,) = wired.gateway.keyring._keys.values()
        assert key.purse.spent_nano == COST_NANO * len(answered)
        assert key.purse.spent_nano <= 300_000
        assert key.purse._reserved == 0
        assert wired.gateway.purse._reserved == 0


def test_the_servers_budget_holds_for_all(tmp_path):
    with gated(tmp_path, budget_usd=130e-6) as (_, wired, _):
        one, two = made(wired, "one"), made(wired, "two", budget_usd=5)
        ask(wired, one, **SHORT)
        assert refusal(wired, two, openai.RateLimitError, **SHORT).code == "insufficient_quota"


def test_a_models_budget_holds_too(wired):
    error = refusal(wired, "any", openai.RateLimitError, model="capped")
    assert error.code == "insufficient_quota"
    assert "model" in error.message


def test_a_budget_survives_a_restart(tmp_path, service):
    models = {"loop": service.model(price=PRICE)}
    with Wired(tmp_path, models) as wired:
        secret = made(wired, budget_usd=150e-6)
        ask(wired, secret, **SHORT)
    with Wired(tmp_path, models) as wired:
        assert refusal(wired, secret, openai.RateLimitError, **SHORT).code == "insufficient_quota"
        assert wired.gateway.purse.spent_nano == COST_NANO
        keys.remove(wired.gateway.run.path, "team")
        # Another key of that name has spent only what it spent itself, to the minute.
        keys.add(wired.gateway.run.path, "team", budget_usd=1)
    listed = keys.listed(tmp_path / keys.FOLDER)
    assert listed[0]["spent_usd"] in (0, COST_NANO / 1e9)


def test_a_budget_asks_for_a_price(wired):
    secret = made(wired, budget_usd=1)
    error = refusal(wired, secret, openai.PermissionDeniedError, model="free")
    assert error.code == "model_unpriced"
    assert ask(wired, made(wired, "rich"), model="free").choices


def test_a_budget_that_is_raised_holds_at_once(wired):
    secret = made(wired, budget_usd=1e-6)
    refusal(wired, secret, openai.RateLimitError)
    file = wired.gateway.run.path / keys.FILE
    tree = json.loads(file.read_text())
    tree["keys"][0]["budget_usd"] = 1
    file.write_text(json.dumps(tree))
    assert ask(wired, secret).choices


def test_costs_by_key_are_a_group_by(wired):
    one, two = made(wired, "one"), made(wired, "two")
    ask(wired, one)
    ask(wired, two)
    ask(wired, two)
    time.sleep(0.05)
    found = costs([wired.desk.settings.root], by="step")
    assert [(line.name, line.calls, line.cost_nano) for line in found.lines] == [
        ("key:two", 2, 2 * COST_NANO), ("key:one", 1, COST_NANO),
    ]  # fmt: skip
