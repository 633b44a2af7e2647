"""The pages of a run whose journal is in a real PostgreSQL and whose tables are in parts."""

from __future__ import annotations

import re

import requests
from folded import folded
from postgres import PASSWORD
from ran import rewards
from server import Server
from standing import recipe

import karat
from karat.report.run_sample import random_rows
from karat.web.runs.summary import Summaries
from karat.web.shelf import Shelf

ROWS = 12


def test_its_pages_are_there(served, tmp_path, pg_place):
    with rewards(), Server() as server:
        path = recipe(tmp_path / "work", server, ROWS)
        made = karat.run(path, tmp_path / "made", journal=str(pg_place))
    run = folded(made, tmp_path / "runs" / "here")
    assert run.elsewhere.journal == str(pg_place)
    assert run.accepted_file.is_dir()
    site = served(tmp_path / "runs")

    def get(path):
        found = requests.get(f"{site}{path}", headers={"accept": "text/html"}, timeout=30)
        assert found.status_code == 200, found.text[:500]
        for words in ("cannot be read", "could not be asked", PASSWORD):
            assert words not in found.text
        return found

    (line,) = get("/runs.json").json()
    assert (line["status"], line["accepted"]) == ("finished", run.report["rows"]["accepted"])
    text = get("/run/here").text
    assert "openai/loop" in text
    assert 'aria-labelledby="h-time"' in text
    tree = get("/run/here.json").json()
    assert sum(model["calls"] for model in tree["models"] if model["kind"] == "chat") == ROWS
    assert sum(tree["series"]["answers"]) > 0
    assert tree["problems"] == []
    (row,) = random_rows(run.accepted_file, 1)
    assert row.id in get("/run/here/rows").text
    lineage = get(f"/run/here/row/{row.id}").text
    assert "respond" in lineage
    trail = get(f"/run/here/row/{row.id}.json").json()
    assert [call for call in trail["calls"] if call["kind"] == "chat"]
    assert "openai/loop" in get("/models/calls?run=here").text
    assert "openai/loop" in get("/models").text
    assert re.search(r"respond.*openai/loop", get("/run/here/costs.csv").text)
    assert "openai/loop" in get("/run/here/report.html").text


def test_a_run_that_has_only_begun_says_what_it_has_cost(tmp_path, pg_place):
    with rewards(), Server() as server:
        path = recipe(tmp_path / "work", server, 3)
        run = karat.run(path, tmp_path / "runs" / "here", journal=str(pg_place))
    run.live_file.unlink()
    run.report_file.unlink()
    (place,) = Shelf(tmp_path / "runs").places()
    line = Summaries().of(place)
    assert (line.status, line.said) == ("stopped", "")
    assert line.cost_usd > 0
