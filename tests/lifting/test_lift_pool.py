"""Pools of several shapes, and a reward's picks among their answers."""

from __future__ import annotations

import json

import pytest

from karat.errors import RecipeError
from karat.lifting.pool import pool_lift, print_lines
from karat.lifting.pool_files import read_pool

REWARD = "embedded/helpsteer2"


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path


def rows(count=30):
    """Longer answers are better to people, in these rows, and told to be by two models."""
    topics = ("bread", "rivers", "engines", "poems", "maps")
    return [
        {"prompt": f"Explain {topics[i % 5]} to a child, version {i}.", "responses": [
            {"content": "No.", "model": "weak", "human": 0},
            {"content": f"{topics[i % 5]} are things people use.", "model": "weak", "human": 1},
            {"content": f"Think of {topics[i % 5]} like this: people need them every day. They are "
             "made with care, and you can see them in your town.", "model": "strong", "human": 2},
        ]}
        for i in range(count)
    ]  # fmt: skip


def test_a_reward_that_agrees_with_people_is_shown_to(tmp_path):
    path = write(tmp_path / "pool.jsonl", rows())
    made = pool_lift(path, REWARD, out=tmp_path / "out", command="karat lift --pool")
    assert made.verdict.startswith("Shown: best-of-3 by embedded/helpsteer2.reward − random = +")
    assert [rung.n for rung in made.rungs] == [2, 3]
    assert list(made.models) == ["strong", "weak"]
    assert made.models["strong"].people.value == 1
    told = json.loads((tmp_path / "out/pool.json").read_text())
    assert told["verdict"] == made.verdict
    assert (tmp_path / "out/pool.md").read_text().startswith(f"**{made.verdict}**")
    again = pool_lift(path, REWARD, out=tmp_path / "out", command="karat lift --pool")
    assert again.rungs == made.rungs
    assert print_lines(made)[0] == made.verdict


def test_a_reward_trained_on_the_pool_is_refused_unless_that_is_known(tmp_path):
    rated = [
        {"prompt": f"What is thing {i}?", "response": text, "helpfulness": h}
        for i in range(25)
        for h, text in ((1, f"It is {i}."), (3, f"Thing {i} is a tool that people use at home."))
    ]
    (tmp_path / "helpsteer2").mkdir()
    path = write(tmp_path / "helpsteer2/ratings.jsonl", rated)
    with pytest.raises(RecipeError, match=r"was trained on helpsteer2/ratings\.jsonl"):
        pool_lift(path, REWARD)
    made = pool_lift(path, REWARD, contaminated=True)
    assert "(trained on helpsteer2/ratings.jsonl: it knew the answers)" in made.verdict
    # Under another name nothing is claimed; and a panel knows what its members know.
    renamed = pool_lift(write(tmp_path / "copy.jsonl", rated), REWARD)
    assert any("by the files' names alone" in line for line in print_lines(renamed))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"rewards: {{all: {{reward: panel/mean, of: [{REWARD}.reward, {REWARD}.helpfulness]}}}}\n"
        "steps: [{read: {path: x}}]\n"
    )
    with pytest.raises(RecipeError, match=r"was trained on helpsteer2/ratings\.jsonl"):
        pool_lift(path, "all", recipe=recipe)


def test_an_answer_of_several_rankings_has_their_mean_in_any_order(tmp_path):
    pairs = [{"prompt": "q", "chosen": a, "rejected": b} for a, b in ("ab", "bc")]
    for records in (pairs, pairs[::-1]):
        found = read_pool(write(tmp_path / "pool.jsonl", records)).prompts[0].answers
        assert {one.text: one.human for one in found} == {"a": 1.0, "b": 0.5, "c": 0.0}


@pytest.mark.parametrize(
    ("record", "kind", "humans"),
    [
        ({"prompts": ["q"], "responses_a": ["x"], "responses_b": ["y"], "winner": "model_b",
          "model_a": "m1", "model_b": "m2"}, "ranked", [0.0, 1.0]),
        ({"prompts": ["q"], "responses_a": ["x"], "responses_b": ["y"], "winner": "tie"}, "ranked",
         [0.5, 0.5]),
        ({"prompt": "q", "chosen": "x", "rejected": "y"}, "ranked", [1.0, 0.0]),
        ({"prompt": {"role": "prompter", "text": "q", "replies": [
            {"role": "assistant", "text": t, "rank": r} for t, r in (("a", 2), ("b", 0), ("c", 1))
        ]}}, "ranked", [0.0, 1.0, 0.5]),
        ({"prompt": "q", "responses": [{"content": "a", "score": 3}, {"content": "b", "score": 1},
          {"content": " a", "score": 0}]}, "given", [3.0, 1.0]),
    ],
    ids=["arena", "tie", "pair", "tree", "rows"],
)  # fmt: skip
def test_values_are_what_people_said(tmp_path, record, kind, humans):
    found = read_pool(write(tmp_path / "pool.jsonl", [record]))
    assert found.kind == kind
    assert [answer.human for answer in found.prompts[0].answers] == humans


def test_files_that_say_nothing_are_refused(tmp_path):
    cases = {
        "no rated answers": [{"text": "hello"}],
        "no prompt has two": [{"prompt": "q", "responses": [{"content": "a", "human": 1}]}],
        "of 2 kinds": [{"prompt": "q", "chosen": "a", "rejected": "b"}, rows(1)[0]],
    }
    for told, records in cases.items():
        with pytest.raises(RecipeError, match=told):
            read_pool(write(tmp_path / "x.jsonl", records))
    tied = [{"prompt": f"q {i}", "responses": [{"content": c, "human": 1} for c in "ab"]} for i in
            range(3)]  # fmt: skip
    with pytest.raises(RecipeError, match="equally good"):
        pool_lift(write(tmp_path / "tied.jsonl", tied), REWARD)
    with pytest.raises(RecipeError, match="no file"):
        read_pool(tmp_path / "missing.jsonl")
