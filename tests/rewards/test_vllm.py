"""vllm: its three addresses, what is always said to it, and what it refuses."""

from __future__ import annotations

import json

import pytest
from conftest import mostly_slow, rows_of
from graded import ANSWERS, attempts, grade, load, recipe, scores, written
from servers import VllmServer
from toy import BOS, write_tokenizer

import karat
from karat import RecipeError, RunError
from karat.errors import RowError
from karat.models.transport import HttpReply
from karat.recipe import Recipe
from karat.row import Message

NAME = "vllm/Skywork/Skywork-Reward-V2-Qwen3-0.6B"
SHAPES = ("classify", "pooling", "score")
ASKED = [Message("user", "q")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("templated", [False, True])
def test_each_shape_gives_the_heads_own_numbers(tmp_path, shape, templated):
    reward = {"reward": NAME, "shape": shape}
    if templated:
        reward["template"] = str(write_tokenizer(tmp_path / "model"))
    with VllmServer() as server:
        run = grade(tmp_path, {**reward, "base_url": server.url})
        sent = server.requests
    values = [[found["mine.reward"] for found in row] for row in scores(run)]
    assert all(row == sorted(row) for row in values)
    assert max(max(row) for row in values) > 1.5  # no sigmoid
    for request in sent:
        body = request["body"]
        assert request["path"] == f"/{shape}"  # the root, not /v1
        assert body["use_activation"] is False
        assert body["activation"] is False
        assert "truncate_prompt_tokens" not in body
    assert all(text.count(BOS) == 1 for text in server.graded)
    several = templated or shape == "score"
    assert len(sent) == (4 if several else 4 * len(ANSWERS))


@pytest.mark.parametrize("base", ["http://h:1", "http://h:1/v1", "http://h:1/v1/"])
def test_addresses_with_and_without_v1_are_one(tmp_path, base):
    post = load(NAME, tmp_path).post(base.rstrip("/"), ASKED, ["r"])
    assert post.url == "http://h:1/classify"


def test_messages_say_what_the_template_must_not_add(tmp_path):
    body = json.loads(load(NAME, tmp_path).post("http://h", ASKED, ["r"]).body)
    assert body["add_generation_prompt"] is False
    assert body["add_special_tokens"] is False
    assert body["messages"][-1] == {"role": "assistant", "content": "r"}


def test_a_server_before_0_11_understands_the_older_field(tmp_path):
    with VllmServer(knows="activation") as server:
        run = grade(tmp_path, {"reward": NAME, "base_url": server.url})
    assert max(found["mine.reward"] for row in scores(run) for found in row) > 1.5


def test_the_activation_can_be_asked_for(tmp_path):
    reward = {"reward": NAME, "activation": True}
    with VllmServer() as server:
        run = grade(tmp_path, {**reward, "base_url": server.url})
    values = [found["mine.reward"] for row in scores(run) for found in row]
    assert all(0 < value < 1 for value in values)
    assert load(reward, tmp_path).attributes == {"reward": (0.0, 1.0)}
    assert load(reward, tmp_path).identity != load(NAME, tmp_path).identity


def test_a_head_of_several_outputs(tmp_path):
    from toy import Toy

    names = {"helpfulness": [-20, 20], "safety": [-20, 20]}
    with VllmServer(toy=Toy(labels=2)) as server:
        run = grade(tmp_path, {"reward": NAME, "attributes": names, "base_url": server.url})
    assert all(
        list(found) == ["mine.helpfulness", "mine.safety"] for row in scores(run) for found in row
    )
    reward = load({"reward": NAME, "attributes": names}, tmp_path)
    assert reward.within_prompt == frozenset()
    assert load({"reward": NAME, "attributes": ["a", "b"]}, tmp_path).within_prompt == {"a", "b"}
    listed = {"reward": NAME, "attributes": ["a", "b"], "comparable": "anywhere"}
    assert load(listed, tmp_path).within_prompt == frozenset()


def test_more_outputs_than_named_say_so(tmp_path):
    from toy import Toy

    with VllmServer(toy=Toy(labels=2)) as server:
        run = grade(tmp_path, {"reward": NAME, "base_url": server.url}, rows=1)
    (dropped,) = rows_of(run.dropped_file)
    assert "the head gives 2 numbers where 1 (reward) are named" in dropped.dropped


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"attributes": []}, "name at least one"),
        ({"attributes": ["a", "a"]}, "twice"),
        ({"attributes": ["a.b"]}, "must be of letters"),
        ({"attributes": {"a": [4, 0]}}, "low first"),
        ({"shape": "score", "attributes": ["a", "b"]}, "/score gives one number"),
        ({"shape": "rank"}, "shape"),
        ({"template": "nowhere"}, "cannot read"),
        ({"extra": {"truncate_prompt_tokens": 100}}, "without a word"),
        ({"extra": {"use_activation": True}}, "says itself"),
        ({"temperature": 1.0}, "no key 'temperature'"),
    ],
)
def test_mistakes_in_words(tmp_path, tree, words):
    with pytest.raises(RecipeError, match=words):
        load({"reward": NAME, **tree}, tmp_path)


