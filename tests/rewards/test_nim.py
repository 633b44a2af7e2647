"""nim: both shapes of its replies, from a server that answers as the real one does."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of
from graded import ANSWERS, attempts, grade, load, scores, written
from servers import HELPSTEER2, NimServer

from karat import RecipeError
from karat.models.transport import HttpReply
from karat.row import Message

FIVE, ONE = "nim/nvidia/nemotron-4-340b-reward", "nim/nvidia/llama-3.1-nemotron-70b-reward"
SECRET = "nvapi-1234567890-very-secret"


def test_five_attributes_on_their_scale(tmp_path):
    with NimServer() as server:
        run = grade(tmp_path, {"reward": FIVE, "base_url": server.url})
        bodies = [request["body"] for request in server.requests]
    assert len(bodies) == 4 * len(ANSWERS)
    for body in bodies:  # no sampling parameters: a NIM refuses them
        assert set(body) == {"model", "messages"}
        assert body["model"] == "nvidia/nemotron-4-340b-reward"
        assert [turn["role"] for turn in body["messages"]] == ["user", "assistant"]
    for row in scores(run):
        assert len({tuple(found.items()) for found in row}) == len(ANSWERS)
        for found in row:
            assert list(found) == [f"mine.{name}" for name in HELPSTEER2]
            assert all(0 <= value <= 5 for value in found.values())


def test_one_reward_that_compares_within_a_prompt(tmp_path):
    with NimServer(attributes=["reward"]) as server:
        run = grade(tmp_path, {"reward": ONE, "base_url": server.url})
    values = [[found["mine.reward"] for found in row] for row in scores(run)]
    assert all(row == sorted(row) and max(row) < 0 for row in values)
    reward = load(ONE, tmp_path)
    assert reward.within_prompt == {"reward"}
    assert reward.attributes["reward"] == (float("-inf"), float("inf"))
    assert load(FIVE, tmp_path).within_prompt == frozenset()


def test_a_conversation_is_sent_as_it_is(tmp_path):
    turns = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    post = load(FIVE, tmp_path).post("http://x/v1", turns, ["d"])
    assert post.url == "http://x/v1/chat/completions"
    messages = json.loads(post.body)["messages"]
    assert messages == [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"},
    ]  # fmt: skip


def reply(message, logprobs=None):
    choice = {"index": 0, "message": message, "logprobs": logprobs}
    return HttpReply(200, {}, json.dumps({"choices": [choice], "created": None}).encode())


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_text_counts_where_there_are_no_logprobs(tmp_path, wrapped):
    text = ",".join(f"{name}:{i + 0.25}" for i, name in enumerate(HELPSTEER2))
    message = {"role": "assistant", "content": text}
    found = load(FIVE, tmp_path).read(reply([message] if wrapped else message), 1)
    assert found == [{name: i + 0.25 for i, name in enumerate(HELPSTEER2)}]


@pytest.mark.parametrize(
    "text", ["I rate helpfulness:4 and so on", "helpfulness 4", "", "reward", "reward:", "4.0"]
)
def test_prose_is_no_score(tmp_path, text):
    with pytest.raises(ValueError, match="no pairs of attribute and score"):
        load(ONE, tmp_path).read(reply({"content": text}), 1)


def test_another_shape_than_named_says_what_to_write(tmp_path):
    with pytest.raises(ValueError, match=r"scores reward, not helpfulness.*attributes: \[reward\]"):
        load(FIVE, tmp_path).read(reply({"content": "reward:-3.2"}), 1)
    five = {"content": ",".join(f"{name}:4" for name in HELPSTEER2)}
    with pytest.raises(ValueError, match=r"write attributes: \[helpfulness, correctness"):
        load(ONE, tmp_path).read(reply(five), 1)


def test_a_name_that_tells_nothing_asks_for_attributes(tmp_path):
    with pytest.raises(RecipeError, match=r"attributes: .* write \[reward\], or \[helpfulness"):
        load("nim/my/judge", tmp_path)
    found = load({"reward": "nim/my/judge", "attributes": ["helpfulness"]}, tmp_path)
    assert found.attributes == {"helpfulness": (0.0, 4.0)}
    assert found.within_prompt == frozenset()


@pytest.mark.parametrize("name", ["temperature", "truncate_prompt_tokens"])
def test_what_a_nim_refuses_is_refused_here(tmp_path, name):
    with pytest.raises(RecipeError, match=f"{name}"):
        load({"reward": FIVE, "extra": {name: 1}}, tmp_path)


def test_the_licence_is_the_models_or_the_recipes(tmp_path):
    assert "NVIDIA" in load(FIVE, tmp_path).licence
    assert load({"reward": FIVE, "licence": "mine"}, tmp_path).licence == "mine"


@pytest.mark.parametrize("fault", ["prose", "nan", "null", "missing", "count", "scale"])
def test_a_bad_reply_is_asked_for_again_and_then_costs_its_row(tmp_path, fault):
    def bad(number, body):
        return fault if "number 2" in body["messages"][0]["content"] else None

    reward = {"reward": FIVE, "price": {"input": 1, "output": 1}}
    with NimServer(fault=bad) as server:
        run = grade(tmp_path, {**reward, "base_url": server.url}, answers=ANSWERS[:1])
        asked = len(server.requests)
    assert asked == 3 + 2
    (dropped,) = rows_of(run.dropped_file)
    assert dropped.failed
    assert "gave no score that can be used" in dropped.dropped
    assert not dropped.responses[0].scores  # never a 0
    assert len(rows_of(run.accepted_file)) == 3
    broken = [one for one in attempts(tmp_path) if one[0] != "answered"]
    assert sorted(one[0] for one in broken) == ["failed", "retried"]
    for _, body, _, cost in broken:  # what was said, and paid for, is kept
        assert body
        assert cost > 0


def test_a_row_that_failed_is_graded_by_the_next_run(tmp_path):
    once = [True]

    def bad(number, body):
        return "prose" if once[0] and "number 2" in body["messages"][0]["content"] else None

    with NimServer(fault=bad) as server:
        reward = {"reward": FIVE, "base_url": server.url}
        assert len(rows_of(grade(tmp_path, reward).accepted_file)) == 3
        once[0] = False
        before = len(server.requests)
        assert len(rows_of(grade(tmp_path, reward).accepted_file)) == 4
        assert len(server.requests) - before == len(ANSWERS)


def test_scores_pass_the_ends_of_their_scale(tmp_path):
    with NimServer(shift=1.6) as server:
        run = grade(tmp_path, {"reward": FIVE, "base_url": server.url})
    values = [v for row in scores(run) for found in row for v in found.values()]
    assert max(values) > 4.0


def test_the_key_reaches_the_server_and_no_file(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MY_NIM_KEY", SECRET)
    with NimServer(fault=lambda number, body: "prose" if number == 1 else None) as server:
        grade(tmp_path, {"reward": FIVE, "base_url": server.url, "key_env": "MY_NIM_KEY"})
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {SECRET}"
    assert SECRET.encode() not in written(tmp_path)
    assert SECRET not in "".join(capfd.readouterr())


def test_the_hosted_model_needs_its_key(tmp_path, monkeypatch):
    from graded import recipe

    from karat.recipe import Recipe

    monkeypatch.delenv("NVIDIA_API_KEY", raising=False)
    with pytest.raises(RecipeError, match="NVIDIA_API_KEY"):
        Recipe.load(recipe(tmp_path, {"reward": FIVE}))
