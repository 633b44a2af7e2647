"""Attempts as OpenTelemetry's own library takes them; only loaded where telemetry is on.

A span is made when its attempt is over, with the times the ledger has, so that nothing has to be
carried along while a call is under way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, set_span_in_context
from opentelemetry.trace.status import Status, StatusCode

from karat.ledger import Attempt
from karat.models.services import shipped

QUEUE = 16_384  # spans that wait to be sent; further ones are dropped
OPERATIONS = {"complete": "text_completion", "embed": "embeddings"}  # others are called as they are
PROVIDERS = {
    "azure": "azure.ai.openai", "bedrock": "aws.bedrock", "gemini": "gcp.gemini",
    "mistral": "mistral_ai", "vertex_ai": "gcp.vertex_ai", "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}  # fmt: skip
SECONDS = [0.01 * 2**n for n in range(14)]
TOKENS = [4**n for n in range(14)]
FAILED = Status(StatusCode.ERROR)
_URL = re.compile(r"https?://\S+")
Lost = Callable[[], None]


def resource() -> Resource:
    """Who sends: karat, unless the environment names the service."""
    own = {"service.version": version("karat")}
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        own["service.name"] = os.environ.get("OTEL_SERVICE_NAME") or "karat"
    return Resource.create(own)


def common(attempt: Attempt) -> dict[str, Any]:
    """The attributes that spans and metrics share."""
    said = dict(_asked(attempt.kind, attempt.model, attempt.route))
    if attempt.served:
        said["gen_ai.response.model"] = attempt.served
    if attempt.error:
        said["error.type"] = str(attempt.status) if attempt.status >= 400 else attempt.error
    return said


@lru_cache(maxsize=1024)
def _asked(kind: str, model: str, route: str) -> Mapping[str, Any]:
    """What is asked of whom."""
    service, _, name = model.partition("/")
    said: dict[str, Any] = {
        "gen_ai.operation.name": OPERATIONS.get(kind, kind),
        "gen_ai.provider.name": PROVIDERS.get(service, service),
        "gen_ai.request.model": name or model,
    }
    found = _URL.search(route)
    known = shipped().get(service)
    address = found[0] if found else (known.base_url if known and known.base_url else "")
    parts = urlsplit(address)
    if parts.hostname:
        said["server.address"] = parts.hostname
        said["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    return said


class Spans:
    """A span for the run, and one for each attempt."""

    def __init__(self, resource: Resource, name: str, lost: Lost) -> None:
        self._exporter = _counted(OTLPSpanExporter(), lost)
        queue = None if os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=queue))
        self._tracer = self._provider.get_tracer("karat", version("karat"))
        self._root: Span | None = None
        self._within: Context | None = None
        if name:
            said = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": name}
            self._root = self._tracer.start_span(f"invoke_workflow {name}", attributes=said)
            self._within = set_span_in_context(self._root)

    def add(self, a: Attempt, common: Mapping[str, Any]) -> None:
        model, operation = common["gen_ai.request.model"], common["gen_ai.operation.name"]
        started = int(a.started * 1e9)
        said = {
            **common,
            "karat.step": a.step, "karat.row": a.row, "karat.role": a.role,
            "karat.outcome": a.outcome, "karat.try": a.try_number,
            "karat.queue_ms": round(a.queue_ms, 3),
        }  # fmt: skip
        if a.tokens_from:
            said["gen_ai.usage.input_tokens"] = a.prompt_tokens
            said["gen_ai.usage.output_tokens"] = a.completion_tokens
            said["karat.tokens_from"] = a.tokens_from
        more = {
            "gen_ai.usage.cache_read.input_tokens": a.cached_tokens,
            "gen_ai.usage.cache_creation.input_tokens": a.cache_write_tokens,
            "gen_ai.usage.reasoning.output_tokens": a.reasoning_tokens,
            "gen_ai.request.choice.count": a.samples if a.samples > 1 else 0,
            "gen_ai.response.finish_reasons": [a.finish_reason] if a.finish_reason else None,
            "gen_ai.response.time_to_first_chunk": a.ttft_ms and a.ttft_ms / 1000,
            "http.response.status_code": a.status,
        }
        said |= {name: value for name, value in more.items() if value}
        if a.cost_nano is not None:
            said["karat.cost_usd"] = a.cost_nano / 1e9
        kind = (
            SpanKind.INTERNAL if common["gen_ai.provider.name"] == "embedded" else SpanKind.CLIENT
        )
        span = self._tracer.start_span(
            f"{operation} {model}", context=self._within, kind=kind, attributes=said,
            start_time=started,
        )  # fmt: skip
        if a.error:
            span.set_status(FAILED)
        span.end(end_time=started + int(a.latency_ms * 1e6))

    def close(self, error: str, within_s: float) -> None:
        if self._root is not None:
            if error:
                self._root.set_attribute("error.type", error)
                self._root.set_status(FAILED)
            self._root.end()
        del within_s  # its library takes no time; whoever calls waits no longer
        self._provider.shutdown()

    def abandon(self) -> None:
        """Ends what waits for another try."""
        self._exporter.shutdown()


class Metrics:
    """Tokens, durations and costs."""

    def __init__(self, resource: Resource, lost: Lost) -> None:
        self._exporter = _counted(OTLPMetricExporter(), lost)
        reader = PeriodicExportingMetricReader(self._exporter)
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("karat", version("karat"))
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )  # fmt: skip
        self._seconds = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )  # fmt: skip
        self._cost = meter.create_counter("karat.cost", "{USD}", "What model calls have cost.")

    def add(self, a: Attempt, common: Mapping[str, Any]) -> None:
        self._seconds.record(a.latency_ms / 1000, common)
        if a.tokens_from in ("reported", "estimated"):
            self._tokens.record(a.prompt_tokens, {**common, "gen_ai.token.type": "input"})
            self._tokens.record(a.completion_tokens, {**common, "gen_ai.token.type": "output"})
        if a.cost_nano:
            self._cost.add(a.cost_nano / 1e9, {**common, "karat.step": a.step})

    def close(self, error: str, within_s: float) -> None:
        del error  # it is said of the run's span
        self._provider.shutdown(timeout_millis=within_s * 1000)

    def abandon(self) -> None:
        self._exporter.shutdown()


def _counted(exporter: Any, lost: Lost) -> Any:
    """An exporter that says when it could not send something."""
    export = exporter.export

    def counting(*given: Any, **more: Any) -> Any:
        result = export(*given, **more)
        if result.name != "SUCCESS":
            lost()
        return result

    exporter.export = counting
    return exporter
