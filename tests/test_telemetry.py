"""OpenTelemetry: off unless asked for, as the conventions say it, and never a run's trouble."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collector import Collector
from conftest import environment
from server import Server

import karat
from karat import telemetry
from karat.errors import RunError
from karat.journal import look_up, open_journal
from karat.ledger import Attempt, new_id
from karat.telemetry import Telemetry, followed, wanted

CLIENT, INTERNAL = 3, 1  # kinds of span on the wire
ERROR = 2
PRICE = {"input": 1, "output": 2}


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As if nothing had been said in this process, and no variable were set."""
    telemetry._told.clear()
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collector(monkeypatch):
    with Collector() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
        yield found


def attempt(**more):
    fields = {
        "id": new_id(), "kind": "chat", "role": "teacher", "model": "lab/m",
        "route": "lab/m http://127.0.0.1:9/v1", "step": "respond", "row": "r1",
        "started": time.time(), "latency_ms": 250.0, "tokens_from": "reported",
        "prompt_tokens": 10, "completion_tokens": 5, "cost_nano": 2_000_000_000,
    }  # fmt: skip
    return Attempt(**{**fields, **more})


def test_a_run_is_a_trace_and_each_attempt_a_span(make_recipe, tmp_path, collector):
    def script(number, body):
        return (500, b"the prompt was: What is number 3?", {}) if number == 2 else None

    with Server(script=script) as server:
        path = make_recipe(server.model(concurrency=1, price=PRICE), 4)
        run = karat.run(path, tmp_path / "out")
        port = server.port
    spans = collector.spans()
    (root,) = [span for span in spans if span["name"] == "invoke_workflow test"]
    calls = [span for span in spans if span is not root]
    assert root["parent"] == b""
    assert root["gen_ai.workflow.name"] == "test"
    assert {(s["trace"], s["parent"]) for s in calls} == {(root["trace"], root["id"])}
    assert root["start"] <= min(s["start"] for s in calls)
    assert root["end"] >= max(s["end"] for s in calls)
    good = [span for span in calls if not span["status"]]
    (bad,) = [span for span in calls if span["status"] == ERROR]
    assert len(good) == 4
    for span in good:
        assert (span["name"], span["kind"]) == ("chat loop", CLIENT)
        assert span["gen_ai.operation.name"] == "chat"
        assert span["gen_ai.provider.name"] == "openai"
        assert span["gen_ai.request.model"] == "loop"
        assert (span["server.address"], span["server.port"]) == ("127.0.0.1", port)
        assert span["gen_ai.response.finish_reasons"] == ["stop"]
        assert (span["karat.step"], span["karat.role"]) == ("respond", "teacher")
        assert span["resource"]["service.name"] == "karat"
    assert bad["error.type"] == "500"
    assert (bad["karat.outcome"], bad["said"]) == ("retried", "")
    rows = look_up(
        run.journal,
        "SELECT started, latency_ms, prompt_tokens, completion_tokens, cost_nano FROM attempts "
        "WHERE error = '' ORDER BY started",
    )
    for span, row in zip(sorted(good, key=lambda s: s["start"]), rows, strict=True):
        started, latency_ms, tokens_in, tokens_out, cost = row
        assert span["start"] == pytest.approx(started * 1e9, abs=1e3)
        assert span["end"] - span["start"] == pytest.approx(latency_ms * 1e6, abs=1e3)
        used = (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"])
        assert used == (tokens_in, tokens_out)
        assert span["karat.cost_usd"] == pytest.approx(cost / 1e9)


def test_metrics_add_up_to_the_ledger(make_recipe, tmp_path, collector):
    with Server() as server:
        run = karat.run(make_recipe(server.model(price=PRICE), 5), tmp_path / "out")
    found = collector.metrics()
    ((_, duration),) = found["gen_ai.client.operation.duration"]
    assert duration.count == 5
    assert list(duration.explicit_bounds) == [
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ]  # fmt: skip
    tokens = {said["gen_ai.token.type"]: p for said, p in found["gen_ai.client.token.usage"]}
    assert list(tokens["input"].explicit_bounds)[:4] == [1, 4, 16, 64]
    assert list(tokens["input"].explicit_bounds)[-1] == 67108864
    (model,) = run.report["models"]
    assert tokens["input"].sum == model["prompt_tokens"]
    assert tokens["output"].sum == model["completion_tokens"]
    ((said, cost),) = found["karat.cost"]
    assert cost.as_double == pytest.approx(run.report["cost_usd"])
    assert said["karat.step"] == "respond"
    assert said["gen_ai.request.model"] == "loop"


def test_no_text_of_a_prompt_an_answer_or_a_service_goes_along(make_recipe, tmp_path, collector):
    def script(number, body):
        return (400, b'{"error": "What is number 1?"}', {}) if number == 1 else None

    with Server(script=script, answer=lambda body, i: "an answer of zebras") as server:
        karat.run(make_recipe(server.model(), 3), tmp_path / "out")
    sent = b"".join(body for _, body in collector.bodies)
    assert b"respond" in sent
    for text in (b"What is number", b"zebras"):
        assert text not in sent


def test_a_run_that_fails_says_so_in_its_span(make_recipe, user_module, tmp_path, collector):
    user_module("mine_fails", "@step\nasync def f(row, ctx):\n raise ValueError('zebras')\n")
    path = make_recipe(steps=[{"read": {"path": "prompts.jsonl"}}, "mine_fails:f"], rows=1)
    with pytest.raises(RunError):
        karat.run(path, tmp_path / "out")
    (root,) = collector.spans()
    assert (root["status"], root["error.type"]) == (ERROR, "RunError")
    assert "zebras" not in str(collector.bodies)


def test_kinds_of_calls_have_the_names_of_the_conventions(collector):
    heard = Telemetry(["traces"], "")
    heard.hear(attempt(kind="complete", model="mistral/small", route="mistral/small"))
    heard.hear(attempt(kind="embed", model="embedded/minilm", route="embedded/minilm@x"))
    heard.hear(attempt(
        kind="score", model="gemini/a/b", ttft_ms=12.5, samples=4, cached_tokens=3,
        served="gemini/a/b-1", tokens_from="", cost_nano=None,
    ))  # fmt: skip
    heard.hear(attempt(error="timeout", status=0, outcome="failed"))
    heard.close()
    complete, embed, score, failed = collector.spans()
    assert complete["name"] == "text_completion small"
    assert complete["gen_ai.provider.name"] == "mistral_ai"
    assert (complete["server.address"], complete["server.port"]) == ("api.mistral.ai", 443)
    assert (embed["name"], embed["kind"]) == ("embeddings minilm", INTERNAL)
    assert "server.address" not in embed
    assert (score["name"], score["gen_ai.provider.name"]) == ("score a/b", "gcp.gemini")
    assert score["gen_ai.response.time_to_first_chunk"] == 0.0125
    assert score["gen_ai.request.choice.count"] == 4
    assert score["gen_ai.usage.cache_read.input_tokens"] == 3
    assert score["gen_ai.response.model"] == "gemini/a/b-1"
    assert "gen_ai.usage.input_tokens" not in score
    assert "karat.cost_usd" not in score
    assert failed["error.type"] == "timeout"
    assert len({span["trace"] for span in (complete, embed, score, failed)}) == 4  # no run


def test_the_environment_names_service_and_headers(collector, monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=abc")
    heard = Telemetry(["traces"], "")
    heard.hear(attempt())
    heard.close()
    (span,) = collector.spans()
    assert span["resource"]["service.name"] == "mine"
    assert collector.headers[0]["x-key"] == "abc"


# --- off, and when it fails ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "signals"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["traces", "metrics"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["traces"]),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}, ["metrics"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, ["metrics"]),
    ],
)
def test_only_what_an_endpoint_is_set_for_is_sent(monkeypatch, capsys, variables, signals):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert wanted() == signals
    assert capsys.readouterr() == ("", "")


