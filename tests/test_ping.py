"""One real call against a real server: what is shown of it, and every way it can go wrong."""

from __future__ import annotations

import json

import pytest
from server import Server

from karat.errors import RecipeError
from karat.ping import MAX_TOKENS, MAX_TOKENS_THINKING, PROMPT, ping

HELLO = (
    {"model": "loop-7", "choices": [{"index": 0, "delta": {"reasoning": "Count them."}}]},
    {"choices": [{"index": 0, "delta": {"content": "Hello"}}]},
    {"choices": [{"index": 0, "delta": {"content": " to you"}, "finish_reason": "stop"}]},
)
USAGE = {
    "prompt_tokens": 12, "completion_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 5},
}  # fmt: skip


def streamed(*parts):
    lines = [f"data: {part if isinstance(part, str) else json.dumps(part)}\n\n" for part in parts]
    return 200, "".join(lines).encode(), {"content-type": "text/event-stream"}


def hello(number, body):
    return streamed(*HELLO, {"choices": [], "usage": USAGE}, "[DONE]")


def at(server, *more):
    return [f"base_url={server.url}", *more]


def test_an_answer_and_all_the_ledger_says_of_it():
    with Server(script=hello) as server:
        (one,) = ping("openai/loop", overrides=at(server, "price.input=2", "price.output=10"))
        (asked,) = server.requests
    assert (one.answer.content, one.answer.reasoning) == ("Hello to you", "Count them.")
    assert (one.answer.finish_reason, one.attempt.served) == ("stop", "loop-7")
    found = one.attempt
    assert (found.prompt_tokens, found.cached_tokens) == (12, 4)
    assert (found.completion_tokens, found.reasoning_tokens) == (9, 5)
    assert (found.tokens_from, found.price) == ("reported", "recipe")
    assert found.cost_nano == 12 * 2000 + 9 * 10000
    assert 0 < found.ttft_ms <= found.latency_ms
    assert asked["body"]["messages"] == [{"role": "user", "content": PROMPT}]
    assert (asked["body"]["max_tokens"], asked["body"]["stream"]) == (MAX_TOKENS, True)
    assert one.error == ""


def test_tokens_nobody_reported_are_estimated():
    with Server(script=lambda n, b: streamed(*HELLO, "[DONE]")) as server:
        (one,) = ping("openai/loop", overrides=at(server))
    assert (one.attempt.tokens_from, one.attempt.cost_nano) == ("estimated", None)


@pytest.mark.parametrize(
    ("model", "more", "most"),
    [
        ("openai/loop", [], MAX_TOKENS),
        ("openai/loop", ["reasoning=low"], MAX_TOKENS_THINKING),
        ("openai/loop", ["max_tokens=7", "reasoning=low"], 7),
    ],
)
def test_thoughts_get_room(model, more, most):
    with Server(script=hello) as server:
        (one,) = ping(model, overrides=at(server, *more))
        assert one.error == ""
        assert (one.max_tokens, server.requests[0]["body"]["max_tokens"]) == (most, most)


def test_a_model_known_to_think_gets_room(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (one,) = ping("openai/gpt-5")
    assert one.max_tokens == MAX_TOKENS_THINKING


def error(status, message, **headers):
    body = json.dumps({"error": {"message": message}}).encode()
    return lambda number, asked: (status, body, headers)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (error(401, "bad key"), ["bad key", "check the variable named in key_env"]),
        (error(402, "empty"), ["no credit left"]),
        (error(429, "insufficient_quota"), ["insufficient_quota", "no credit left"]),
        (error(403, "not you"), ["check its permissions"]),
        (error(404, "no model"), ["no model", "knows no such model"]),
        (error(429, "slow down"), ["slow down", "wait a little"]),
        (error(500, "oops"), ["oops", "try again later"]),
        (error(400, "what is stream"), ["what is stream", "--set"]),
        (error(400, "maximum context length is 10 tokens"), ["lower max_tokens"]),
        (lambda n, b: (200, b"<html>", {}), ["check base_url and wire"]),
        (lambda n, b: (900, b"", {}), ["connection"]),
        (lambda n, b: (302, b"", {"location": "http://x"}), ["redirects"]),
    ],
)
def test_errors_say_what_to_do_and_nothing_is_tried_twice(script, said):
    with Server(script=script) as server:
        (one,) = ping("openai/loop", overrides=at(server))
        assert len(server.requests) == 1
    assert one.answer is None
    for words in said:
        assert words in one.error
    assert "tries)" not in one.error
    assert one.attempt is not None


