"""Arms choose of the same prompts, and what is held out shares none of them."""

from __future__ import annotations

import json
from importlib import resources

import pytest
from lifted import ROWS, WORDS, answers_of, lift_run

from karat.errors import RecipeError
from karat.lifting.arms import (
    candidates,
    check_arms,
    chosen,
    data_digest,
    described,
    fewer,
    lines_of,
)
from karat.lifting.graded import other_reward
from karat.lifting.held_out import held_out, references, too_near, verified

BY = "embedded/helpsteer2.reward"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return lift_run(tmp_path_factory.mktemp("arms"))


def test_all_graded_different_answers_are_candidates(run):
    found = candidates(run)
    assert found.by == BY
    assert len(found.prompts) == ROWS
    assert found.left_out == {"fewer than two different graded answers": 1}
    for prompt in found.prompts:
        # Equal but for spaces is one answer, and an empty one none.
        assert len(prompt.candidates) == len(answers_of("x")) - 2
        assert sum(one.kept for one in prompt.candidates) == 1


def test_each_arm_follows_its_rule(run):
    prompts = candidates(run).prompts
    for arm, key, pick in (
        ("best", lambda one: one.score, max), ("worst", lambda one: one.score, min),
        ("longest", lambda one: len(one.text), max), ("kept", lambda one: one.kept, max),
    ):  # fmt: skip
        for prompt, one in zip(prompts, chosen(prompts, arm, 1), strict=True):
            assert key(one) == pick(map(key, prompt.candidates))


def test_random_draws_again_for_each_seed_and_the_same_for_the_same(run):
    prompts = candidates(run).prompts
    first, again, other = (lines_of(prompts, "random", seed) for seed in (1, 1, 2))
    assert first == again != other
    assert data_digest(first) == data_digest(again) != data_digest(other)
    backwards = lines_of(prompts[::-1], "random", 1)
    assert backwards[::-1] == first
    assert lines_of(prompts, "best", 1) == lines_of(prompts, "best", 2)


def test_arms_are_the_same_prompts_in_the_same_order(run):
    prompts = fewer(candidates(run).prompts, 9)
    assert len(prompts) == 9
    asked = [[line["prompt"] for line in lines_of(prompts, arm, 1)] for arm in ("best", "random")]
    assert asked[0] == asked[1]
    assert {p.id for p in fewer(prompts, 5)} < {p.id for p in prompts}


def test_an_arm_is_described_by_what_it_is_trained_on(run):
    prompts = candidates(run).prompts
    best, random, longest = (described(prompts, a, (1, 2)) for a in ("best", "random", "longest"))
    assert best.as_best == 1
    assert best.score > random.score
    assert longest.characters >= max(best.characters, random.characters)


def test_arms_that_say_nothing_are_refused():
    for names in (["best"], ["base", "best"], ["best", "best"]):
        with pytest.raises(RecipeError, match="two or more different ones"):
            check_arms(names)
    with pytest.raises(RecipeError, match="no arm 'bset'; did you mean 'best'"):
        check_arms(["bset", "random"])


def test_a_score_nobody_gave_is_named(run):
    with pytest.raises(
        RecipeError, match=r"no answer has .*did you mean '\w+/helpsteer2\.reward'\?$"
    ):
        candidates(run, "embedded/helpsteer2.rewrad")


# --- held out ------------------------------------------------------------------------------------


def _write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("record", "verifier", "answer"),
    [
        ({"prompt": "Say {} and use no commas.", "instruction_id_list": ["punctuation:no_comma"],
          "kwargs": [{}]}, "instructions", "yes"),
        ({"question": "What is {} plus one?", "answer": "so it is #### 4"}, "math", "#### 4"),
        ({"prompt": "Write f number {}.", "tests": ["assert f() == 1"]}, "code",
         "def f(): return 1"),
    ],
    ids=["ifeval", "gsm8k", "tests"],
)  # fmt: skip
def test_files_say_by_their_fields_who_verifies(tmp_path, record, verifier, answer):
    words = WORDS[:10]
    records = [
        {k: v.format(w) if isinstance(v, str) else v for k, v in record.items()} for w in words
    ]
    found = held_out(_write(tmp_path / "eval.jsonl", records), [])
    assert (found.verifier, len(found.items)) == (verifier, 10)
    if verifier != "code":  # whose sandbox has tests of its own
        assert verified(found._replace(items=found.items[:2]), [answer, "a, b"]) == [
            (1.0, 1.0), (0.0, 0.0),
        ]  # fmt: skip


def test_what_is_near_the_training_prompts_is_left_out(tmp_path):
    texts = [f"Name {i} rivers of country number {i * 7} and say how long each of them is." for i in
             range(9)]  # fmt: skip
    texts += ["Write a poem about the autumn wind over the quiet harbour at night."]
    trained = ["write a poem about the autumn wind  over the quiet harbour at NIGHT."]
    assert too_near(texts, trained).tolist() == [False] * 9 + [True]
    records = [{"prompt": t, "constraints": []} for t in texts]
    found = held_out(_write(tmp_path / "eval.jsonl", records), trained)
    assert (len(found.items), found.near) == (9, 1)
    with pytest.raises(RecipeError, match="too near"):
        held_out(tmp_path / "eval.jsonl", texts[:5])
    with pytest.raises(RecipeError, match="no prompt says what to verify"):
        held_out(_write(tmp_path / "plain.jsonl", [{"prompt": "hello"}] * 9), [])


def test_references_are_helpful_answers(tmp_path):
    rated = [
        {"prompt": f"What is number {i} called?", "response": f"answer {i}", "helpfulness": h}
        for i in range(10)
        for h in [4 if i else 1]
    ]
    for one in rated:
        one |= {"correctness": 3, "coherence": 3, "complexity": 1, "verbosity": 1}
    found = references(_write(tmp_path / "hs.jsonl", rated), [])
    assert [one.answer for one in found] == [f"answer {i}" for i in range(1, 10)]
    tasks = [{"instruction": f"Do {i}", "instances": [{"input": "x", "output": f"y{i}"}]} for i in
             range(8)]  # fmt: skip
    assert (
        references(_write(tmp_path / "si.jsonl", tasks), [])[0].messages[0].content == "Do 0\n\nx"
    )


def test_the_reward_that_chose_may_not_judge(run, tmp_path):
    with pytest.raises(RecipeError, match="its own taste"):
        other_reward("embedded/helpsteer2", run, BY)
    # By its weights, not by its name, and also where a sum of scores chose; a check is no reward.
    head = resources.files("karat.rewards.assets") / "helpsteer2.npz"
    (tmp_path / "another.npz").write_bytes(head.read_bytes())
    for name, by in ((f"embedded/{tmp_path}/another.npz", BY), ("embedded/helpsteer2", "weighted")):
        with pytest.raises(RecipeError, match="its own taste"):
            other_reward(name, run, by)
    assert other_reward("embedded/helpsteer2", run, "verifier.instructions").note == ""
