"""Two runs side by side: figures of the files, no two rewards on one scale, rows paired."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import shutil
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
import yaml
from conftest import mostly_slow
from ran import rewards
from rows_made import write_run
from seen_run import answer, fault, seen_run, write_recipe
from server import Server
from serving import Serving

import karat
from karat.report.differences import differences
from karat.report.side import Side, read_side
from karat.row import Message, Response, Row
from karat.web.sides import pairs, reading

EVIL = "</textarea><script>alert(1)</script>\u202egnp\x1b[31m"


def second(folder):
    """The recipe of the seen run with twice the candidates and another reward under one name."""
    with rewards(), Server(answer=answer, script=fault) as server:
        path = write_recipe(folder, server)
        tree = yaml.safe_load(path.read_text())
        tree["steps"][2]["respond"]["n"] = 8
        tree["rewards"]["other"] = "x/mine"
        tree["steps"].insert(5, {"dedupe": {"on": "response"}})
        path.write_text(yaml.safe_dump(tree, sort_keys=False))
        return karat.run(path, folder / "run")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("compare")
    shutil.copytree(seen_run().path, root / "first")
    made = second(tmp_path_factory.mktemp("work"))
    shutil.copytree(made.path, root / "deep" / "second")
    rows = [
        Row(f"r/{i}?", [Message("user", f"ask {i} {EVIL}")],
            [Response(f"{i} {EVIL}", "p/m", 0, scores={"r.one": float(i)}, kept=True)])
        for i in range(3)
    ]  # fmt: skip
    write_run(root / f"evil {EVIL.replace('/', '')}", rows)
    (root / "begun").mkdir()
    (root / "begun" / "recipe.yaml").write_text("name: begun\nsteps: []\n")
    (root / "begun" / "live.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def site(root):
    with Serving(root) as server, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "SIZE", SIZE)
        yield server.url


PAIR = "a=first&b=deep~second"
SIZE = 4


def get(url, status=200):
    """A page once its rows are read."""
    end = time.monotonic() + 30
    while True:
        found = requests.get(url, timeout=60, headers={"accept": "text/html"})
        if 'id="reading"' not in found.text or "cannot be compared" in found.text:
            assert found.status_code == status, found.text[:400]
            return found
        assert time.monotonic() < end, "the rows were never read"
        time.sleep(0.05)


def links(text):
    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def plain(text):
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


# --- figures -------------------------------------------------------------------------------------


def test_figures_are_those_of_the_files(site, root):
    text = get(f"{site}/compare?{PAIR}").text
    reports = [json.loads((root / name / "report.json").read_text())
               for name in ("first", "deep/second")]  # fmt: skip
    rows = [plain(row) for row in text.split("<tr>")]
    accepted = [report["rows"]["accepted"] for report in reports]
    assert any(row.startswith(f"accepted rows {accepted[0]} {accepted[1]} ") for row in rows)
    found = differences(root / "first", root / "deep" / "second")
    assert f"{found.both} prompts stand on both sides, {found.answered} of them" in plain(text)
    assert f"A has {found.rows[0]} rows and B {found.rows[1]}" in plain(text)
    assert plain(text).count("effective number of prompts (Vendi score)") == 1
    told = json.loads(get(f"{site}/compare.json?{PAIR}").content)
    assert told["rows"]["both"] == found.both
    assert told["rows"]["gone"] == found.gone
    assert {one["figure"] for one in told["figures"]} >= {"rows in", "cost", "mean mine.reward"}
    for name in ("respond.n", "rewards.other", "step dedupe_2"):
        assert name in {one["where"] for one in told["recipe"]}
        assert f'<th scope="row">{name}</th>' in text


def test_two_rewards_of_one_name_never_meet(site):
    text = get(f"{site}/compare?{PAIR}").text
    assert "only their names" in text
    assert "other.length, other.reward" in plain(text)
    charts = re.findall(r'<title id="score-\d+-title">([^<]*)', text)
    assert charts == ["mine.length", "mine.reward"]
    assert "mean other.reward" not in text
    told = json.loads(get(f"{site}/compare.json?{PAIR}").content)
    assert [one["figure"] for one in told["paired"]] == [
        "mine.length", "mine.reward", "words of the answer",
    ]  # fmt: skip
    assert "mine.reward chose the answers" in plain(text)


def test_a_difference_is_that_of_the_prompts_in_common(site, root):
    one, other = (read_side(root / name) for name in ("first", "deep/second"))
    told = json.loads(get(f"{site}/compare.json?{PAIR}").content)
    (found,) = [line for line in told["paired"] if line["figure"] == "mine.reward"]
    gaps = []
    theirs = dict(zip(other.prompts_N.tolist(), other.numbers["mine.reward"], strict=True))
    for key, value in zip(one.prompts_N.tolist(), one.numbers["mine.reward"], strict=True):
        if key in theirs:
            gaps.append(theirs[key] - value)
    assert found["prompts"] == len(gaps) == told["rows"]["both"]
    assert found["difference"] == pytest.approx(sum(gaps) / len(gaps))
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["shown"] == (not found["low"] <= 0 <= found["high"])
    words = plain(get(f"{site}/compare?{PAIR}").text)
    assert ("B is" if found["shown"] else "no clear difference: ") in words


def test_a_side_against_itself_is_said_to_be_the_same(site):
    text = plain(get(f"{site}/compare?a=first&b=first").text)
    assert "Both sides are the same" in text
    assert "0 of them answered differently" in text
    assert text.count("no difference: the same on every prompt") >= 2
    assert "The recipes are the same" in text


def test_swapping_turns_signs_and_nothing_else(site):
    there = {one["figure"]: one for one in get(f"{site}/compare.json?{PAIR}").json()["paired"]}
    back = get(f"{site}/compare.json?a=deep~second&b=first").json()["paired"]
    for one in back:
        assert one["difference"] == pytest.approx(-there[one["figure"]]["difference"])
        assert one["shown"] == there[one["figure"]]["shown"]


# --- rows ----------------------------------------------------------------------------------------


def test_pairs_are_of_one_prompt_and_every_row_is_on_one_page(site, root):
    found = differences(root / "first", root / "deep" / "second")
    seen = []
    counts = {
        "differ": found.answered, "same": found.both - found.answered,
        "a": sum(found.gone.values()), "b": sum(found.new.values()),
    }  # fmt: skip
    for which, count in counts.items():
        pages = max(1, -(-count // SIZE))
        urls = [f"{site}/compare?{PAIR}&rows={which}&page={i + 1}" for i in range(pages)]
        texts = [get(url).text for url in urls]
        pairs = [pair for text in texts for pair in text.split('<article class="pair">')[1:]]
        assert len(pairs) == count
        for pair in pairs:
            rows = [link for link in links(pair.split("</article>")[0]) if "/row/" in link]
            seen += rows
            wanted = {"a": ["first"], "b": ["deep~second"]}.get(which, ["first", "deep~second"])
            assert [link.split("/")[2] for link in rows] == wanted
    assert len(seen) == len(set(seen)) == sum(found.rows)


def test_pairs_can_be_ordered_by_their_change(site):
    changes = {}
    for way in ("desc", "asc"):
        text = get(f"{site}/compare?{PAIR}&sort=mine.reward&dir={way}").text
        found = re.findall(r"<dt>mine.reward</dt><dd>([\d.]+) → ([\d.]+)</dd>", text)
        changes[way] = [round(float(b) - float(a), 2) for a, b in found]
        assert len(changes[way]) == SIZE
    assert changes["desc"] == sorted(changes["desc"], reverse=True)
    assert changes["asc"] == sorted(changes["asc"])
    assert changes["desc"][0] > changes["asc"][0]


def test_why_a_row_is_missing_leads_to_the_dropped_rows(site, root):
    found = differences(root / "first", root / "deep" / "second")
    (reason,) = [one for one in found.new if one.startswith("reject")]
    step, _, why = reason.partition(": ")
    asked = [parse_qs(urlsplit(link).query) for link in links(get(f"{site}/compare?{PAIR}").text)
             if urlsplit(link).path == "/run/first/rows"]  # fmt: skip
    assert {"kept": ["dropped"], "step": [step], "reason": [why]} in asked


def test_the_file_of_rows_has_every_prompt_of_both_sides(site, root):
    found = differences(root / "first", root / "deep" / "second")
    url = f"{site}/compare/rows"
    table = pq.read_table(io.BytesIO(get(f"{url}.parquet?{PAIR}").content)).to_pylist()
    count = {name: sum(row["in"] == name for row in table) for name in ("both", "a", "b")}
    assert count == {
        "both": found.both, "a": sum(found.gone.values()), "b": sum(found.new.values()),
    }  # fmt: skip
    assert sum(row["same_answer"] is False for row in table) == found.answered
    ids = pq.read_table(root / "first" / "accepted.parquet", columns=["id"])["id"].to_pylist()
    assert sorted(row["id_a"] for row in table if row["id_a"]) == sorted(ids)
    assert all(ids[row["row_a"]] == row["id_a"] for row in table if row["id_a"])
    assert get(f"{url}.json?{PAIR}").json() == table
    lines = list(csv.DictReader(io.StringIO(get(f"{url}.csv?{PAIR}").text)))
    assert [line["id_b"] or None for line in lines] == [row["id_b"] for row in table]
    get(f"{url}.xml?{PAIR}", 404)
    figures = list(csv.DictReader(io.StringIO(get(f"{site}/compare.csv?{PAIR}").text)))
    assert {"rows in", "mine.reward"} <= {line["figure"] for line in figures}
    get(f"{site}/compare.parquet?{PAIR}")


# --- exports, hostile texts, mistakes ------------------------------------------------------------


def test_exports_of_a_run_are_sides_too(site, root):
    report = json.loads((root / "first" / "report.json").read_text())
    files = [file for one in report["exports"].values() for file in one["files"].values()]
    assert len(files) == 2
    for file in files:
        lines = (root / "first" / file).read_text().splitlines()
        bad = sum("\\u0000" in line for line in lines)  # `read` takes no NUL
        text = get(f"{site}/compare?a=first&b=first/{Path(file).name}").text
        said = f"{len(lines) - bad} prompts stand on both sides, 0 of them answered differently"
        assert said in plain(text)
        assert f"Of B, {bad} rows are left out: NUL in the text ({bad})" in plain(text)
        same = get(f"{site}/compare?a=first&b=first/{Path(file).name}&rows=same").text
        assert same.count('<article class="pair">') == SIZE
    for name in ("journal.sqlite", "../second/accepted.parquet", "report.json", "recipe.yaml", ""):
        status = 404 if name else 200
        get(f"{site}/compare?a=first&b=first/{quote(name, safe='')}", status)


def test_hostile_texts_and_names_are_only_shown(site, root):
    slug = next(one["slug"] for one in get(f"{site}/runs.json").json() if "evil" in one["name"])
    for query in (f"a={quote(slug)}&b=first", f"a=first&b={quote(slug)}&rows=b"):
        text = get(f"{site}/compare?{query}").text
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert not re.search(r"<[^>]*\s(style|on\w+)=|<style", text)
    assert f"/run/{slug}/row/r%2F0%3F" in links(text)
    assert "U+202E" in text


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("", 200, "Choose two runs"),
        ("a=first", 200, "Choose two runs"),
        ("a=nobody&b=first", 404, "no such run"),
        (f"{PAIR}&rows=x", 400, "rows is one of"),
        (f"{PAIR}&page=0", 400, "must be a whole number"),
        (f"{PAIR}&sort=other.reward", 400, "no score"),
        (f"{PAIR}&sidee=1", 400, "there is no"),
        ("a=first&b=begun", 200, "run it to the end"),
    ],
)
def test_mistakes_are_said(site, root, query, status, said):
    text = get(f"{site}/compare?{query}", status).text
    assert said in html.unescape(text)
    assert str(root) not in text


def test_where_no_prompt_is_common_that_is_said_once(tmp_path):
    for name in ("one", "other"):
        answers = [
            Response("a", "p/m", 0, scores={f"r.{key}": float(i) for key in "abc"}, kept=True)
            for i in range(3)
        ]
        rows = [
            Row(f"{name}{i}", [Message("user", f"{name} {i}")], [answer])
            for i, answer in enumerate(answers)
        ]
        write_run(tmp_path / name, rows)
        (tmp_path / name / "recipe.yaml").write_text("rewards: {r: x/mine}\nsteps: []\n")
    with Serving(tmp_path) as server:
        text = plain(get(f"{server.url}/compare?a=one&b=other").text)
    assert text.count("o prompt that both sides have") == 1
    assert "r.c" in text  # what each has is shown all the same
    assert "no prompt in common has it" not in text


def test_an_empty_folder_says_how_to_begin(tmp_path):
    with Serving(tmp_path) as server:
        assert "karat run quickstart" in get(f"{server.url}/compare").text


# --- while rows are read, and in a browser -------------------------------------------------------


def test_a_page_comes_at_once_and_its_rows_follow(site, root, page, monkeypatch):
    enough = threading.Event()

    def slowly(path, name, told) -> Side:
        told(0.5)
        enough.wait(20)
        return read_side(path, name)

    monkeypatch.setattr(reading, "read_side", slowly)
    shutil.copytree(root / "first", root / "slow")
    time.sleep(1.1)  # until the folder is listed anew
    try:
        began = time.monotonic()
        quick = requests.get(f"{site}/compare?a=first&b=slow", timeout=30)
        assert time.monotonic() - began < 3
        assert "Where rows went" in quick.text
        assert "Reading the rows of both sides" in quick.text
        assert requests.get(f"{site}/compare/part?a=first&b=slow", timeout=30).status_code == 202
        opened = page(f"{site}/compare?a=first&b=slow#answers")
        share = float(opened.locator("#reading progress").get_attribute("value"))
        assert 0 < share < 1
    finally:
        enough.set()
    opened.locator("#h-common").wait_for()
    assert opened.locator("#reading").count() == 0
    shutil.rmtree(root / "slow")


@pytest.mark.parametrize(("width", "dark"), mostly_slow([(1280, True), (400, False)], 2))
def test_the_page_fits_is_accessible_and_works_by_keyboard(page, axe, site, width, dark):
    get(f"{site}/compare?{PAIR}")
    opened = page(f"{site}/compare?{PAIR}", width=width, dark=dark)
    assert opened.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    axe(opened)
    if dark:
        opened.keyboard.press("n")
        opened.wait_for_url("**page=2*")
        with opened.expect_navigation():
            opened.keyboard.press("s")
        assert "a=deep%7Esecond&b=first" in opened.url or "a=deep~second&b=first" in opened.url
        opened.goto(f"{site}/compare")
        opened.locator("select[name=a]").select_option("first")
        opened.locator("select[name=b]").select_option("deep~second")
        with opened.expect_navigation():
            opened.locator("#sides .btn").press("Enter")
        assert opened.locator("#h-scores").is_visible()