def test_whatever_changes_a_score_changes_the_identity(tmp_path):
    write_tokenizer(tmp_path / "one")
    write_tokenizer(tmp_path / "two", "{% for m in messages %}{{ m.content }}{% endfor %}")
    trees = [
        {}, {"shape": "pooling"}, {"activation": True}, {"template": "one"}, {"template": "two"},
        {"base_url": "http://h/v1"}, {"extra": {"priority": 1}}, {"attributes": ["other"]},
    ]  # fmt: skip
    found = {load({"reward": NAME, **tree}, tmp_path).identity for tree in trees}
    assert len(found) == len(trees)


@pytest.mark.parametrize("shape", mostly_slow(SHAPES, 3))
@pytest.mark.parametrize("fault", ["prose", "nan", "null", "missing", "count"])
def test_a_bad_reply_is_asked_for_again_and_then_costs_its_row(tmp_path, fault, shape):
    def bad(number, body):
        return fault if "number 2" in json.dumps(body) else None

    reward = {"reward": NAME, "shape": shape, "price": {"input": 1, "output": 1}}
    with VllmServer(fault=bad) as server:
        run = grade(tmp_path, {**reward, "base_url": server.url}, answers=ANSWERS[:1])
        assert len(server.requests) == 3 + 2
    (dropped,) = rows_of(run.dropped_file)
    assert dropped.failed
    assert "gave no score that can be used" in dropped.dropped
    assert not dropped.responses[0].scores
    broken = [one for one in attempts(tmp_path) if one[0] != "answered"]
    assert sorted(one[0] for one in broken) == ["failed", "retried"]
    assert all(body and cost for _, body, _, cost in broken)


def test_one_bad_reply_is_mended_by_asking_again(tmp_path):
    with VllmServer(fault=lambda number, body: "null" if number == 1 else None) as server:
        run = grade(tmp_path, {"reward": NAME, "base_url": server.url})
    assert len(rows_of(run.accepted_file)) == 4
    assert [one[0] for one in attempts(tmp_path)].count("retried") == 1


@pytest.mark.parametrize("fault", ["500", "429"])
def test_a_server_in_trouble_is_waited_for(tmp_path, fault):
    with VllmServer(fault=lambda number, body: fault if number <= 2 else None) as server:
        run = grade(tmp_path, {"reward": NAME, "base_url": server.url})
    assert len(rows_of(run.accepted_file)) == 4


def test_a_text_that_is_too_long_costs_its_row_and_is_never_cut(tmp_path):
    answers = ("Fine.", "word " * 200)
    with VllmServer(max_len=60) as server:
        run = grade(tmp_path, {"reward": NAME, "base_url": server.url}, rows=1, answers=answers)
        sent = len(server.requests)
    (dropped,) = rows_of(run.dropped_file)
    assert "context length is only 60 tokens" in dropped.dropped
    assert not any(response.scores for response in dropped.responses)
    assert sent == 2  # refused for good: not asked again


def test_a_server_that_does_not_pool_stops_the_run(tmp_path):
    with VllmServer(generates=True) as server, pytest.raises(RunError, match="404"):
        grade(tmp_path, {"reward": NAME, "base_url": server.url})
    assert "--runner pooling" in load(NAME, tmp_path).unserved


def test_paid_once_and_replays_are_free(tmp_path):
    reward = {"reward": NAME, "price": {"input": 2.0, "output": 0.0}}
    with VllmServer() as server:
        tree = {**reward, "base_url": server.url}
        first = grade(tmp_path, tree)
        sent = len(server.requests)
        again = grade(tmp_path, tree)
        assert len(server.requests) == sent
        assert scores(again) == scores(first)
        grade(tmp_path, tree, answers=(*ANSWERS, "One more."))
        assert len(server.requests) == sent + 4
        grade(tmp_path, {**tree, "shape": "pooling"})
        assert len(server.requests) == sent + 4 + sent
    used, cost = attempts(tmp_path, "sum(prompt_tokens), sum(cost_nano)")[0]
    assert used > 100
    assert cost == 2_000 * used


