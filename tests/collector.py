"""An OpenTelemetry receiver on loopback, for tests: takes OTLP over HTTP and decodes it."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """`with Collector() as collector: collector.url`. `status` is what it answers; with `hangs` it
    answers after so many seconds."""

    def __init__(self, status: int = 200, hangs: float = 0.0) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.headers: list[dict[str, str]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                owner.bodies.append((self.path, body))
                owner.headers.append(dict(self.headers))
                time.sleep(hangs)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

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
