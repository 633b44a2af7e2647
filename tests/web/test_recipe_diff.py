"""What two recipes have otherwise, and whether two rewards of one name are one."""

from __future__ import annotations

import pytest

from karat.web.sides.recipes import Change, changes, same_score

BASE = {
    "name": "x", "seed": 7, "folder": "/here", "models": {"t": {"model": "p/a", "concurrency": 4}},
    "rewards": {"r": "embedded/helpsteer2"},
    "steps": [{"read": {"path": "a"}}, {"respond": {"n": 4}}, {"grade": {"reward": "r"}}],
}  # fmt: skip


def test_a_recipe_differs_from_itself_in_nothing_wherever_it_lies():
    assert changes(BASE, {**BASE, "folder": "/there", "name": "y"}) == []


def test_parameters_are_told_one_by_one():
    other = {**BASE, "seed": 8, "steps": [BASE["steps"][0], {"respond": {"n": 8, "top_p": 0.9}},
                                          BASE["steps"][2]]}  # fmt: skip
    assert changes(BASE, other) == [
        Change("seed", "7", "8"), Change("respond.n", "4", "8"),
        Change("respond.top_p", None, "0.9"),
    ]  # fmt: skip


def test_one_more_step_in_the_middle_is_one_line():
    more = [*BASE["steps"][:1], {"dedupe": {"on": "prompt"}}, *BASE["steps"][1:], {"grade": {}}]
    assert changes(BASE, {**BASE, "steps": more}) == [
        Change("step dedupe", None, '{"on":"prompt"}'), Change("step grade_2", None, "{}"),
    ]  # fmt: skip
    assert changes({**BASE, "steps": more}, BASE)[0] == Change(
        "step dedupe", '{"on":"prompt"}', None
    )


def test_whatever_a_file_holds_is_compared():
    assert changes({"steps": "none"}, {"steps": [3, {"a": None}, {"a": 1, "b": 2}]})
    assert changes({"models": 3}, {"models": {"t": [1]}}) == [Change("models", "3", '{"t":[1]}')]


JUDGED = {"rewards": {"j": {"reward": "judge/pair", "model": "m"}, "p": {"panel": ["j"]}}}


def judged(**model):
    return {**JUDGED, "models": {"m": {"model": "p/a", **model}}}


@pytest.mark.parametrize(
    ("key", "a", "b", "same"),
    [
        ("r.reward", BASE, BASE, True),
        ("r.reward", BASE, {**BASE, "rewards": {"r": "embedded/other"}}, False),
        ("r.reward", BASE, {**BASE, "rewards": {}}, False),
        ("r.reward", BASE, None, False),
        ("embedded/x.reward", BASE, BASE, True),
        ("verifier.python", BASE, {**BASE, "rewards": {}}, True),
        ("j.reward", judged(), judged(concurrency=9, base_url="http://x"), True),
        ("j.reward", judged(), judged(temperature=1), False),
        ("j.reward", judged(), judged(model="p/b"), False),
        ("j.reward", judged(), {**JUDGED, "models": {"m": "p/a"}}, True),
        ("j.reward", judged(), {**JUDGED, "models": {"m": [{"model": "p/a"}, "p/c"]}}, False),
        ("p.reward", judged(), judged(model="p/b"), False),
        ("p.reward", judged(), judged(), True),
        ("weighted.mix", BASE, BASE, True),
        ("weighted.mix", BASE, {**BASE, "steps": []}, False),
    ],
)
def test_a_score_is_compared_only_with_that_of_the_same_reward(key, a, b, same):
    assert same_score(key, a, b) is same
    assert same_score(key, b, a) is same


def test_rewards_that_name_each_other_end():
    odd = {"rewards": {"a": {"of": ["b"]}, "b": {"of": ["a"]}}}
    assert same_score("a.x", odd, odd)
