"""Services, models and a ping as a person reads them: no key, no markup of others, no guess."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from karat.ledger import Attempt
from karat.models.catalogue import Card
from karat.models.chat import Completion
from karat.models.offers import Offer
from karat.models.prices import Price
from karat.models.rights import Rights
from karat.models.services import Service
from karat.ping import Pinged
from karat.reachable import Known, Reach
from karat.report.models import SHOWN, model_table, ping_panel, service_table, takes

YES = Rights("Apache-2.0", "yes", "Nothing to do.", "the card")
EVIL = "\x1b[2J[bold]loud[/bold] [/nothing]"
SEEN = "[bold]loud[/bold] [/nothing]"


def printed(what):
    stream = io.StringIO()
    Console(file=stream, width=120).print(what)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert all(len(line) <= 120 for line in text.splitlines())
    return text


def known(model="a/b", price=None, price_from="", card=None, **more):
    return Known(model, price, price_from, card or Card(), YES, more.pop("ready", True), **more)


def test_services_that_can_be_called_come_first():
    far = Service(title="Far", base_url="https://far.example/v1", key_env=("FAR_KEY",))
    near = Service(title="Near", base_url="http://127.0.0.1:1/v1")
    offers = [Offer(f"m{i}") for i in range(7)]
    text = printed(
        service_table(
            [
                Reach("far", far, own=False, key="", priced=1234, said="no key: FAR_KEY"),
                Reach("near", near, own=True, key="", priced=0, ready=True, offers=offers,
                      said=f"running {EVIL}"),
            ]
        )
    )  # fmt: skip
    first, second = text.splitlines()[1:3]
    assert first.startswith("near")
    assert f"running �{SEEN[:6]}"[:9] in first
    for words in ("far", "Far", "openai", "no key: FAR_KEY", "far.example/v1", "1,234"):
        assert words in second
    assert "near: 7 models: m0, m1, m2, m3, m4, 2 more" in text
    assert "yours: near (" in text
    assert "config.toml" in text


@pytest.mark.parametrize(
    ("price", "cells"),
    [
        (Price(input=1.25, output=10.0, cached=0.125), ["1.25", "0.125", "10"]),
        (Price(input=0.2, output=0.6), ["0.2", "0.2", "0.6"]),
        (Price(input=0.0, output=0.0), ["0", "0", "0"]),
        (Price(hour=2.5), ["$2.5/h", "—", "—"]),
        (None, ["—", "—", "—"]),
    ],
)
def test_prices_and_what_is_not_known(price, cells):
    line = printed(model_table([known(price=price, price_from="somebody")])).splitlines()[1]
    assert line.split()[:5] == ["a/b", *cells, "—"]


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (Card(), "—"),
        (Card(reasoning=True, tools=True, structured_output=True), "reason tools schema"),
        (Card(reasoning=False, tools=True), "tools"),
        (Card(tools=False), "none"),
    ],
)
def test_what_a_model_takes(card, said):
    assert takes(card) == said
    assert said in printed(model_table([known(card=card)]))


def test_a_long_listing_is_cut_unless_all_is_wanted():
    many = [known(f"a/model-{i}") for i in range(SHOWN + 2)]
    text = printed(model_table(many))
    assert "2 more: --all" in text
    assert f"a/model-{SHOWN}" not in text
    text = printed(model_table(many, everything=True))
    assert f"a/model-{SHOWN + 1}" in text
    assert "--all" not in text


def test_why_a_model_cannot_be_called_and_who_says_its_price():
    text = printed(
        model_table(
            [
                known("far/m", Price(input=1, output=1), "the map 3.1", ready=False,
                      note="no key: FAR_KEY"),
                known("own/m", None, "a server of your own", label="teacher+1", address="http://h"),
            ]
        )
    )  # fmt: skip
    assert "far: no key: FAR_KEY" in text
    assert "per million tokens: the map 3.1" in text
    assert "not known; a server of your own" in text
    assert "teacher+1" in text
    assert "own/m http://h" in text


def test_no_model_of_that_name():
    assert "karat models ping" in printed(model_table([], "nobody" + EVIL.replace("\x1b", "")))


def attempt(**more):
    usual = {
        "id": 1, "kind": "chat", "role": "teacher", "model": "a/b", "route": "a/b",
        "step": "ping", "row": "", "started": 0.0, "served": "b-1", "latency_ms": 1234.0,
        "ttft_ms": 250.0, "prompt_tokens": 12, "cached_tokens": 4, "completion_tokens": 9,
        "reasoning_tokens": 5, "tokens_from": "reported", "cost_nano": 5_000_000, "price": "recipe",
    }  # fmt: skip
    return Attempt(**{**usual, **more})


def answer(content="Hello", **more):
    return Completion(content, more.pop("finish_reason", "stop"), "a/b", 0, "00", **more)


def test_an_answer_and_its_figures():
    text = printed(
        ping_panel(Pinged("t", "a/b", 64, YES, answer(EVIL, reasoning="Think."), attempt()))
    )
    for words in (
        "t: a/b", SEEN, "Think.", "1.23 s, 0.25 s to the first token", "stop", "b-1",
        "12 in (4 cached), 9 out (5 of them thoughts); reported", "$0.005 (your price)",
        "yes (Apache-2.0). Nothing to do.", "max_tokens 64",
    ):  # fmt: skip
        assert words in text


def test_what_is_not_known_is_said():
    made = attempt(served="", ttft_ms=None, tokens_from="estimated", cost_nano=None, price="")
    text = printed(ping_panel(Pinged("a/b", "a/b", 64, YES, answer(finish_reason=""), made)))
    assert "estimated" in text
    assert "price unknown" in text
    assert text.count("the service does not say") == 2
    assert "first token" not in text


def test_an_answer_all_in_thoughts_says_what_to_raise():
    cut = answer("", finish_reason="length")
    assert "--set max_tokens=4096" in printed(ping_panel(Pinged("a", "a", 64, YES, cut, attempt())))
    assert "an empty text" in printed(ping_panel(Pinged("a", "a", 64, YES, answer(" "), attempt())))


def test_a_failure_in_words_with_its_status():
    failed = attempt(status=401, error="model", outcome="failed", tokens_from="", cost_nano=0)
    text = printed(ping_panel(Pinged("a", "a", 64, YES, None, failed, "the key is wrong")))
    assert "no answer: the key is wrong" in text
    assert "401" in text
    assert "cost" not in text
    never = printed(ping_panel(Pinged("a", "a", 64, YES, None, None, f"no key {EVIL}")))
    assert "status" not in never
    assert SEEN in never