def test_the_cost_is_in_the_report(tmp_path):
    reward = {"reward": NAME, "price": {"input": 1000.0, "output": 0.0}}
    with VllmServer() as server:
        run = grade(tmp_path, {**reward, "base_url": server.url})
    spent = attempts(tmp_path, "sum(cost_nano)")[0][0] / 1e9
    (model,) = run.report["models"]
    assert (model["kind"], model["role"], model["calls"]) == ("score", "reward", 4 * len(ANSWERS))
    assert model["cost_usd"] == pytest.approx(spent)
    assert spent == pytest.approx(model["prompt_tokens"] * 1000 / 1e6)


def test_a_budget_stops_before_it_is_crossed(tmp_path):
    reward = {"reward": NAME, "price": {"input": 1000.0, "output": 0.0}, "concurrency": 1}
    with VllmServer() as server, pytest.raises(RunError, match="budget"):
        grade(tmp_path, {**reward, "base_url": server.url}, rows=40, budget_usd=1.0)
    assert 0 < attempts(tmp_path, "sum(cost_nano)")[0][0] <= 1e9


def test_a_budget_needs_a_price(tmp_path):
    path = recipe(tmp_path, {"reward": NAME}, budget_usd=1.0)
    with pytest.raises(RecipeError, match="price"):
        Recipe.load(path)


def test_the_same_scores_at_any_concurrency(tmp_path):
    found = []
    for width in (1, 16):
        folder = tmp_path / str(width)
        folder.mkdir()
        with VllmServer() as server:
            tree = {"reward": NAME, "base_url": server.url, "concurrency": width}
            found.append(scores(grade(folder, tree, rows=12)))
    assert found[0] == found[1]


def test_a_pair_takes_one_turn_or_a_template(tmp_path):
    turns = [*ASKED, Message("assistant", "a"), Message("user", "b")]
    with pytest.raises(RowError, match="shape: classify"):
        load({"reward": NAME, "shape": "score"}, tmp_path).post("http://h", turns, ["r"])
    write_tokenizer(tmp_path / "model")
    reward = load({"reward": NAME, "shape": "score", "template": "model"}, tmp_path)
    asked = json.loads(reward.post("http://h", turns, ["r"]).body)
    assert asked["text_1"].endswith("<|user|>b<|end|>")


def test_vectors_of_every_token_are_no_score(tmp_path):
    reward = load({"reward": NAME, "shape": "pooling"}, tmp_path)

    def read(data):
        tree = {"data": [{"index": 0, "data": data}]}
        return reward.read(HttpReply(200, {}, json.dumps(tree).encode()), 1)

    with pytest.raises(ValueError, match="one a token"):
        read([[0.1], [0.2]])
    assert read([[0.25]]) == read([0.25]) == [{"reward": 0.25}]


def test_results_are_put_in_order(tmp_path):
    write_tokenizer(tmp_path / "model")
    reward = load({"reward": NAME, "template": "model"}, tmp_path)
    data = [{"index": 1, "probs": [1.0]}, {"index": 0, "probs": [0.0]}]
    reply = HttpReply(200, {}, json.dumps({"data": data}).encode())
    assert [one["reward"] for one in reward.read(reply, 2)] == [0.0, 1.0]
    twice = [{"index": 0, "probs": [1.0]}, {"index": 0, "probs": [0.0]}]
    with pytest.raises(ValueError, match="indices"):
        reward.read(HttpReply(200, {}, json.dumps({"data": twice}).encode()), 2)


def test_the_key_reaches_the_server_and_no_file(tmp_path, monkeypatch):
    secret = "sk-1234567890-very-secret"
    monkeypatch.setenv("MY_KEY", secret)
    with VllmServer() as server:
        grade(tmp_path, {"reward": NAME, "base_url": server.url, "key_env": "MY_KEY"})
        assert server.requests[0]["headers"]["Authorization"] == f"Bearer {secret}"
    assert secret.encode() not in written(tmp_path)


def test_it_is_a_reward_like_any_other_for_reject(tmp_path):
    with VllmServer() as server:
        path = recipe(tmp_path, {"reward": NAME, "base_url": server.url})
        text = path.read_text() + "- reject: {by: mine.reward, best: 1}\n"
        steps_last = text.index("- reject")
        body, reject = text[:steps_last], text[steps_last:]
        path.write_text(body.rstrip() + "\n" + reject)
        run = karat.run(path, tmp_path / "out")
    for row in rows_of(run.accepted_file):
        kept = [r for r in row.responses if r.kept]
        assert [r.content for r in kept] == [ANSWERS[-1]]
