"""The parts of what is shown of a run: samples, curves, maps, guards, the honest list."""

from __future__ import annotations

import random
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import rows_of
from hypothesis import given
from hypothesis import strategies as st
from seen_run import seen_run

from karat import Run
from karat.finish import FINAL_SCHEMA
from karat.report import run_sample
from karat.report.pages import coded, module_of
from karat.report.run_best_of import curves_of
from karat.report.run_guards import guards, is_worse
from karat.report.run_licences import licences
from karat.report.run_measured import Measured, measured
from karat.report.run_parts import section
from karat.report.run_rows import ANSWER, shown_row
from karat.report.run_sample import drawn, prompt_map, random_rows
from karat.report.run_scores import in_order, score_charts
from karat.row import Message, Response, Row
from karat.scoring.best_of import curves
from karat.table import to_batch
from karat.visible import visible

# --- a fair part of a large file -----------------------------------------------------------------


def rows_file(path, sizes):
    """A file of rows `0`, `1`, … in row groups of these sizes."""
    number = 0
    with pq.ParquetWriter(path, FINAL_SCHEMA) as writer:
        for size in sizes:
            rows = [
                Row(str(number + n), [Message("user", f"prompt {number + n}")]) for n in range(size)
            ]
            made = to_batch(rows)
            arrays = [
                made.column(field.name) if field.name in made.schema.names
                else pa.nulls(size, field.type) for field in FINAL_SCHEMA
            ]  # fmt: skip
            writer.write_table(pa.Table.from_arrays(arrays, schema=FINAL_SCHEMA))
            number += size
    return path


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(0, 60), st.integers(0, 9))
def test_rows_are_those_that_the_seed_says_whatever_the_row_groups(
    tmp_path_factory, sizes, n, seed
):
    path = rows_file(tmp_path_factory.mktemp("rows") / "rows.parquet", sizes)
    total = sum(sizes)
    wanted = sorted(random.Random(seed).sample(range(total), min(n, total)))
    assert [row.id for row in random_rows(path, n, seed)] == [str(place) for place in wanted]


def test_rows_of_one_large_group_are_those_of_the_seed_too(tmp_path):
    path = rows_file(tmp_path / "rows.parquet", [2_500, 2_600])
    wanted = sorted(random.Random(3).sample(range(5_100), 60))
    assert [row.id for row in random_rows(path, 60, 3)] == [str(place) for place in wanted]


def test_only_row_groups_with_a_drawn_row_are_read(tmp_path, monkeypatch):
    path = rows_file(tmp_path / "rows.parquet", [50] * 40)
    read = []
    real = pq.ParquetFile.iter_batches

    def counted(self, size, row_groups, columns):
        read.append(row_groups)
        return real(self, size, row_groups, columns)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    assert len([row for batch in drawn(path, 5, 0, ["id"]) for row in batch.column("id")]) == 5
    assert len(read) <= 5


# --- the parts -----------------------------------------------------------------------------------


def test_a_curve_out_of_the_rows_is_that_of_all_candidates():
    run = seen_run()
    (curve,) = curves_of(run, run.report)
    assert (curve.by, curve.held_out, curve.source) == ("mine.reward", "other.reward", "rows")
    rows = [*rows_of(run.accepted_file), *rows_of(run.dropped_file)]
    pools = [[r.scores["mine.reward"] for r in row.responses if r.scores] for row in rows]
    pools = [pool for pool in pools if pool]
    counts = np.array([len(pool) for pool in pools])
    expected = curves(counts, np.array([s for pool in pools for s in pool])).mean(axis=0)
    found = [rung["grading"]["value"] for rung in curve.curve["rungs"]]
    assert found == pytest.approx(expected.tolist())
    assert curve.curve["rungs"][0]["held"]["value"] == pytest.approx(0, abs=1e-9)
    assert "which did not pick" in curve.advice
    assert len(curve.charts) == 2


def test_no_curve_where_the_pools_depend_on_how_good_they_are():
    run, report = seen_run(), seen_run().report
    report["grading"]["steps"]["dedupe"] = {"step": "best_of", "within_prompt": []}
    (curve,) = curves_of(run, report)
    assert curve.curve is None
    assert curve.charts == []
    assert "best_of drew more" in curve.advice


def test_a_reward_made_of_the_one_that_picks_is_not_held_out(tmp_path):
    shutil.copytree(seen_run().path, tmp_path / "run")
    copied = Run(tmp_path / "run")
    text = copied.recipe.read_text()
    copied.recipe.write_text(text.replace("other: x/other", "other: {reward: panel/x, of: [mine]}"))
    (curve,) = curves_of(copied, copied.report)
    assert curve.held_out is None
    assert "No reward was held out" in curve.advice


