"""The gateway's calls as spans: each a trace of its own, without a word of what was said."""

from __future__ import annotations

import json
from urllib.request import Request, urlopen

import pytest
from collector import Collector
from server import Server
from wired import Wired

from karat import telemetry


@pytest.fixture
def collector(monkeypatch):
    telemetry._told.clear()
    with Collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def test_each_call_is_a_trace_and_all_are_sent_when_the_server_ends(tmp_path, collector):
    with (
        Server(answer=lambda body, place: "about zebras") as server,
        Wired(tmp_path / "runs", {"m": server.model()}) as wired,
    ):
        for text in ("about giraffes", "about lions"):
            asked = {"model": "m", "messages": [{"role": "user", "content": text}]}
            url = f"{wired.url}/v1/chat/completions"
            head = {"content-type": "application/json"}
            with urlopen(Request(url, json.dumps(asked).encode(), head), timeout=20) as reply:
                assert b"zebras" in reply.read()
    spans = collector.spans()
    assert [span["name"] for span in spans] == ["chat loop"] * 2
    assert len({span["trace"] for span in spans}) == 2
    assert {span["parent"] for span in spans} == {b""}
    ((_, seconds),) = collector.metrics()["gen_ai.client.operation.duration"]
    assert seconds.count == 2
    sent = b"".join(body for _, body in collector.bodies)
    for word in (b"zebras", b"giraffes", b"lions"):
        assert word not in sent
