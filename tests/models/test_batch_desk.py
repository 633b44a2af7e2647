"""Lines of results as services might write them: what is no result of a request is none."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from karat.errors import ProviderError
from karat.models._batch_anthropic import AnthropicDesk
from karat.models._batch_openai import OpenAIDesk
from karat.models.batch_desk import Look


class Canned:
    """A provider whose every download is these bytes, in pieces of `size`."""

    address, headers, status = "http://h/v1", {}, 200

    def __init__(self, data, size):
        self.data, self.size, self.transport = data, size, self

    @asynccontextmanager
    async def stream(self, *asked):
        yield self

    async def pieces(self):
        for start in range(0, len(self.data), self.size):
            yield self.data[start : start + self.size]


def results(desk, *lines, end=b"\n", size=7):
    async def read():
        found = desk(Canned(end.join(lines), size)).results(Look(True, files=("/x",)))
        return [(name, reply and (reply.status, reply.body)) async for name, reply in found]

    return asyncio.run(read())


def openai_line(name, status=200, body='{"x": "é"}'):
    line = f'{{"custom_id": "{name}", "response": {{"status_code": {status}, "body": {body}}}}}'
    return line.encode()


def anthropic_line(name, **result):
    return json.dumps({"custom_id": name, "result": result}).encode()


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_lines_come_whole_however_they_are_cut(size, end):
    lines = [openai_line(name) for name in "abc"]
    found = results(OpenAIDesk, *lines, end=end, size=size)
    assert found == [(name, (200, '{"x": "é"}'.encode())) for name in "abc"]


def test_openais_errors_and_what_is_none():
    late = b'{"custom_id": "late", "response": null, "error": {"code": "batch_expired"}}'
    junk = [b"junk", b"[]", b"\xff", b'{"custom_id": 1}', openai_line("odd", '"x"')]
    found = results(OpenAIDesk, *junk, late, openai_line("bad", 400, '{"error": 1}'))
    assert found == [("late", None), ("bad", (400, b'{"error": 1}'))]


def test_half_a_surrogate_pair_loses_no_answer():
    found = results(OpenAIDesk, openai_line("a", 200, r'{"x": "\ud83d"}'))
    assert found == [("a", (200, b'{"x": "?"}'))]


def test_anthropics_errors_have_the_status_they_would_have_had():
    def wrong(kind):
        return {"type": "error", "error": {"type": kind, "message": "m"}}

    found = results(
        AnthropicDesk,
        anthropic_line("full", type="errored", error=wrong("overloaded_error")),
        anthropic_line("bad", type="errored", error=wrong("invalid_request_error")),
        anthropic_line("flat", type="errored", error=wrong("not_found_error")["error"]),
        anthropic_line("new", type="errored", error=wrong("another_error")),
        anthropic_line("odd", type="errored", error=[]),
        anthropic_line("none", type="errored"),
        anthropic_line("late", type="expired"),
        anthropic_line("off", type="canceled"),
        b'{"custom_id": "x"}',
    )
    statuses = {name: reply and reply[0] for name, reply in found}
    assert statuses == {
        "full": 529, "bad": 400, "flat": 404, "new": 500, "odd": 500, "late": None, "off": None,
    }  # fmt: skip


def test_a_line_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("karat.models.batch_desk.MAX_REPLY_BYTES", 100)
    with pytest.raises(ProviderError, match="over 64 MiB"):
        results(OpenAIDesk, openai_line("a", 200, '"' + 300 * "x" + '"'))
