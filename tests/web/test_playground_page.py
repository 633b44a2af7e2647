"""The playground in a real browser, over a real server of pages, gateway and a model behind it."""

from __future__ import annotations

import csv
import json
import re
import time
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
from conftest import wait_for
from server import text_for
from wired import Upstream, Wired

GRADES = {
    "reasoning": "", "helpfulness": 3, "correctness": 3, "coherence": 4, "complexity": 1,
    "verbosity": 1,
}  # fmt: skip
HOSTILE = (
    "<script>document.title='owned'</script><img src=x onerror=alert(1)> \u202egnp.exe \x1b[31m"
)
HEAD = "embedded/helpsteer2"
JSON = {"content-type": "application/json"}


def answered(body, place):
    """The judge's model grades, one prompt gets an attack, any other one words."""
    if "response_format" in body:
        if "better" in json.dumps(body["response_format"]):
            return json.dumps({"reasoning": "", "better": "tie"})
        return json.dumps(GRADES)
    if "attack" in body["messages"][-1]["content"]:
        return HOSTILE
    return f"={text_for(body, place)}"


@pytest.fixture(scope="module")
def upstream():
    with Upstream(answer=answered, slow_s=0.002) as made:
        yield made


@pytest.fixture(scope="module")
def wired(tmp_path_factory, upstream):
    models = {
        "small": upstream.model(price={"input": 1, "output": 10}),
        "free": upstream.model(),
        "dead": {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "attempts": 1},
        "pair": [upstream.model(price={"input": n, "output": 10 * n}) for n in (1, 2)],
    }
    rewards = {
        "judge": {"reward": "judge/small", "max_tokens": 100},
        "pairs": {"reward": "judge/small", "ask": "pairwise"},
    }
    with Wired(tmp_path_factory.mktemp("playground"), models, rewards) as made:
        yield made


def ask(wired, status=200, path="ask", **body):
    """The events of one question, or what is said against it."""
    found = requests.post(f"{wired.url}/playground/{path}", json=body, timeout=30)
    assert found.status_code == status, found.text
    if status != 200 or path != "ask":
        return found.json()
    lines = found.text.split("\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


def whole(events, at):
    """All that was said of one answer, as one mapping."""
    found = {"text": "", "grades": {}}
    for event in events:
        if event.get("at") == at:
            found["text"] += event.pop("text", "")
            found["grades"] |= event.pop("grades", {})
            found |= event
    return found


# --- what it asks --------------------------------------------------------------------------------


def test_each_answer_has_its_text_its_figures_and_its_grades(wired):
    events = ask(
        wired, models=["small", "free"], prompt="Why tides?", rewards=[HEAD, "judge"], seed=1
    )
    first, second = whole(events, 0), whole(events, 1)
    assert first["text"].startswith("=")
    assert first["done"]["cost_usd"] == 0.00008
    assert second["done"]["cost_usd"] is None
    assert first["done"]["completion_tokens"] == 7
    assert 0 < first["done"]["ttft_ms"] <= first["done"]["latency_ms"]
    assert set(first["grades"]) == {HEAD, "judge"}
    assert first["grades"]["judge"]["helpfulness"] == 3
    assert 0 <= second["grades"][HEAD]["helpfulness"] <= 4
    assert events[-1] == {"end": True, "grading_usd": 0.00016}


def test_one_that_fails_stops_no_other(wired):
    events = ask(wired, models=["dead", "small", "nothing"], prompt="Why?", rewards=[HEAD, "gone"])
    dead, small, nothing = (whole(events, at) for at in range(3))
    assert "does not answer" in dead["error"]
    assert "no model 'nothing'" in nothing["error"]
    assert small["done"]["finish_reason"] == "stop"
    assert "gone" in small["grades"]["gone"]["error"]
    assert small["grades"][HEAD]["reward"] > 0
    assert not dead["grades"]


def test_what_compares_waits_for_all_answers(wired):
    events = ask(wired, models=["small", "free"], prompt="Why?", rewards=["pairs"])
    graded = [place for place, event in enumerate(events) if event.get("grades")]
    done = [place for place, event in enumerate(events) if event.get("done")]
    assert min(graded) > max(done)
    assert [whole(events, at)["grades"]["pairs"]["wins"] for at in (0, 1)] == [0.5, 0.5]
    alone = ask(wired, models=["small"], prompt="Why?", rewards=["pairs"])
    assert "two or more" in whole(alone, 0)["grades"]["pairs"]["error"]


def test_the_worst_cost_is_known_before(wired, upstream):
    before = len(upstream.requests)
    asked = {"models": ["small", "free", "x/y"], "prompt": "w" * 200, "max_tokens": 1000}
    found = ask(wired, path="estimate", **asked)
    # 100 tokens in at $1 and 1,000 out at $10 a million.
    assert found["worst_usd"] == pytest.approx(0.0101)
    assert found["unpriced"] == ["free"]
    assert list(found["problems"]) == ["x/y"]
    pair = ask(wired, path="estimate", **{**asked, "models": ["pair"]})
    assert pair["worst_usd"] == pytest.approx(0.0202)  # of the dearer one that stands in
    more = ask(wired, path="estimate", **{**asked, "models": ["small"], "rewards": ["judge"]})
    assert more["worst_usd"] > 0.0101 + 0.0011
    assert len(upstream.requests) == before


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"models": [], "prompt": "a"}, "models"),
        ({"models": ["small"] * 9, "prompt": "a"}, "models"),
        ({"models": ["small"], "prompt": " "}, "prompt is empty"),
        ({"models": ["small"], "prompt": "a", "temperature": 3}, "temperature"),
        ({"models": ["small"], "prompt": "a", "base_url": "http://x"}, "base_url"),
    ],
)
def test_what_is_wrong_is_said(wired, body, words):
    assert words in ask(wired, 400, **body)["error"]["message"]


