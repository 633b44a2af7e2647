"""Anthropic's message batches: everything in one request, results by the batch's id.

A batch carries no name of ours: one that may have been created is known by its size and time, and
for certain only by the ids in its results. Requests that expired or were cancelled cost nothing.
Source: Anthropic's API reference, "Message Batches"; guide "Batch processing" (at most 100,000
requests and 256 MB, an end within 24 hours, results kept for 29 days); the `anthropic` package
2.12, types/messages/message_batch.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from karat.models.batch_desk import Line, Look, Raw, Result, unreadable
from karat.models.providers.anthropic import STATUS
from karat.models.transport import HttpReply
from karat.models.wire import Provider

PAGE, MOST_PAGES = 100, 100
WRONG = (KeyError, TypeError, ValueError, AttributeError)


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


def connect(provider: Provider) -> AnthropicDesk:
    return AnthropicDesk(provider)


class AnthropicDesk:
    """Over /messages/batches."""

    path = "/messages"
    most_requests = 100_000
    most_bytes = 256_000_000
    certain = False

    def __init__(self, provider: Provider) -> None:
        self._line = Line(provider)
        self._results = Raw(_Line)

    async def prepare(self, batch: str, requests: list[tuple[str, bytes]]) -> bytes:
        parts = [
            b'{"custom_id":"' + name.encode() + b'","params":' + body + b"}"
            for name, body in requests
        ]
        return b'{"requests":[' + b",".join(parts) + b"]}"

    async def create(self, prepared: bytes) -> str:
        made = await self._line.send("/messages/batches", prepared)
        try:
            return str(made["id"])
        except KeyError as error:
            raise unreadable(error) from None

    async def look(self, remote: str) -> Look:
        path = f"/messages/batches/{quote(remote, safe='')}"
        found = await self._line.ask("GET", path)
        try:
            counts = found["request_counts"]
            done = sum(counts.values()) - counts["processing"]
            unanswered = [
                f"{counts[sort]:,} {sort}" for sort in ("expired", "canceled") if counts.get(sort)
            ]
            ended = found["processing_status"] == "ended"
        except WRONG as error:
            raise unreadable(error) from None
        return Look(ended, done, (f"{path}/results",) if ended else (), ", ".join(unanswered))

    async def results(self, look: Look) -> AsyncGenerator[Result]:
        for file in look.files:
            async for line in self._line.lines(file):
                if not line.strip():
                    continue
                try:
                    found = self._results.read(line)
                    yield found.custom_id, _reply(found.result)
                except (msgspec.DecodeError, ValueError, RecursionError):
                    continue  # a request without a readable result has none

    async def search(self, batch: str, count: int, since: float) -> list[str]:
        """Newest first, as the service lists them."""
        found: list[str] = []
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._line.ask("GET", f"/messages/batches?limit={PAGE}{after}")
            try:
                for item in page["data"]:
                    if datetime.fromisoformat(item["created_at"]).timestamp() < since:
                        return found
                    if sum(item["request_counts"].values()) == count:
                        found.append(str(item["id"]))
                if not page.get("has_more") or not page["data"]:
                    break
                after = f"&after_id={quote(str(page['last_id']), safe='')}"
            except WRONG as error:
                raise unreadable(error) from None
        return found

    async def cancel(self, remote: str) -> None:
        await self._line.send(f"/messages/batches/{quote(remote, safe='')}/cancel", b"")

    async def forget(self, look: Look) -> None:
        """Nothing is kept but the results, which the service deletes after 29 days."""


def _reply(result: _Result) -> HttpReply | None:
    """The reply that the request alone would have had."""
    if result.type == "succeeded":
        return HttpReply(200, {}, bytes(result.message))
    if result.type != "errored":
        return None
    body = bytes(result.error)
    return HttpReply(_status(body), {}, body)


def _status(body: bytes) -> int:
    tree: Any = msgspec.json.decode(body)
    inner = tree.get("error", tree) if isinstance(tree, dict) else {}
    kind = inner.get("type") if isinstance(inner, dict) else None
    return STATUS.get(str(kind), 500)
