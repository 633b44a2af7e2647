"""Pages of rows over a real server, and in a real browser: found, opened, downloaded, never run."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest
import ran
import requests
from conftest import mostly_slow, wait_for
from ran import PRICE
from rows_made import make_rows, write_run
from server import Server, text_for
from serving import Serving

import karat
from karat.columns import Table
from karat.finish import write_results
from karat.licensing.rows import Licences
from karat.row import Message, Response, Row

ATTACK = (
    "<script>document.title='owned'</script><img src=x onerror=alert(1)> \u202egnp.exe \x1b[31m"
)
BIG = 10 * 2**20
HTML = {"accept": "text/html"}


def _answer(body: dict[str, Any], place: int) -> str:
    asked = body["messages"][-1]["content"]
    if "numbered list" in asked:
        return "\n".join(f"{n}. What is {text_for(body, n, 3)[:-1]}?" for n in (1, 2, 3, 4))
    return text_for(body, place, 4 + sum(map(ord, asked)) % 9) + (ATTACK if place == 1 else "")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a real run, one of odd rows, and one whose rows attack whoever looks."""
    folder = tmp_path_factory.mktemp("runs")
    with Server(answer=_answer, script=_first_fails) as server, ran.rewards():
        tree = {
            "name": "real", "models": {"teacher": server.model(price=PRICE)},
            "steps": [
                {"topics": {"given": ["tides", "rivers"]}},
                {"prompts": {"model": "teacher", "per_topic": 4, "tasks": ["open_qa"],
                             "variety": "off"}},
                {"respond": {"models": ["teacher"], "n": 3}},
                {"grade": {"reward": "mine"}},
                {"reject": {"by": "mine.reward", "best": 1, "minimum": 2.8}},
            ],
        }  # fmt: skip
        karat.run(ran.write_recipe(folder, file="recipe-of-real.yaml", **tree), folder / "real")
    write_run(folder / "odd", make_rows(120))
    long = Response("x" * BIG + ATTACK, ATTACK, kept=True, scores={"r.<b>": 1.0})
    hostile = Row(ATTACK, [Message("user", ATTACK)], [long, Response("other", scores={"r.<b>": 3})],
                  source=ATTACK, meta={"task": ATTACK, ATTACK: "x"})  # fmt: skip
    dropped = Row("d", [], [], dropped=f"<i>step</i>: {ATTACK} (detail)")
    write_run(folder / "hostile", [hostile, dropped])
    return folder


def _first_fails(number: int, _: object) -> tuple[int, bytes, dict[str, str]] | None:
    return (503, b'{"error": {"message": "busy <b>"}}', {}) if number == 1 else None


@pytest.fixture(scope="module")
def url(root: Path) -> Iterator[str]:
    with Serving(root) as server:
        yield server.url


def get(url: str, status: int = 200) -> str:
    found = requests.get(url, headers=HTML, timeout=20)
    assert found.status_code == status, found.text[-2000:]
    return found.text


def lines(text: str) -> list[str]:
    """The addresses of the rows a page lists."""
    return [unescape(one) for one in re.findall(r'data-item href="([^"]+)"', text)]


def test_a_page_lists_counts_and_leads_on(url: str) -> None:
    text = get(f"{url}/run/real/rows")
    assert len(lines(text)) == 8
    accepted = int(re.search(r"8 rows: (\d) accepted", text).group(1))  # type: ignore[union-attr]
    assert 0 < accepted < 8
    only = get(f"{url}/run/real/rows?kept=accepted")
    assert len(lines(only)) == accepted
    reason = re.search(r'href="([^"]+reason=below[^"]+)"', text)
    assert reason is not None
    assert len(lines(get(url + unescape(reason.group(1))))) == 8 - accepted
    scores = [
        float(one)
        for one in re.findall(
            r'data-name="mine.reward">([\d.]+)<', get(f"{url}/run/real/rows?sort=mine.reward")
        )
    ]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 8


@pytest.mark.parametrize(("asked", "said_"), [
    ("score=mine.rewrad", "did you mean"), ("min=x&score=mine.reward", "must be a number"),
    ("nonsense=1", "no filter"), ("sort=nope", "cannot be sorted"), ("page=0", "whole number"),
    ("meta.nope=1", "no field"), ("kept=%00", "one of"), ("size=1000000", "whole number"),
])  # fmt: skip
def test_what_cannot_be_asked_is_said_and_never_breaks(url: str, asked: str, said_: str) -> None:
    assert said_ in unescape(get(f"{url}/run/real/rows?{asked}", 400))
    found = requests.get(f"{url}/run/real/rows.json?{asked}", timeout=20)
    assert found.status_code == 400
    assert said_ in found.json()["error"]["message"]


@pytest.mark.parametrize("path", [
    "/run/none/rows", "/run/real/row/none", "/run/real/rows.xlsx", "/run/..%2f..%2fetc/rows",
    "/run/real/row/..%2f..%2frecipe.yaml", "/run/real/text/none?part=turn-1",
])  # fmt: skip
def test_what_is_not_there_is_said(url: str, path: str) -> None:
    get(url + path, 404)