@pytest.mark.parametrize("body", [
    {}, [], {"rows": 3}, {"rows": [{"a": {}}]}, {"rows": [{}] * 9}, {"rows": [], "x": 1},
    {"rows": [{"a": 1}, {"a": "b"}]},
])  # fmt: skip
def test_what_are_no_answers_becomes_no_file(wired, body):
    found = requests.post(f"{wired.url}/playground/answers.parquet", json=body, timeout=30)
    assert found.status_code == 400
    assert "no answers of the playground" in found.json()["error"]["message"]


def test_one_reward_stands_once_by_its_own_name(tmp_path):
    with Wired(tmp_path, {}, {"helpsteer2": HEAD}) as made:
        found = requests.get(f"{made.url}/playground/choices.json", timeout=30).json()
    names = [one["name"] for one in found["rewards"]]
    assert "helpsteer2" in names
    assert HEAD not in names


def test_another_sites_page_cannot_ask(wired, upstream):
    before = len(upstream.requests)
    body = json.dumps({"models": ["small"], "prompt": "a"})
    for headers in ({**JSON, "origin": "https://evil.example"}, {"content-type": "text/plain"}):
        found = requests.post(f"{wired.url}/playground/ask", data=body, headers=headers, timeout=30)
        assert found.status_code in (403, 415)
    assert len(upstream.requests) == before


def test_prompts_and_answers_are_not_kept(wired):
    ask(wired, models=["small"], prompt="an utterly private question", rewards=["judge"])
    wait_for(lambda: len(wired.ledger()) > 0 and wired.ledger()[-1][3] == "judge")
    assert b"utterly private" not in wired.written()


# --- the page ------------------------------------------------------------------------------------


def address(wired, **said):
    made = requests.Request("GET", f"{wired.url}/playground", params=said).prepare().url
    assert made is not None
    return made


