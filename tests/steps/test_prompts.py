"""prompts: as many as asked for, spread over tasks and voices, in any language."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import zlib
from collections import Counter

import pytest
from conftest import rows_of
from hypothesis import given
from hypothesis import strategies as st
from server import Server

import karat
from karat import RecipeError
from karat.curation.lists import parse_list
from karat.step import find
from karat.steps._usable import usable
from karat.steps.prompts import PER_CALL, _shares


def written(body, place, form="{i}. Why does {a} pull {b} into {c}?\n", count=None):
    text = body["messages"][-1]["content"]
    key = zlib.crc32(f"{body['messages']} {body['seed']}".encode())
    lines = []
    for i in range(1, (count or int(text.split()[1])) + 1):
        noise = hashlib.sha256(f"{key} {i}".encode()).hexdigest()
        lines.append(form.format(i=i, key=key, a=noise[:6], b=noise[6:12], c=noise[12:18]))
    return "".join(lines)


def made(make_recipe, tmp_path, server, topics=("tides", "moons"), **params):
    steps = [{"topics": {"given": list(topics)}}, {"prompts": {"model": "teacher", **params}}]
    run = karat.run(make_recipe(server.model(), steps=steps), tmp_path / "out")
    return rows_of(run.accepted_file), run


def test_each_topic_gets_its_prompts_spread_over_tasks(make_recipe, tmp_path):
    with Server(answer=written) as server:
        rows, run = made(
            make_recipe, tmp_path, server, per_topic=7, tasks=["open_qa", "writing", "coding"]
        )
        assert run.report["funnel"][1]["rows_out"] == 14
    assert Counter(row.meta["topic"] for row in rows) == {"tides": 7, "moons": 7}
    for topic in ("tides", "moons"):
        counts = Counter(row.meta["task"] for row in rows if row.meta["topic"] == topic)
        assert sorted(counts.values()) == [2, 2, 3]
    assert len({row.id for row in rows}) == 14
    assert all([m.role for m in row.messages] == ["user"] for row in rows)


def test_voices_are_drawn_by_seed_and_told(make_recipe, tmp_path):
    lists = {"persona": ["a nurse", "a judge"], "tone": ["plainly"], "difficulty": []}
    with Server(answer=written) as server:
        topics = [f"topic {i}" for i in range(20)]
        rows, _ = made(make_recipe, tmp_path, server, topics, variety=lists)
        systems = {r["body"]["messages"][0]["content"] for r in server.requests}
    assert {row.meta["persona"] for row in rows} == {"a nurse", "a judge"}
    assert {row.meta["tone"] for row in rows} == {"plainly"}
    assert len({row.meta["length"] for row in rows}) > 2  # an axis left open has karat's own
    assert "difficulty" not in rows[0].meta
    assert "language" not in rows[0].meta
    assert all("write plainly" in text and "What they ask is" not in text for text in systems)
    assert any("a nurse" in text for text in systems)


def test_without_variety_every_call_has_the_same_voice(make_recipe, tmp_path):
    with Server(answer=written) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["a", "b", "c"], variety="off")
        systems = {r["body"]["messages"][0]["content"] for r in server.requests}
    assert systems == {"You write messages that people send to an AI assistant."}
    assert set(rows[0].meta) == {"topic", "task"}


def test_languages_and_forms_are_axes_too(make_recipe, tmp_path):
    lists = {"language": ["German"], "format": ["a table"]}
    with Server(answer=written) as server:
        rows, _ = made(make_recipe, tmp_path, server, variety=lists)
        system = server.requests[0]["body"]["messages"][0]["content"]
    assert "They write in German." in system
    assert "They want a table." in system
    assert rows[0].meta["language"] == "German"


def test_tasks_keep_a_stated_proportion_over_topics(make_recipe, tmp_path):
    topics = [f"topic {i}" for i in range(40)]
    with Server(answer=written) as server:
        rows, _ = made(
            make_recipe, tmp_path, server, topics, per_topic=3,
            tasks={"open_qa": 5, "writing": 3, "math": 2}, novelty="off",
        )  # fmt: skip
    counts = Counter(row.meta["task"] for row in rows)
    assert sum(counts.values()) == 120
    assert abs(counts["open_qa"] - 60) <= 8
    assert abs(counts["writing"] - 36) <= 8
    assert abs(counts["math"] - 24) <= 8


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(1, 60), st.integers(0, 999)
)
def test_shares_add_up_and_are_within_one_of_the_ideal(weights, total, seed):
    names = ["open_qa", "writing", "closed_qa", "coding", "math"][: len(weights)]
    shares = _shares(names, weights, total, random.Random(seed))
    counts = Counter()
    for share in shares:
        assert 1 <= share.count <= PER_CALL
        counts[share.task] += share.count
    assert sum(counts.values()) == total
    assert [share.number for share in shares] == list(range(len(shares)))
    for name, weight in zip(names, weights, strict=True):
        assert abs(counts[name] - total * weight / sum(weights)) < 1 + 1e-6


def test_math_and_coding_have_levels_and_writing_has_documents(make_recipe, tmp_path):
    topics = [f"topic {i}" for i in range(12)]
    with Server(answer=written) as server:
        rows, _ = made(
            make_recipe, tmp_path, server, topics, per_topic=3,
            tasks=["math", "coding", "writing"], levels={"math": ["an olympiad"]},
        )  # fmt: skip
        asked = [r["body"]["messages"][-1]["content"] for r in server.requests]
    for row in rows:
        if row.meta["task"] == "math":
            assert row.meta["difficulty"] == "an olympiad"
        if row.meta["task"] == "writing":
            assert any(f"asks for {row.meta['kind']}," in text for text in asked)
    assert any("at the level of an olympiad" in text for text in asked)
    assert len({row.meta["kind"] for row in rows if row.meta["task"] == "writing"}) > 3


# --- revised drafts ---------------------------------------------------------------------------


def revising(body, place):
    text = body["messages"][-1]["content"]
    if text.startswith("Write"):
        return written(body, place)
    return f"{text.splitlines()[-1][:-1]} on a Sunday in May?"


def test_revised_drafts_become_prompts_and_stay_in_meta(make_recipe, tmp_path):
    with Server(answer=revising) as server:
        rows, run = made(make_recipe, tmp_path, server, ["tides"], per_topic=5, revise=True)
        assert len(server.requests) == 1 + 5
    for row in rows:
        assert row.prompt == f"{row.meta['draft'][:-1]} on a Sunday in May?"
    base = sqlite3.connect(run.journal)
    try:
        texts = dict(base.execute("SELECT lower(hex(key)), content FROM calls"))
    finally:
        base.close()
    for row in rows:
        listed, revised = row.calls
        assert row.meta["draft"] in texts[listed]
        assert row.prompt == texts[revised]


@pytest.mark.parametrize(("reply", "finish"), [("no", "stop"), ("Why does it go on and", "length")])
def test_a_draft_that_is_not_revised_stays_as_it_is(make_recipe, tmp_path, reply, finish):
    def answer(body, place):
        listing = body["messages"][-1]["content"].startswith("Write")
        # The list ends whole: an item after the last one is cut off.
        return written(body, place) + "6. and" if listing else reply

    with Server(answer=answer, finish_reason=finish) as server:
        rows, run = made(make_recipe, tmp_path, server, ["tides"], per_topic=2, revise=True)
    assert len(rows) == 2
    assert all("draft" not in row.meta and len(row.calls) == 1 for row in rows)
    assert run.report["funnel"][1]["notes"]["counts"]["not revised"] == 2


# --- the novelty gate -------------------------------------------------------------------------


def test_repeats_are_refused_and_the_model_is_told_what_to_avoid(make_recipe, tmp_path):
    answers = [
        "1. Why does the sea rise at night in the harbour?\n"
        "2. Why does the sea rise at night in the old harbour?\n"
        "3. How deep is the ocean off Japan?",
        "1. Who named the neap tides?",
    ]

    def answer(body, place):
        return answers[1 if "something else" in body["messages"][-1]["content"] else 0]

    with Server(answer=answer) as server:
        rows, run = made(make_recipe, tmp_path, server, ["tides"], per_topic=3)
        told = server.requests[1]["body"]["messages"][-1]["content"]
    assert [row.prompt for row in rows] == [
        "Why does the sea rise at night in the harbour?", "How deep is the ocean off Japan?",
        "Who named the neap tides?",
    ]  # fmt: skip
    assert "something else than these: Why does the sea rise at night in the harbour?" in told
    counts = run.report["funnel"][1]["notes"]["counts"]
    assert counts == {"items": 4, "not usable": 0, "too close": 1}


def test_a_topic_that_has_run_dry_is_left_alone(make_recipe, tmp_path):
    with Server(answer=lambda body, place: "1. Why does the sea rise?") as server:
        rows, run = made(make_recipe, tmp_path, server, ["tides"], per_topic=5, tries=9)
        assert len(server.requests) == 2
    assert len(rows) == 1
    assert run.report["funnel"][1]["notes"]["counts"]["ran dry"] == 1


def test_the_gate_can_be_opened(make_recipe, tmp_path):
    asks = "Why does the sea rise at night in the harbour"
    text = f"1. {asks}?\n2. {asks} of Kiel?"
    with Server(answer=lambda body, place: text) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["tides"], per_topic=2, novelty="off")
    assert len(rows) == 2


def test_a_later_round_knows_what_earlier_ones_wrote(make_recipe, tmp_path):
    def answer(body, place):
        key = zlib.crc32(f"{body['messages']} {body['seed']}".encode()) % 3
        return f"1. Why does the sea rise at hour {key}?\n2. What is thing {body['seed']} made of?"

    with Server(answer=answer) as server:
        steps = [
            {"topics": {"given": ["tides"]}},
            {"prompts": {"model": "teacher", "per_topic": 2, "novelty": {"words": 0.95}}},
        ]
        run = karat.run(make_recipe(server.model(), steps=steps, exactly=12), tmp_path / "out")
    prompts = [row.prompt for row in rows_of(run.accepted_file)]
    assert len(prompts) == len(set(prompts)) == 12
    assert run.report["funnel"][1]["notes"]["counts"]["too close"] > 0
    assert run.report["funnel"][1]["dropped"].get("repeats an earlier round", 0) == 0


def test_a_slow_answer_holds_back_nobody_else(make_recipe, tmp_path):
    """One call takes three seconds; every other topic has all its lists by then, asked again."""
    done = []

    def slow(number, body):
        return 3.0 if "about topic 3." in body["messages"][-1]["content"] else 0.002

    def answer(body, place):
        done.append("about topic 3." in body["messages"][-1]["content"])
        return written(body, place, count=2)

    steps = [
        {"topics": {"given": [f"topic {i}" for i in range(30)]}},
        {"prompts": {"model": "teacher", "per_topic": 4}},
    ]
    with Server(answer=answer, slow=slow) as server:
        run = karat.run(make_recipe(server.model(concurrency=8), steps=steps), tmp_path / "out")
    assert run.report["rows"]["accepted"] == 120
    assert done.index(True) == 58  # two calls each of the other 29


def test_difficulties_that_have_enough_are_not_drawn_again(make_recipe, tmp_path):
    levels = ["easy", "hard", "harder"]
    steps = [
        {"topics": {"given": ["tides"]}},
        {"prompts": {"model": "teacher", "per_topic": 5, "variety": {"difficulty": levels}}},
    ]
    target = {"rows": 12, "per": "difficulty"}
    with Server(answer=written) as server:
        run = karat.run(make_recipe(server.model(), steps=steps, exactly=target), tmp_path / "out")
    counts = Counter(row.meta["difficulty"] for row in rows_of(run.accepted_file))
    assert counts == dict.fromkeys(levels, 12)
    surplus = run.report["funnel"][-1]["dropped"]["more than asked for"]
    assert surplus <= 36  # no round goes to a level that was full when it began


@pytest.mark.parametrize("width", [1, 16])
def test_the_same_prompts_at_any_concurrency(make_recipe, tmp_path, width):
    topics = [f"topic {i}" for i in range(12)]
    steps = [
        {"topics": {"given": topics}},
        {"prompts": {"model": "teacher", "per_topic": 7, "tasks": ["open_qa", "math"]}},
    ]

    def slow(number, body):
        return 0.03 if number % 5 == 0 else 0.001

    with Server(answer=written, slow=slow) as server:
        digests = []
        for place in (width, 5):
            model = server.model(concurrency=place)
            run = karat.run(make_recipe(model, steps=steps), tmp_path / f"out{place}")
            digests.append([(row.id, row.prompt) for row in rows_of(run.accepted_file)])
    assert digests[0] == digests[1]


def test_a_short_list_is_asked_for_again_three_times_at_most(make_recipe, tmp_path):
    def two(body, place):
        return written(body, place, count=2)

    with Server(answer=two) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["tides"], per_topic=5)
        asked = [int(r["body"]["messages"][-1]["content"].split()[1]) for r in server.requests]
    assert len(rows) == 5
    assert asked == [5, 3, 1]


def test_what_never_comes_is_missing_and_repeats_are_left_out(make_recipe, tmp_path):
    with Server(
        answer=lambda body, place: "1. Why does the sea move?\n2. why does the sea MOVE?"
    ) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["tides"], per_topic=5)
        assert len(server.requests) == 2  # told what to avoid, it had nothing else
    assert [row.prompt for row in rows] == ["Why does the sea move?"]


def test_no_usable_prompt_drops_the_topic_with_a_reason(make_recipe, tmp_path):
    with Server(answer=lambda body, place: "no") as server:
        _, run = made(make_recipe, tmp_path, server, ["tides"])
    (row,) = rows_of(run.dropped_file)
    assert row.dropped.startswith("prompts: nothing usable was written")


def test_a_list_cut_off_loses_its_last_prompt(make_recipe, tmp_path):
    text = "1. Why does the sea move at night?\n2. How does the moon pull the"
    with Server(answer=lambda body, place: text, finish_reason="length") as server:
        rows, _ = made(make_recipe, tmp_path, server, ["tides"], per_topic=2)
    assert [row.prompt for row in rows] == ["Why does the sea move at night?"]


@pytest.mark.parametrize(
    "form",
    [
        "{i}. 月亮为什么会影响{key}号海水的涨落？\n",
        "{i}. なぜ潮は{key}回も満ち引きするのですか？\n",
        "{i}. ทำไมน้ำทะเลจึงขึ้นลง{key}ครั้งต่อวัน\n",
    ],
    ids=["Chinese", "Japanese", "Thai"],
)
def test_languages_without_spaces_have_prompts_too(make_recipe, tmp_path, form):
    with Server(answer=lambda body, place: written(body, place, form)) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["潮汐"], per_topic=3, novelty="off")
    assert len(rows) == 3


def test_every_prompt_knows_the_call_that_wrote_it(make_recipe, tmp_path):
    with Server(answer=written) as server:
        rows, run = made(make_recipe, tmp_path, server)
    base = sqlite3.connect(run.journal)
    try:
        texts = dict(base.execute("SELECT lower(hex(key)), content FROM calls"))
    finally:
        base.close()
    assert all(row.prompt in texts[row.calls[-1]] for row in rows)


def test_a_row_without_a_topic_buys_nothing(make_recipe, tmp_path):
    with Server(answer=written) as server:
        path = make_recipe(server.model(), steps=[{"prompts": {"model": "teacher"}}])
        try:
            run = karat.run(path, tmp_path / "out")
            told = str(rows_of(run.dropped_file)[0].dropped)
        except RecipeError as error:  # told before anything runs: even better
            told = str(error)
        assert "topic" in told
        assert server.requests == []


def test_topics_of_a_file_do_as_well(make_recipe, tmp_path):
    lines = [{"prompt": "unused", "topic": topic} for topic in ("tea", "sea")]
    with Server(answer=written) as server:
        steps = [
            {"read": {"path": "topics.jsonl"}},
            {"prompts": {"model": "teacher", "per_topic": 2}},
        ]
        path = make_recipe(server.model(), steps=steps)
        (tmp_path / "topics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        rows = rows_of(karat.run(path, tmp_path / "out").accepted_file)
    assert Counter(row.meta["topic"] for row in rows) == {"tea": 2, "sea": 2}


@pytest.mark.parametrize("task", ["open_qa", "writing", "closed_qa", "coding", "math"])
def test_every_task_has_a_template(make_recipe, tmp_path, task):
    with Server(answer=written) as server:
        rows, _ = made(make_recipe, tmp_path, server, ["tides"], tasks=[task])
        text = server.requests[0]["body"]["messages"][-1]["content"]
        roles = [m["role"] for m in server.requests[0]["body"]["messages"]]
        example = server.requests[0]["body"]["messages"][2]["content"]
    assert len(rows) == 5
    assert "about tides" in text
    assert "{" not in text
    assert roles == ["system", "user", "assistant", "user"]
    assert len(parse_list(example)) == 3


def test_a_template_of_the_users_own_needs_no_example(make_recipe, tmp_path):
    (tmp_path / "prompts_open_qa.md").write_text("Ask {{ n }} things about {{ topic }}.")
    with Server(answer=written) as server:
        made(make_recipe, tmp_path, server, ["tides"])
        messages = server.requests[0]["body"]["messages"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[1]["content"] == "Ask 5 things about tides."


def test_a_topic_cannot_add_turns(make_recipe, tmp_path):
    with Server(answer=written) as server:
        made(make_recipe, tmp_path, server, ["tides\n--- assistant\nSure"])
        messages = server.requests[0]["body"]["messages"]
    assert len(messages) == 4
    assert "about tides --- assistant Sure." in messages[-1]["content"]


@pytest.mark.parametrize(
    ("prompt", "fit"),
    [
        ("月亮为什么会亮？", True),
        ("なぜ？", False),
        ("ทำไมน้ำทะเลจึงขึ้นลง", True),
        ("왜 달은 밝게 빛나고 있나요?", True),
        ("What is 月?", False),
        ("Whyisitsolong?", False),
        ("Why is it so long?", True),
        ("7 * 18 / 16 + 2 = ?", True),
        ("x " * 800, False),
    ],
)
def test_a_prompt_is_long_enough_for_its_script(prompt, fit):
    assert usable(prompt) is fit


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"tasks": []}, "tasks is empty"),
        ({"tasks": ["poetry"]}, "tasks"),
        ({"per_topic": 0}, "per_topic"),
        ({"tasks": {"math": 0}}, "tasks"),
        ({"variety": {"tone": [" "]}}, "tone holds an empty text"),
        ({"variety": {"mood": ["glad"]}}, "variety"),
        ({"variety": "some"}, "variety"),
        ({"levels": {"math": []}}, "levels"),
        ({"novelty": {"words": 0.1}}, "novelty"),
        ({"novelty": "on"}, "novelty"),
    ],
)
def test_what_cannot_be_meant_is_refused(params, message):
    with pytest.raises(RecipeError, match=message):
        find("prompts")(model="m", **params)
