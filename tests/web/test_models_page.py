"""The Models page: its figures are the ledgers', its links lead to calls, budgets warn in time."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import sqlite3
import time
from urllib.parse import parse_qs, urlencode, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
from conftest import mostly_slow
from ledgers_made import DAY_S, EVIL, NOON, attempt, compared, failed, ledger
from raw import ask
from serving import Serving

from karat.costs import costs
from karat.ledger import Batch
from karat.web.accounts.budgets import Budget
from karat.web.accounts.comparisons import read as read_comparison
from karat.web.gateway.keys import add


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two runs, the gateway, a comparison and a journal that is none."""
    root = tmp_path_factory.mktemp("root")
    minute = int(NOON // 60)
    ledger(
        root / "one",
        [*(attempt(i) for i in range(20)), failed(50), failed(
            51, "content", 400, "failed", f"refused {EVIL}"
        )],
        "budget_usd: 2\nmodels: {t: {model: openai/a, budget_usd: 4}, u: {model: openai/z}}",
        {(minute, "openai/a", "respond", "teacher", "chat"): 6},
    )  # fmt: skip
    ledger(
        root / "deep" / "two",
        [
            *(attempt(i, model="groq/b", step="grade", role="judge", started=NOON + DAY_S + i)
              for i in range(5)),
            attempt(9, model=f"groq/{EVIL}", cost_nano=None, started=NOON + DAY_S),
        ],
        "budget_usd: 1000",
    )  # fmt: skip
    ledger(
        root / "gateway",
        [attempt(i, step="key:ci", role="gateway", started=time.time() - 60) for i in range(9)],
        None, {(minute, "openai/a", "key:ci", "gateway", "chat"): 3},
    )  # fmt: skip
    add(root / "gateway", "ci", budget_usd=1.0)
    add(root / "gateway", "idle", budget_usd=1.0)
    stored = json.loads((root / "gateway" / "keys.json").read_text())
    stored["keys"][0]["created"] = time.time() - DAY_S
    (root / "gateway" / "keys.json").write_text(json.dumps(stored))
    (root / "torn").mkdir()
    (root / "torn" / "journal.sqlite").write_bytes(b"no database" * 500)
    compared(root / "which-compare")
    (root / "broken-compare").mkdir()
    (root / "broken-compare" / "compare.json").write_text('{"candidates": 3}')
    return root


@pytest.fixture(scope="module")
def site(root):
    with Serving(root) as server:
        yield server.url


def get(url, status=200):
    found = requests.get(url, timeout=30, headers={"accept": "text/html"})
    assert found.status_code == status, found.text[:500]
    return found


def links(text):
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def queries(text, path="/models/calls"):
    return [parse_qs(urlsplit(one).query) for one in links(text) if urlsplit(one).path == path]


# --- figures -------------------------------------------------------------------------------------


def test_the_page_and_its_files_say_what_the_ledgers_say(site, root):
    for by in ("model", "provider", "key", "run", "day", "step", "role"):
        found = costs([root], by)
        rows = get(f"{site}/models.json?by={by}").json()
        assert len(rows) == len(found.lines)
        assert sum(row["cost_usd"] or 0 for row in rows) == pytest.approx(2.0 + 0.5 + 0.9)
        assert sum(row["calls"] for row in rows) == found.total.calls == 35
        assert sum(row["cache_hits"] for row in rows) == 3
        text = get(f"{site}/models?by={by}").text
        assert "$3.40 + unknown" in text
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert not re.search(r"<[^>]*\sstyle=|<style", text)
    runs = {row["run"]: row for row in get(f"{site}/models.json?by=run").json()}
    assert set(runs) == {"one", "deep/two", "gateway"}
    assert (runs["one"]["replayed"], runs["one"]["failed"]) == (6, 2)
    assert runs["one"]["p99_ms"] == pytest.approx(1000, rel=0.05)
    assert runs["one"]["ttft_p50_ms"] == pytest.approx(100, rel=0.05)
    keys = {row["key"]: row["cost_usd"] for row in get(f"{site}/models.json?by=key").json()}
    assert keys == {"ci": pytest.approx(0.9), "(runs)": pytest.approx(2.5)}


def test_files_come_in_three_forms_and_hold_no_formula(site):
    table = pq.read_table(io.BytesIO(get(f"{site}/models.parquet?by=step").content)).to_pylist()
    assert {row["step"] for row in table} == {"respond", "grade", "key:ci"}
    lines = list(csv.DictReader(io.StringIO(get(f"{site}/models.csv").text)))
    assert sum(float(row["cost_share"]) for row in lines) == pytest.approx(1)
    get(f"{site}/models.xml", 404)


def test_a_first_day_and_a_run_narrow_all_of_it(site):
    text = get(f"{site}/models?since=2026-11-04&run=deep~two").text
    assert "$0.5 + unknown" in text
    assert "HTTP 429" not in text
    assert "which-compare" not in text
    (row,) = get(f"{site}/models.json?by=day&since=2026-11-04&run=deep~two").json()
    assert (row["day"], row["calls"]) == ("2026-11-04", 6)
    assert "No call was made since" in get(f"{site}/models?since=2999-01-01").text


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("?by=modell", 400, "did you mean &#39;model&#39;"),
        ("?since=yesterday", 400, "since is a day"),
        ("?run=nobody", 404, "no such run"),
        ("?run=../one", 404, "no such run"),
        ("?sinec=2026-11-01", 400, "did you mean &#39;since&#39;"),
    ],
)
def test_mistakes_are_said(site, query, status, said):
    assert said in get(f"{site}/models{query}", status).text


