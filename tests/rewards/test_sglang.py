"""sglang: text in the model's own template, one BOS, and numbers as they are."""

from __future__ import annotations

import json

import pytest
from conftest import rows_of
from graded import ANSWERS, grade, load, scores
from servers import SglangServer
from toy import BOS, Toy, write_tokenizer

from karat import RecipeError
from karat.models.transport import HttpReply
from karat.row import Message

NAME = "sglang/Skywork/Skywork-Reward-V2-Llama-3.1-8B"
ASKED = [Message("user", "q")]


@pytest.fixture
def reward(tmp_path):
    return {"reward": NAME, "template": str(write_tokenizer(tmp_path / "model"))}


def test_it_grades_text_with_one_bos(tmp_path, reward):
    with SglangServer() as server:
        run = grade(tmp_path, {**reward, "base_url": server.url})
        sent = server.requests
    values = [[found["mine.reward"] for found in row] for row in scores(run)]
    assert all(row == sorted(row) for row in values)
    assert max(max(row) for row in values) > 1.5
    assert {request["path"] for request in sent} == {"/classify"}  # not /v1/classify: a softmax
    assert len(sent) == 4
    assert all(set(request["body"]) == {"model", "text"} for request in sent)
    assert all(text.startswith(f"{BOS}<|user|>") for text in server.graded)


def test_the_bos_stays_for_a_tokenizer_that_adds_none(tmp_path):
    folder = write_tokenizer(tmp_path / "model", add_bos_token=False)
    with SglangServer(adds_bos=False) as server:
        grade(tmp_path, {"reward": NAME, "template": str(folder), "base_url": server.url})
    assert all(text.startswith(f"{BOS}<|user|>") for text in server.graded)


def test_keep_bos_says_otherwise(tmp_path, reward):
    text = load({**reward, "keep_bos": True}, tmp_path).text(ASKED, "r")
    assert text == BOS + load(reward, tmp_path).text(ASKED, "r")
    assert load({**reward, "keep_bos": True}, tmp_path).identity != load(reward, tmp_path).identity


def test_it_needs_a_template(tmp_path):
    with pytest.raises(RecipeError, match=r"applies no chat template.*tokenizer_config\.json"):
        load(NAME, tmp_path)


def test_a_head_of_several_outputs(tmp_path, reward):
    with SglangServer(toy=Toy(labels=3)) as server:
        tree = {**reward, "attributes": ["a", "b", "c"], "base_url": server.url}
        run = grade(tmp_path, tree)
    assert all(
        list(found) == ["mine.a", "mine.b", "mine.c"] for row in scores(run) for found in row
    )


def test_a_single_result_is_read_like_a_list(tmp_path, reward):
    reply = HttpReply(200, {}, json.dumps({"embedding": [0.5], "meta_info": {}}).encode())
    assert load(reward, tmp_path).read(reply, 1) == [{"reward": 0.5}]


@pytest.mark.parametrize("fault", ["prose", "nan", "null", "missing", "count"])
def test_a_bad_reply_is_asked_for_again_and_then_costs_its_row(tmp_path, reward, fault):
    def bad(number, body):
        return fault if "number 2" in json.dumps(body) else None

    with SglangServer(fault=bad) as server:
        run = grade(tmp_path, {**reward, "base_url": server.url}, answers=ANSWERS[:1])
        assert len(server.requests) == 3 + 2
    (dropped,) = rows_of(run.dropped_file)
    assert "gave no score that can be used" in dropped.dropped
    assert not dropped.responses[0].scores


def test_a_text_that_is_too_long_costs_its_row(tmp_path, reward):
    with SglangServer(max_len=60) as server:
        tree = {**reward, "base_url": server.url}
        run = grade(tmp_path, tree, rows=1, answers=("word " * 200,))
    (dropped,) = rows_of(run.dropped_file)
    assert "longer than the model's context length (60 tokens)" in dropped.dropped


def test_a_server_of_chat_says_how_to_start_it(tmp_path, reward):
    with SglangServer(generates=True) as server:
        run = grade(tmp_path, {**reward, "base_url": server.url}, rows=1)
    (dropped,) = rows_of(run.dropped_file)
    assert "--is-embedding" in dropped.dropped
