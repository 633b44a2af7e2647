"""What the gateway keeps: answers where the caller asks for it, bodies where the server was told
to, the ledger's row always."""

from __future__ import annotations

import asyncio
import sqlite3
import time

import pytest
from conftest import wait_for
from gated import ASK, COST_NANO, gated
from later import later

openai = later("openai")

USE, REFRESH = {"x-karat-cache": "use"}, {"x-karat-cache": "refresh"}
SECRET = "the heron nests at dawn"
ANSWER = "zanzibar quicksilver"


def numbered():
    """Answers no two of which are the same."""
    count = iter(range(1000))
    return {"answer": lambda *_: f"answer {next(count)}"}


def ask(client, headers=None, text="Why tides?", **more):
    said = {"model": "loop", "messages": [{"role": "user", "content": text}]}
    raw = client.chat.completions.with_raw_response.create(**said, extra_headers=headers, **more)
    return raw.parse().choices[0].message.content, raw


def test_equal_requests_are_two_samples(tmp_path):
    with gated(tmp_path, numbered()) as (client, _, _):
        found = [ask(client)[0] for _ in range(3)]
        assert found == ["answer 0", "answer 1", "answer 2"]


def test_who_asks_for_the_cache_pays_once(tmp_path):
    with gated(tmp_path, numbered()) as (client, wired, upstream):
        first, bought = ask(client, USE)
        again, held = ask(client, USE)
        assert first == again == "answer 0"
        assert (bought.headers["x-karat-cache"], held.headers["x-karat-cache"]) == ("miss", "hit")
        assert held.headers["x-karat-cost-usd"] == "0.000000000"
        usage = held.parse().usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.cost_usd) == (10, 7, 0)
        assert ask(client, USE, text="Another?")[0] == "answer 1"
        assert ask(client)[0] == "answer 2"  # who does not ask for it gets a sample of its own
        assert len(upstream.requests) == 3
        time.sleep(0.05)
        base = sqlite3.connect(wired.gateway.run.journal)
        assert base.execute("SELECT sum(replayed), sum(answers) FROM minutes").fetchone() == (1, 3)
        base.close()


def test_an_answer_bought_anew_takes_the_place_of_the_old(tmp_path):
    with gated(tmp_path, numbered()) as (client, _, _):
        assert ask(client, USE)[0] == "answer 0"
        fresh, raw = ask(client, REFRESH)
        assert (fresh, raw.headers["x-karat-cache"]) == ("answer 1", "miss")
        assert ask(client, USE)[0] == "answer 1"


def test_what_the_cache_holds_survives_a_restart(tmp_path):
    with gated(tmp_path, numbered()) as (client, _, upstream):
        ask(client, USE, seed=3)
    with gated(tmp_path, {**numbered(), "port": upstream.port}) as (client, _, again):
        assert ask(client, USE, seed=3)[1].headers["x-karat-cache"] == "hit"
        assert again.requests == []


def test_several_samples_and_more_of_them(tmp_path):
    with gated(tmp_path) as (client, _, upstream):
        two = ask(client, USE, n=2)[1].parse().choices
        four = ask(client, USE, n=4)[1].parse().choices
        assert [c.message.content for c in four[:2]] == [c.message.content for c in two]
        assert [one["body"]["n"] for one in upstream.requests] == [2, 2]


def test_equal_requests_side_by_side_are_bought_once(tmp_path):
    with gated(tmp_path, {**numbered(), "latency_s": 0.1}) as (_, wired, upstream):

        async def main():
            async with openai.AsyncOpenAI(api_key="a", base_url=f"{wired.url}/v1") as client:
                calls = (
                    client.chat.completions.create(**ASK, extra_headers=USE) for _ in range(20)
                )
                return await asyncio.gather(*calls)

        found = asyncio.run(main())
        assert {one.choices[0].message.content for one in found} == {"answer 0"}
        assert len(upstream.requests) == 1
        assert sum(one.usage.cost_usd for one in found) == pytest.approx(COST_NANO / 1e9)


def test_a_stream_from_the_cache(tmp_path):
    with gated(tmp_path, numbered()) as (client, _, upstream):

        def listen():
            counts = {"include_usage": True}
            raw = client.chat.completions.with_raw_response.create(
                **ASK, stream=True, stream_options=counts, extra_headers=USE
            )
            chunks = list(raw.parse())
            text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            return text.strip(), raw.headers["x-karat-cache"], chunks[-1].usage.cost_usd

        assert listen() == ("answer 0", "miss", pytest.approx(COST_NANO / 1e9))
        assert listen() == ("answer 0", "hit", 0)
        assert len(upstream.requests) == 1