def test_a_journal_that_cannot_be_read_is_said_without_its_folder(site, root):
    text = get(f"{site}/models").text
    assert "not counted: torn is damaged" in text
    assert str(root) not in text


def test_an_empty_folder_says_how_to_begin(tmp_path):
    with Serving(tmp_path / "none") as server:
        assert "karat run quickstart" in ask(server.port, "/models", accept="text/html").text
        assert "No call is like this" in ask(server.port, "/models/calls", accept="text/html").text


def test_what_has_changed_is_read_anew(tmp_path):
    folder = ledger(tmp_path / "r", [attempt(1)], "")
    with Serving(tmp_path) as server:
        calls = lambda: json.loads(ask(server.port, "/models.json").body)[0]["calls"]  # noqa: E731
        assert calls() == 1
        base, batch = sqlite3.connect(folder / "journal.sqlite"), Batch()
        batch.attempts.append(attempt(2))
        with base:
            batch.write(base)
        base.close()
        assert calls() == 2


# --- what leads where ----------------------------------------------------------------------------


def test_lines_and_bars_lead_to_their_calls(site):
    text = get(f"{site}/models").text
    assert {"model": ["openai/a"]} in queries(text)
    assert {"model": ["openai/a"], "day": ["2026-11-03"]} in queries(text)
    assert {"model": [f"groq/{EVIL}"]} in queries(text)
    assert {"model": ["openai/a"], "error": ["content"]} in queries(text)
    for by, name in (("provider", "groq"), ("key", "ci"), ("step", "grade"), ("role", "judge")):
        text = get(f"{site}/models?by={by}").text
        wanted = {by: [name]}
        assert wanted in queries(text), by
        rows = get(f"{site}/models/calls.json?{urlencode(wanted, doseq=True)}").json()
        (line,) = [x for x in get(f"{site}/models.json?by={by}").json() if x[by] == name]
        assert len(rows) == line["calls"] + line["failed"]
    text = get(f"{site}/models?by=run").text
    assert {"run": ["deep~two"]} in queries(text)
    assert "/run/one/rows" in links(text)
    text = get(f"{site}/models?run=one").text
    assert "/run/one/rows?model=openai%2Fa" in links(text)
    assert {"run": ["one"], "model": ["openai/a"], "day": ["2026-11-03"]} in queries(text)


def test_calls_are_the_latest_first_and_can_be_narrowed(site):
    rows = get(f"{site}/models/calls.json").json()
    assert len(rows) == 37
    assert [row["id"] for row in rows] == sorted((row["id"] for row in rows), reverse=True)
    text = get(f"{site}/models/calls?run=one&status=failed").text
    assert text.count('<td class="when">') == 2
    assert "The service refuses the content" in text
    assert "<script>alert" not in text
    assert "/run/one/row/0000000000000032" in links(text)
    got = {
        "status=429": 1, "status=answered": 35, "day=2026-11-04": 6, "day=2026-11-03": 22,
        "error=wait&run=one": 1, "key=ci": 9, "key=(runs)": 28, "model=nobody": 0,
    }  # fmt: skip
    for query, count in got.items():
        assert len(get(f"{site}/models/calls.json?{query}").json()) == count, query
    for query in ("status=x", "day=3", "before=-1", "modell=a", "status=%D9%A1%D9%A1%D9%A1"):
        get(f"{site}/models/calls?{query}", 400)


def test_calls_come_in_pages_none_twice(tmp_path):
    ledger(tmp_path / "a", [attempt(2 * i) for i in range(130)], "")
    ledger(tmp_path / "b", [attempt(2 * i + 1) for i in range(130)], "")
    seen = []
    with Serving(tmp_path) as server:
        path = "/models/calls"
        while path:
            text = ask(server.port, path, accept="text/html").text
            seen += re.findall(r"/row/([0-9a-f]{16})", text)
            older = re.search(r'rel="next" href="([^"]*)"', text)
            path = html.unescape(older[1]) if older else ""
    assert seen == [f"{i:016x}" for i in reversed(range(260))]


def test_no_prompt_and_no_answer_is_on_a_page_of_calls(tmp_path):
    ledger(tmp_path / "a", [attempt(1, body='{"messages": "my secret question"}')], "")
    with Serving(tmp_path) as server:
        for path in ("/models/calls", "/models/calls.json", "/models/calls.csv", "/models"):
            assert b"secret" not in ask(server.port, path).body


