"""OpenAI's batches, and those of services that take the same files.

A file of requests is uploaded, a batch is created over it, and answers come in one file, errors in
another. A batch that expires or is cancelled still has what was done of it, and that is paid for.
Source: OpenAI's API reference, "Batch", "Files"; guide "Batch API"; the `openai` package 3.54,
types/batch.py, batch_create_params.py (at most 50,000 requests and 200 MB).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

import msgspec
import orjson

from karat.models.batch_desk import Line, Look, Raw, Result, unreadable
from karat.models.transport import HttpReply
from karat.models.wire import Provider

ENDED = ("completed", "failed", "expired", "cancelled")
FULL = "token_limit_exceeded"  # code of a batch refused because too many tokens wait already
PAGE, MOST_PAGES = 100, 100


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None


def connect(provider: Provider) -> OpenAIDesk:
    return OpenAIDesk(provider)


class OpenAIDesk:
    """Over /files and /batches."""

    path = "/chat/completions"
    most_requests = 50_000
    most_bytes = 200_000_000
    certain = True  # the batch carries our id in its metadata

    def __init__(self, provider: Provider) -> None:
        self._line = Line(provider)
        self._results = Raw(_Line)
        self._endpoint = f"/v1{self.path}"  # whatever the service's own address

    async def prepare(self, batch: str, requests: list[tuple[str, bytes]]) -> bytes:
        """Uploads the file. One that is never used is deleted by the service after 30 days."""
        head = (
            f'--{batch}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
            f'--{batch}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="karat-{batch}.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n'
        )
        between = f'","method":"POST","url":"{self._endpoint}","body":'
        parts = [head.encode()]
        for name, body in requests:
            parts += [b'{"custom_id":"', name.encode(), between.encode(), body, b"}\n"]
        parts.append(f"\r\n--{batch}--\r\n".encode())
        kind = f"multipart/form-data; boundary={batch}"
        made = await self._line.send("/files", b"".join(parts), kind)
        return orjson.dumps({
            "input_file_id": _id(made), "endpoint": self._endpoint, "completion_window": "24h",
            "metadata": {"karat": batch},
        })  # fmt: skip

    async def create(self, prepared: bytes) -> str:
        return _id(await self._line.send("/batches", prepared))

    async def look(self, remote: str) -> Look:
        found = await self._line.ask("GET", f"/batches/{quote(remote, safe='')}")
        try:
            return _look(found)
        except (KeyError, TypeError, AttributeError) as error:
            raise unreadable(error) from None

    async def results(self, look: Look) -> AsyncGenerator[Result]:
        for file in look.files:
            async for line in self._line.lines(file):
                if not line.strip():
                    continue
                try:
                    found = self._results.read(line)
                except (msgspec.DecodeError, ValueError):
                    continue  # a request without a readable result has none
                reply = found.response
                yield (
                    found.custom_id,
                    reply and HttpReply(reply.status_code, {}, bytes(reply.body)),
                )

    async def search(self, batch: str, count: int, since: float) -> list[str]:
        """In no order that the service promises, so all of the list is read."""
        after = ""
        for _ in range(MOST_PAGES):
            page = await self._line.ask("GET", f"/batches?limit={PAGE}{after}")
            listed = page.get("data")
            if listed and not isinstance(listed, list):
                raise unreadable(TypeError("data is no list"))
            items = [item for item in listed or [] if isinstance(item, dict)]
            for item in items:
                said = item.get("metadata")
                if isinstance(said, dict) and said.get("karat") == batch:
                    return [_id(item)]
            if not page.get("has_more") or not items:
                break
            after = f"&after={quote(_id(items[-1]), safe='')}"
        return []

    async def cancel(self, remote: str) -> None:
        await self._line.send(f"/batches/{quote(remote, safe='')}/cancel", b"")

    async def forget(self, look: Look) -> None:
        await self._line.ask("DELETE", look.spare)


def _id(made: dict[str, Any]) -> str:
    found = made.get("id")
    if not isinstance(found, str) or not found:
        raise unreadable(ValueError(f"no id in {str(made)[:200]}"))
    return found


def _look(batch: dict[str, Any]) -> Look:
    status = batch["status"]
    counts = batch.get("request_counts") or {}
    files = [batch.get(field) for field in ("output_file_id", "error_file_id")]
    errors = [error for error in (batch.get("errors") or {}).get("data") or [] if error]
    said = "; ".join(str(error.get("message") or error.get("code")) for error in errors[:3])
    return Look(
        status in ENDED,
        (counts.get("completed") or 0) + (counts.get("failed") or 0),
        tuple(f"/files/{quote(file, safe='')}/content" for file in files if file),
        "" if status == "completed" else f"{status}: {said}" if said else status,
        status == "failed" and any(error.get("code") == FULL for error in errors),
        f"/files/{quote(batch['input_file_id'], safe='')}",
    )