def test_a_server_that_is_not_there():
    with Server() as server:
        gone = server.url
    (one,) = ping("openai/loop", overrides=[f"base_url={gone}"])
    assert "Is the server running?" in one.error
    assert gone in one.error


def test_a_slow_one_is_given_up_in_time():
    with Server(latency_s=2.0) as server:
        (one,) = ping("openai/loop", overrides=at(server, "timeout_s=0.2"))
    assert "raise timeout_s" in one.error


def test_no_key_sends_nothing_and_says_which(monkeypatch):
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    (one,) = ping("groq/llama-3.3-70b-versatile")
    assert "GROQ_API_KEY" in one.error
    assert one.attempt is None


def test_a_name_slightly_wrong_gets_the_near_ones(monkeypatch):
    monkeypatch.setenv("CORP_KEY", "k")
    with Server(script=error(404, "model not found")) as server:
        more = [f"base_url={server.url}", "key_env=CORP_KEY"]
        (one,) = ping("groq/llama-3.3-70b-versatil", overrides=more)
    assert "llama-3.3-70b-versatile" in one.error


def test_the_key_is_never_shown(monkeypatch):
    monkeypatch.setenv("CORP_KEY", "sk-secret-123")
    with Server(script=error(401, "bad key sk-secret-123")) as server:
        (one,) = ping("openai/loop", overrides=at(server, "key_env=CORP_KEY"))
        assert server.requests[0]["headers"]["Authorization"] == "Bearer sk-secret-123"
    assert "bad key" in one.error
    assert "sk-secret" not in repr(one)


def test_a_recipes_model_with_each_of_its_fallbacks(tmp_path):
    with Server(script=error(401, "bad key")) as bad, Server(script=hello) as good:
        path = tmp_path / "r.yaml"
        path.write_text(
            f"models:\n  teacher:\n  - {{model: openai/a, base_url: '{bad.url}'}}\n"
            f"  - {{model: openai/b, base_url: '{good.url}', temperature: 0.3}}\n"
            f"  judge: {{model: openai/c, base_url: '{good.url}'}}\n"
            "steps:\n- topics: {model: teacher, n: 2}\n"
        )
        first, second = ping("teacher", path)
        assert (first.label, first.answer) == ("teacher", None)
        assert (second.label, second.answer.content) == ("teacher+1", "Hello to you")
        assert good.requests[-1]["body"]["temperature"] == 0.3
        (judge,) = ping("judge", path, ["models.judge.temperature=0.7", "price.input=1",
                                        "price.output=1"])  # fmt: skip
        assert (judge.attempt.price, judge.attempt.cost_nano) == ("recipe", 21_000)
        assert good.requests[-1]["body"]["temperature"] == 0.7
        with pytest.raises(RecipeError, match="did you mean 'judge'"):
            ping("juge", path)


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("loop", [], "--recipe"),
        ("opnai/loop", [], "did you mean 'openai/"),
        ("openai/loop", ["temperatur=1"], "did you mean 'temperature'"),
        ("openai/loop", ["temperature"], "key=value"),
    ],
)
def test_mistakes_are_said_before_anything_is_sent(model, more, said):
    with pytest.raises(RecipeError, match=said):
        ping(model, overrides=more)