def test_another_word_than_these_is_refused(tmp_path):
    refusal = pytest.raises(openai.BadRequestError, match="use or refresh")
    with gated(tmp_path) as (client, _, _), refusal:
        ask(client, {"x-karat-cache": "yes"})


# --- what is written -----------------------------------------------------------------------------


def echo(number, body):
    """Errors that repeat the prompt, and a reply that cannot be read."""
    said = body["messages"][-1]["content"]
    if said.startswith("refuse"):
        return 400, f'{{"error": {{"message": "cannot answer: {said}"}}}}'.encode(), {}
    if said.startswith("break"):
        return 500, said.encode(), {}
    if said.startswith("garble"):
        return 200, f'{{"choices": "{said} {ANSWER}"}}'.encode(), {}
    return None


def service():
    return {"script": echo, "answer": lambda *_: ANSWER}


def ask_all(client):
    ask(client, text=SECRET)
    for chunk in client.chat.completions.create(
        model="loop", messages=[{"role": "user", "content": SECRET}], stream=True
    ):
        assert chunk.choices
    for word, kind in (
        ("refuse", openai.BadRequestError), ("break", openai.InternalServerError),
        ("garble", openai.InternalServerError),
    ):  # fmt: skip
        with pytest.raises(kind):
            ask(client, text=f"{word} {SECRET}")


def test_neither_prompts_nor_answers_are_kept_unasked(tmp_path):
    with gated(tmp_path, service(), {"attempts": 1}) as (client, wired, _):
        ask_all(client)
        wait_for(lambda: len(wired.ledger()) == 5)
        rows = wired.ledger("outcome, body, message, status, prompt_tokens, cost_nano, latency_ms")
    assert SECRET.encode() not in wired.written()
    assert ANSWER.encode() not in wired.written()
    assert [row[0] for row in rows] == ["answered", "answered", "failed", "failed", "failed"]
    assert all(body is None for _, body, *_ in rows)
    assert [row[2:4] for row in rows[2:]] == [
        ("HTTP 400", 400),
        ("HTTP 500", 500),
        ("HTTP 200", 200),
    ]
    assert [row[4:6] for row in rows[:2]] == [(10, COST_NANO)] * 2
    assert all(latency_ms > 0 for *_, latency_ms in rows)


def test_with_the_cache_the_answer_is_kept_and_the_prompt_is_not(tmp_path):
    with gated(tmp_path, service()) as (client, wired, _):
        ask(client, USE, text=SECRET)
    assert ANSWER.encode() in wired.written()
    assert SECRET.encode() not in wired.written()


def test_a_server_that_was_told_to_keeps_both(tmp_path):
    with gated(tmp_path, service(), {"attempts": 1}, log_bodies=True) as (client, wired, _):
        ask_all(client)
    written = wired.written()
    assert SECRET.encode() in written
    assert ANSWER.encode() in written
    messages = [message for (message,) in wired.ledger("message")]
    assert any("cannot answer" in message for message in messages)
    base = sqlite3.connect(wired.gateway.run.journal)
    found = base.execute("SELECT content, step, row FROM calls").fetchall()
    base.close()
    assert {(content.strip(), step) for content, step, _ in found} == {(ANSWER, "key:local")}
    assert len({row for *_, row in found}) == 2


def test_nothing_is_bought_that_cannot_be_written_down(tmp_path):
    with gated(tmp_path) as (client, wired, upstream):
        ask(client)
        time.sleep(0.05)
        journal = wired.gateway.journal
        (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
        journal._writer.execute(f"PRAGMA max_page_count = {pages}")  # as a full disk
        with pytest.raises(openai.InternalServerError) as caught:
            [ask(client) for _ in range(400)]
        assert (caught.value.status_code, caught.value.code) == (503, "ledger_unwritable")
        before = len(upstream.requests)
        with pytest.raises(openai.InternalServerError):
            ask(client)
        assert len(upstream.requests) == before
        assert client.models.list().data
        journal._untold = None  # the test has seen it; closing would raise it again