def test_scores_have_a_picture_each_and_bins_lead_to_rows():
    asked = []

    def link(key, low, high, kept):
        asked.append((key, low, high))
        return "/rows"

    scores = seen_run().report["scores"]
    found = score_charts(scores, link, "other.reward")
    assert [key for key, _, _ in found] == in_order(scores, "other.reward")
    assert "(it chose)" in found[0][1]
    assert all(key not in said for key, _, said in found)  # the picture's title says it
    mine = [(low, high) for key, low, high in asked if key == "mine.reward"]
    edges, counts = (scores["mine.reward"]["all"]["histogram"][k] for k in ("edges", "counts"))
    assert mine == [(edges[n], edges[n + 1]) for n, count in enumerate(counts) if count]


def test_the_score_that_chose_comes_first_and_attributes_as_helpsteer2_lists_them():
    keys = ["a.verbosity", "a.helpfulness", "a.reward", "b.uncertainty", "b.coherence", "b.reward"]
    assert in_order(keys, "b.reward") == [
        "b.reward", "b.coherence", "b.uncertainty", "a.reward", "a.helpfulness", "a.verbosity",
    ]  # fmt: skip
    assert in_order(keys)[:3] == ["a.reward", "a.helpfulness", "a.verbosity"]


@pytest.mark.parametrize("spread", [
    {"count": 3, "mean": 1.0, "sd": 0.0, "p5": 1.0, "p25": 1.0, "p50": 1.0, "p75": 1.0, "p95": 1.0,
     "histogram": {"counts": [3, 0], "edges": [1.0, 1.0 + 5e-10, 1.0 + 1e-9]}},
])  # fmt: skip
def test_equal_scores_and_no_accepted_ones_can_be_drawn(spread):
    (one,) = score_charts({"<b>": {"all": spread, "accepted": {"count": 0}}})
    assert "none accepted" in one[2]
    assert "<b>" not in one[1]


def test_the_map_shows_accepted_prompts_and_links_to_their_rows():
    run = seen_run()
    found = prompt_map(run.accepted_file, link=lambda row: f"/row/{row}")
    ids = set(pq.read_table(run.accepted_file, columns=["id"]).column("id").to_pylist())
    linked = set(re.findall(r'href="/row/([^"]+)"', found["charts"][0]))
    assert linked == ids
    assert sum(count for _, _, count, _ in found["groups"]) == found["drawn"] == len(ids)


def test_the_map_draws_a_part_of_many(monkeypatch):
    monkeypatch.setattr(run_sample, "ON_MAP", 9)
    assert prompt_map(seen_run().accepted_file)["drawn"] == 9


def test_a_map_of_nothing_is_none(tmp_path):
    assert prompt_map(rows_file(tmp_path / "r.parquet", [1])) is None


def test_guards_say_what_is_wrong_and_what_was_not_measured():
    report = seen_run().report
    by_name = {one.name: one for one in guards(report)}
    assert (by_name["Human share"].state, by_name["Human share"].value) == ("bad", "0%")
    assert by_name["Collapse"].state == "none"
    figure = {"mix": 2.0, "base": 1.0, "ratio": 2.0, "interval": [1.5, None]}
    report["funnel"][-1]["notes"]["guard"] = {"human": {"surprise": figure, "vendi": figure}}
    report["human_share"] = 0.5
    by_name = {one.name: one for one in guards(report)}
    assert by_name["Human share"].state == "good"
    assert by_name["Collapse, reject"].state == "bad"
    assert [worse for *_, worse in by_name["Collapse, reject"].rows] == [True, False]
    assert "∞" in str(section("guards", guards(report)))


@pytest.mark.parametrize(("name", "interval", "worse"), [
    ("surprise", [1.03, 1.2], True), ("surprise", [1.01, 1.2], False),
    ("rare_words", [0.7, 0.89], True), ("rare_words", [0.7, 0.95], False),
    ("rare_words", [0.0, None], False), ("vendi", [0.1, 0.2], False),
])  # fmt: skip
def test_a_guard_judges_as_the_collapse_guard_does(name, interval, worse):
    assert is_worse(name, {"interval": interval}) is worse