def test_another_protocol_is_refused_in_one_line(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert wanted() == wanted() == []
    assert capsys.readouterr().err.count("http/protobuf, not grpc") == 1


def test_a_missing_extra_is_told_once(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x")
    monkeypatch.setattr(telemetry, "_installed", lambda: False)
    assert wanted() == wanted() == []
    assert capsys.readouterr().err.count("pip install 'karat[otel]'") == 1


def test_the_library_is_not_loaded_where_it_is_off(make_recipe, tmp_path):
    code = (
        "import sys, karat; karat.run(sys.argv[1], sys.argv[2]); "
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    with Server() as server:
        args = [sys.executable, "-c", code, make_recipe(server.model(), 2), tmp_path / "out"]
        done = subprocess.run(args, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("receiver", ["nobody", "refuses", "fails", "hangs"])
def test_a_receiver_that_does_not_take_it_costs_a_moment_and_one_line(
    make_recipe, tmp_path, monkeypatch, capsys, receiver
):
    monkeypatch.setattr(telemetry, "FLUSH_S", 0.4)
    how = {"refuses": {"status": 400}, "fails": {"status": 503}, "hangs": {"hangs": 3.0}}
    with Collector(**how.get(receiver, {})) as collector, Server() as server:
        url = "http://127.0.0.1:9" if receiver == "nobody" else collector.url
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.replace("//", "//me:secret@"))
        began = time.monotonic()
        run = karat.run(make_recipe(server.model(), 2), tmp_path / "out")
        assert time.monotonic() - began < 2.5
    assert run.report["rows"]["accepted"] == 2
    err = capsys.readouterr().err
    assert err == "telemetry: not all could be sent to 127.0.0.1; nothing of the run is lost\n"
    assert "telemetry" not in str(run.report["warnings"])


def test_what_it_cannot_take_is_passed_over(collector):
    heard = Telemetry(["traces", "metrics"], "")
    heard.hear(attempt(started=None))
    heard.hear(attempt())
    heard.close()
    assert len(collector.spans()) == 1


def test_a_journal_tells_of_answers_and_of_failures_and_then_nobody(journal: Path, collector):
    async def work():
        base = open_journal(journal)
        async with followed(base, "w"):
            await base.put([], attempt())
            base.note(attempt(error="retry", status=500))
        assert base.heard is None
        base.note(attempt())
        await base.close()

    asyncio.run(work())
    assert sorted(span["name"] for span in collector.spans()) == [
        "chat m", "chat m", "invoke_workflow w",
    ]  # fmt: skip


def test_listening_takes_little_of_a_core(collector):
    heard = Telemetry(["traces", "metrics"], "w")
    many = [attempt() for _ in range(500)]
    began = time.thread_time()
    for one in many:
        heard.hear(one)
    spent = time.thread_time() - began
    heard.close()
    assert spent / len(many) < 500e-6
