"""Pages of a run that means its reader ill, and streams to whoever has gone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import orjson
from raw import ask
from rows_made import make_rows, write_run
from serving import Serving
from starlette.types import Message

from karat.ledger import SCHEMA
from karat.row import Row
from karat.web import respond

ENDLESS = "WITH RECURSIVE e(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM e) SELECT x, * FROM e, {}"


def pretender(path: Path) -> None:
    """A journal whose tables have no end."""
    with closing(sqlite3.connect(path)) as base:
        base.executescript(SCHEMA)
        for name in ("calls", "attempts", "minutes", "latencies"):
            base.execute(f"ALTER TABLE {name} RENAME TO old_{name}")
            base.execute(f"CREATE VIEW {name} AS {ENDLESS.format(f'old_{name}')}")


BEYOND = b'{"state": "failed", "calls": ' + b"9" * 40 + b"}"
STEPS = b'{"state": "failed", "steps": [{"label": "a", "current": true, "rows_out": 1%b}]}'


def test_the_pages_of_a_hostile_run_say_so(tmp_path: Path) -> None:
    rows = [Row("a\nb", dropped="x: y"), Row("end\n"), *make_rows(5)]
    pretender(write_run(tmp_path / "pretender", rows).journal)
    for name, said in (("deep", b"[" * 10**5), ("beyond", BEYOND), ("steps", STEPS % (b"0" * 400))):
        write_run(tmp_path / name, rows).live_file.write_bytes(said)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "recipe.yaml").write_text("name: x\nsteps: []\n")
    (empty / "live.json").write_text("{}")
    pages = [
        "",
        ".json",
        "/rows",
        "/row/x",
        "/models.csv",
        "/costs.json",
        "/report.html",
        "/events",
    ]
    with Serving(tmp_path) as server:
        for name in ("pretender", "deep", "beyond", "steps", "empty"):
            for page in pages:
                began = time.monotonic()
                reply = ask(server.port, f"/run/{name}{page}", accept="text/html")
                assert reply.status in (200, 400, 404, 409), f"{name}{page}: {reply.text[-300:]}"
                assert time.monotonic() - began < 5, f"{name}{page}"
        said = ask(server.port, "/run/pretender", accept="text/html").text
        assert "another program&#39;s database" in said
        for page in ("/models", "/models.json", "/models/calls", "/runs"):
            assert ask(server.port, page, accept="text/html").status == 200
        for path in ("row/x", "text/x?part=prompt", "rows.json", "rows.csv"):
            reply = ask(server.port, f"/run/empty/{path}")
            assert reply.status == 404, path
            assert "no rows" in reply.text, path
        for identity in ("a\nb", "end\n"):
            where = f"/run/pretender/row/{quote(identity, safe='')}"
            assert ask(server.port, where, accept="text/html").status == 200
            assert orjson.loads(ask(server.port, f"{where}.json").body)["row"]["id"] == identity


# --- streams -------------------------------------------------------------------------------------


def test_a_stream_ends_with_whoever_reads_it() -> None:
    """Also of a client that goes while something is being sent to it."""
    ended = []

    async def endless() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    async def main() -> None:
        gone = asyncio.Event()

        async def receive() -> Message:
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.body":
                gone.set()
                await asyncio.sleep(60)  # a full buffer

        await respond.events(endless())(
            {"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send
        )
        assert ended

    asyncio.run(main())