# --- budgets -------------------------------------------------------------------------------------


def test_budgets_of_runs_models_and_keys_warn_before_they_are_used_up(site):
    text = html.unescape(get(f"{site}/models").text)
    table = text[text.index('<table class="budgets">') :]
    table = table[: table.index("</table>")]
    rows = [" ".join(re.sub(r"<[^>]*>", " ", row).split()) for row in table.split("</tr>")[1:-1]]
    assert rows == [
        "one run 100% used up $2.00 of $2.00",
        "ci key 90.0% nearly used up $0.9 of $1.00",
        "openai/a model in one 50.0% $2.00 of $4.00",
        "deep/two run 0.1% $0.5 + ? of $1000.00",
        "idle key 0% $0 of $1.00",
    ]
    assert "one: 100% of its budget of $2.00 is spent; no call is made any more." in text
    assert "ci: 90.0% of its budget" in text
    assert "deep/two: " not in text


def test_budgets_are_a_file(site):
    rows = list(csv.DictReader(io.StringIO(get(f"{site}/models/budgets.csv").text)))
    assert [(row["of"], row["name"], row["within"]) for row in rows] == [
        ("run", "one", ""), ("key", "ci", ""), ("model", "openai/a", "one"),
        ("run", "deep/two", ""), ("key", "idle", ""),
    ]  # fmt: skip
    assert (float(rows[0]["spent_usd"]), rows[0]["state"]) == (2.0, "over")
    mine = pq.read_table(io.BytesIO(get(f"{site}/models/budgets.parquet?run=one").content))
    assert mine.column("name").to_pylist() == ["one", "openai/a"]
    get(f"{site}/models/budgets.csv?rnu=one", 400)


def test_a_budget_is_near_from_80_percent():
    states = [Budget("run", "x", "", spent, 10.0, False, "").state for spent in (7.9, 8, 9.9, 10)]
    assert states == ["good", "near", "near", "over"]


# --- comparisons ---------------------------------------------------------------------------------


def test_comparisons_show_their_charts_and_lead_to_their_pages(site, root):
    text = get(f"{site}/models").text
    assert "Quality against cost" in text
    assert "take dear &lt;/a&gt;&lt;script&gt;" in text
    assert "broken-compare" not in text
    found = get(f"{site}/models/comparison/which-compare")
    assert "all of it" in found.text
    assert "sandbox" in found.headers["content-security-policy"]
    kept = get(f"{site}/models/comparison/which-compare.json")
    assert kept.content == (root / "which-compare" / "compare.json").read_bytes()
    told = json.loads(kept.content)["candidates"]
    rows = get(f"{site}/models/comparison/which-compare.csv").text
    lines = list(csv.DictReader(io.StringIO(rows)))
    assert [line["name"] for line in lines] == [one["name"] for one in told]
    assert float(lines[0]["quality"]) == told[0]["quality"]["value"]
    assert float(lines[0]["quality_low"]) == told[0]["quality"]["low"]
    get(f"{site}/models/comparison/which-compare.parquet")
    get(f"{site}/models/comparison/which-compare.xml", 404)
    for name in ("nobody", "..%2fone", "one", "which-compare%2fcompare"):
        get(f"{site}/models/comparison/{name}", 404)


def test_a_comparison_is_read_as_it_was_written(tmp_path):
    wrote = compared(tmp_path / "c")
    got = read_comparison(tmp_path / "c" / "compare.json")
    assert any(c.cost_per_accepted and c.cost_per_accepted.high == float("inf")
               for c in wrote.candidates)  # fmt: skip
    assert [c.cost_per_accepted for c in got.candidates] == [
        c.cost_per_accepted for c in wrote.candidates
    ]
    assert (got.pairs, got.pick) == (wrote.pairs, wrote.pick)


def test_a_link_out_of_the_folder_is_no_comparison(tmp_path):
    compared(tmp_path / "outside")
    (tmp_path / "runs" / "in").mkdir(parents=True)
    (tmp_path / "runs" / "in" / "compare.json").symlink_to(tmp_path / "outside" / "compare.json")
    with Serving(tmp_path / "runs") as server:
        assert ask(server.port, "/models/comparison/in.json").status == 404


# --- in a browser --------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "dark"), mostly_slow([(1280, False), (400, True)], 2))
def test_the_pages_fit_are_accessible_and_work_by_keyboard(page, axe, site, width, dark):
    opened = page(f"{site}/models", width=width, dark=dark)
    for path in ("/models", "/models/calls"):
        opened.goto(f"{site}{path}")
        assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        axe(opened)
    if not dark:
        opened.goto(f"{site}/models")
        opened.locator("select[name=by]").select_option("step")
        with opened.expect_navigation():
            opened.locator("#view .btn").press("Enter")
        assert opened.url == f"{site}/models?by=step"
        bar = opened.locator(".chart .wide a").first
        bar.focus()
        with opened.expect_navigation():
            opened.keyboard.press("Enter")
        assert "/models/calls?" in opened.url
        assert opened.locator("tbody tr").count() > 0
