"""mask in whole runs: what it writes, what it leaves, what it counts."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of

import karat
from karat.curation.pii import KINDS, find
from karat.errors import RecipeError
from karat.steps.mask import EXAMPLES, mask

PROMPT = "My number is (504) 258-2636, my mail jo.smith@gmail.com; theirs is name@example.com."


def masked(tmp_path, **params):
    line = {"prompt": PROMPT, "response": "I wrote to jo.smith@gmail.com from 93.184.216.34."}
    (tmp_path / "in.jsonl").write_text(f"{json.dumps(line)}\n", encoding="utf-8")
    steps = [
        {"read": {"path": "in.jsonl", "prompt": "prompt", "response": "response"}},
        {"mask": params},
    ]
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({"name": "mask", "steps": steps}), encoding="utf-8")
    karat.run(karat.Recipe.load(file), tmp_path / "out")
    [row] = rows_of(tmp_path / "out" / "accepted.parquet")
    return row


def test_labels(tmp_path):
    row = masked(tmp_path)
    assert row.prompt == "My number is [PHONE], my mail [EMAIL]; theirs is name@example.com."
    assert row.responses[0].content == "I wrote to [EMAIL] from [IP]."
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["funnel"][1]["notes"]["counts"] == {"email": 2, "ip": 1, "phone": 1}


def test_only_what_is_asked_for(tmp_path):
    row = masked(tmp_path, kinds=["email"], on=["response"])
    assert row.prompt == PROMPT
    assert row.responses[0].content == "I wrote to [EMAIL] from 93.184.216.34."


def test_examples_are_nobodys(tmp_path):
    row = masked(tmp_path, replace="example")
    assert row.responses[0].content == "I wrote to name@example.com from 192.0.2.1."
    assert sorted(EXAMPLES) == sorted(KINDS)
    assert all(find(f"It is {EXAMPLES[kind]}.") == [] for kind in KINDS)  # masked once and for all


@pytest.mark.parametrize("params", [{"kinds": []}, {"on": []}, {"kinds": ["name"]}])
def test_mistakes(params):
    with pytest.raises(RecipeError):
        mask.check(params)
