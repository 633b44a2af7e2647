"""/v1/rewards and NVIDIA's shape: a reward asked through the gateway scores as in a run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import requests
import yaml
from conftest import rows_of, wait_for
from later import later
from wired import Upstream, Wired

import karat
from karat.rewards.head import HeadReward, with_reward
from karat.row import Message
from karat.web.gateway.keys import FOLDER, add

openai = later("openai")

HEAD = "embedded/helpsteer2"
PROMPT = "Why does the tide turn?"
ANSWERS = ["The moon pulls at the water, and the Earth turns below it.", "No idea", ""]
GRADES = {
    "reasoning": "It says secret things", "helpfulness": 3, "correctness": 3, "coherence": 4,
    "complexity": 1, "verbosity": 1,
}  # fmt: skip


def judged(body, place):
    """What the judge's model says: grades, or which of two is better."""
    schema = json.dumps(body.get("response_format", ""))
    if "better" in schema:
        return json.dumps({"reasoning": "", "better": "A"})
    return json.dumps(GRADES)


def scored(responses=ANSWERS, prompt=PROMPT):
    reward = HeadReward()
    table = reward.score([Message("user", prompt)], responses)
    return [dict(zip(reward.attributes, line, strict=True)) for line in table.tolist()]


@pytest.fixture(scope="module")
def upstream():
    with Upstream(answer=judged) as made:
        yield made


@pytest.fixture(scope="module")
def far(tmp_path_factory):
    """A gateway that another one grades through."""
    with Wired(tmp_path_factory.mktemp("far")) as made:
        yield made


@pytest.fixture(scope="module")
def wired(tmp_path_factory, upstream, far):
    five = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
    rewards = {
        "judge": {"reward": "judge/small"},
        "pairs": {"reward": "judge/small", "ask": "pairwise"},
        "exact": {"reward": "judge/small", "reference": "answer"},
        "rlbff": {"reward": "genrm/small", "form": "principle", "principle": "It is short."},
        "far": {"reward": f"nim/{HEAD}", "base_url": f"{far.url}/v1", "attributes": five},
        "panel": {"reward": "panel/mean", "of": ["judge.helpfulness", f"{HEAD}.helpfulness"]},
        "gone": "head/nowhere.npz",
    }
    small = upstream.model(price={"input": 1, "output": 10})
    folder = tmp_path_factory.mktemp("near")
    with Wired(folder, {"small": small}, rewards) as made:
        yield made


def ask(wired, status=200, headers=None, **body):
    found = requests.post(f"{wired.url}/v1/rewards", json=body, headers=headers, timeout=30)
    assert found.status_code == status, found.text
    return found


def test_an_embedded_reward_scores_as_in_a_run(wired):
    reply = ask(wired, model=HEAD, prompt=PROMPT, responses=ANSWERS)
    found = reply.json()
    assert [one["scores"] for one in found["data"]] == scored()
    assert [one["index"] for one in found["data"]] == [0, 1, 2]
    assert found["attributes"]["helpfulness"] == {"scale": [0.0, 4.0], "comparable": "anywhere"}
    assert reply.headers["x-karat-cost-usd"] == "0.000000000"
    assert float(reply.headers["x-karat-latency-ms"]) > 0
    assert "x-karat-cache" not in reply.headers  # nothing was bought, nor looked for


def test_a_conversation_and_its_last_turn(wired):
    turns = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
        {"role": "assistant", "content": ANSWERS[0]},
    ]
    (one,) = ask(wired, model=HEAD, messages=turns).json()["data"]
    told = [Message("system", "Be brief."), Message("user", PROMPT)]
    reward = HeadReward()
    assert list(one["scores"].values()) == reward.score(told, ANSWERS[:1])[0].tolist()


def test_a_judge_through_the_client_with_its_cost(wired, upstream):
    before = len(upstream.requests)
    reply = ask(wired, model="judge", prompt="How private is this?", responses=["So.", "Very."])
    for one in reply.json()["data"]:
        assert one["scores"]["helpfulness"] == 3
        weighed = with_reward(np.array([[3.0, 3, 4, 1, 1]]))[0, -1]
        assert one["scores"]["reward"] == pytest.approx(weighed)
    assert len(upstream.requests) == before + 2
    # Two questions of 10 tokens in and 7 out, at $1 and $10 a million.
    assert reply.headers["x-karat-cost-usd"] == "0.000160000"
    assert reply.json()["usage"]["cost_usd"] == 0.00016
    assert reply.headers["x-karat-cache"] == "miss"
    wait_for(lambda: reply.headers["x-request-id"].encode() in wired.written())
    told = [row for row in wired.ledger() if row[1] == reply.headers["x-request-id"]]
    assert [row[3] for row in told] == ["judge", "judge"]
    assert {row[0] for row in told} == {"key:local"}
    assert b"How private" not in wired.written()
    assert b"secret things" not in wired.written()


