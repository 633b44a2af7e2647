"""What a person reads on a terminal: others' words stay words, whatever is in them."""

from __future__ import annotations

import copy
import io

import orjson
import pytest
import yaml
from rich.console import Console

from karat.planning import StepPlan
from karat.recipe import recipe_hash
from karat.report.cells import money
from karat.report.text import plan_table, print_report
from karat.report.voices import yields
from karat.rundir import Run

EVIL = "\x1b[2J[bold]kept[/bold] [/nothing] \x07\u202e\u2028\ud800"
SEEN = "[bold]kept[/bold] [/nothing]"
RECIPE = {"name": "x", "steps": ["topics"]}
SPREAD = {"count": 3, "mean": 1.0}
REPORT = {
    "name": "x",
    "recipe_hash": recipe_hash(RECIPE),
    "rows": {"in": 3, "accepted": 2, "dropped": 1},
    "funnel": [{"label": "topics", "rows_in": 3, "rows_out": 2, "dropped": {"bad": 1}}],
    "scores": {"r.a": {"all": SPREAD, "accepted": {"count": 0}}},
    "models": [
        {
            "model": "m", "calls": 1, "prompt_tokens": 1, "completion_tokens": 1, "errors": 0,
            "tokens_estimated": True, "cost_usd": None, "retries": 0,
            "latency_ms": {"p50": 0.5, "p95": 20.0, "p99": 30.0},
        }
    ],
    "diversity": {"accepted": {"vendi_embedding": 2.5}},
    "human_share": 0.0,
    "cost_usd": 0.5,
        "warnings": [],
    "exports": {"jsonl": {"files": {"rows": "rows.jsonl"}, "rows": 2, "left_out": {"why": 1}}},
    "this_run": {"seconds": 1.0, "calls": 1, "answers": 1, "replayed": 0, "stages_reused": 0},
}  # fmt: skip


def printed(thing):
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=False)
    console.print(thing) if not callable(thing) else thing(console)
    text = stream.getvalue()
    text.encode()  # as a terminal would
    assert not [c for c in text if c in "\x1b\x07\u202e\u2028"]
    return text


@pytest.fixture
def show(tmp_path):
    """What `karat show` prints of a report."""

    def showing(report):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        (tmp_path / "report.json").write_bytes(orjson.dumps(report))
        return printed(lambda console: print_report(console, Run(tmp_path)))

    return showing


def test_a_report_is_shown(show):
    text = show(REPORT)
    for words in (
        "x: 2 accepted, 1 dropped",
        "1 bad",
        "price unknown",
        "effective number (Vendi score) 2.5",
        "~1",
        "$0.5",
    ):
        assert words in text
    assert "rows.jsonl  (2 rows; left out: 1 why)" in text
    assert "earlier form" not in text


def test_results_of_an_earlier_form_of_the_recipe_are_said_to_be(show):
    assert "earlier form of the recipe" in show({**REPORT, "recipe_hash": "00"})


@pytest.mark.parametrize("place", ["name", "warning", "model", "score", "label", "reason", "file"])
def test_words_of_others_are_text_on_the_terminal(show, place):
    report, evil = copy.deepcopy(REPORT), EVIL.removesuffix("\ud800")
    if place == "name":
        report["name"] = evil
    elif place == "warning":
        report["warnings"] = [evil]
    elif place == "model":
        report["models"][0]["model"] = evil
    elif place == "score":
        report["scores"] = {evil: report["scores"]["r.a"]}
    elif place == "file":
        report["exports"]["jsonl"]["files"]["rows"] = evil
    else:
        step = report["funnel"][0]
        step.update({"label": evil} if place == "label" else {"dropped": {evil: 1}})
    assert SEEN in show(report)


def test_a_plan_names_models_as_text():
    assert SEEN in printed(plan_table([StepPlan("respond", 1, 1, EVIL)]))


def test_what_is_unknown_is_never_shown_as_nothing():
    assert (money(None), money(0), money(0.01234), money(12)) == (
        "price unknown", "$0", "$0.01234", "$12.00",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (0.5, "$0.5"), (1e-5, "$0.00001"), (1.2345678e-7, "$0.0000001235"), (1e-9, "$0.000000001"),
        (0.99999, "$1"), (0.1, "$0.1"),
    ],
)  # fmt: skip
def test_little_money_is_shown_in_plain_decimals(usd, shown):
    assert money(usd) == shown


def test_a_budget_of_next_to_nothing_is_shown_in_plain_decimals():
    lines = [StepPlan("respond", 1, 1, "m", calls=1, samples=1, cost_usd=0.1)]
    assert "over the budget of $0.00001:" in printed(plan_table(lines, budget_usd=1e-5))


def test_kinds_of_calls_to_one_model_are_told_apart(show):
    report = copy.deepcopy(REPORT)
    (entry,) = report["models"]
    report["models"] = [{**entry, "kind": "chat"}, {**entry, "kind": "complete"}]
    text = show(report)
    assert "\nm  " in text
    assert "\nm (complete)  " in text
    assert "(chat)" not in text


def test_rows_of_an_export_in_several_files_are_counted_once(show, tmp_path):
    report = copy.deepcopy(REPORT)
    files = {"corpus": "beir/corpus.jsonl", "queries": "beir/queries.jsonl"}
    report["exports"]["beir"] = {"files": files, "rows": 3, "left_out": {"no passage": 2}}
    lines = show(report).splitlines()
    place = lines.index("beir      3 rows; left out: 2 no passage")
    assert lines[place + 1 : place + 3] == [
        f"          {tmp_path / name}" for name in files.values()
    ]
    assert sum("3 rows" in line for line in lines) == 1


def test_what_the_share_of_people_counts_is_said(show):
    assert "rows whose prompt and answer people wrote: 0%\ncost so far: $0.5" in show(REPORT)


def test_what_steps_counted_is_told_so_that_it_can_be_understood(show):
    report = copy.deepcopy(REPORT)
    report["funnel"][0]["notes"] = {"counts": {"items": 60, "not usable": 0}}
    assert "topics: 60 items listed, 0 not usable" in show(report)


EFFECT = {"value": 0.5, "low": 0.2, "high": 0.8}


def voice(effect, value="plainly"):
    return {"value": value, "rows": 2, "accepted": 1, "share": 0.5, "score": 1.0, "effect": effect}


def test_variety_is_told_only_where_its_effect_was_tested(show):
    untested = show({**REPORT, "variety": {"tone": [voice(None), voice(None, "warmly")]}})
    assert "voice" not in untested
    assert "axes" not in untested
    assert "plainly" not in untested
    unclear = show({**REPORT, "variety": {"tone": [voice({**EFFECT, "low": -0.1}), voice(None)]}})
    assert "effect on reward" not in unclear
    assert "0 of 1 have a clear effect" in unclear
    clear = show({**REPORT, "variety": {"tone": [voice(EFFECT), voice(None)]}})
    assert "effect on reward" in clear
    assert "tone: plainly" in clear


def test_counts_of_one_thing_stand_together():
    counts = {"a: failed": 1, "b: passed": 2, "a: passed": 1200, "plain": 3}
    report = {"funnel": [{"label": "verify", "notes": {"counts": counts}}, {"label": "read"}]}
    (line,) = yields(report)
    assert line.plain == "verify: a: 1 failed, 1,200 passed; b: 2 passed; 3 plain"
