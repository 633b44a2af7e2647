"""A whole lift with a tiny model: planned first, gone on with where it stopped, told plainly."""

from __future__ import annotations

import json

import pytest
from later import later
from lifted import WORDS, lift_run
from tiny_model import tiny_model

from karat.errors import RecipeError
from karat.lifting.command import carry_out
from karat.lifting.lift import lift
from karat.lifting.workshop import Workshop
from karat.training.student_settings import Settings

later("torch", "trl")

REWARD = "embedded/helpsteer2"
HELD = [
    {"prompt": f"Describe the {word} without letters of kind {i}, in your words.",
     "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"],
     "kwargs": [{}, {}]}
    for i, word in enumerate(WORDS)
]  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_lift_from_plan_to_page(tmp_path, monkeypatch):
    run = lift_run(tmp_path)
    base = str(tiny_model(tmp_path / "base"))
    held = tmp_path / "eval.jsonl"
    held.write_text("".join(json.dumps(one) + "\n" for one in HELD), encoding="utf-8")
    people = tmp_path / "people.jsonl"
    people.write_text("".join(
        json.dumps({"prompt": f"Question {w}?", "response": f"The answer is {w}."}) + "\n"
        for w in WORDS
    ))  # fmt: skip
    asked = {
        "student": base, "out": tmp_path / "lift", "held": held, "human": people,
        "arms": ("best", "random"), "seeds": 1, "max_tokens": 8, "command": "karat lift",
        "settings": Settings(epochs=1.0, batch_size=4),
    }  # fmt: skip

    # Stopped in the second student: the plan is there, and what was trained.
    real = Workshop.student

    def stopped(self, arm, *rest):
        if arm == "random":
            raise KeyboardInterrupt
        return real(self, arm, *rest)

    monkeypatch.setattr(Workshop, "student", stopped)
    with pytest.raises(KeyboardInterrupt):
        lift(run.path, **asked)
    monkeypatch.undo()
    plan = json.loads((tmp_path / "lift/plan.json").read_bytes())
    assert not (tmp_path / "lift/lift.json").exists()
    first = tmp_path / "lift/arms/best/seed-1/adapter_model.safetensors"
    written = first.stat().st_mtime_ns

    said: list[str] = []
    made = lift(run.path, **asked, say=said.append)
    assert first.stat().st_mtime_ns == written
    assert made.plan.digest == plan["digest"]
    assert made.plan.made == plan["made"]
    assert set(made.arms) == {"best", "random"}
    assert made.arms["best"].tokens > 0
    assert made.arms["best"].rows == len(WORDS) == made.plan.rows
    names = [one.name for one in made.measures]
    assert names[0] == "share of instructions followed (strict)"
    assert "log-likelihood of human references" in names
    assert any("trained once" in line for line in made.cautions)
    told = json.loads((tmp_path / "lift/lift.json").read_bytes())
    assert told["verdict"] == made.verdict
    assert told["plan"]["digest"] == plan["digest"]
    assert (tmp_path / "lift/lift.html").read_text().startswith("<!doctype html>")

    again = lift(run.path, **asked)
    assert again.measures == made.measures
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text("".join(f'{{"question": "{w}?", "answer": ""}}\n' for w in WORDS))
    with pytest.raises(RecipeError, match="can decide on 0 of the base's 12 answers"):
        lift(run.path, **{**asked, "held": unknown, "out": tmp_path / "other"})
    with pytest.raises(RecipeError, match="planned otherwise"):
        lift(run.path, **{**asked, "max_tokens": 9})


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path):
    run = lift_run(tmp_path)
    with pytest.raises(RecipeError, match="--eval FILE"):
        lift(run.path, student="x")
    with pytest.raises(RecipeError, match="is not a run"):
        lift(tmp_path / "nothing", student="x")


def test_what_is_refused_leaves_no_folder_and_no_other_run_is_written_into(tmp_path):
    run = lift_run(tmp_path)
    held = tmp_path / "eval.jsonl"
    held.write_text("".join(json.dumps(one) + "\n" for one in HELD), encoding="utf-8")
    for change in ({"by": "no.score"}, {"student": "embedded/no-such"}, {"reward": REWARD}):
        asked = {"student": "embedded/no-such", "held": held, "out": tmp_path / "out", **change}
        with pytest.raises(RecipeError):
            lift(run.path, **asked)
        assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="is not empty: name a folder of its own in -o"):
        lift(run.path, student="x", held=held, out=run.path)
    assert not (run.path / "plan.json").exists()


def test_options_that_the_other_form_has_no_use_for_are_refused(tmp_path):
    asked = {"student": "x", "seeds": 2, "learning_rate": None, "reward": REWARD}
    with pytest.raises(RecipeError, match="no use for --student, --seeds"):
        carry_out(None, tmp_path, asked, ["student", "seeds", "reward"], "", print, print)
    with pytest.raises(RecipeError, match="not both"):
        carry_out(tmp_path, tmp_path, asked, [], "", print, print)
    with pytest.raises(RecipeError, match="about a --pool"):
        carry_out(tmp_path, None, asked, ["contaminated"], "", print, print)