def test_ctrl_enter_asks_all_and_the_answers_can_be_kept(wired, page, axe, tmp_path):
    url = address(wired, model=["small", "free", "dead"], reward=[HEAD], prompt="Why tides?")
    opened = page(url, allowed="favicon")
    opened.get_by_text("and what free, dead costs: the price is unknown").wait_for()
    assert re.search(r"At most \$[\d.]+ for .*, with one try each", opened.inner_text("output"))
    opened.focus(".pg-prompt")
    opened.keyboard.press("Control+Enter")
    opened.get_by_text("Done; 1 of 3 failed").wait_for()
    small = opened.get_by_role("region", name="Answer of small")
    assert "$0.00008" in small.inner_text()
    assert "helpfulness" in small.inner_text()
    assert small.locator("meter").count() == 7
    assert "unknown" in opened.get_by_role("region", name="Answer of free").inner_text()
    dead = opened.get_by_role("region", name="Answer of dead")
    assert "does not answer" in dead.inner_text()
    axe(opened)
    with opened.expect_download() as kept:
        opened.get_by_role("button", name="JSON").click()
    found = json.loads(kept.value.path().read_text("utf-8"))
    assert found["asked"]["prompt"] == "Why tides?"
    assert [one["model"] for one in found["answers"]] == ["small", "free", "dead"]
    assert found["answers"][0]["cost_usd"] == 0.00008
    with opened.expect_download() as kept:
        opened.get_by_role("button", name="CSV").click()
    with kept.value.path().open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["text"].startswith("'=")  # no formula in a sheet
    assert float(lines[0][f"{HEAD}.helpfulness"]) > 0
    assert lines[2]["error"]
    with opened.expect_download() as kept:
        opened.get_by_role("button", name="Parquet").click()
    table = pq.read_table(kept.value.path()).to_pylist()
    assert [one["model"] for one in table] == ["small", "free", "dead"]
    assert table[0]["text"].startswith("=")
    assert table[0][f"{HEAD}.helpfulness"] == float(lines[0][f"{HEAD}.helpfulness"])


def test_everything_that_is_asked_stands_in_the_address(wired, page):
    opened = page(
        address(wired, model="small", prompt="short", temperature="0.5", system="Be kind")
    )
    assert opened.input_value("textarea[name=system]") == "Be kind"
    assert opened.input_value("input[name=temperature]") == "0.5"
    opened.fill(".pg-prompt", "a question & more")
    opened.get_by_label("Add a model").fill("free")
    opened.keyboard.press("Enter")
    opened.get_by_label(HEAD).check()
    opened.get_by_label("Leave out small").click()
    opened.wait_for_url(lambda url: "small" not in url)
    said = parse_qs(urlsplit(opened.url).query)
    assert said["prompt"] == ["a question & more"]
    assert (said["model"], said["reward"]) == (["free"], [HEAD])
    opened.reload()
    assert opened.input_value(".pg-prompt") == "a question & more"
    assert opened.get_by_label(HEAD).is_checked()
    opened.fill(".pg-prompt", "long " * 400)
    opened.get_by_text("too long for the address").wait_for()
    opened.wait_for_url(lambda url: "prompt" not in url)


def test_escape_stops_and_nothing_more_is_paid_for(wired, upstream, page):
    upstream.behaviour["slow_s"] = 0.3
    try:
        opened = page(address(wired, model="small", prompt="Why?"))
        opened.focus(".pg-prompt")
        opened.keyboard.press("Control+Enter")
        opened.get_by_text("writing").wait_for()
        opened.keyboard.press("Escape")
        began = time.monotonic()
        opened.get_by_text("Stopped; nothing more is paid for").wait_for()
        wait_for(lambda: wired.ledger("outcome")[-1:] == [("abandoned",)], 5)
        assert time.monotonic() - began < 2  # the answer would have taken four seconds
        assert opened.get_by_role("button", name="Run").is_enabled()
    finally:
        upstream.behaviour["slow_s"] = 0.002


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_hostile_answers_are_only_text(wired, page, axe, width, dark):
    opened = page(address(wired, model="small", prompt="attack"), width=width, dark=dark)
    opened.focus(".pg-prompt")
    opened.keyboard.press("Control+Enter")
    opened.get_by_text("Done").wait_for()
    said = opened.get_by_role("region", name="Text of small").inner_text()
    assert "<script>" in said
    assert "onerror" in said
    assert "\u202e" not in said
    assert "⟨U+202E⟩" in said
    assert "\x1b" not in said
    assert opened.title() == "Playground · karat"
    assert opened.locator("main img").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe(opened)


def test_without_a_gateway_it_says_what_to_do(served, page, tmp_path):
    url = served(tmp_path)
    assert "has no gateway" in page(f"{url}/playground").inner_text("main")
    assert requests.get(f"{url}/playground/choices.json", timeout=10).status_code == 404
