"""What goes out, and what never does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from raw_server import (
    LOOPS,
    Client,
    Drive,
    RawServer,
    driven,
    echo,
    request,
    whole,
)

from karat.errors import ProviderError
from karat.models.transport import read_all


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer k\r\nX-Evil: 1"},
        {"authorization": "Bearer k\nX-Evil: 1"},
        {"authorization": "Bearer k\rX-Evil: 1"},
        {"authorization": "Bearer \0k"},
        {"x\r\nevil": "1"},
        {"x: evil": "1"},
        {"x evil": "1"},
        {"": "1"},
        {"x-name": "snow ☃"},
        {"Content-Length": "5"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_no_header_ends_the_line_it_stands_in(headers: dict[str, str]) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            with pytest.raises(ProviderError, match="no header can be") as caught:
                await client.post(server.url, b"", headers, 2)
            assert caught.value.kind == "row"
            assert "Bearer" not in str(caught.value)
            assert server.connections == 0

    driven(asyncio.run, main)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a\r\nX-Evil: 1", "http://127.0.0.1/a\nb", "http://127.0.0.1/?a\tb",
        "http://127.0.0.1\r\n/", "http://[::1/", "http://127.0.0.1:99999/", "ftp://127.0.0.1/",
        "/v1", "http:///v1", "", "http://127.0.0.1/\ud800",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    async def main() -> None:
        async with Client() as client:
            with pytest.raises(ProviderError, match="no address") as caught:
                await client.post(url, b"", {}, 2)
            assert caught.value.kind == "row"

    driven(asyncio.run, main)


def test_what_is_sent() -> None:
    heads: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await request(reader)
            heads.append(head)
            writer.write(whole(body))

    async def main() -> None:
        async with RawServer(handler) as server, Client() as client:
            url = f"{server.url}/a b/é%2F?q=a b&r=%20[☃]#f"
            await client.post(url, b"abc", {"X-Name": "Zoë\t1", "Accept": "a/b"}, 2)
            async with client.stream("DELETE", server.url, b"", {}, 2) as streamed:
                await read_all(streamed)
            port = server.port
        assert heads[0].decode("latin-1").split("\r\n") == [
            "POST /v1/a%20b/%C3%A9%2F?q=a%20b&r=%20%5B%E2%98%83%5D HTTP/1.1",
            f"host: 127.0.0.1:{port}",
            "user-agent: karat",
            "accept: a/b",
            "accept-encoding: identity",
            "x-name: Zoë\t1",
            "content-length: 3",
            "",
            "",
        ]
        assert heads[1].startswith(b"DELETE /v1 HTTP/1.1\r\n")

    driven(asyncio.run, main)


@asynccontextmanager
async def site(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_a_redirect_takes_no_key_along(drive: Drive) -> None:
    seen: list[str | None] = []

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"location": f"{elsewhere}/taken"})

    async def taken(asked: web.Request) -> web.Response:
        seen.append(asked.headers.get("authorization"))
        return web.Response()

    elsewhere = ""

    async def main() -> None:
        nonlocal elsewhere
        here, there = web.Application(), web.Application()
        here.router.add_post("/v1", away)
        there.router.add_post("/taken", taken)
        async with site(here) as url, site(there) as elsewhere, Client() as client:
            reply = await client.post(f"{url}/v1", b"", {"authorization": "Bearer k"}, 2)
            assert (reply.status, reply.headers["location"]) == (307, f"{elsewhere}/taken")
            async with client.stream("POST", f"{url}/v1", b"", {}, 2) as streamed:
                assert streamed.status == 307
        assert seen == []

    drive(main)


def test_an_ordinary_service(drive: Drive) -> None:
    async def answer(asked: web.Request) -> web.StreamResponse:
        body = await asked.read()
        if asked.query_string == "stream":
            response = web.StreamResponse(headers={"content-type": "text/event-stream"})
            await response.prepare(asked)
            for letter in body:
                await response.write(b"data: %c\n\n" % letter)
            return response
        packed = web.Response(body=body, status=int(asked.headers.get("x-status", 200)))
        packed.enable_compression(web.ContentCoding.gzip)
        return packed

    async def main() -> None:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1", answer)
        big = b"x" * 2**23
        async with site(app) as url, Client() as client:
            for status, body in ((200, b"abc"), (503, b"later"), (200, big)):
                reply = await client.post(f"{url}/v1", body, {"x-status": str(status)}, 5)
                assert (reply.status, reply.body) == (status, body)
            async with client.stream("POST", f"{url}/v1?stream", b"abc", {}, 5) as streamed:
                reply = await read_all(streamed)
            assert reply.body == b"data: a\n\ndata: b\n\ndata: c\n\n"
            async with client.stream(
                "POST", f"{url}/v1", b"no", {"x-status": "429"}, 5
            ) as streamed:
                reply = await read_all(streamed)
            assert (reply.status, reply.body) == (429, b"no")
            assert len(client._open) == 1

    drive(main)
