"""The list of runs: what each line says, the order, the search, the files, the changes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw import Reply, ask
from serving import Serving
from standing import at_work, copied, finished, folder, write_live

from karat.live import StepState
from karat.rundir import Run
from karat.web import figures, pulse
from karat.web.pages.runs import COLUMNS, View, shown
from karat.web.pulse import Pulse
from karat.web.shelf import Shelf
from karat.web.summary import Line, Summaries, progress

HOSTILE = 'hostile "><img src=x onerror=alert(1)>\u202etxt.exe'


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One real run, to its end."""
    place = tmp_path_factory.mktemp("one")
    return finished(place / "work", place / "run")


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """A server over runs of every state."""
    place = tmp_path_factory.mktemp("standing")
    held = folder(place / "work", place / "runs")
    with Serving(place / "runs") as server:
        yield server
    os.close(held)


def page(server: Serving, query: str = "") -> str:
    reply = ask(server.port, f"/runs{query}", accept="text/html")
    assert reply.status == 200
    return reply.text


def slugs(text: str) -> list[str]:
    return re.findall(r'data-slug="([^"]*)"', text)


def lines(server: Serving, query: str = "") -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(ask(server.port, f"/runs.json{query}").body)}


# --- what a line says ----------------------------------------------------------------------------


def test_every_state_is_told(standing: Serving, done: Run) -> None:
    found = lines(standing)
    assert {name: line["status"] for name, line in found.items()} == {
        "finished": "finished", "old": "finished", "failed": "failed", "damaged": "damaged",
        "round-1/killed": "stopped", "at-work": "running", HOSTILE: "finished",
    }  # fmt: skip
    assert found["failed"]["said"] == "the disk is full <script>alert(1)</script>"
    assert found["damaged"]["said"].startswith("report.json cannot be read")
    assert found["round-1/killed"]["cost_usd"] == 1.5


def test_a_finished_run_says_what_its_report_says(standing: Serving) -> None:
    for name in ("finished", "old"):  # one of an older karat has no live.json
        run, line = Run(standing.desk.settings.root / name), lines(standing)[name]
        report = run.report
        rows = report["rows"]
        assert (line["rows_in"], line["accepted"]) == (rows["in"], rows["accepted"])
        assert line["kept_share"] == rows["accepted"] / (rows["accepted"] + rows["dropped"])
        assert line["reward"] == report["ranking"] == "mine.reward"
        assert line["mean_reward"] == report["scores"]["mine.reward"]["accepted"]["mean"]
        assert line["cost_usd"] == pytest.approx(report["cost_usd"])
        assert line["cost_usd"] > 0
        assert line["progress"] is None


def test_a_run_at_work_says_how_far_it_is(standing: Serving) -> None:
    line = lines(standing)["at-work"]
    # One of three steps is done, of the others 40 and 34 rows of 200.
    assert line["progress"] == pytest.approx((1 + 40 / 200 + 34 / 200) / 3)
    assert (line["rows_in"], line["accepted"], line["rate"], line["eta_s"]) == (200, 30, 4.0, 41.0)
    assert line["kept_share"] == 30 / 34
    text = page(standing)
    for words in ("4.0/s · 41 s left", "200 → 30", "$0.0712", "of $5.00 · $0.42 at its end"):
        assert words in text


def test_a_line_is_read_again_only_when_its_files_change(
    done: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(done, tmp_path / "run")
    summaries, (place,) = Summaries(), Shelf(tmp_path).places()
    reads: list[Path] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: reads.append(path) or read(path))
    first = summaries.of(place)
    count = len(reads)
    assert summaries.of(place) is first
    assert len(reads) == count > 0
    run.report_file.write_bytes(b"{}")
    assert summaries.of(place).status == "damaged"
    run.accepted_file.unlink()
    shutil.copy(done.report_file, run.report_file)
    assert summaries.of(place).said.startswith("accepted.parquet is not there")
    summaries.forget([])
    assert not summaries._kept


def test_a_run_that_is_killed_is_noticed_though_no_file_changes(done: Run, tmp_path: Path) -> None:
    run = copied(done, tmp_path / "run")
    held = at_work(run)
    summaries, (place,) = Summaries(), Shelf(tmp_path).places()
    assert summaries.of(place).status == "running"
    os.close(held)
    assert summaries.of(place).status == "stopped"


def test_a_run_that_is_run_again_keeps_what_it_came_to(done: Run, tmp_path: Path) -> None:
    """Stopped or failed in its second turn, its report is that of the first."""
    run = copied(done, tmp_path / "run")
    write_live(run, state="failed", error="no credit", cost_usd=7.0, steps=[StepState("read", 9)])
    line = Summaries().of(Shelf(tmp_path).places()[0])
    assert (line.status, line.said, line.cost_usd) == ("failed", "no credit", 7.0)
    assert (line.accepted, line.rows_in) == (run.report["rows"]["accepted"], 12)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"\xff\xfe", b'{"rows": 3}', b"{" * 9999])
def test_a_report_that_is_none_is_a_line_that_says_so(
    done: Run, tmp_path: Path, text: bytes
) -> None:
    copied(done, tmp_path / "run").report_file.write_bytes(text)
    assert Summaries().of(Shelf(tmp_path).places()[0]).status == "damaged"


def test_progress_grows_and_ends_at_one() -> None:
    steps = [StepState("a", 10, 10), StepState("b", 10, 0, current=True), StepState("c")]
    assert progress(steps, 10) == pytest.approx(1 / 3)
    steps[1].rows_out, steps[1].dropped = 4, {"x": 3}
    assert progress(steps, 10) == pytest.approx(1.7 / 3)
    assert progress(steps, None) == pytest.approx(1 / 3)
    steps[1].rows_out = 900  # a step that makes many rows of one
    assert progress(steps, 10) == pytest.approx(2 / 3)
    for step in steps:
        step.current, step.rows_out = False, 10
    assert progress(steps, 10) == 1.0


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
    assert "&lt;img src=x onerror=alert(1)&gt;\ufffdtxt.exe" in text
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
    assert figures.plain("a\x1b[31m\u202eb\nc" + "d" * 200).startswith("a\ufffd[31m\ufffdb c")
    assert len(figures.plain("d" * 200)) == figures.NAME + 2
    assert shown(Line("a", "a", "stopped"))["when"] == "–"
