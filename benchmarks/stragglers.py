"""No barriers: one response in fifty takes twenty times as long, and nobody else waits for it.

A server answers in 500 ms, one request in fifty in 10 s, chosen by what is asked. karat keeps a
fixed number of calls in flight; the ideal is a schedule that always has that many under way: each
call starts, in the order karat sent them, as soon as one of so many places is free. What is
measured is the time from the first call's arrival to the last one's end, as the server saw them,
against that schedule; and how many calls were in flight on average until the last one was sent.

    python benchmarks/stragglers.py [--rows 6000] [--concurrency 64]

`respond` sends one call a row; `prompts` writes lists topic by topic and asks again where they come
out short, which is where fixed slices of requests are usual and slow.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import heapq
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FAST_S, SLOW_S, ONE_IN = 0.5, 10.0, 50


def serve(port: int) -> None:
    """The server; GET /log tells when each call came and how long it took, and forgets them."""
    import uvloop
    from aiohttp import web

    log: list[tuple[float, float]] = []

    async def chat(request: web.Request) -> web.Response:
        came = time.monotonic()
        body = json.loads(await request.read())
        noise = hashlib.sha256(repr((body["messages"], body.get("seed"))).encode()).hexdigest()
        await asyncio.sleep(SLOW_S if int(noise[:8], 16) % ONE_IN == 0 else FAST_S)
        lines = [
            f"{i}. Why does {noise[i : i + 7]} move {noise[i + 8 : i + 15]}?" for i in range(5)
        ]
        log.append((came, time.monotonic()))
        message = {"role": "assistant", "content": "\n".join(lines)}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        usage = {"prompt_tokens": 10, "completion_tokens": 60}
        return web.json_response({"model": "loop", "choices": choices, "usage": usage})

    async def told(_: web.Request) -> web.Response:
        found = web.json_response(log)
        log.clear()
        return found

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_get("/log", told)
    web.run_app(app, host="127.0.0.1", port=port, print=None, backlog=4096, access_log=None)


@contextmanager
def server(port: int) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(port)])
    try:
        base = f"http://127.0.0.1:{port}"
        for _ in range(200):
            try:
                log(base)
                break
            except OSError:
                time.sleep(0.05)
        yield base
    finally:
        process.terminate()
        process.wait(10)


def log(base: str) -> list[tuple[float, float]]:
    with urllib.request.urlopen(f"{base}/log") as reply:
        return [(came, went) for came, went in json.load(reply)]


def recipe(base: str, kind: str, rows: int, width: int, folder: Path) -> dict[str, Any]:
    model = {"model": "openai/loop", "base_url": f"{base}/v1", "concurrency": width}
    if kind == "respond":
        lines = (json.dumps({"prompt": f"What is number {i}?"}) + "\n" for i in range(rows))
        (folder / "prompts.jsonl").write_text("".join(lines))
        steps = [{"read": {"path": "prompts.jsonl"}}, {"respond": {"models": ["loop"]}}]
    else:
        given = [f"subject {i}" for i in range(rows // 4)]  # two tasks, two lists of each a topic
        writes = {"model": "loop", "per_topic": 16, "tasks": ["open_qa", "writing"]}
        steps = [{"topics": {"given": given}}, {"prompts": writes}]
    return {"name": kind, "models": {"loop": model}, "steps": steps, "export": []}


def ideal(calls: list[tuple[float, float]], width: int) -> float:
    """Seconds until all are done, when `width` of them are always under way, in this order."""
    places = [0.0] * width
    for came, went in sorted(calls):
        heapq.heappush(places, heapq.heappop(places) + went - came)
    return max(places)


def measure(base: str, kind: str, rows: int, width: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "recipe.yaml"
        path.write_text(json.dumps(recipe(base, kind, rows, width, folder)))
        log(base)
        command = [sys.executable, "-m", "karat", "run", str(path), "--out", str(folder / "out")]
        subprocess.run(command, check=True, capture_output=True)
        calls = log(base)
    took = max(went for _, went in calls) - min(came for came, _ in calls)
    until = max(came for came, _ in calls)
    busy = sum(min(went, until) - came for came, went in calls)
    best = ideal(calls, width)
    return {
        "calls": len(calls),
        "slow": sum(went - came > FAST_S + (SLOW_S - FAST_S) / 2 for came, went in calls),
        "seconds": round(took, 2),
        "ideal_s": round(best, 2),
        "of_ideal": round(best / took, 3),
        "mean_in_flight": round(busy / (until - min(came for came, _ in calls)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--port", type=int, default=18431)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    with server(asked.port) as base:
        for kind in ("respond", "prompts"):
            found = measure(base, kind, asked.rows, asked.concurrency)
            print(kind, json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