def test_what_was_not_measured_is_said():
    run = seen_run()
    report = run.report
    tree = {"steps": [{"read": {}}, {"dedupe": {}}, {"respond": {}}, {"grade": {"reward": "mine"}},
                      {"grade": {"reward": "other"}}, {"reject": {}}]}  # fmt: skip
    states = {one.name: one.state for one in measured(report, tree, run.path)}
    assert states["Quality by a reward"] == "yes"
    assert states["Quality by a reward that did not choose"] == "partly"
    assert states["Near-duplicates"] == "yes"
    for name in ("Human ratings of the answers", "Contamination with test sets",
                 "Answers checked by programs", "Whether training on it helps", "Personal data",
                 "Loss of rare words against human text", "Whether graders agree"):  # fmt: skip
        assert states[name] == "no", name


def test_what_was_measured_is_said(tmp_path):
    run = seen_run()
    report = run.report
    report["funnel"][1]["notes"] = {
        "contaminated": 2, "benchmarks": [{"benchmark": "gsm8k"}], "held_out": "other.reward",
    }  # fmt: skip
    report["scores"]["people.helpfulness"] = report["scores"]["mine.reward"]
    (tmp_path / "lift.json").write_text("{}")
    for step, name, state in (
        ({"decontaminate": {"against": ["gsm8k"]}}, "Contamination with test sets", "partly"),
        ({"verify": {}}, "Answers checked by programs", "yes"),
        ({"debias": {"by": "mine.reward"}}, "Lean of the reward to length", "yes"),
        ({"meter": {"by": "mine.reward"}}, "Quality by a reward that did not choose", "yes"),
        ({"mask": {}}, "Personal data", "partly"),
        ({"grade": {"route": ["mine"], "calibration": "c.json"}},
         "Calibration of graders on people's judgements", "yes"),
        ({"read": {}}, "Human ratings of the answers", "partly"),
        ({"read": {}}, "Whether training on it helps", "yes"),
    ):  # fmt: skip
        tree = {"steps": [{"read": {}}, step], "rewards": {"people": "human/ratings.jsonl"}}
        states = {one.name: one.state for one in measured(report, tree, tmp_path)}
        assert states[name] == state, name


def test_licences_tell_blockers_first_and_no_folders():
    cause = {"role": "human", "name": "/home/somebody/human.jsonl", "rows": 12}
    finding = {"licence": "X", "text": "Say so.", "causes": [cause], "paste": "<b>", "source": ""}
    found = licences({"licences": {
        "blockers": [finding], "obligations": [finding], "trains": {"text": "none"},
        "release": {"text": "CC-BY-4.0"}, "notes": [], "about": "not advice",
    }})  # fmt: skip
    assert [one.blocks for one in found.lines] == [True, False]
    assert found.lines[0].causes == "human human.jsonl (12 rows)"
    assert "&lt;b&gt;" in str(section("licences", found))
    assert licences({}) is None


def test_a_long_text_is_cut_and_its_length_said():
    row = Row("r", [Message("user", "p")], [Response("x" * 10_000_000), Response("y", kept=True)])
    shown = shown_row(row)
    assert shown.answers[0].kept  # the one that counts comes first
    assert len(shown.answers[1].content) < ANSWER + 60
    assert "10,000,000 characters" in shown.answers[1].content


@given(st.text(st.characters(exclude_categories=()), max_size=80))
def test_nothing_unseen_is_left_of_any_text(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", shown
    )


def test_a_line_end_stays_and_a_joiner_in_a_word():
    assert visible("a\r\nb\tc") == "a\nb\tc"
    assert visible("می\u200cخواهم 👩\u200d🚀") == "می\u200cخواهم 👩\u200d🚀"
    assert visible("a\u200bb") == "a⟨U+200B⟩b"


def test_sections_are_the_same_for_file_and_page():
    assert hasattr(module_of("run_sections.html"), "flow")
    assert "<script" not in str(section("warnings", ["<script>"]))


def test_what_stands_in_backticks_is_code_and_nothing_else():
    text = str(coded("see `karat lift <x>` & <b>, one ` alone\n`z"))
    assert text == "see <code>karat lift &lt;x&gt;</code> &amp; &lt;b&gt;, one ` alone\n`z"
    assert "<code>karat contamination</code>" in section(
        "measured", [Measured("Contamination", "no", "or `karat contamination`")]
    )


def test_a_reward_is_named_once_beside_its_scores():
    scores = {"b.reward": 1.0, "a.verbosity": 2.0, "a.reward": 3.0}
    (answer,) = shown_row(Row("r", [], [Response("x", scores=scores)]), "a.reward").answers
    assert answer.scores == [("a", "reward 3.00 · verbosity 2.00"), ("b", "reward 1.00")]
