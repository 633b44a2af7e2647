"""The list of runs: the order, the search, the files, the changes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw import Reply, ask
from serving import Serving
from standing import HOSTILE, copied, lines, page, write_live

from karat.rundir import Run
from karat.web import figures
from karat.web.pages.runs import COLUMNS, View, shown
from karat.web.runs import pulse
from karat.web.runs.pulse import Pulse
from karat.web.runs.summary import Line
from karat.web.shelf import Shelf


def slugs(text: str) -> list[str]:
    return re.findall(r'data-slug="([^"]*)"', text)


# --- order, search, files ------------------------------------------------------------------------


def test_the_usual_order_is_those_at_work_then_the_latest(standing: Serving) -> None:
    found = slugs(page(standing))
    assert found[0] == "at-work"
    when = [line["when"] for line in lines(standing).values()]
    assert when[1:] == sorted(when[1:], reverse=True)


@pytest.mark.parametrize("name", list(COLUMNS))
def test_every_column_sorts_both_ways_and_the_unknown_come_last(
    standing: Serving, name: str
) -> None:
    key = COLUMNS[name].key
    for order in ("asc", "desc"):
        rows = lines(standing, f"?sort={name}&order={order}").values()
        values = [key(Line(**row)) for row in rows]
        known = [value for value in values if value is not None]
        assert values == sorted(known, reverse=order == "desc") + [None] * (7 - len(known))
    text = page(standing, f"?sort={name}&order=desc")
    assert text.count("aria-sort") == 1
    assert len(slugs(text)) == 7


def test_an_order_is_an_address_and_its_heading_leads_to_the_other() -> None:
    view = View("a b", "cost", True)
    assert view.query() == "?q=a+b&sort=cost"
    assert view.heading("cost") == "?q=a+b&sort=cost&order=asc"
    assert View("", "cost", False).heading("cost") == "?sort=cost"
    assert view.heading("name") == "?q=a+b&sort=name"
    assert View("", "", False).query() == ""


def test_a_search_takes_all_its_words(standing: Serving) -> None:
    assert slugs(page(standing, "?q=KILLED+round")) == ["round-1~killed"]
    assert slugs(page(standing, "?q=running")) == ["at-work"]
    nothing = page(standing, "?q=%3Cscript%3E+nowhere")
    assert slugs(nothing) == []
    assert "No run matches “&lt;script&gt; nowhere”" in nothing


@pytest.mark.parametrize(
    ("query", "words"),
    [("?sort=coast", "did you mean 'cost'?"), ("?order=up&sort=cost", "asc or desc"),
     ("/events?since=x", "Unix seconds")],
)  # fmt: skip
def test_what_cannot_be_asked_is_said(standing: Serving, query: str, words: str) -> None:
    reply = ask(standing.port, f"/runs{query}")
    assert reply.status == 400
    assert words in reply.text


def test_what_is_looked_at_comes_as_a_file(standing: Serving) -> None:
    assert 'href="/runs.csv?q=finished&amp;sort=cost"' in page(standing, "?sort=cost&q=finished")

    def file(form: str) -> Reply:
        reply = ask(standing.port, f"/runs.{form}?sort=name&q=finished")
        assert reply.headers["content-disposition"] == f'attachment; filename="runs.{form}"'
        return reply

    names = ["finished", HOSTILE, "old"]
    assert [row["name"] for row in json.loads(file("json").body)] == names
    rows = list(csv.DictReader(io.StringIO(file("csv").text)))
    assert [row["name"] for row in rows] == names
    table = pq.read_table(pa.BufferReader(file("parquet").body))
    assert table.column("name").to_pylist() == names
    assert table.column("cost_usd").to_pylist() == [float(row["cost_usd"]) for row in rows]
    assert ask(standing.port, "/runs.xlsx").status == 404


def test_names_and_errors_are_text_whatever_they_hold(standing: Serving) -> None:
    text = page(standing)
    assert "<img" not in text.replace('<img src="/static/karat.svg"', "")
    assert "<script>alert" not in text
    assert "\u202e" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;⟨U+202E⟩txt.exe" in text
    assert ask(standing.port, f"/run/{slugs(text)[-1]}").status in (200, 404)


def test_a_folder_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "not-there"):
        with Serving(root) as server:
            text = page(server)
            assert "karat run quickstart" in text
            assert slugs(text) == []
            assert ask(server.port, "/runs.csv").status == 200
            assert ask(server.port, "/runs.parquet").status == 200


def test_five_hundred_runs_are_listed_in_no_time(done: Run, tmp_path: Path) -> None:
    for number in range(500):
        run = Run(tmp_path / f"{number:03}")
        run.path.mkdir()
        for path in (done.recipe, done.report_file, done.accepted_file, done.live_file):
            os.link(path, run.path / path.name)
    with Serving(tmp_path) as server:
        took = []
        for _ in range(3):
            started = time.perf_counter()
            assert len(slugs(page(server))) == 500
            took.append(time.perf_counter() - started)
    assert min(took) < 0.3, took


# --- changes -------------------------------------------------------------------------------------


async def _first(listener: Any, seconds: float = 5) -> Any:
    return await asyncio.wait_for(anext(listener), seconds)


async def _news(listener: Any) -> Any:
    """The next that says something."""
    while not (told := await _first(listener)):
        pass
    return told


def test_one_look_serves_all_who_listen_and_none_is_taken_for_nobody(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "EVERY_S", 0.02)
    monkeypatch.setattr(pulse, "STILL_S", 0.1)
    monkeypatch.setattr("karat.web.shelf.FRESH_S", 0.0)
    run = copied(done, tmp_path / "a")
    made = Pulse(Shelf(tmp_path))
    looked: list[int] = []
    look = made.lines
    monkeypatch.setattr(made, "lines", lambda: looked.append(1) or look())

    async def listen() -> None:
        await asyncio.sleep(0.1)
        assert not looked
        listeners = [made.changes() for _ in range(5)]
        assert [await _first(one) for one in listeners] == [{}] * 5  # nothing, now and then
        waiting = [asyncio.ensure_future(_news(one)) for one in listeners]
        before, started = len(looked), time.monotonic()
        await asyncio.sleep(0.1)
        assert len(looked) - before <= (time.monotonic() - started) / 0.02 + 1
        write_live(run, state="failed", error="no credit")
        told = await asyncio.gather(*waiting)
        assert [one["a"].said for one in told] == ["no credit"] * 5
        shutil.rmtree(run.path)
        assert await _news(listeners[0]) == {"a": None}
        for one in listeners:
            await one.aclose()
        assert made._poller is None
        before = len(looked)
        await asyncio.sleep(0.1)
        assert len(looked) - before <= 1
        again = made.changes()
        assert await _first(again) == {}
        copied(done, tmp_path / "b")
        assert set(await _news(again)) == {"b"}
        await again.aclose()

    asyncio.run(listen())


def test_an_event_is_what_a_row_shows(standing: Serving) -> None:
    import requests

    with requests.get(f"{standing.url}/runs/events", stream=True, timeout=10) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        told = json.loads(next(reply.iter_lines()).removeprefix(b"data: "))
    assert set(told) == {"at-work"}
    text = page(standing)
    for cell in ("pace", "accepted", "kept", "cost", "limits"):
        assert f'data-cell="{cell}">{told["at-work"][cell]}<' in text
    assert told["at-work"]["status"] == "running"


# --- figures -------------------------------------------------------------------------------------


def test_figures_read_as_people_write_them() -> None:
    spans = [0.4, 59.6, 60, 245, 3600, 7_500, 90_000, 10 * 86_400 + 5]
    assert [figures.span(one) for one in spans] == [
        "0 s", "60 s", "1 min", "4 min", "1 h", "2 h 5 min", "1 d 1 h", "10 d",
    ]  # fmt: skip
    assert [figures.share(one) for one in (None, 0, 1, 0.9999, 0.1234)] == [
        "–", "0%", "100%", "100.0%", "12.3%",
    ]  # fmt: skip
    assert figures.usd(0.5, unpriced=True) == "$0.5 + ?"
    assert figures.usd(None) == figures.count(None) == figures.span(None) == "–"
    assert shown(Line("a", "a", "stopped"))["when"] == "–"
