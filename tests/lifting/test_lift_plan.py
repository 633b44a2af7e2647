"""A plan is written first and kept; a budget is kept; the first sentence is plain."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from karat.errors import RecipeError
from karat.lifting.measured import measure
from karat.lifting.plan import (
    Asked,
    Plan,
    contrasts_of,
    in_words,
    power_of,
    read_plan,
    sealed,
    write_plan,
)
from karat.lifting.report import markdown, page
from karat.lifting.result import ArmTold, Lift
from karat.lifting.sizing import FEWEST_PROMPTS, FEWEST_ROWS, Speeds, fit, minutes_of
from karat.lifting.verdict import cautions, moved, shorter, told_p, verdict

ARMS = ("best", "random", "longest", "base")
ASKED = Asked(
    run="runs/x", by=None, student="s", arms=ARMS, seeds=3, rows=None, held_out="eval.jsonl",
    prompts=None, reward=None, references=None, max_tokens=80, budget_minutes=None,
    settings={"epochs": 2.0},
)  # fmt: skip


def plan(**more):
    power = power_of(np.array([0.0, 1.0] * 30), 60, 3, 3, 0.015)
    return sealed(Plan(**{
        "made": "2026-01-01T00:00:00+00:00", "asked": ASKED, "ranking": "r.reward", "rows": 40,
        "seeds": (1, 2, 3), "epochs": 2.0, "prompts": 60, "near": 2, "references": 0,
        "verifier": "instructions", "measure": "share", "contrasts": contrasts_of(ARMS),
        "data": {"best": ["a"]}, "held_out": "b", "base_mean": 0.5, "power": power, "small": 197,
        "versions": {"karat": "0"}, "command": "karat lift", **more,
    }))  # fmt: skip


def test_a_plan_is_found_again_and_never_changed(tmp_path):
    made = plan()
    assert read_plan(tmp_path, ASKED) is None
    write_plan(tmp_path, made)
    assert read_plan(tmp_path, ASKED) == made
    whole = msgspec.structs.replace(ASKED, budget_minutes=30)  # which a file reads as 30.0
    (tmp_path / "whole").mkdir()
    write_plan(tmp_path / "whole", plan(asked=whole))
    assert read_plan(tmp_path / "whole", whole) is not None
    other = msgspec.structs.replace(ASKED, seeds=5)
    with pytest.raises(RecipeError, match=r"planned otherwise .seeds 3, now 5"):
        read_plan(tmp_path, other)
    text = (tmp_path / "plan.json").read_text().replace('"rows": 40', '"rows": 41')
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(RecipeError, match="was changed since it was written"):
        read_plan(tmp_path, ASKED)


def test_the_date_is_no_part_of_what_is_planned():
    assert plan().digest == plan(made="2027-01-01T00:00:00+00:00").digest
    assert plan().digest != plan(rows=41).digest
    assert any("would be found 80% of the time" in line for line in in_words(plan()))


def test_the_first_arm_meets_each_other_one():
    assert contrasts_of(ARMS) == (("best", "random"), ("best", "longest"), ("best", "base"))


# --- sizes ---------------------------------------------------------------------------------------

SPEEDS = Speeds(row_s=1.5, answer_s=1.0, reference_s=0.5, student_s=10.0)


@pytest.mark.parametrize("budget", [20, 45, 90, 600])
def test_a_budget_is_kept_and_used(budget):
    size = fit(budget, SPEEDS, arms=3, seeds=3, epochs=2, rows=400, prompts=300)
    assert size.minutes <= budget
    assert size.rows >= FEWEST_ROWS
    assert size.prompts >= FEWEST_PROMPTS
    assert size.minutes == pytest.approx(
        minutes_of(SPEEDS, 3, size.rows, size.prompts, size.seeds, 2, 0)
    )
    if size.rows < 400 and size.prompts < 300:
        assert size.minutes > 0.75 * budget


def test_references_get_their_share_or_none():
    whole = {"arms": 3, "seeds": 3, "epochs": 2, "rows": 400, "prompts": 300, "references": 100}
    assert fit(20, SPEEDS, **whole).references >= 8
    assert fit(90, SPEEDS, **whole).references == 100
    slow = Speeds(1.5, 1.0, 5.0, 10.0)
    assert fit(20, slow, **whole).references == 0


def test_seeds_give_way_before_it_is_refused():
    whole = {"arms": 4, "epochs": 2, "rows": 400, "prompts": 300}
    # 24 rows and 24 prompts with three seeds are 22 minutes, with two 15.
    assert fit(20, SPEEDS, seeds=3, **whole).seeds == 2
    with pytest.raises(RecipeError, match=r"too little.*take about"):
        fit(5, SPEEDS, seeds=3, **whole)


def test_all_there_is_is_taken_where_there_is_time():
    size = fit(10_000, SPEEDS, arms=2, seeds=3, epochs=1, rows=40, prompts=50)
    assert (size.rows, size.prompts, size.seeds) == (40, 50, 3)


# --- the sentence --------------------------------------------------------------------------------


def measured(shift, seed=0, role="primary", name="share"):
    random = np.random.default_rng(seed)
    common_P = random.random(60)
    values = {
        arm: [np.clip(common_P + random.normal(0, 0.05, 60) + (shift if arm == "best" else 0),
                      -1, 2).tolist() for _ in range(1 if arm == "base" else 3)]
        for arm in ARMS
    }  # fmt: skip
    found = measure(name, role, values, contrasts_of(ARMS), 100.0, "points")
    assert found is not None
    return found


def test_nothing_shown_is_said_first_and_with_what_could_have_been():
    said = verdict(measured(0.0))
    assert said.startswith("Nothing was shown: best-by-reward − random-of-n = ")
    assert "would have been missed more than one time in five." in said
    assert "Holm p = " in said


def test_what_is_shown_says_in_which_direction():
    assert verdict(measured(0.2)).startswith("Shown: best-by-reward − random-of-n = +")
    assert verdict(measured(-0.2)).startswith("Shown to be worse: ")
    once = {arm: [[shift] * 11 + [0.0] * 9] for arm, shift in (("best", 1.0), ("random", 0.0))}
    one = measure("share", "primary", once, [("best", "random")], 100.0, "points")
    assert verdict(one).startswith("Shown of these two students alone: best-by-reward")


def test_a_handful_of_prompts_shows_nothing_however_alike_they_are():
    few = {"best": [[1.0] * 4] * 3, "random": [[0.0] * 4] * 3}
    one = measure("share", "primary", few, [("best", "random")], 100.0, "points")
    assert verdict(one).startswith(
        "Nothing was shown: best-by-reward − random-of-n = +100.0 points"
    )
    assert "4 prompts are too few" in verdict(one)


def test_students_that_do_the_same_tell_nothing():
    values = {arm: [[1.0] * 20] * (1 if arm == "base" else 3) for arm in ARMS}
    one = measure("share", "primary", values, contrasts_of(ARMS), 100.0, "points")
    assert "cannot tell them apart" in verdict(one)


def test_prompts_without_a_value_are_left_out_of_all_arms():
    nan = float("nan")
    values = {"best": [[1.0, nan, 0.0, 1.0]], "random": [[0.0, 1.0, 0.0, nan]]}
    one = measure("m", "also", values, [("best", "random")])
    assert (one.prompts, one.left_out) == (2, 2)
    assert one.contrasts[0].effect.difference.value == 0.5
    assert measure("m", "also", {"best": [[nan, 1.0]], "random": [[1.0, 1.0]]}, []) is None


def test_a_measure_that_does_not_decide_is_named_as_one():
    found = cautions(plan(), [measured(0.0), measured(0.3, 1, "secondary", "other.reward")], [])
    assert any("by other.reward there is a difference, " in line for line in found)
    assert any("trained once" in line for line in cautions(plan(seeds=(1,)), [measured(0.0)], []))
    assert any(
        "does nothing" in line for line in cautions(plan(base_mean=0.0), [measured(0.0)], [])
    )
    two = cautions(plan(seeds=(1, 2)), [measured(0.0)], [])
    assert any("for one of 3 up to 25%" in line for line in two)


def test_arms_that_lost_prompts_are_named():
    assert shorter(plan(), {"best": 40, "random": 40}) == []
    (told,) = shorter(plan(), {"best": 40, "longest": 37})
    assert told.startswith("arms are not of the same prompts: of 40, longest 37 had")


def test_libraries_that_changed_on_the_way_are_named():
    begun = plan(versions={"karat": "0", "torch": "1"})
    assert moved(begun, {"karat": "1", "torch": "1", "peft": "2"}) == []
    (told,) = moved(begun, {"karat": "0", "torch": "2"})
    assert told.endswith("torch 1, now 2")


def test_seeds_that_move_more_than_prompts_are_told():
    values = {
        arm: [[level] * 20 + [level + 0.1] * 20 for level in levels]
        for arm, levels in (("best", (0.1, 0.5, 0.9)), ("random", (0.9, 0.2, 0.1)))
    }
    one = measure("share", "primary", values, [("best", "random")], 100.0, "points")
    assert any("seeds differ more than prompts do" in line for line in cautions(plan(), [one], []))


@pytest.mark.parametrize(
    ("p", "told"), [(0.0004, "p < .001"), (0.0123, "p = .012"), (0.614, "p = .61"), (1, "p = 1.00")]
)
def test_p_is_written_as_journals_do(p, told):
    assert told_p(p) == told


def test_pages_begin_with_the_sentence_and_hold_every_measure():
    measures = [measured(0.0), measured(0.1, 1, "secondary", "o<b>.reward")]
    arms = {arm: ArmTold(None, 0, 0, 0, 0, []) for arm in ARMS}
    made = Lift(verdict(measures[0]), plan(), "now", measures, arms, {}, ["a & b"], 60.0, 0.0)
    text, html = markdown(made), page(made)
    assert text.startswith(f"**{made.verdict}**")
    assert html.index("Nothing was shown") < html.index("<table")
    assert "o&lt;b&gt;.reward" in html
    assert "a &amp; b" in html
    assert "<script" not in html
    assert html.count('class="whisker"') == 2 * len(made.plan.contrasts)
    assert made.plan.digest[:12] in text
