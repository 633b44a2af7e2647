"""Pools of several shapes, and a reward's picks among their answers."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from karat.errors import RecipeError
from karat.inquiry import find, seen_share
from karat.lifting.pool import pool_lift, print_lines
from karat.lifting.pool_files import read_pool
from karat.rewards.head import HeadReward
from karat.rewards.head_file import pack
from karat.training._items import prompt_marks

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


def head(path, groups=None, data=("helpsteer2/ratings.jsonl",)):
    """The embedded head with the record of these prompts, or as older ones are, with none."""
    made = HeadReward("helpsteer2").head
    meta = {key: value for key, value in made.meta.items() if key != "prompts"}
    if groups is not None:
        meta["prompts"] = base64.b64encode(prompt_marks(sorted(groups)).tobytes()).decode()
    meta["data"] = dict.fromkeys(data, 1)
    path.write_bytes(pack(replace(made, meta=meta)))
    return f"embedded/{path}"


RATED = [
    {"prompt": f"What is thing {i}?", "response": text, "helpfulness": h}
    for i in range(25)
    for h, text in ((1, f"It is {i}."), (3, f"Thing {i} is a tool that people use at home."))
]  # fmt: skip


def test_a_reward_trained_on_these_prompts_is_refused_whatever_the_file_is_called(tmp_path):
    path = write(tmp_path / "unseen.jsonl", RATED)
    trained = head(tmp_path / "knows.npz", [f"what is thing {i}?" for i in range(5)])
    with pytest.raises(RecipeError, match="was trained on 20% of this pool's prompts"):
        pool_lift(path, trained, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    made = pool_lift(path, trained, contaminated=True)
    assert "(trained on 20% of these prompts: it knew those answers)" in made.verdict
    # Nor is it refused for a name alone where the record says otherwise.
    (tmp_path / "helpsteer2").mkdir()
    same = write(tmp_path / "helpsteer2/ratings.jsonl", RATED)
    other = head(tmp_path / "new.npz", [f"what is thing {i}?" for i in range(24, 400)])
    made = pool_lift(same, other)
    assert made.seen == 0.04
    assert any("was trained on 4.0% of these prompts" in line for line in print_lines(made))


def test_a_share_is_known_where_every_head_kept_a_record(tmp_path):
    groups = ["a", "b", "c", "d"]
    knows, old = head(tmp_path / "knows.npz", ["a", "x"]), head(tmp_path / "old.npz")
    assert seen_share(find(knows), groups) == 0.25
    assert seen_share(find(knows), ["y"]) == 0
    assert seen_share(find(old), groups) is None
    assert seen_share(find(knows), []) is None
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"rewards: {{all: {{reward: panel/mean, of: [{knows}.reward, {old}.reward]}}}}\n"
        "steps: [{read: {path: x}}]\n"
    )
    assert seen_share(find("all", recipe), groups) == 0.25
    assert seen_share(find("all", recipe), ["y"]) is None
    assert seen_share(find("judge/ollama/x"), groups) is None


def test_of_a_head_without_a_record_the_name_tells_and_another_name_nothing(tmp_path):
    (tmp_path / "helpsteer2").mkdir()
    path, old = write(tmp_path / "helpsteer2/ratings.jsonl", RATED), head(tmp_path / "old.npz")
    with pytest.raises(RecipeError, match=r"was trained on helpsteer2/ratings\.jsonl"):
        pool_lift(path, old)
    made = pool_lift(path, old, contaminated=True)
    assert "(trained on helpsteer2/ratings.jsonl: it knew those answers)" in made.verdict
    renamed = pool_lift(write(tmp_path / "copy.jsonl", RATED), old)
    assert renamed.seen is None
    assert any("on these prompts is not known" in line for line in print_lines(renamed))
    # A panel knows what its members know.
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"rewards: {{all: {{reward: panel/mean, of: [{old}.reward, {old}.helpfulness]}}}}\n"
        "steps: [{read: {path: x}}]\n"
    )
    with pytest.raises(RecipeError, match=r"was trained on helpsteer2/ratings\.jsonl"):
        pool_lift(path, "all", recipe=recipe)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    path = write(tmp_path / "pool.jsonl", rows())
    (tmp_path / "out").mkdir()
    (tmp_path / "out/accepted.parquet").write_text("a run's")
    with pytest.raises(RecipeError, match="is not empty: name a folder of its own"):
        pool_lift(path, REWARD, out=tmp_path / "out")


def test_pairs_without_a_prompt_are_read_as_training_reads_them(tmp_path):
    asked = "\n\nHuman: What is tin?\n\nAssistant: "
    found = read_pool(
        write(tmp_path / "hh.jsonl", [
            {"chosen": f"{asked}A metal.", "rejected": f"{asked}No idea."},
            {"prompt": "q", "response_1": "x", "response_2": "y", "preference_strength": 2},
        ])
    )  # fmt: skip
    assert [[a.human for a in one.answers] for one in found.prompts] == [[1.0, 0.0]] * 2
    assert found.prompts[0].messages[0].content == "What is tin?"
    assert found.prompts[1].answers[0].text == "y"


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
        "no answers rated by people that karat knows: its fields are text": [{"text": "hello"}],
        "no record with fields, but a int": [7],
        "none of the fields human": [{"prompt": "q", "responses": [{"content": "a"}]}],
        "no prompt has two": [{"prompt": "q", "responses": [{"content": "a", "human": 1}]}],
        "of 2 kinds": [{"prompt": "q", "chosen": "a", "rejected": "b"}, rows(1)[0]],
    }
    for told, records in cases.items():
        with pytest.raises(RecipeError, match=told):
            read_pool(write(tmp_path / "x.jsonl", records))
    tied = [{"prompt": f"q {i}", "responses": [{"content": c, "human": 1} for c in "ab"]} for i in
            range(3)]  # fmt: skip
    with pytest.raises(RecipeError, match="equally good"):
        pool_lift(write(tmp_path / "tied.jsonl", tied), REWARD, say=pytest.fail)
    with pytest.raises(RecipeError, match="no file"):
        read_pool(tmp_path / "missing.jsonl")
