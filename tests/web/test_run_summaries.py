"""What a line about a run says, in every state that its files can be in."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from serving import Serving
from standing import HOSTILE, at_work, copied, lines, page, write_live

from karat.live import StepState
from karat.rundir import Run
from karat.web.runs.summary import Summaries, progress
from karat.web.shelf import Shelf


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


def test_a_step_weighs_as_much_as_its_calls_take() -> None:
    """Two steps that only read and pick are nothing beside the one that asks."""
    steps = [
        StepState("read", 100, 100, planned_s=0.0),
        StepState("respond", 15, 11, current=True, planned_s=90.0),
        StepState("reject", 11, 11, current=True, planned_s=0.0),
    ]
    assert progress(steps, 100) == pytest.approx(0.11, abs=0.02)
    for step in steps:
        step.planned_s = None  # nobody reckoned
    assert progress(steps, 100) == pytest.approx((1 + 0.11 + 0.11) / 3)
    steps[1].planned_s = float("inf")
    assert progress(steps, 100) == pytest.approx((1 + 0.11 + 0.11) / 3)
