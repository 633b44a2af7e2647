"""What must never happen: a budget overdrawn or wasted, a key seen by anybody but its service."""

from __future__ import annotations

import asyncio

import pytest
from asking import ask, ledger, request, with_client
from server import Server

from karat.errors import KaratError, RecipeError, RunError
from karat.models.endpoint import Asker

SECRET = "sk-1234567890-very-secret-ABCDEFGHIJ"


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("MY_KEY", SECRET)
    return "MY_KEY"


def test_the_key_is_sent_in_the_header(journal, key):
    with Server() as server:
        ask(journal, server.model(key_env=key), request())
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET.encode() not in journal.read_bytes()


def test_openais_key_is_not_sent_to_anybody_else(journal, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    with Server() as server:
        ask(journal, server.model(), request())
        assert SECRET not in str(server.requests)


@pytest.mark.parametrize("end", ["\n", "\r\n", " "])
def test_a_key_read_from_a_file_with_a_line_end_works(journal, key, monkeypatch, end):
    monkeypatch.setenv(key, SECRET + end)
    with Server() as server:
        ask(journal, server.model(key_env=key), request())
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("bad", ["ke\ny", "schlüssel"])
def test_a_key_no_header_can_hold_is_a_mistake_in_words(journal, key, monkeypatch, bad):
    monkeypatch.setenv(key, bad)
    with Server() as server, pytest.raises(RecipeError, match="MY_KEY") as caught:
        ask(journal, server.model(key_env=key), request())
    assert bad not in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 500, 200, 302])
@pytest.mark.parametrize(
    "echo",
    [
        '{"error": {"message": "bad key KEY"}}', '{"error": "KEY"}', "KEY",
        '{"message": "x KEY y"}',
        "P" * 100 + "KEY", '{"error": {"message": "' + "P" * 280 + 'KEY"}}', '{"choices": "KEY"}',
        '{"object": "error", "message": "KEY"}',
    ],
)  # fmt: skip
def test_a_key_the_server_echoes_is_not_repeated(journal, key, status, echo):
    payload = echo.replace("KEY", SECRET).encode()
    server = Server(script=lambda number, body: (status, payload, {}))
    with server, pytest.raises(KaratError) as caught:
        ask(journal, server.model(key_env=key, attempts=1), request())
    told = str(caught.value) + str(ledger(journal, table="attempts"))
    assert SECRET[:12] not in told


def test_what_a_server_says_reaches_no_terminal_with_control_codes(journal):
    payload = b'{"error": {"message": "red \\u001b[31m bell \\u0007 and\\na line"}}'
    server = Server(script=lambda number, body: (400, payload, {}))
    with server, pytest.raises(KaratError) as caught:
        ask(journal, server.model(), request())
    assert not [c for c in str(caught.value) if ord(c) < 32]


PRICE = {"input": 1.0, "output": 1.0}  # 10 + 7 tokens a call: 17,000 nano-dollars


def spent(path):
    return sum(row["cost_nano"] for row in ledger(path, "cost_nano")) / 1e9


def test_a_budget_stops_before_it_is_crossed_and_keeps_what_was_paid(journal):
    with Server() as server:
        model = server.model(price=PRICE, concurrency=1)
        requests = [request(f"{i}", max_tokens=7) for i in range(50)]
        with pytest.raises(
            RunError, match=r"budget of \$0\.0005 would be crossed.*raise budget_usd"
        ):
            ask(journal, model, *requests, budget=0.0005)
        assert 0.0005 - 2 * 0.0001 < spent(journal) <= 0.0005
        assert len(ledger(journal)) == len(server.requests)


def test_a_budget_that_suffices_is_enough_at_any_width(journal):
    # Reservations are worst cases: a wide run must wait for them to settle, not die of them.
    with Server(latency_s=0.02) as server:
        model = server.model(price=PRICE, concurrency=64)
        ask(journal, model, *(request(f"{i}", max_tokens=1000) for i in range(100)), budget=0.01)
        assert len(ledger(journal)) == 100
    assert spent(journal) == pytest.approx(100 * 17e-6)


def test_what_failed_gives_its_reservation_back(journal):
    def script(number, body):
        return (400, b"{}", {}) if body["messages"][0]["content"] == "bad" else None

    with Server(script=script) as server:
        model = server.model(price=PRICE, concurrency=1)
        for _ in range(5):
            with pytest.raises(KaratError, match="400"):
                ask(journal, model, request("bad", max_tokens=700), budget=0.001)
        ask(journal, model, request("good", max_tokens=700), budget=0.001)


def test_a_call_that_will_be_tried_again_holds_no_money_meanwhile(journal):
    # It would wait for the one slot, and who has the slot for the money, for ever.
    def script(number, body):
        return (503, b"busy", {}) if number == 1 else None

    async def work(client):
        calls = (
            client.chat("m", request(f"{i}", max_tokens=700), Asker("s", "r")) for i in range(4)
        )
        return await asyncio.wait_for(asyncio.gather(*calls), 10)

    with Server(script=script, latency_s=0.01) as server:
        model = server.model(price=PRICE, concurrency=1)
        found = with_client(journal, model, work, budget=0.001)
    assert all(answer.content for (answer,) in found)


def test_an_answer_that_could_not_be_read_counts_before_the_next_is_bought(journal):
    with Server(script=lambda number, body: (200, b"<html>", {})) as server:
        model = server.model(price=PRICE, concurrency=1)
        with pytest.raises(RunError, match="would be crossed"):
            ask(journal, model, request("?", max_tokens=700), budget=0.001)
        assert len(server.requests) == 1
