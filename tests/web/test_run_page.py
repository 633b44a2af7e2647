"""The page of one run, at work, ended, stopped, failed or damaged: figures, files and links."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import requests
from seen_run import EVIL, seen_run

from karat import Run, live
from karat.report.run_best_of import curves_of
from karat.web.runs.files import files, is_inside
from karat.web.runs.summary import progress
from karat.web.runs.view import Seen, facts, look, rows_of_score, rows_of_step
from karat.web.shelf import Place

JS = {"accept": "text/html"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of runs: whole, damaged in three ways, failed, and only begun."""
    root = tmp_path_factory.mktemp("root")
    for name in ("whole", "torn", "odd", "bare", "begun", "failed", "gone", "half"):
        shutil.copytree(seen_run().path, root / name)
    (root / "torn" / "report.json").write_text('{"name": "x", "rows":')
    (root / "torn" / "journal.sqlite").write_bytes(b"no database" * 500)
    (root / "torn" / "accepted.parquet").write_bytes(b"PAR1")
    (root / "gone" / "dropped.parquet").write_bytes(b"PAR1")
    report = json.loads((root / "odd" / "report.json").read_text())
    (root / "odd" / "report.json").write_text(json.dumps({**report, "funnel": [1], "scores": 3}))
    half = {**report, "scores": 3, "human_share": "x", "exports": [], "warnings": None}
    (root / "half" / "report.json").write_text(json.dumps(half))
    for path in (root / "bare").iterdir():
        if path.name != "recipe.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("report.json", "accepted.parquet", "dropped.parquet", "live.json"):
        (root / "begun" / name).unlink(missing_ok=True)
    state = json.loads((root / "failed" / "live.json").read_text())
    said = {**state, "state": "failed", "error": f"no credit left {EVIL}"}
    (root / "failed" / "live.json").write_text(json.dumps(said))
    return root


@pytest.fixture
def site(served, root):
    return served(root)


def get(url, status=200, **more):
    found = requests.get(url, timeout=30, headers={**JS, **more})
    assert found.status_code == status, found.text[:500]
    return found


# --- the page, whatever became of the run --------------------------------------------------------


def test_an_ended_run_shows_its_figures_and_their_links(site):
    text, report = get(f"{site}/run/whole").text, seen_run().report
    for figure in report["rows"].values():
        assert f"<dd>{figure:,}</dd>" in text
    assert ">finished<" in text
    assert 'href="/models/calls?run=whole"' in text
    models = [one for one in report["models"] if one["kind"] != "score"]
    answers = sum(one["samples"] for one in models)
    failed = [sum(one[key] for one in report["models"]) for key in ("retries", "errors")]
    words = " ".join(re.sub(r"<[^>]+>", " ", text).split())
    assert f"answers {answers:,} time 0:0" in words
    assert f"failed attempts {sum(failed)} {failed[0]} tried again, {failed[1]} given up" in words
    kept, lost = report["rows"]["accepted"], report["rows"]["dropped"]
    assert f"accepted {kept} of {kept + lost} prompts" in words
    reasons = [reason for step in report["funnel"] for reason in step["dropped"]]
    assert {"exact duplicate", "below minimum", "call failed"} <= set(reasons)
    for step in report["funnel"]:
        for reason in step["dropped"]:
            wanted = {"kept": ["dropped"], "step": [step["label"]], "reason": [reason]}
            links = [parse_qs(urlsplit(link).query) for link in hrefs(text)]
            assert wanted in links
    assert {"score": ["mine.reward"]}.items() <= {
        k: v for link in hrefs(text) for k, v in parse_qs(urlsplit(link).query).items()
        if "score=mine.reward" in link
    }.items()  # fmt: skip
    assert "The service refuses the content" in text


def hrefs(text):
    import html
    import re

    return [html.unescape(link) for link in re.findall(r'href="([^"]*)"', text)]


def test_a_recipe_alone_is_no_run(site):
    assert requests.get(f"{site}/run/bare", timeout=5).status_code == 404