def test_two_equal_requests_are_two_judgements_unless_the_cache_is_asked_for(wired, upstream):
    def count(**more):
        before = len(upstream.requests)
        reply = ask(wired, model="judge", prompt="Again?", responses=["Yes."], **more)
        return len(upstream.requests) - before, reply.headers["x-karat-cache"]

    use = {"headers": {"x-karat-cache": "use"}}
    assert [count(), count()] == [(1, "miss"), (1, "miss")]
    assert [count(**use), count(**use)] == [(1, "miss"), (0, "hit")]


def test_what_compares_needs_two_responses(wired):
    for name in ("pairs", "panel"):
        reply = ask(wired, 400, model=name, prompt=PROMPT, responses=ANSWERS[:1])
        assert "send two or more" in reply.json()["error"]["message"]
    two = ask(wired, model="pairs", prompt=PROMPT, responses=ANSWERS[:2]).json()
    assert two["attributes"]["wins"]["comparable"] == "within_prompt"
    assert all(one["scores"]["wins"] == 0.5 for one in two["data"])  # always A: a tie
    panel = ask(wired, model="panel", prompt=PROMPT, responses=ANSWERS[:2]).json()
    assert set(panel["data"][0]["scores"]) == {"reward", "disagreement"}
    assert panel["attributes"]["reward"]["comparable"] == "within_prompt"


def test_a_reference_answer_comes_with_meta(wired):
    reply = ask(wired, 400, model="exact", prompt=PROMPT, responses=["a"])
    assert "no text in 'answer'" in reply.json()["error"]["message"]
    ask(wired, model="exact", prompt=PROMPT, responses=["a"], meta={"answer": "the moon"})


def test_a_principle_of_the_requests_own(wired, upstream, tmp_path):
    upstream.behaviour["answer"] = lambda body, place: "Hm. Final Judgement: Yes"
    try:
        asked = {"model": "rlbff", "prompt": PROMPT, "responses": ["Moon."]}
        found = ask(wired, **asked, principle="It names the moon.").json()
        assert found["data"][0]["scores"] == {"fulfils": 1.0}
        assert upstream.requests[-1]["body"]["messages"][-1]["content"] == "It names the moon."
        # In a recipe this would name a file; in a request it is a text, whatever it looks like.
        secret = tmp_path / "secret.txt"
        secret.write_text("the contents of a file")
        ask(wired, **asked, principle=str(secret))
        assert "contents of a file" not in str(upstream.requests[-1]["body"])
        assert str(secret) in str(upstream.requests[-1]["body"])
    finally:
        upstream.behaviour["answer"] = judged
    reply = ask(wired, 400, model="judge", prompt=PROMPT, responses=["a"], principle="x")
    assert "takes no principle" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "messages or prompt"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "a"}]}, "one of the two"),
        ({"prompt": "a"}, "send responses"),
        ({"prompt": "a", "responses": []}, "1 to 1000"),
        ({"prompt": "a", "responses": ["b"] * 1001}, "1 to 1000"),
        ({"prompt": "a", "responses": [1]}, "responses"),
        ({"prompt": "a", "responses": ["b"], "colour": 1}, "colour"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "no prompt"),
        ({"messages": [{"role": "tool", "content": "a"}], "responses": ["b"]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "responses": ["b"]},
         "no other parts"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
          "responses": ["c"]}, "which are to be graded"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(wired, body, words):
    said = ask(wired, 400, model=HEAD, **body).json()["error"]
    assert words in said["message"]
    assert said["type"] == "invalid_request_error"


@pytest.mark.parametrize("name", ["human/etc.jsonl", "head//etc/passwd", "nothing", "judge/small"])
def test_only_rewards_of_the_config_are_asked(wired, name):
    said = ask(wired, 404, model=name, prompt="a", responses=["b"]).json()["error"]
    assert said["code"] == "model_not_found"


def test_a_reward_whose_file_is_gone(wired):
    ask(wired, 404, model="gone", prompt="a", responses=["b"])


