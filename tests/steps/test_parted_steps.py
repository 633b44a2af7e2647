"""The other table steps on the parts of a table: rows, notes and warnings as of one file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from parting import same

from karat.curation import collapse
from karat.row import Message, Response, Row
from karat.steps import _graded, _guarding
from karat.steps.cross_validate import cross_validate
from karat.steps.debias import debias
from karat.steps.decontaminate import decontaminate
from karat.steps.filters import filters
from karat.steps.meter import meter
from karat.steps.mix import mix
from karat.steps.select import select

WORDS = [
    "light", "air", "sky", "blue", "short", "long", "wave", "scatter", "more", "than", "other",
    "water", "green", "red", "glass", "sun", "moon", "field", "horse", "river", "stone", "winter",
    "summer", "letter", "number", "answer", "question", "reason", "because", "when", "how", "not",
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("karat.columns.READ_ROWS", 16)


def said(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def written(count: int, seed: int = 0) -> list[Row]:
    rng, rows = random.Random(seed), []
    for number in range(count):
        responses = []
        for place in range(rng.choice([0, 1, 2, 4, 4, 4])):
            text = rng.choice(["", "Mail jo.smith@gmail.com.", *["# Why\n\n- " * (place > 2)] * 8])
            text += said(rng, rng.randrange(5, 60)) if "@" not in text else ""
            base = rng.gauss(2, 1) + len(text) / 500
            scores = {
                "hs.reward": base, "hs.score": abs(base) % 4, "s.score": rng.gauss(0, 3) + base,
                "bt.reward": 1e7 + base / 3,
            }  # fmt: skip
            if rng.random() < 0.05:
                del scores["s.score"]
            kept = rng.choice([None, None, None, True, False])
            model = ("openai/gpt-4o", "anthropic/claude", "m")[place % 3]
            responses.append(Response(text, model, place, scores=scores, kept=kept))
        meta: dict[str, Any] = {"task": f"t{number % 3}"} | ({"round": 1} if number % 4 else {})
        rows.append(
            Row(
                f"row{number}", [Message("user", said(rng, 15))], responses, meta=meta,
                source="human" if number % 9 == 0 else "synthetic",
                dropped="gone" if number % 17 == 5 else None,
            )
        )  # fmt: skip
    return rows


@pytest.mark.parametrize("params", [
    {}, {"on": "prompt", "rules": [{"length": {"max_words": 14}}, "gopher"]},
    {"on": "conversation", "rules": ["pii", "repetition", "length"]},
])  # fmt: skip
def test_filters(tmp_path: Path, params: dict[str, Any]) -> None:
    rows, notes = same(tmp_path, filters, written(50), **params)
    assert notes["failed"] > 0
    told = [row for row in rows if "filtered" in row.meta or "filters: " in (row.dropped or "")]
    assert len(told) > 3


def test_filters_that_turn_down_nothing_here_keep_what_passes_there(tmp_path: Path) -> None:
    good = [Row(f"row{i}", [], [Response("All is well here.")]) for i in range(6)]
    good[5].responses.append(Response("Mail jo.smith@gmail.com."))
    rows, _ = same(tmp_path, filters, good, rules=["pii"])
    assert [[one.kept for one in row.responses] for row in rows] == [[True]] * 5 + [[True, False]]


@pytest.mark.parametrize("params", [
    {"by": "hs.reward"}, {"by": "bt.reward", "on": ["length", "format"], "unit": "words"},
    {"by": "x.reward"},
])  # fmt: skip
def test_debias(tmp_path: Path, params: dict[str, Any]) -> None:
    rows, notes = same(tmp_path, debias, written(60), **params)
    found = [one.scores for row in rows for one in row.responses if row.dropped is None]
    key = f"{params['by']}_debiased"
    assert sum(key in scores for scores in found) == notes["graded"]
    assert (notes["graded"] > 0) == (params["by"] != "x.reward")


@pytest.mark.parametrize("params", [
    {}, {"action": "flag", "on": "conversation", "looks_like": 0.6, "n": 8},
    {"common": 0.05, "n": 5, "on": "response"},
])  # fmt: skip
def test_decontaminate(tmp_path: Path, params: dict[str, Any]) -> None:
    rows = written(60)
    live = [row for row in rows if row.dropped is None and row.responses]
    asked = [row.prompt for row in live[::7]] + [live[3].responses[0].content, "Why? " * 20]
    for row in live[10:25]:  # in more rows than are never common
        row.responses[0].content += " The very same five words stand here, once more and again."
    asked.append("The very same five words stand here once more")
    items = "".join(json.dumps({"question": text}) + "\n" for text in asked)
    (tmp_path / "set.jsonl").write_text(items, encoding="utf-8")
    after, notes = same(tmp_path, decontaminate, rows, against=["set.jsonl"], **params)
    hit = [row for row in after if "contaminated" in row.meta]
    assert len(hit) == notes["contaminated"] + notes["looks_like"] > 0
    assert notes["benchmarks"][0]["examples"]
    assert all(bool(row.dropped) == (params.get("action") != "flag") for row in hit)


def lines(path: Path, rows: list[Row], **more: Any) -> None:
    records = [
        {"prompt": row.prompt, "response": row.responses[0].content, **row.meta, **more}
        for row in rows
        if row.responses and row.responses[0].content
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")


@pytest.mark.parametrize("params", [
    {"human": "human.jsonl"},
    {"human": {"human.jsonl": 2, "more.jsonl": 1}, "share": 0.5, "per": ["task"]},
    {"human": "human.jsonl", "given": {"code.jsonl": 0.2}, "weigh": "tokens", "per": ["task"]},
    {"human": "human.jsonl", "previous": ["before.jsonl"], "caps": {"human.jsonl": 3}},
    {"previous": ["before.jsonl", "code.jsonl"], "per": ["none"], "floor": 0.0},
])  # fmt: skip
def test_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]) -> None:
    monkeypatch.setattr(_guarding, "MOST", 40)
    monkeypatch.setattr(collapse, "LEAST_WORDS", 100)
    rows = written(150)
    for number, name in enumerate(("human", "more", "code", "before")):
        fresh = written(50, seed=number + 1)
        for row in fresh:
            row.meta = {"task": f"t{number % 2 + 2}"}
        # Some say what the table says, in parts of it that lie apart.
        lines(tmp_path / f"{name}.jsonl", [*fresh, *rows[number::20]])
    after, notes = same(tmp_path, mix, rows, **params)
    added = len(after) - len(rows)
    assert added == notes["added"] + sum(notes.get("previous", {}).values()) + sum(
        one["added"] for name, one in notes.get("files", {}).items() if name == "code.jsonl"
    )
    prompts = [row.prompt for row in after if row.dropped is None]
    assert added > 0
    assert len(set(prompts)) == len(prompts)
    assert ("guard" in notes) == ("human" in params)


@pytest.mark.parametrize("params", [
    {"by": "hs.reward", "held_out": "s.score", "most": 3}, {"by": "bt.reward", "most": 2},
    {"by": "x.reward"},
])  # fmt: skip
def test_meter(tmp_path: Path, params: dict[str, Any]) -> None:
    rows = written(40)
    after, notes = same(tmp_path, meter, rows, **params)
    assert after == rows
    assert ("curve" in notes) == (params["by"] != "x.reward")


@pytest.mark.parametrize("params", [
    {"graders": ["hs.reward", "s.score", "bt.reward"], "disagree": "drop", "tolerance": 0.3},
    {"graders": ["hs.score", "s.score"], "by": "score", "disagree": "review", "levels": 4},
    {"graders": ["hs.reward", "bt.reward"], "disagree": "keep", "tolerance": 0.2},
])  # fmt: skip
def test_cross_validate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any]
) -> None:
    monkeypatch.setattr(_graded, "SAMPLE_ROWS", 30)
    rows, notes = same(tmp_path, cross_validate, written(90), resamples=100, **params)
    told = [
        row for row in rows
        if "disagreement" in row.meta or (row.dropped or "").startswith("cross_validate: ")
    ]  # fmt: skip
    assert len(told) == (0 if params["disagree"] == "keep" else notes["disagreements"])
    assert notes["checked"] > 40


@pytest.mark.parametrize("params", [
    {"n": 12, "method": "k_center"}, {"share": 0.3, "method": "facility_location", "per": ["task"]},
    {"n": 9, "method": "deita", "by": "hs.reward", "on": "conversation"},
    {"n": 9, "method": "novelsum", "by": "hs.reward", "top_share": 0.5, "on": "response"},
    {"n": 20, "method": "quality", "by": "hs.reward", "complexity": "hs.score"},
    {"n": 500, "method": "random", "per": ["none"]},
])  # fmt: skip
def test_select(tmp_path: Path, params: dict[str, Any]) -> None:
    rows = written(60)
    if "complexity" in params:
        for one in (one for row in rows for one in row.responses):
            one.scores["hs.reward"] = abs(one.scores["hs.reward"])
    after, notes = same(tmp_path, select, rows, **params)
    assert sum(row.dropped is None for row in after) == notes["kept"] > 0


@pytest.mark.parametrize("step", [debias, decontaminate, meter, cross_validate, select, mix])
def test_no_live_rows(tmp_path: Path, step: Any) -> None:
    (tmp_path / "set.jsonl").write_text('{"question": "Why is the sky blue at noon?"}\n')
    lines(tmp_path / "human.jsonl", written(5))
    params: dict[str, Any] = {
        "debias": {"by": "hs.reward"}, "meter": {"by": "hs.reward"}, "select": {"n": 3},
        "cross_validate": {"graders": ["hs.reward", "s.score"]},
        "decontaminate": {"against": ["set.jsonl"]}, "mix": {"human": "human.jsonl"},
    }[step.name]  # fmt: skip
    gone = [Row(f"row{i}", dropped="gone") for i in range(3)]
    assert len(same(tmp_path, step, gone, [2, [0, 0]], **params)[0]) == 3
    assert same(tmp_path / "none", step, [], [3], **_here(params, tmp_path))[0] == []


def _here(params: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The parameters with files by their whole paths."""
    text = json.dumps(params).replace('"set.jsonl"', f'"{folder}/set.jsonl"')
    found: dict[str, Any] = json.loads(text.replace('"human.jsonl"', f'"{folder}/human.jsonl"'))
    return found
