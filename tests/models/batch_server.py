"""Both batch APIs on loopback, and the direct calls beside them, faulty on demand, for tests.

Every request that is executed is counted, in a batch or not: that is what is paid for. What clients
of the two services may rely on is as the vendors' references have it: results in any order, errors
in a file of their own (OpenAI) or among the results (Anthropic), nothing until a batch has ended.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from server import text_for

USAGE = (10, 7)  # tokens read and written, of every request


class BatchServer:
    """`with BatchServer(...) as server: server.url`.

    `seconds`: how long a batch takes. `script(what, number)` is asked before every request (`what`
    is upload, create, look, list, results, cancel, delete or direct) and may answer it with
    (status, JSON). `before` and `after`: requests that hang before, or after, they take effect.
    `unheard`: what takes effect the first time, with no reply. `status(body)`: the status of a
    request in a batch. `expires(body)`, `loses(body)`: it has no result. `invalid`: (code, message)
    that every batch fails validation with, while it is set.
    """

    def __init__(self, kind: str, **behaviour: Any) -> None:
        self.kind, self.behaviour = kind, behaviour
        self.before: set[str] = set(behaviour.get("before", ()))
        self.after: set[str] = set(behaviour.get("after", ()))
        self.invalid: tuple[str, str] | None = behaviour.get("invalid")
        self.url: str = behaviour.get("url", "")  # until it runs
        self.seconds: float = behaviour.get("seconds", 0.0)
        self.calls: Counter[str] = Counter()
        self.executed: Counter[str] = Counter()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.cancelled: list[str] = []
        self.numbers = 0

    def __enter__(self) -> BatchServer:
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()

        async def start() -> None:
            app = web.Application(client_max_size=2**28)
            for method, path, what, handler in self._routes():
                app.router.add_route(method, f"/v1{path}", self._wrapped(what, handler))
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
            ready.set()

        def target() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(start())
            self._loop.run_forever()

        self._thread = threading.Thread(target=target, daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        self.before, self.after = set(), set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def model(self, **more: Any) -> dict[str, Any]:
        seeded = self.kind == "openai"
        service = {
            "wire": self.kind, "base_url": self.url, "batches": self.kind, "n": False,
            "seed": seeded,
        }  # fmt: skip
        price = {"input": 3, "output": 15}
        return {"model": "acme/loop", "service": service, "batch": True, "price": price, **more}

    def _routes(self) -> list[tuple[str, str, str, Any]]:
        if self.kind == "openai":
            return [
                ("POST", "/files", "upload", self._upload),
                ("GET", "/files/{id}/content", "results", self._content),
                ("DELETE", "/files/{id}", "delete", self._delete),
                ("POST", "/batches", "create", self._create),
                ("GET", "/batches", "list", self._list),
                ("GET", "/batches/{id}", "look", self._look),
                ("POST", "/batches/{id}/cancel", "cancel", self._cancel),
                ("POST", "/chat/completions", "direct", self._direct),
                ("POST", "/embeddings", "direct", self._embed),
            ]
        return [
            ("POST", "/messages/batches", "create", self._create),
            ("GET", "/messages/batches", "list", self._list),
            ("GET", "/messages/batches/{id}", "look", self._look),
            ("GET", "/messages/batches/{id}/results", "results", self._results),
            ("POST", "/messages/batches/{id}/cancel", "cancel", self._cancel),
            ("POST", "/messages", "direct", self._direct),
        ]

    def _wrapped(self, what: str, handler: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.calls[what] += 1
            while what in self.before:  # noqa: ASYNC110  set by the test's thread
                await asyncio.sleep(0.01)
            if request.transport is None:
                return web.Response()  # whoever asked is gone, and it was not even read
            script = self.behaviour.get("script")
            faulty = script(what, self.calls[what]) if script else None
            if faulty is not None:
                return web.json_response(faulty[1], status=faulty[0])
            reply: web.StreamResponse = await handler(request)
            while what in self.after:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            if what == self.behaviour.get("unheard") and self.calls[what] == 1:
                assert request.transport is not None
                request.transport.abort()
            return reply

        return handle

    # --- what is executed ----------------------------------------------------------------------

    def _answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        status = self.behaviour.get("status", lambda body: 200)(body)
        if status != 200:
            kinds = {400: "invalid_request_error", 529: "overloaded_error", 500: "api_error"}
            error = {"type": kinds[status], "message": f"no good: {body['messages'][-1]}"}
            return status, {"error": error, **({"type": "error"} if self.kind != "openai" else {})}
        self.numbers += 1
        self.executed[f"{body['messages'][-1]['content']}|{body.get('seed')}"] += 1
        read, written = USAGE
        if self.kind == "openai":
            message = {"role": "assistant", "content": text_for(body, 0)}
            return 200, {
                "id": "chat", "object": "chat.completion", "created": 1, "model": body["model"],
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "usage": {
                    "prompt_tokens": read, "completion_tokens": written,
                    "total_tokens": read + written,
                },
            }  # fmt: skip
        return 200, {
            "id": "msg", "type": "message", "role": "assistant", "model": body["model"],
            "content": [{"type": "text", "text": f"answer {self.numbers}"}],
            "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": read, "output_tokens": written},
        }  # fmt: skip

    async def _direct(self, request: web.Request) -> web.Response:
        status, made = self._answer(await request.json())
        return web.json_response(made, status=status)

    async def _embed(self, request: web.Request) -> web.Response:
        texts = (await request.json())["input"]
        data = [{"index": i, "embedding": [1.0, 2.0]} for i in range(len(texts))]
        return web.json_response({"data": data})

    # --- batches -------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        file = form["file"]
        assert isinstance(file, web.FileField)
        name = f"file-{self.calls['upload']}"  # never used again
        self.files[name] = file.file.read()
        return web.json_response({
            "id": name, "object": "file", "bytes": len(self.files[name]), "purpose": "batch",
            "created_at": int(time.time()), "filename": file.filename, "status": "processed",
        })  # fmt: skip

    async def _create(self, request: web.Request) -> web.Response:
        asked = await request.json()
        number = len(self.batches)
        if self.kind == "openai":
            assert asked["completion_window"] == "24h"
            lines = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
            assert (
                {line["url"] for line in lines} == {asked["endpoint"]} == {"/v1/chat/completions"}
            )
            requests = [(line["custom_id"], line["body"]) for line in lines]
        else:
            requests = [(one["custom_id"], one["params"]) for one in asked["requests"]]
        names = [name for name, _ in requests]
        assert len(set(names)) == len(names)
        assert all(len(name) <= 64 for name in names)
        made = {
            "id": f"batch_{number}", "asked": asked, "created": time.time(), "size": len(names),
            "invalid": self.invalid, "results": [],
        }  # fmt: skip
        if self.invalid is None:
            for name, body in requests:
                if self.behaviour.get("expires", lambda body: False)(body):
                    made["results"].append((name, 0, None))
                elif not self.behaviour.get("loses", lambda body: False)(body):
                    made["results"].append((name, *self._answer(body)))
            made["results"].reverse()
        self.batches[made["id"]] = made
        return web.json_response(self._shown(made))

    async def _look(self, request: web.Request) -> web.Response:
        return web.json_response(self._shown(self.batches[request.match_info["id"]]))

    async def _list(self, request: web.Request) -> web.Response:
        """Two to a page, newest first."""
        after = request.query.get("after") or request.query.get("after_id")
        every = list(reversed(self.batches.values()))
        if after:
            every = every[[made["id"] for made in every].index(after) + 1 :]
        page = [self._shown(made) for made in every[:2]]
        last = page[-1]["id"] if page else None
        return web.json_response({"data": page, "has_more": len(every) > 2, "last_id": last})

    async def _cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append(request.match_info["id"])
        return await self._look(request)

    async def _delete(self, request: web.Request) -> web.Response:
        del self.files[request.match_info["id"]]
        return web.json_response({"id": "", "object": "file", "deleted": True})

    def _ended(self, made: dict[str, Any]) -> bool:
        return bool(time.time() - made["created"] >= self.seconds)

    def _shown(self, made: dict[str, Any]) -> dict[str, Any]:
        ended, results = self._ended(made), made["results"]
        sorts = Counter(
            "expired" if status == 0 else "succeeded" if status == 200 else "errored"
            for _, status, _ in results
        )
        if self.kind != "openai":
            left = 0 if ended else made["size"]
            named = ("succeeded", "errored", "expired", "canceled")
            counts = {sort: sorts[sort] if ended else 0 for sort in named}
            return {
                "id": made["id"], "type": "message_batch",
                "created_at": datetime.fromtimestamp(made["created"], UTC).isoformat(),
                "expires_at": datetime.fromtimestamp(made["created"] + 86400, UTC).isoformat(),
                "processing_status": "ended" if ended else "in_progress",
                "request_counts": {"processing": left, **counts},
                "results_url": f"{self.url}/messages/batches/{made['id']}/results",
            }  # fmt: skip
        shown = {
            "id": made["id"], "object": "batch", "status": "in_progress",
            "completion_window": "24h", "endpoint": made["asked"]["endpoint"],
            "created_at": int(made["created"]), "metadata": made["asked"].get("metadata"),
            "input_file_id": made["asked"]["input_file_id"], "errors": None,
            "output_file_id": None, "error_file_id": None,
            "request_counts": {"total": made["size"], "completed": 0, "failed": 0},
        }  # fmt: skip
        if made["invalid"]:
            code, message = made["invalid"]
            errors = {"object": "list", "data": [{"code": code, "message": message, "line": None}]}
            return {**shown, "status": "failed", "errors": errors}
        if ended:
            shown["status"] = "expired" if sorts["expired"] else "completed"
            if sorts["succeeded"]:
                shown["output_file_id"] = f"{made['id']}-good"
            if len(results) > sorts["succeeded"]:
                shown["error_file_id"] = f"{made['id']}-bad"
        return shown

    async def _content(self, request: web.Request) -> web.StreamResponse:
        name, _, sort = request.match_info["id"].rpartition("-")
        lines = []
        for custom_id, status, body in self.batches[name]["results"]:
            if (status == 200) == (sort == "good"):
                response = {"status_code": status, "request_id": "r", "body": body}
                expired = {"code": "batch_expired", "message": "too late"}
                how = (response, None) if status else (None, expired)
                lines.append({"custom_id": custom_id, "response": how[0], "error": how[1]})
        return await _streamed(request, lines)

    async def _results(self, request: web.Request) -> web.StreamResponse:
        lines = []
        for custom_id, status, body in self.batches[request.match_info["id"]]["results"]:
            result = {"type": "expired"}
            if status == 200:
                result = {"type": "succeeded", "message": body}
            elif status:
                result = {"type": "errored", "error": body}
            lines.append({"custom_id": custom_id, "result": result})
        return await _streamed(request, lines)


async def _streamed(request: web.Request, lines: list[dict[str, Any]]) -> web.StreamResponse:
    """In pieces that end within lines, the last line without an end."""
    data = b"\n".join(json.dumps(line).encode() for line in lines)
    reply = web.StreamResponse()
    await reply.prepare(request)
    for start in range(0, len(data), 777):
        await reply.write(data[start : start + 777])
    await reply.write_eof()
    return reply
