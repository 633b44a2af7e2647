"""Spans and metrics of model calls for OpenTelemetry; off unless an endpoint for them is set.

Made from what the ledger records, so that a trace, a bill and a report cannot disagree: the journal
hands each attempt to a listener, and where nobody listens that is one comparison. Names and buckets
are those of the semantic conventions for generative AI. No prompt, no answer and no message of a
service goes along, and whatever happens to the telemetry, the run goes on.

Source: OpenTelemetry semantic conventions for generative AI, spans and metrics (development).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from urllib.parse import urlsplit

from karat.journal import Journal
from karat.ledger import Attempt

FLUSH_S = 5.0  # at most, for what is not sent yet when a run ends
_told: set[str] = set()


class Telemetry:
    """Sends what it hears of. `name`: of a run, which is one trace; without it each call is a trace
    of its own, as for a gateway."""

    def __init__(self, signals: Sequence[str], name: str = "") -> None:
        from karat import otel  # the library takes 100 ms to load

        # It would speak of every failed try, amid whatever a terminal shows.
        logging.getLogger("opentelemetry").addHandler(logging.NullHandler())
        self._lost = 0
        resource = otel.resource()
        self._parts: list[otel.Spans | otel.Metrics] = []
        if "traces" in signals:
            self._parts.append(otel.Spans(resource, name, self._lose))
        if "metrics" in signals:
            self._parts.append(otel.Metrics(resource, self._lose))
        self._common = otel.common

    def _lose(self) -> None:
        self._lost += 1

    def hear(self, attempt: Attempt) -> None:
        """Takes an attempt; never raises."""
        with suppress(Exception):
            common = self._common(attempt)
            for part in self._parts:
                part.add(attempt, common)

    def close(self, error: str = "") -> None:
        """Sends what is left, FLUSH_S at most; `error` is the kind of what ended the run. That not
        all could be sent is told in one line."""
        threads = [threading.Thread(target=part.close, args=(error, FLUSH_S), daemon=True)
                   for part in self._parts]  # fmt: skip
        for thread in threads:
            thread.start()
        end = time.monotonic() + FLUSH_S
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        late = any(thread.is_alive() for thread in threads)
        for part in self._parts:
            part.abandon()
        if late or self._lost:
            host = urlsplit(_endpoint("traces") or _endpoint("metrics")).hostname
            _say(f"telemetry: not all could be sent to {host}; nothing of the run is lost")


def listen(journal: Journal, name: str = "") -> Telemetry | None:
    """Has spans and metrics made of all that the journal records from now on; None where the
    environment names no endpoint. See `Telemetry` for `name`; whoever listens closes it."""
    signals = wanted()
    if not signals:
        return None
    telemetry = Telemetry(signals, name)
    journal.heard = telemetry.hear
    return telemetry


@asynccontextmanager
async def followed(journal: Journal, name: str) -> AsyncIterator[None]:
    """Listens while the block, a run of that name, is under way."""
    telemetry, kind = listen(journal, name), ""
    try:
        yield
    except BaseException as error:
        kind = type(error).__name__
        raise
    finally:
        journal.heard = None
        if telemetry is not None:
            await asyncio.to_thread(telemetry.close, kind)


def wanted() -> list[str]:
    """Which of traces and metrics are to be sent, by the variables of OpenTelemetry.

    Says once, on stderr, why none is where an endpoint is set and it cannot be served.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    found = []
    for signal in ("traces", "metrics"):
        sent_by = os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "").strip().lower()
        if _endpoint(signal) and sent_by in ("", "otlp"):
            protocol = _setting(signal, "PROTOCOL") or "http/protobuf"
            if protocol != "http/protobuf":
                _say(
                    f"telemetry: karat sends http/protobuf, not {protocol}; set "
                    "OTEL_EXPORTER_OTLP_PROTOCOL and an endpoint for it (as a rule port 4318)"
                )
                continue
            found.append(signal)
    if found and not _installed():
        _say(
            "telemetry: OTEL_EXPORTER_OTLP_ENDPOINT is set and nothing can be sent: "
            "pip install 'karat[otel]'"
        )
        return []
    return found


def _setting(signal: str, name: str) -> str:
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", "").strip()
    return own or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}", "").strip()


def _endpoint(signal: str) -> str:
    return _setting(signal, "ENDPOINT")


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


def _say(text: str) -> None:
    if text not in _told:
        _told.add(text)
        print(text, file=sys.stderr, flush=True)  # noqa: T201
