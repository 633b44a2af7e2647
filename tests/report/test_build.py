"""report.json: every figure the issue names, counted again by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import rows_of
from server import Server

import karat
from karat.report.build import _Spread

STEPS = [
    {"read": {"path": "prompts.jsonl"}},
    {"respond": {"models": ["teacher"], "n": 4, "temperature": 1.0}},
    {"grade": {"reward": "length"}},
    {"reject": {"by": "length.reward", "best": 1, "minimum": 1.5}},
]


@pytest.fixture
def run(make_recipe, tmp_path, length_reward):
    def script(number, body):
        if body["messages"][-1]["content"] == "What is number 1?":
            return 400, b'{"error": "no"}', {}
        return (500, b"", {}) if number in (3, 5) else None

    with Server(script=script, slow=lambda number, body: number / 1000) as server:
        path = make_recipe(
            server.model(price={"input": 2, "output": 3}, concurrency=4), 40, STEPS,
            rewards={"length": "x/y"},
        )  # fmt: skip
        made = karat.run(path, tmp_path / "out")
        made.sent = len(server.requests)
    return made


def test_rows_in_dropped_by_step_and_reason_and_accepted(run):
    report, dropped = run.report, rows_of(run.dropped_file)
    assert report["rows"]["in"] == 40
    assert report["rows"]["accepted"] + report["rows"]["dropped"] == 40
    assert report["rows"]["accepted"] == len(rows_of(run.accepted_file)) > 0
    by_step = {step["label"]: step for step in report["funnel"]}
    assert by_step["respond"]["dropped"] == {"call failed": 1}
    assert sum(by_step["reject"]["dropped"].values()) == len(dropped) - 1 > 0


def test_what_each_model_did(run):
    (model,) = [m for m in run.report["models"] if m["role"] == "teacher"]
    assert (model["model"], model["calls"], model["samples"]) == ("openai/loop", 39, 156)
    assert (model["prompt_tokens"], model["completion_tokens"]) == (390, 39 * 28)
    assert model["cost_usd"] == pytest.approx((390 * 2 + 39 * 28 * 3) / 1e6, abs=1e-12)
    assert (model["retries"], model["errors"]) == (2, 1)
    latency = model["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert run.report["cost_usd"] == model["cost_usd"]
    (reward,) = [m for m in run.report["models"] if m["role"] == "reward"]
    assert (reward["samples"], reward["cost_usd"], reward["errors"]) == (156, 0, 0)


def test_distributions_of_all_candidates_and_of_accepted_ones(run):
    accepted = rows_of(run.accepted_file)
    everything = [r for row in accepted + rows_of(run.dropped_file) for r in row.responses]
    chosen = [r for row in accepted for r in row.responses if r.kept]
    assert set(run.report["scores"]) == {"length.length", "length.reward"}
    for key, found in run.report["scores"].items():
        for name, responses in (("all", everything), ("accepted", chosen)):
            values = np.array([r.scores[key] for r in responses])
            assert found[name]["count"] == len(values)
            assert found[name]["mean"] == pytest.approx(values.mean(), abs=1e-12)
            assert found[name]["sd"] == pytest.approx(values.std(), abs=1e-9)
            assert (found[name]["min"], found[name]["max"]) == (values.min(), values.max())
            assert found[name]["p50"] == pytest.approx(np.median(values))
            assert sum(found[name]["histogram"]["counts"]) == len(values)
    scores = run.report["scores"]["length.reward"]
    assert scores["accepted"]["mean"] > scores["all"]["mean"]


def test_seed_versions_and_recipe_hash(run, make_recipe, tmp_path):
    report = run.report
    assert (report["name"], report["seed"]) == ("test", 7)
    assert {"python", "pyarrow", "numpy", "httptools"} <= set(report["versions"])
    assert len(report["recipe_hash"]) == 32
    assert report["ranking"] == "length.reward"


def test_the_hash_is_the_recipes(make_recipe, tmp_path):
    hashes = []
    for number, seed in enumerate([7, 7, 8]):
        path = make_recipe(rows=3, steps=[{"read": {"path": "prompts.jsonl"}}], seed=seed)
        hashes.append(karat.run(path, tmp_path / f"out{number}").report["recipe_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_diversity_of_prompts_is_there_and_finite(run):
    spread = run.report["diversity"]["accepted"]
    assert spread["rows"] == run.report["rows"]["accepted"]
    assert all(np.isfinite(value) for value in spread.values())


def test_rows_in_of_a_recipe_that_begins_with_a_model_are_those_it_made(make_recipe, tmp_path):
    steps = [{"topics": {"given": ["art", "music", "law"]}}]
    rows = karat.run(make_recipe(steps=steps), tmp_path / "out").report["rows"]
    assert rows == {"in": 3, "accepted": 3, "dropped": 0}


@pytest.mark.parametrize(("bad", "words"), [(0, None), (1, "1 row waits"), (2, "2 rows wait")])
def test_rows_whose_calls_failed_are_told_of(make_recipe, user_module, tmp_path, bad, words):
    user_module(
        "mine_wait",
        "@step\nasync def f(row, ctx):\n"
        f" if row.meta['number'] < {bad}: raise RowError('no')\n"
        " if row.meta['number'] == 5: row.dropped = 'bad'\n return row\n",
    )
    steps = [{"read": {"path": "prompts.jsonl"}}, "mine_wait:f"]
    warnings = karat.run(make_recipe(steps=steps), tmp_path / "out").report["warnings"]
    told = [warning for warning in warnings if "another try" in warning]
    assert told == ([f"{words} for another try: run again"] if words else [])


@pytest.mark.parametrize("human", [0, 3, 10])
def test_the_human_share_counts_rows_written_by_people(make_recipe, tmp_path, human):
    path = make_recipe(steps=[{"read": {"path": "mixed.jsonl"}}])
    people = {"source": "human", "model": ""}
    lines = [
        {"prompt": f"p{i}", "response": f"a{i}", "source": "synthetic", "model": "m"}
        for i in range(10)
    ]
    for line in lines[:human]:
        line.update(people)
    (tmp_path / "mixed.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = karat.run(path, tmp_path / "out").report
    share = sum(
        row.source == "human" and row.responses[0].model == ""
        for row in rows_of(tmp_path / "out" / "accepted.parquet")
    )
    assert report["human_share"] == pytest.approx(share / 10)
    warned = any("human" in warning for warning in report["warnings"])
    assert warned == (share < 1)


def test_nothing_accepted_still_makes_a_report(make_recipe, user_module, tmp_path):
    user_module("mine_all", "@step\nasync def f(row, ctx):\n row.dropped = 'no'\n return row\n")
    report = karat.run(
        make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, "mine_all:f"]), tmp_path / "out"
    ).report
    assert report["rows"]["accepted"] == 0
    assert any("no row was accepted" in warning for warning in report["warnings"])
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("value", [0.0, 4.0, -3.5, 1e6, -1e12, 1e-12])
def test_a_constant_score_of_any_size_has_a_distribution(value):
    spread = _Spread()
    spread.add(np.full(10, value))
    found = spread.summary()
    assert (found["count"], found["min"], found["max"]) == (10, value, value)
    assert found["mean"] == pytest.approx(value)
    assert found["sd"] == 0
    assert sum(found["histogram"]["counts"]) == 10


def test_a_small_spread_far_from_zero_is_not_lost():
    values, spread = 1e9 + np.arange(1000) / 1000, _Spread()
    for part in np.array_split(np.append(values, [np.nan, np.inf]), 7):
        spread.add(part)
    found = spread.summary()
    assert found["count"] == 1000
    assert found["sd"] == pytest.approx(values.std(), rel=1e-6)


def test_moments_are_exact_and_quantiles_close_beyond_the_sample(monkeypatch):
    monkeypatch.setattr("karat.report.build.SCORE_SAMPLE", 500)
    values, spread = np.random.default_rng(0).normal(2, 1, 20_000), _Spread()
    for part in np.array_split(values, 37):
        spread.add(np.append(part, np.nan))
    found = spread.summary()
    assert found["count"] == 20_000
    assert found["mean"] == pytest.approx(values.mean(), abs=1e-12)
    assert found["p50"] == pytest.approx(np.median(values), abs=0.2)
    assert sum(len(part) for part in spread.sample) <= 1000
