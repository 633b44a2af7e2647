"""Orders for scores: whatever a server says, what is no score is none."""

from __future__ import annotations

import asyncio
import json

import pytest
from graded import attempts, grade
from servers import VllmServer
from toy import write_tokenizer

from karat.errors import ProviderError
from karat.models.endpoint import Endpoint
from karat.models.transport import HttpReply
from karat.rewards.load import load_reward
from karat.rewards.order import ScoreOrder
from karat.row import Message

# Rewards of each kind, and their reply with this text where the number belongs.
SHAPES = {
    "classify": ({"reward": "vllm/x"}, '{"data": [{"probs": [@]}]}'),
    "pooling": ({"reward": "vllm/x", "shape": "pooling"}, '{"data": [{"data": [@]}]}'),
    "score": ({"reward": "vllm/x", "shape": "score"}, '{"data": [{"score": @}]}'),
    "sglang": ({"reward": "sglang/x", "template": "tok"}, '[{"embedding": [@]}]'),
    "nim": (
        {"reward": "nim/x", "attributes": ["reward"]},
        '{"choices": [{"message": {"content": ""}, "logprobs": '
        '{"content": [{"token": "reward", "logprob": @}]}}]}',
    ),
}
NO_SCORES = (
    "NaN", "Infinity", "-Infinity", "true", "null", '"3"', "{}", "[[1]]", "1e400", "1e300",
    "1" + "0" * 400, "1, 2", "",
)  # fmt: skip


def bought(tree, folder, body):
    """What a reward makes of a reply to one response."""

    async def read():
        reward = load_reward({"base_url": "http://127.0.0.1:9", **tree}, folder)
        order = ScoreOrder(reward, [Message("user", "Hi?")], ["Hello."])
        return order.read(Endpoint(reward.spec).provider, [0], HttpReply(200, {}, body.encode()))

    write_tokenizer(folder / "tok")
    return asyncio.run(read())


@pytest.mark.parametrize("value", NO_SCORES, ids=range(len(NO_SCORES)))
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_number_is_no_score(tmp_path, shape, value):
    tree, body = SHAPES[shape]
    (answer,) = bought(tree, tmp_path, body.replace("@", "1.5")).answers
    assert answer.content == '{"reward":1.5}'
    with pytest.raises(ProviderError) as caught:
        bought(tree, tmp_path, body.replace("@", value))
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize(
    "said", ["reward:1_000", "reward:1,reward:5", "reward:1.2.3", "reward:\u0663"]
)
def test_a_score_in_words_stands_there_once_and_in_digits(tmp_path, said):
    body = json.dumps({"choices": [{"message": {"content": said}}]})
    with pytest.raises(ProviderError):
        bought(SHAPES["nim"][0], tmp_path, body)


@pytest.mark.parametrize("body", ["", "5", "null", "[]", '{"data": 5}', '{"data": {"index": 0}}',
    '{"error": {"message": "out of memory"}}', "[" * 100_000])  # fmt: skip
def test_a_reply_of_another_shape_is_no_score(tmp_path, body):
    with pytest.raises(ProviderError) as caught:
        bought({"reward": "vllm/x"}, tmp_path, body)
    assert caught.value.kind == "unreadable"


@pytest.mark.parametrize("count", [2**64 - 1, 2**63, 10**13, -5, True, "9"])
def test_tokens_that_no_ledger_can_hold_are_not_counted(tmp_path, count):
    body = {"data": [{"probs": [1.5]}], "usage": {"prompt_tokens": count}}
    assert bought({"reward": "vllm/x"}, tmp_path, json.dumps(body)).usage.input is None


@pytest.mark.parametrize(
    "body", [b'{"data": [{"probs": [1' + b"0" * 400 + b"]}]}", b"x" * 10_000_000]
)
def test_one_bad_reply_costs_its_row_and_no_other(tmp_path, body):
    broken = True

    def script(number, asked):
        return (200, body, {}) if broken and "number 2" in json.dumps(asked) else None

    with VllmServer(script=script) as server:
        reward = {"reward": "vllm/x", "base_url": f"http://127.0.0.1:{server.port}"}
        run = grade(tmp_path, reward)
        assert run.report["rows"]["accepted"] == 3
        kept = [
            held for _, held, _, _ in attempts(tmp_path) if held and held[:9] == body[:9].decode()
        ]
        assert kept
        assert all(len(one) <= 64_000 for one in kept)
        broken = False
        assert grade(tmp_path, reward).report["rows"]["accepted"] == 4
