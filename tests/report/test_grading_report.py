"""Grading on a terminal: a line for each step, and each figure the one that was noted."""

from __future__ import annotations

import io

import grading_runs
import pytest
import ran
from grading_runs import ROWS, STEPS, notes, whole
from rich.console import Console

from karat.report.grading import grading_lines, in_words, notes_of
from karat.report.recommendation import plain
from karat.report.text import print_report
from karat.report.voices import yields

EVIL = "\x1b[2J[bold]x[/bold]\u202e"


def line(report, label):
    (found,) = (text for text in in_words(report) if text.startswith(f"{label}: "))
    return found


def test_every_step_has_one_line_and_plain_grades_say_by_whom():
    report = whole()
    lines = list(in_words(report))
    assert [text.partition(":")[0] for text in lines] == [
        "grade", "grade_2", "grade_3", "best_of", "debias", "meter",
    ]  # fmt: skip
    assert lines[0] == f"grade: {ROWS} rows graded by mine, $0 a row"
    assert line(report, "grade_3").endswith("decided by mine 100%")


def test_the_meter_tells_the_best_of_the_last_k_and_what_is_recommended():
    report = whole()
    curve = notes(report, "meter")["curve"]
    first, last = curve["rungs"][0], curve["rungs"][-1]
    assert last["k"] == 4
    text = line(report, "meter")
    for key in ("grading", "held"):
        ends = [plain(last[key][end]) for end in ("value", "low", "high")]
        assert "{} ({} … {})".format(*ends) in text
        assert f"{plain(first[key]['value'])} → " in text
    assert text.endswith(f"recommended n: {curve['recommended']}")


def test_a_meter_with_nothing_held_out_recommends_nothing():
    report = whole()
    found = notes(report, "meter")
    found["held_out"] = None
    for rung in found["curve"]["rungs"]:
        rung["held"] = None
    assert line(report, "meter").endswith("; nothing held out")
    del found["curve"]
    assert line(report, "meter") == "meter: mine.reward: too few answers to measure"


def test_over_optimisation_is_said_in_the_line():
    report = whole()
    notes(report, "meter")["curve"]["warning"] = "over-optimised: …"
    assert ", over-optimised; recommended" in line(report, "meter")


def test_debias_tells_before_and_after():
    report = whole()
    found = notes(report, "debias")
    before, after = (plain(found[key]["spearman"]) for key in ("before", "after"))
    assert line(report, "debias") == (
        f"debias: mine.reward with length: Spearman {before} → {after}; "
        f"{found['flipped']:.0%} of pairs changed places"
    )
    found["before"]["spearman"] = found["after"]["spearman"] = None
    assert line(report, "debias").endswith("answers graded, nothing to take off")


def test_best_of_tells_its_calls_per_row_and_nothing_is_told_twice():
    report = whole()
    counts = notes(report, "best_of")["counts"]
    assert counts["answers_drawn"] > 0
    assert line(report, "best_of") == (
        f"best_of: {counts['answers_drawn'] / ROWS:.1f} more answers a row; "
        f"{counts['rows_drawn_on']} of {ROWS} rows drew any"
    )
    assert yields(report) == []


def test_a_routes_graders_have_their_own_cost(tmp_path, monkeypatch):
    """One that is asked by nobody else: what the journal says its model cost in this step."""
    monkeypatch.setattr("karat.graders.load_reward", ran.load)
    steps = [*STEPS[:2], {"grade": ["refusal", "mine"]}]
    report = grading_runs.run(tmp_path, steps).report
    one = report["grading"]["graded"]["grade"]
    assert one["route"] == ["refusal", "mine"]
    assert one["costs_usd"] == {"mine": 0.0}
    assert one["asked"] == {"mine": ROWS}


def test_steps_are_found_by_what_they_are():
    report = whole()
    assert [label for label, _ in notes_of(report, "reject")] == ["reject"]
    assert list(notes_of({"funnel": report["funnel"]}, "reject")) == []  # of an older karat


@pytest.mark.parametrize("place", ["by", "held_out"])
def test_names_are_text_on_a_terminal(place):
    report = whole()
    notes(report, "meter")[place] = EVIL
    stream = io.StringIO()
    console = Console(file=stream, width=300, force_terminal=False)
    for one in grading_lines(report):
        console.print(one)
    assert "[bold]x[/bold]" in stream.getvalue()
    assert not {"\x1b", "\u202e"} & set(stream.getvalue())


def test_the_page_is_named_with_the_other_files_and_goes_with_its_steps(tmp_path, monkeypatch):
    monkeypatch.setattr("karat.graders.load_reward", ran.load)

    def printed(run):
        stream = io.StringIO()
        print_report(Console(file=stream, width=300, force_terminal=False), run)
        return stream.getvalue()

    run = grading_runs.run(tmp_path, [*STEPS[:3], STEPS[-1]])
    assert f"grading   {run.path / 'grading.html'}" in printed(run)
    assert run.grading_file.read_text(encoding="utf-8").startswith("<!doctype html>")
    plain_run = grading_runs.run(tmp_path, STEPS[:3])
    assert not plain_run.grading_file.exists()
    assert "grading.html" not in printed(plain_run)