@pytest.mark.parametrize(("slug", "state", "said"), [
    ("torn", "damaged", "report.json cannot be read"),
    ("odd", "damaged", "is not as karat writes it"),
    ("half", "finished", "so that its scores cannot be shown"),
    ("begun", "stopped", "It has not come to its end"),
    ("failed", "failed", "no credit left"),
])  # fmt: skip
def test_what_is_damaged_or_missing_is_said_and_the_rest_shown(site, slug, state, said):
    text = get(f"{site}/run/{slug}").text
    assert f">{state}</span>" in text
    assert said in text
    assert "Recipe" in text
    assert "<script>alert" not in text
    for part in (".json", "/models.csv", "/funnel.json", "/scores.parquet", "/series.json",
                 "/errors.csv", "/costs.json", "/part/best"):  # fmt: skip
        odd = slug == "half" and "scores" in part
        get(f"{site}/run/{slug}{part}", 409 if odd else 200)


def test_a_damaged_journal_is_said(site):
    assert "journal.sqlite is damaged" in get(f"{site}/run/torn").text


def test_nothing_of_a_page_breaks_its_rules(site):
    for slug in ("whole", "failed", "torn"):
        text = get(f"{site}/run/{slug}").text
        assert "<style" not in text
        assert " style=" not in text
        assert "onerror=" not in text.replace("&lt;img src=x onerror=", "")
        assert not any(sign in text for sign in "\x00\x1b\u202e")


def test_a_run_that_is_not_there_is_not_found(site):
    for path in ("/run/nobody", "/run/nobody/events", "/run/nobody/report.html",
                 "/run/..%2fwhole", "/run/nobody.json", "/run/whole/part/other",
                 "/run/whole/export/nothing"):  # fmt: skip
        get(f"{site}{path}", 404)


# --- what can be kept ----------------------------------------------------------------------------


def test_tables_are_the_figures_of_the_page(site):
    report = seen_run().report
    models = list(csv.DictReader(io.StringIO(get(f"{site}/run/whole/models.csv").text)))
    assert {one["model"]: int(one["calls"]) for one in models} == {
        one["model"]: one["calls"] for one in report["models"]
    }
    assert float(models[0]["latency_p95_ms"]) > 0
    table = pq.read_table(io.BytesIO(get(f"{site}/run/whole/funnel.parquet").content)).to_pylist()
    dropped = sum(row["dropped"] for row in table)
    assert dropped == sum(sum(step["dropped"].values()) for step in report["funnel"])
    series = get(f"{site}/run/whole/series.json").json()
    assert series[-1]["cost_usd"] == pytest.approx(report["cost_usd"])
    assert {row["of"] for row in get(f"{site}/run/whole/scores.json").json()} == {"all", "accepted"}
    best = get(f"{site}/run/whole/best.json").json()
    curve = next(one.curve for one in curves_of(seen_run(), report))
    assert [(row["k"], row["grading_mean"]) for row in best] == [
        (rung["k"], rung["grading"]["value"]) for rung in curve["rungs"]
    ]
    assert {row["held_score"] for row in best} == {"other.reward"}
    assert len(pq.read_table(io.BytesIO(get(f"{site}/run/whole/best.parquet").content))) == 4
    whole = get(f"{site}/run/whole.json").json()
    assert whole["report"]["rows"] == report["rows"]
    assert whole["state"] == "finished"
    get(f"{site}/run/whole/models.xml", 404)


def test_exports_are_those_of_the_report_and_come_as_files(site, root):
    text = get(f"{site}/run/whole").text
    for export in seen_run().report["exports"].values():
        for path in export["files"].values():
            name = Path(path).name
            assert f'href="/run/whole/export/{name}"' in text
            found = get(f"{site}/run/whole/export/{name}")
            assert found.content == (root / "whole" / path).read_bytes()
            assert found.headers["content-disposition"].startswith("attachment")
            assert found.headers["x-content-type-options"] == "nosniff"
    get(f"{site}/run/whole/export/accepted.parquet")
    for name in ("journal.sqlite", "..%2frecipe.yaml", "stages", ".lock", "recipe.yaml%00"):
        get(f"{site}/run/whole/export/{name}", 404)