def test_odd_rows_are_all_listed_and_all_open(url: str) -> None:
    seen: list[str] = []
    for number in (1, 2, 3):
        seen += lines(get(f"{url}/run/odd/rows?size=50&page={number}&sort=length&dir=asc"))
    assert len(seen) == 120
    for one in seen[::7]:
        get(url + one)
    many = get(f"{url}/run/odd/row/twin")
    assert re.search(r"\d+ rows have this id", many)
    big = get(f"{url}/run/odd/rows?sort=r.one")
    assert ">1e+300<" in big
    assert "being prepared" not in big
    assert "There are 3 pages" in get(f"{url}/run/odd/rows?page=9")


def test_a_row_tells_all_calls_that_made_it_and_what_they_cost(url: str, root: Path) -> None:
    base = sqlite3.connect(root / "real/journal.sqlite")
    for one in lines(get(f"{url}/run/real/rows")):
        identity = one.rpartition("/")[2].partition("?")[0]
        found = requests.get(f"{url}/run/real/row/{identity}.json", timeout=20).json()
        kinds = {(call["step"], call["role"]) for call in found["calls"]}
        assert kinds == {("prompts", "teacher"), ("respond", "teacher"), ("grade", "reward")}
        assert [step["steps"] for step in found["steps"]] == [
            ["topics"], ["prompts"], ["respond", "grade"], ["reject"]
        ]  # fmt: skip
        assert [step["parent"] for step in found["steps"]] == [True, False, False, False]
        keys = [*found["row"]["calls"], *(r["call"] for r in found["row"]["responses"])]
        marks = ",".join("?" * len(keys))
        ((nano,),) = base.execute(
            f"SELECT sum(cost_nano) FROM calls WHERE key IN ({marks})",
            [bytes.fromhex(key) for key in keys],
        )
        assert found["cost_usd"] == pytest.approx(nano / 1e9)
        assert found["calls_complete"]
        respond = next(call for call in found["calls"] if call["step"] == "respond")
        assert respond["seed"] is not None
        assert respond["turns"][-1][1] == found["row"]["prompt"]
        wrote = [answer["wrote"] for call in found["calls"] for answer in call["answers"]]
        assert {"the prompt", "response 1", "response 2", "response 3"} <= set(wrote)
    base.close()
    text = get(url + one)
    assert "as its parent" in text
    assert "per_topic" in text


def test_a_try_that_failed_is_in_the_lineage(url: str) -> None:
    found = [
        requests.get(f"{url}/run/real/row/{one.rpartition('/')[2].partition('?')[0]}.json",
                     timeout=20).json() for one in lines(get(f"{url}/run/real/rows"))
    ]  # fmt: skip
    tried = [c for one in found for c in one["calls"] if c["outcome"] == "retried"]
    served = [c for one in found for c in one["calls"] if c["try_number"]]
    assert tried or served


def test_the_rows_before_and_after_are_those_of_the_view(url: str) -> None:
    for asked in ("?sort=mine.reward&dir=asc", "?q=what", "?kept=accepted", "?q=what&sort=length"):
        listed = lines(get(f"{url}/run/real/rows{asked}"))
        text = get(url + listed[1])
        before, after = (
            unescape(re.search(rf'id="{way}" rel="{way}" href="([^"]+)"', text).group(1))  # type: ignore[union-attr]
            for way in ("prev", "next")
        )
        assert (before, after) == (listed[0], listed[2])
        stale = re.sub(r"n=\d+", "n=7777777", listed[1])
        if "q=" not in asked:
            assert f'href="{listed[2]}"' in unescape(get(url + stale))


def test_no_text_becomes_part_of_a_page(url: str) -> None:
    pages = ["/run/hostile/rows", f"/run/hostile/row/{quote(ATTACK, safe='')}",
             f"/run/hostile/rows?source={quote(ATTACK)}", f"/run/hostile/rows?q={quote(ATTACK)}",
             "/run/hostile/row/d"]  # fmt: skip
    for path in pages:
        text = get(url + path)
        assert "<script>document" not in text
        assert "<img src=x" not in text
        assert "<i>step" not in text
        seen = re.sub(r'value="[^"]*"', "", text)  # a form sends back what the file holds
        assert "\u202e" not in seen
        assert "\x1b" not in seen
        assert len(text) < 200_000


def test_a_long_text_is_cut_and_whole_in_a_file(url: str) -> None:
    where = f"{url}/run/hostile/row/{quote(ATTACK, safe='')}"
    text = get(where)
    link = unescape(re.search(r'href="([^"]+part=response-1)">Show all', text).group(1))  # type: ignore[union-attr]
    found = requests.get(url + link, timeout=30)
    assert found.text == "x" * BIG + ATTACK
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-disposition"].startswith("attachment")


