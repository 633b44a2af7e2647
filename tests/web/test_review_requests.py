"""What the page Review is asked for without a browser: mistakes, attacks, files to keep."""

from __future__ import annotations

import csv
import io
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parents[1] / "reviewing"))

from reviewed import rows, run_of
from saying import get, send

from karat.rundir import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return run_of(tmp_path / "runs" / "mine", rows(6), ranking="rm.reward")


def test_what_is_wrong_is_refused_and_nothing_is_written(
    served: Callable[..., str], run: Run
) -> None:
    base = served(run.path.parent)
    item = get(f"{base}/review/mine/next?reviewer=ann")["item"]
    key, other = (answer["key"] for answer in item["answers"])
    word = {"reviewer": "ann", "kind": "rating", "row": item["row"], "keys": [key]}
    wrong: list[tuple[int, dict[str, Any], str]] = [
        (400, {**word, "reviewer": " "}, "give your name"),
        (400, {**word, "queue": "best"}, "queue"),
        (400, {**word, "seconds": -1}, "seconds"),
        (400, {"reviewer": "ann"}, "kind"),
        (409, {**word, "row": "none", "values": {"helpfulness": 1}}, "no longer in the run"),
        (409, {**word, "keys": ["ab"], "values": {"helpfulness": 1}}, "not the answers"),
        (409, {**word, "keys": [key, other], "values": {"helpfulness": 1}}, "not the answers"),
        (409, {**word, "values": {"helpfulness": 9}}, "rated 0 to 4"),
        (409, {**word, "values": {"taste": 1}}, "no attribute"),
        (409, word, "rate an attribute"),
        (409, {**word, "edited": "a\0b"}, "no NUL"),
        (413, {**word, "comment": "x" * 2**21}, "too long"),
    ]
    for status, body, words in wrong:
        found, text = send(base, "say", **body)
        assert (found, words in text) == (status, True), (body, text)
    assert send(base, "say", "text/plain", **word)[0] == 415
    assert send(base, "undo", reviewer="ann")[0] == 409
    assert not (run.path / "ratings.jsonl").exists()
    foreign = urllib.request.Request(
        f"{base}/review/mine/say", json.dumps({**word, "values": {"helpfulness": 1}}).encode(),
        {"content-type": "application/json", "origin": "http://evil.example"},
    )  # fmt: skip
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(foreign, timeout=10)
    refused.value.close()
    assert refused.value.code == 403
    assert not (run.path / "ratings.jsonl").exists()


def test_downloads(served: Callable[..., str], run: Run, tmp_path: Path) -> None:
    base = served(run.path.parent)
    item = get(f"{base}/review/mine/next?reviewer=ann&mode=compare&queue=random")["item"]
    word = {"kind": "comparison", "row": item["row"], "strength": 2, "comment": "=1+1",
            "keys": [answer["key"] for answer in item["answers"]]}  # fmt: skip
    session = {"reviewer": "ann", "mode": "compare", "queue": "random"}
    assert send(base, "say", **session, **word)[0] == 200
    (line,) = get(f"{base}/review/mine.json")
    assert (line["reviewer"], line["strength"], line["queue"]) == ("ann", 2.0, "random")
    assert line["model_1"].startswith("service/model-")
    with urllib.request.urlopen(f"{base}/review/mine.csv", timeout=10) as reply:
        (row,) = csv.DictReader(io.StringIO(reply.read().decode()))
    assert row["comment"] == "'=1+1"  # no formula in anybody's spreadsheet
    with urllib.request.urlopen(f"{base}/review/mine.parquet", timeout=10) as reply:
        (tmp_path / "a.parquet").write_bytes(reply.read())
    assert pq.read_table(tmp_path / "a.parquet").column("row").to_pylist() == [item["row"]]
