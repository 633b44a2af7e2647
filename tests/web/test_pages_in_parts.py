"""The pages of a run whose tables are folders of parts: as of one whose tables are files."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
from folded import folded
from rows_made import LONG, Made, make_rows, write_run
from seen_run import seen_run

from karat import parquet
from karat.report.run_sample import random_rows
from karat.web.rows.asked import Filter, View
from karat.web.rows.engine import Engine
from karat.web.rows.files import MovedError, holding
from karat.web.rows.index import build
from karat.web.rows.lineage import trail
from karat.web.runs.summary import Summaries
from karat.web.shelf import Shelf, has_rows
from karat.web.sides.data import find
from karat.web.sides.pairs import _ids, _rows

JS = {"accept": "text/html"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("rows") / "run")


@pytest.fixture(scope="module")
def parts(made, tmp_path_factory):
    """The same run in parts: (run, holding, engine)."""
    run = folded(made.run, tmp_path_factory.mktemp("parts") / "run")
    held = holding(run)
    return run, held, Engine(*build(run, held))


def test_a_place_is_one_number_through_all_parts(made, parts):
    _, held, engine = parts
    assert len(held.parts) == 6
    assert (held.count, held.accepted, held.ranking) == (
        made.held.count, made.held.accepted, made.held.ranking,
    )  # fmt: skip
    every = list(range(held.count))
    assert held.read(every, ["id"]).equals(made.held.read(every, ["id"]))
    some = [held.count - 1, 0, held.accepted, held.accepted - 1]
    read = [str(one.read(some, None).to_pylist()) for one in (held, made.held)]  # NaN among them
    assert read[0] == read[1]
    for row in made.rows[::40]:
        assert held.find(row.id) == made.held.find(row.id) == engine.find(row.id, LONG)


@pytest.mark.parametrize(
    "view",
    [
        View(), View(Filter(kept="dropped"), sort="length"), View(Filter(source="human")),
        View(Filter(score="r.one", low=1.0), sort="r.one", down=True),
    ],
)  # fmt: skip
def test_questions_have_the_same_answers(made, parts, view):
    _, _, engine = parts
    assert np.array_equal(engine.places(view, LONG), made.engine.places(view, LONG))
    assert engine.summary(view.filter, LONG) == made.engine.summary(view.filter, LONG)


def test_the_stage_stands_for_results_that_are_not_there_yet(made, tmp_path):
    run = folded(write_run(tmp_path / "one", make_rows(40)), tmp_path / "parts")
    (run.dropped_file / parquet.LISTED).unlink()
    held = holding(run)
    assert not held.final
    assert held.count == held.accepted == 40
    assert len(held.parts) == 3


def test_a_part_that_was_written_anew_is_noticed(made, tmp_path):
    run = folded(made.run, tmp_path / "run")
    held = holding(run)
    part = parquet.files(run.dropped_file)[1]
    pq.write_table(pq.read_table(part).slice(0, 2), part)
    with pytest.raises(MovedError):
        held.read([held.count - 5, held.accepted + 30], ["id"])
    assert holding(run).key != held.key


def test_a_row_is_followed_through_stages_in_parts(tmp_path):
    whole = seen_run()
    run = folded(whole, tmp_path / "run")
    for row in random_rows(whole.dropped_file, 3) + random_rows(whole.accepted_file, 3):
        one, other = trail(whole, row, [], LONG), trail(run, row, [], LONG)
        assert [v.steps for v in one.visits] == [v.steps for v in other.visits]
        assert [v.row for v in one.visits] == [v.row for v in other.visits]
        assert other.whole


# --- over a real server --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    shutil.copytree(seen_run().path, root / "whole")
    folded(seen_run(), root / "parts")
    lost = root / "lost"  # where its rows are cannot be told
    shutil.copytree(seen_run().path, lost)
    (lost / "places.json").write_text('{"data": 3}')
    return root


def test_a_shelf_lists_it(root):
    shelf = Shelf(root)
    assert [place.name for place in shelf.places()] == ["lost", "parts", "whole"]
    lines = {line.name: line for line in map(Summaries().of, shelf.places())}
    assert lines["parts"].status == "finished"
    assert lines["parts"].accepted == lines["whole"].accepted
    assert lines["lost"].status == "damaged"
    assert "places.json cannot be read" in lines["lost"].said
    assert has_rows(shelf.get("parts").run)
    assert not has_rows(shelf.get("lost").run)


def test_sides_are_read_alike(root):
    shelf = Shelf(root)
    whole, parts = find(shelf, "whole"), find(shelf, "parts")
    assert _ids(whole).equals(_ids(parts))
    places = np.array([0, 4, 2])
    assert [s.row for s in _rows(whole, places).values()] == [
        s.row for s in _rows(parts, places).values()
    ]


@pytest.mark.parametrize(
    "page",
    [
        "/runs", "/run/parts", "/run/parts/rows", "/run/parts/rows?kept=dropped&sort=length",
        "/run/parts/report.html", "/run/parts/part/map", "/compare?a=whole&b=parts", "/review",
    ],
)  # fmt: skip
def test_its_pages_are_there(served, root, page):
    base = served(root)
    found = requests.get(f"{base}{page}", headers=JS, timeout=60)
    assert found.status_code == 200, found.text[:300]
    assert "cannot be read" not in re.sub(r"lost.*?</tr>", "", found.text, flags=re.DOTALL)


def test_its_tables_come_as_one_file_each(served, root):
    base = served(root)
    for name in ("accepted.parquet", "dropped.parquet"):
        found = requests.get(f"{base}/run/parts/export/{name}", timeout=60)
        assert found.status_code == 200, found.text[:300]
        assert f'filename="{name}"' in found.headers["content-disposition"]
        got = pq.read_table(io.BytesIO(found.content))
        assert got.equals(pq.read_table(root / "whole" / name))
    page = requests.get(f"{base}/run/parts", headers=JS, timeout=60).text
    assert 'href="/run/parts/export/accepted.parquet"' in page
    secret = requests.get(f"{base}/run/parts/export/part-000000.parquet", timeout=60)
    assert secret.status_code == 404


def test_a_row_of_it_has_its_page(served, root):
    base = served(root)
    (row,) = random_rows(Path(root / "whole" / "accepted.parquet"), 1)
    pages = [
        requests.get(f"{base}/run/{n}/row/{row.id}.json", timeout=60) for n in ("whole", "parts")
    ]
    assert [page.status_code for page in pages] == [200, 200]
    one, other = (json.loads(page.text) for page in pages)
    assert one.keys() == other.keys()
    same = {key for key in one if one[key] == other[key]}
    assert one.keys() - same <= {"run"}, one.keys() - same