def test_downloads_are_of_the_view(url: str) -> None:
    whole = requests.get(f"{url}/run/odd/rows.json?source=human", timeout=20)
    assert {row["source"] for row in whole.json()} == {"human"}
    table = requests.get(f"{url}/run/odd/rows.csv?q=words", timeout=20)
    assert table.text.startswith("id,prompt,response")
    assert 'filename="odd-rows.csv"' in table.headers["content-disposition"]
    assert requests.get(f"{url}/run/odd/rows.parquet", timeout=20).content[:4] == b"PAR1"


def test_one_row_is_a_file_in_three_forms(url: str) -> None:
    one = lines(get(f"{url}/run/odd/rows"))[0].partition("?")[0]
    links = re.findall(r'href="([^"]+)" download', get(url + one))
    assert [unescape(link).partition("?")[0] for link in links] == [
        f"{one}.{form}" for form in ("csv", "json", "parquet")
    ]
    text, whole, table = (requests.get(url + unescape(link), timeout=20) for link in links)
    (line,) = csv.DictReader(io.StringIO(text.text, newline=""))
    (row,) = pq.read_table(io.BytesIO(table.content)).to_pylist()
    assert line["id"].removeprefix("'") == row["id"] == whole.json()["row"]["id"]
    assert 'filename="row-' in table.headers["content-disposition"]


def test_who_loses_among_equals_is_told_why(tmp_path: Path, served: Callable[..., str]) -> None:
    scored = [
        Response(text, scores={"r.reward": score}, kept=kept)
        for text, score, kept in (("a", 3.0, True), ("b", 3.0, False), ("c", 1.0, False))
    ]
    run = write_run(tmp_path / "run", [Row("r", [Message("user", "ask")], scored)])
    last = run.stages / "01-reject.parquet"
    write_results(Table(last), run, "r.reward", Licences({}, {}, run.journal))
    text = get(f"{served(tmp_path)}/run/run/row/r")
    assert text.count("equal to response 1, which came first") == 1
    assert text.index("equal to response 1") > text.index("Response 2")


def test_a_run_without_rows_says_so(tmp_path: Path, served: Callable[..., str]) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/recipe.yaml").write_text("name: new\n")
    (tmp_path / "new/journal.sqlite").touch()
    assert "no rows yet" in get(f"{served(tmp_path)}/run/new/rows")


def test_an_index_that_is_not_there_yet_is_waited_for(
    tmp_path: Path, served: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as for a large run; rows are shown meanwhile."""
    write_run(tmp_path / "odd", make_rows(50))
    monkeypatch.setattr("karat.web.rows.keeper.SMALL_BYTES", 0)
    monkeypatch.setattr("karat.web.pages.rows.WAIT_S", 0.0)
    where = served(tmp_path)
    assert len(lines(get(f"{where}/run/odd/rows"))) == 50
    found = requests.get(f"{where}/run/odd/rows?sort=length", headers=HTML, timeout=20)
    assert "Preparing the filters" in found.text
    assert found.headers["refresh"]
    wait_for(lambda: json.loads(get(f"{where}/run/odd/rows/state.json"))["ready"])
    assert len(lines(get(f"{where}/run/odd/rows?sort=length"))) == 50


# --- in a browser --------------------------------------------------------------------------------


def test_rows_by_keys_alone(url: str, page: Callable[..., Any]) -> None:
    opened = page(f"{url}/run/odd/rows?size=25")
    opened.keyboard.press("n")
    opened.wait_for_url("**page=2*")
    opened.keyboard.press("j")
    opened.keyboard.press("j")
    wanted = opened.evaluate("document.activeElement.getAttribute('href')")
    assert wanted == opened.locator("[data-item]").nth(1).get_attribute("href")
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/row/**")
    opened.keyboard.press("n")
    opened.wait_for_url("**n=27*")
    opened.keyboard.press("u")
    opened.wait_for_url("**/rows?size=25&page=2#r27")
    opened.wait_for_selector("#r27 [data-item]:focus")
    opened.keyboard.press("/")
    opened.keyboard.type("words")
    opened.keyboard.press("Enter")
    opened.wait_for_url("**/rows?q=words*")
    assert "min=" not in opened.url


@pytest.mark.parametrize(("width", "dark"), mostly_slow([(1280, False), (400, True)], 2))
def test_everybody_can_use_them(
    url: str, page: Callable[..., Any], axe: Callable[[Any], None], width: int, dark: bool
) -> None:
    opened = page(f"{url}/run/real/rows?kept=dropped&sort=mine.reward", width, dark)
    axe(opened)
    opened.locator("[data-item]").first.click()
    opened.wait_for_url("**/row/**")
    for name in opened.locator("details").all():
        name.evaluate("one => { one.open = true; }")
    axe(opened)
    for path in ("/run/hostile/rows", f"/run/hostile/row/{quote(ATTACK, safe='')}"):
        opened.goto(url + path)
        assert opened.title().endswith("karat")
        assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    axe(opened)
