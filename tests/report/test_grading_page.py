"""The page of grading: every figure that was noted, others' words as text, no script."""

from __future__ import annotations

import re

import msgspec
import numpy as np
import pytest
from grading_runs import notes, whole
from hypothesis import given
from hypothesis import strategies as st
from page_reader import Reader

from karat.report.grading_page import is_wanted, page
from karat.report.grading_plots import NARROW, WIDE, best_of_k, kept_of_all, shares
from karat.report.grading_tables import route
from karat.report.recommendation import plain
from karat.report.whiskers import EDGE, WIDTH, change, scale, whisker
from karat.scoring.overoptimisation import meter

EVIL = '"><script>alert("x")</script>'


def turned(prompts=60, n=12):
    """A curve whose held-out reward turns down: what is picked for is half a mistake."""
    random = np.random.default_rng(1)
    x = random.normal(size=(prompts, n))
    counts = np.full(prompts, n)
    return msgspec.to_builtins(meter(counts, x.ravel(), (x - 0.8 * x**2).ravel()))


# --- the whole page ------------------------------------------------------------------------------


def test_the_page_is_one_file_that_runs_and_fetches_nothing():
    source = page(whole())
    reader = Reader(source)
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    assert len(reader.ids) == len(set(reader.ids))
    assert "default-src 'none'" in source
    assert "prefers-color-scheme:dark" in source


def test_every_figure_is_on_the_page():
    report = whole()
    said = Reader(page(report)).text
    curve, debias = notes(report, "meter")["curve"], notes(report, "debias")
    for rung in curve["rungs"]:
        for key in ("grading", "held"):
            ends = [plain(rung[key][end], 3) for end in ("value", "low", "high")]
            assert "{} ({} … {})".format(*ends) in said
    assert f"Pick among {curve['recommended']}" in said
    for key in ("spearman", "pearson", "sigma_per_doubling"):
        assert f"{plain(debias['before'][key])} → {plain(debias['after'][key])}" in said
    assert f"{debias['flipped']:.1%}" in said
    compared = notes(report, "cross_validate")
    assert f"disagree on {compared['disagreements']} of {compared['checked']} rows" in said
    (group,) = compared["compared"].values()
    for key in ("kappa", "tau_b", "tau_b_within", "pairs_agreed"):
        assert "{} ({} … {})".format(*map(plain, group["pairs"][0][key])) in said
    assert "{} ({} … {})".format(*map(plain, group["alpha"])) in said
    kept = notes(report, "reject")
    assert f"{kept['kept']} of {kept['candidates']} candidates, ranked by mine.reward" in said


def test_a_run_without_such_steps_has_no_page():
    report = whole()
    assert is_wanted(report)
    report["grading"]["steps"] = {}
    assert is_wanted(report)  # a route
    report["grading"]["graded"] = {}
    assert not is_wanted(report)
    del report["grading"]
    assert not is_wanted(report)


@pytest.mark.parametrize(
    "place", ["name", "by", "held_out", "warning", "grader", "family", "route", "ranking", "model"]
)
def test_words_of_others_are_text(place):
    report = whole()
    curve, compared = notes(report, "meter"), report["grading"]["compared"]["cross_validate"]
    (group,), kept = compared["compared"].values(), notes(report, "reject")
    if place == "name":
        report["name"] = EVIL
    elif place in ("by", "held_out"):
        curve[place] = EVIL
    elif place == "warning":
        curve["curve"]["warning"] = EVIL
    elif place == "grader":
        group["graders"] = {EVIL: next(iter(group["graders"].values()))}
    elif place == "family":
        for one in group["graders"].values():
            one["family_preference"] = {EVIL: [0.1, 0.0, 0.2]}
    elif place == "route":
        report["grading"]["graded"]["grade_3"].update({"route": [EVIL], "decided": {EVIL: 3}})
    elif place == "ranking":
        report["scores"][EVIL] = report["scores"]["mine.reward"]
        kept["ranking"] = EVIL
    else:
        kept["per_model"][EVIL] = next(iter(kept["per_model"].values()))
    source = page(report)
    assert "<script" not in source
    assert EVIL.upper()[2:] in Reader(source).text.upper()


def test_steps_that_found_nothing_say_so():
    report = whole()
    del notes(report, "meter")["curve"]
    debias = notes(report, "debias")
    del debias["curve"]
    for side in ("before", "after"):
        debias[side] = dict.fromkeys(debias[side])
    debias["flipped"] = debias["best_changed"] = None
    notes(report, "reject")["candidates"] = 0
    notes(report, "cross_validate")["compared"] = {}
    said = Reader(page(report)).text
    assert "too few prompts have two answers graded" in said
    assert "No candidate has a score mine.reward." in said


def test_a_score_of_one_prompt_only_gets_no_distribution_over_prompts():
    report = whole()
    assert "All candidates, and those kept" in page(report)
    notes(report, "reject")["within_prompt"] = True
    source = page(report)
    assert "All candidates, and those kept" not in source
    assert "no distribution over prompts is drawn" in source


# --- charts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_two_rewards_never_share_an_axis(width):
    panels = best_of_k(turned(), "a.reward", "b.reward", width)
    assert [panel.y.label for panel in panels] == ["a.reward", "b.reward"]
    assert panels[0].y.high != panels[1].y.high
    assert panels[0].x == panels[1].x._replace(text=panels[0].x.text, under=panels[0].x.under)
    for panel in panels:
        for x, y in re.findall(r'<text[^>]* x="([-\d.]+)" y="([-\d.]+)"', panel.draw()):
            assert -0.01 <= float(x) <= width
            assert 0 <= float(y) <= panel.height