def test_the_list_of_models_has_the_rewards(wired):
    with openai.OpenAI(api_key="any", base_url=f"{wired.url}/v1") as client:
        found = {one.id: one for one in client.models.list()}
        assert {HEAD, "judge", "pairs", "far", "panel"} <= set(found)
        assert "gone" not in found
        assert found["pairs"].type == "reward"
        assert client.models.retrieve(HEAD).attributes["verbosity"]["scale"] == [0.0, 4.0]


def test_a_key_asks_only_what_it_may(tmp_path, upstream):
    small = upstream.model(price={"input": 1, "output": 10})
    secret = add(tmp_path / FOLDER, "team", models=("judge",), budget_usd=0.1)
    poor = add(tmp_path / FOLDER, "poor", budget_usd=1e-9)
    with Wired(tmp_path, {"small": small}, {"judge": {"reward": "judge/small"}}) as made:
        mine = {"Authorization": f"Bearer {secret}"}
        asked = {"prompt": "a", "responses": ["b"]}
        ask(made, 401, model="judge", **asked)
        ask(made, model="judge", headers=mine, **asked)
        said = ask(made, 403, model=HEAD, headers=mine, **asked).json()["error"]
        assert said["code"] == "model_not_allowed"
        wait_for(lambda: any(row[0] == "key:team" for row in made.ledger()))
        reply = ask(
            made, 429, model="judge", headers={"Authorization": f"Bearer {poor}"}, **asked
        ).json()["error"]
        assert reply["type"] == "insufficient_quota"


# --- NVIDIA's shape ------------------------------------------------------------------------------


def graded(wired, *turns, **more):
    with openai.OpenAI(api_key="any", base_url=f"{wired.url}/v1", max_retries=0) as client:
        asked = {"model": HEAD, "messages": [{"role": r, "content": c} for r, c in turns], **more}
        return client.chat.completions.create(**asked)


def test_both_shapes_of_the_scores(wired):
    found = graded(wired, ("user", PROMPT), ("assistant", ANSWERS[0]))
    (wanted,) = scored(ANSWERS[:1])
    (choice,) = found.choices
    assert {one.token: one.logprob for one in choice.logprobs.content} == wanted
    pairs = (pair.split(":") for pair in choice.message.content.split(","))
    assert {name: float(value) for name, value in pairs} == wanted


@pytest.mark.parametrize(
    ("turns", "more", "words"),
    [
        ([("user", "a")], {}, "ends with the assistant"),
        ([("assistant", "a")], {}, "ends with the assistant"),
        ([("user", "a"), ("assistant", "b")], {"temperature": 0.5}, "takes no temperature"),
        ([("user", "a"), ("assistant", "b")], {"stream": True}, "takes no stream"),
        ([("user", "a"), ("assistant", "b")], {"n": 2}, "takes no n"),
    ],
)
def test_what_a_reward_model_cannot_heed(wired, turns, more, words):
    with pytest.raises(openai.BadRequestError, match=words):
        graded(wired, *turns, **more)


def test_karats_own_nim_reward_grades_through_the_gateway(wired, tmp_path):
    """The round trip: a run that grades with `nim/…` at the gateway has the head's own scores."""
    lines = [{"prompt": f"{PROMPT} {i}", "responses": ANSWERS[:2]} for i in range(3)]
    (tmp_path / "given.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    five = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"]
    recipe = {
        "name": "nim",
        "rewards": {
            "near": HEAD,
            "through": {
                "reward": f"nim/{HEAD}", "base_url": f"{wired.url}/v1", "attributes": five,
            },
        },
        "steps": [
            {"read": {"path": "given.jsonl"}}, {"grade": {"reward": "near"}},
            {"grade": {"reward": "through"}},
        ],
    }  # fmt: skip
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    run = karat.run(tmp_path / "recipe.yaml", tmp_path / "out")
    found = [one.scores for row in rows_of(run.accepted_file) for one in row.responses]
    assert len(found) == 6
    for scores in found:
        for name in five:
            assert scores[f"through.{name}"] == scores[f"near.{name}"]
    assert len({scores["near.helpfulness"] for scores in found}) > 1


def test_a_server_of_scores_behind_the_gateway(wired, far):
    """A remote reward of one gateway is a reward of the next."""
    found = ask(wired, model="far", prompt=PROMPT, responses=ANSWERS[:2]).json()
    for one, wanted in zip(found["data"], scored(ANSWERS[:2]), strict=True):
        assert one["scores"] == {name: wanted[name] for name in one["scores"]}
        assert len(one["scores"]) == 5
    (choice,) = graded(wired, ("user", PROMPT), ("assistant", ANSWERS[0]), model="far").choices
    assert choice.message.content.startswith("helpfulness:")
