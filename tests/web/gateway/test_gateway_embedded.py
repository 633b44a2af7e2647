"""The gateway over the model in its own process, the real one, which nobody had to name first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from gated import using
from wired import Wired

from karat.models.embedded import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))
ASK = {
    "model": "embedded/smollm2-135m", "messages": [{"role": "user", "content": "Rain?"}],
    "max_tokens": 6, "seed": 1,
}  # fmt: skip


def test_chat_streams_and_continuations(tmp_path):
    with Wired(tmp_path) as wired, using(wired) as client:
        found = client.chat.completions.create(**ASK, n=2, logprobs=True, top_logprobs=2)
        assert [one.index for one in found.choices] == [0, 1]
        tokens = found.choices[0].logprobs.content
        assert "".join(one.token for one in tokens) == found.choices[0].message.content
        assert all(one.logprob <= 0 and len(one.top_logprobs) == 2 for one in tokens)
        assert 6 <= found.usage.completion_tokens <= 12
        assert found.usage.cost_usd == 0

        chunks = list(client.chat.completions.create(**ASK, stream=True))
        text = "".join(one.choices[0].delta.content or "" for one in chunks)
        assert text == found.choices[0].message.content
        assert chunks[-1].choices[0].finish_reason == "length"

        asked = {"model": ASK["model"], "prompt": ["One, two,", "Rain is"], "max_tokens": 4}
        many = client.completions.create(**asked, n=2, seed=1)
        assert [one.index for one in many.choices] == [0, 1, 2, 3]
        assert all(one.text for one in many.choices)
        pieces = list(client.completions.create(**asked, seed=1, stream=True))
        assert [piece.choices[0].text for piece in pieces] == [
            many.choices[0].text, many.choices[2].text,
        ]  # fmt: skip


def test_what_the_documentation_shows_runs(tmp_path, capsys):
    text = (Path(__file__).parents[3] / "docs" / "serve.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    with Wired(tmp_path) as wired:
        exec(shown.replace("http://127.0.0.1:8321", wired.url), {"__name__": "docs"})
    answer, figures = capsys.readouterr().out.strip().rsplit("\n", 1)
    assert answer
    cost, latency_ms = map(float, figures.split())
    assert (cost, latency_ms > 0) == (0, True)