def test_where_the_held_out_curve_turns_down_is_marked_and_only_there():
    curve = turned()
    assert curve["warning"]
    picks, held = (panel.draw() for panel in best_of_k(curve, "a", "b", WIDE))
    assert "turns down" in held
    assert "k-warn" in held
    assert "k-warn" not in picks
    assert f"n = {curve['recommended']}" in picks
    curve["warning"] = ""
    assert "k-warn" not in best_of_k(curve, "a", "b", WIDE)[1].draw()


def test_ticks_are_powers_of_two_with_their_divergence_below():
    curve = turned(n=12)
    (panel, _) = best_of_k(curve, "a", "b", WIDE)
    ticks = panel.x.ticks(500)
    assert [text for _, text in ticks] == ["1", "2", "4", "8", "12"]
    kl = {rung["k"]: rung["kl"] for rung in curve["rungs"]}
    assert [panel.x.under(value) for value, _ in ticks] == [
        f"{kl[k]:.2g}" for k in (1, 2, 4, 8, 12)
    ]


def test_a_score_measured_from_the_prompts_mean_says_so():
    (panel, _) = best_of_k(turned(), "a", "b", WIDE, ["a"])
    assert panel.y.label == "a, from the prompt's mean"


@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=60),
    st.lists(st.floats(-5, 5), min_size=1, max_size=60),
)
def test_shares_over_other_bins_add_up_and_keep_the_mean_within_a_bin(inner, outer):
    everything = [*inner, *outer]
    high = max(max(everything), min(everything) + 1e-6)
    edges = np.histogram_bin_edges([], 20, (min(everything), high))
    counts, own = np.histogram(inner, 20, (min(inner), max(max(inner), min(inner) + 1e-9)))
    found = shares({"counts": counts.tolist(), "edges": own.tolist()}, edges.tolist())
    assert sum(found) == pytest.approx(1)
    middles = (edges[:-1] + edges[1:]) / 2
    bins = (edges[1] - edges[0]) / 2 + (own[1] - own[0]) / 2
    assert abs(np.dot(found, middles) - np.mean(inner)) <= bins + 1e-9


def test_equal_scores_are_one_bar():
    spread = {"count": 3, "mean": 1.0, "histogram": {"counts": [3], "edges": [1.0, 1.0 + 1e-9]}}
    wide = {"count": 3, "mean": 0.5, "histogram": {"counts": [2, 1], "edges": [0.0, 0.5, 1.0]}}
    assert shares(spread["histogram"], [0.0, 0.5, 1.0]) == [0, 1]
    assert kept_of_all({"all": wide, "accepted": spread}, "r", WIDE) is not None
    assert kept_of_all({"all": wide, "accepted": {"count": 0}}, "r", WIDE) is None


# --- cells ---------------------------------------------------------------------------------------


def places(drawing):
    return [float(x) for x in re.findall(r'cx="([\d.]+)"', drawing)]


def test_a_whisker_stands_where_its_value_is_and_is_gold_where_it_tells_something():
    middle = whisker([0.0, -0.5, 0.5], (-1, 1))
    assert places(middle) == [WIDTH / 2]
    assert "k-gold" not in middle
    assert "k-gold" in whisker([0.5, 0.1, 0.9], (-1, 1))
    assert "k-gold" not in whisker([0.5, 0.1, 0.9], (0, 1), 0.5)
    assert places(whisker([1.0, 0.5, None], (0, 1))) == [WIDTH - EDGE]
    assert 'aria-label="1.00 (0.50 … ?)"' in whisker([1.0, 0.5, None], (0, 1))


def test_a_change_goes_from_a_hollow_dot_to_a_full_one():
    start, end = places(change(-1.0, 1.0, (-1, 1)))
    assert (start, end) == (EDGE, WIDTH - EDGE)


def test_a_column_has_room_for_all_its_figures():
    assert scale([[0.2, 0.1, 0.3], None], (0, 1)) == (0, 1)
    assert scale([[-0.2, -0.6, 1.3]], (0, 1)) == (-1, 1.5)


# --- a route -------------------------------------------------------------------------------------


def test_a_route_tells_who_was_reached_who_decided_and_what_that_cost():
    one = {
        "rows": 100, "cost_usd": 0.9, "cost_per_row_usd": 0.009, "route": ["refusal", "small", "j"],
        "decided": {"refusal": 10, "small": 60, "j": 25, "nobody": 5},
        "asked": {"small": 90, "j": 30}, "costs_usd": {"small": 0.0, "j": 0.9},
    }  # fmt: skip
    lines = route("grade", one)["lines"]
    assert [(x["name"], x["reached"], x["decided"], x["cost"]) for x in lines] == [
        ("refusal", 100, 10, "$0"), ("small", 90, 60, "$0"), ("j", 30, 25, "$0.03"),
        ("nobody", 5, 5, "–"),
    ]  # fmt: skip
    one["costs_usd"] = {"small": 0.0, "j": None}
    assert route("grade", one)["lines"][2]["cost"] == "price unknown"
    one["costs_usd"] = {}
    assert route("grade", one)["lines"][2]["cost"] == "–"
