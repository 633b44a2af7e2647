"""The vendors' own packages as oracles of the batch server that the other tests believe.

They hand in a batch as karat does and read every object strictly, by their own types.
"""

from __future__ import annotations

import json

import pytest
from batch_server import BatchServer

SORTS = {"good": 200, "bad": 400, "late": 0}
BEHAVIOUR = {
    "status": lambda body: SORTS[body["messages"][0]["content"]],
    "expires": lambda body: body["messages"][0]["content"] == "late",
}


def asked(content):
    return {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": content}]}


def test_openais_package_reads_it():
    openai = pytest.importorskip("openai")
    url = "/v1/chat/completions"
    lines = [
        json.dumps({"custom_id": sort, "method": "POST", "url": url, "body": asked(sort)})
        for sort in SORTS
    ]
    with BatchServer("openai", **BEHAVIOUR) as server:
        client = openai.OpenAI(
            api_key="x", base_url=server.url, max_retries=0, _strict_response_validation=True
        )
        file = client.files.create(file=("x.jsonl", "\n".join(lines).encode()), purpose="batch")
        made = client.batches.create(
            input_file_id=file.id, endpoint=url, completion_window="24h", metadata={"karat": "1"}
        )
        found = client.batches.retrieve(made.id)
        assert (found.status, found.metadata) == ("expired", {"karat": "1"})
        assert [one.id for one in client.batches.list(limit=1)] == [made.id]
        (good,) = client.files.content(found.output_file_id).text.splitlines()
        answer = json.loads(good)["response"]["body"]
        openai.types.chat.ChatCompletion.model_validate(answer)
        client.close()


def test_anthropics_package_reads_it():
    anthropic = pytest.importorskip("anthropic")
    with BatchServer("anthropic", **BEHAVIOUR) as server:
        client = anthropic.Anthropic(
            api_key="x", base_url=server.url.removesuffix("/v1"), max_retries=0,
            _strict_response_validation=True,
        )  # fmt: skip
        batches = client.messages.batches
        made = batches.create(requests=[{"custom_id": s, "params": asked(s)} for s in SORTS])
        assert batches.retrieve(made.id).request_counts.model_dump() == {
            "canceled": 0, "errored": 1, "expired": 1, "processing": 0, "succeeded": 1,
        }  # fmt: skip
        assert [one.id for one in batches.list(limit=1)] == [made.id]
        kinds = {one.custom_id: one.result.type for one in batches.results(made.id)}
        client.close()
    assert kinds == {"good": "succeeded", "bad": "errored", "late": "expired"}
