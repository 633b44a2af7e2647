"""An OpenTelemetry receiver on loopback, for tests: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

import gzip
import time
from typing import Any

from loopback import Handler, Loopback
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - as http.server calls it
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.owner.bodies.append((self.path, body))
        self.owner.headers.append(dict(self.headers))
        time.sleep(self.owner.hangs)
        self.reply(self.owner.status)


class Collector(Loopback):
    """`with Collector() as collector: collector.url`. `status` is what it answers; with `hangs` it
    answers after so many seconds."""

    handler = _Handler

    def __init__(self, status: int = 200, hangs: float = 0.0) -> None:
        super().__init__()
        self.status, self.hangs = status, hangs
        self.bodies: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []

    def spans(self) -> list[dict[str, Any]]:
        """Every span: its name, ids, times in ns, kind, status and attributes."""
        parts = [
            part
            for path, body in self.bodies
            if path == "/v1/traces"
            for part in ExportTraceServiceRequest.FromString(body).resource_spans
        ]
        return [
            {
                "name": span.name, "trace": span.trace_id, "id": span.span_id,
                "parent": span.parent_span_id, "kind": span.kind, "status": span.status.code,
                "said": span.status.message, "start": span.start_time_unix_nano,
                "end": span.end_time_unix_nano, "resource": _attributes(part.resource.attributes),
                **_attributes(span.attributes),
            }
            for part in parts
            for scope in part.scope_spans
            for span in scope.spans
        ]  # fmt: skip

    def metrics(self) -> dict[str, list[tuple[dict[str, Any], Any]]]:
        """The last points of each metric: attributes, and the point as it came."""
        found: dict[str, list[tuple[dict[str, Any], Any]]] = {}
        for path, body in self.bodies:
            if path != "/v1/metrics":
                continue
            for part in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in part.scope_metrics:
                    for metric in scope.metrics:
                        points = getattr(metric, metric.WhichOneof("data")).data_points
                        found[metric.name] = [(_attributes(p.attributes), p) for p in points]
        return found


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