def test_a_report_that_lists_what_lies_outside_hands_nothing_out(tmp_path):
    (tmp_path / "secret.txt").write_text("no")
    run = Run(tmp_path / "run")
    run.export.mkdir(parents=True)
    (run.export / "link.jsonl").symlink_to(tmp_path / "secret.txt")
    (run.export / "good.jsonl").write_text("{}")
    listed = {"a": "../secret.txt", "b": str(tmp_path / "secret.txt"), "c": "export/link.jsonl",
              "d": "export/good.jsonl", "e": "export", "f": "a\0b"}  # fmt: skip
    found = files(run, {"exports": {"x": {"files": listed, "rows": 1, "left_out": {}}}})
    assert [file.name for file in found] == ["good.jsonl"]
    assert not is_inside(tmp_path / "run" / ".." / "secret.txt", run.path)


def test_the_report_comes_as_one_file(site):
    found = get(f"{site}/run/whole/report.html")
    assert found.headers["content-disposition"] == 'attachment; filename="whole.html"'
    assert "Rows that were accepted" in found.text
    said = get(f"{site}/run/begun/report.html", 409)
    assert "no report yet" in said.text


def test_parts_that_take_longer_come_by_themselves_and_are_kept(site, monkeypatch):
    from karat.web.runs import drawn as parts

    best, drawn = get(f"{site}/run/whole/part/best").text, get(f"{site}/run/whole/part/map").text
    assert "A reward held out" in best
    assert "/run/whole/rows?sort=mine.reward" in best  # the rows behind it
    assert 'href="/run/whole/row/' in drawn
    monkeypatch.setattr(parts, "prompt_map", None)  # would break if it were made again
    assert get(f"{site}/run/whole/part/map").text == drawn


def test_what_cannot_be_drawn_is_said(site):
    assert "This cannot be drawn" in get(f"{site}/run/gone/part/best").text


def test_events_of_an_ended_run_say_so_once_and_end(site):
    found = get(f"{site}/run/whole/events")
    (line,) = [line for line in found.text.splitlines() if line.startswith("data: ")]
    assert json.loads(line[6:])["state"] == "finished"


# --- small parts ---------------------------------------------------------------------------------


def test_links_keep_whatever_a_name_holds():
    step = rows_of_step("a~b")("x & y", 'a "b" <c> #?')
    assert parse_qs(urlsplit(step).query) == {
        "kept": ["dropped"], "step": ["x & y"], "reason": ['a "b" <c> #?'],
    }  # fmt: skip
    edge = 0.1 + 0.2  # of a bin: shorter, it would be another one
    score = rows_of_score("s")("a.reward", edge, 2.0, False)
    assert float(parse_qs(urlsplit(score).query)["min"][0]) == edge


def test_progress_counts_the_steps_before_and_the_part_of_those_at_work():
    steps = [
        live.StepState("a", 10, 10), live.StepState("b", 10, 5, current=True),
        live.StepState("c", 5, 4, dropped={"x": 1}, current=True), live.StepState("d"),
    ]  # fmt: skip
    assert progress(steps, 10) == pytest.approx((1 + 2 * 0.5) / 4)
    assert progress([*steps[:1], live.StepState("d")], None) == 0.5  # between two stages
    assert progress([], None) is None


def test_what_it_will_cost_stands_beside_what_it_cost(tmp_path):
    now = live.State(cost_usd=0.5, projected_usd=2.0, budget_usd=3.0, updated=60.0)
    seen = Seen(Place("x", "x", Run(tmp_path)), "running", now, None, False, [])
    told = {name: (value, more) for name, value, more in facts(seen)}
    assert told["cost so far"] == ("$0.5", "about $2.00 in all, budget $3.00")
    now.unpriced = True
    told = {name: more for name, _, more in facts(seen)}
    assert told["cost so far"] == "and calls of unknown price, budget $3.00"


def test_a_run_looked_at_from_outside_is_what_its_files_say(root):
    states = {name: look(Place(name, name, Run(root / name))).state for name in
              ("whole", "torn", "odd", "bare", "begun", "failed")}  # fmt: skip
    assert states == {"whole": "finished", "torn": "damaged", "odd": "damaged", "bare": "stopped",
                      "begun": "stopped", "failed": "failed"}  # fmt: skip
