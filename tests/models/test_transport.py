"""Connections: made, kept, used again, given up; and what is said where there are none."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from raw_server import LOOPS, Client, Drive, RawServer, driven, echo, replies, request, whole

from karat.errors import ProviderError
from karat.models import transport as module
from karat.models.transport import HttpTransport, read_all

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a request and never answers."""
    await reader.read(1)
    while await reader.read(2**16):
        pass


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  no event says so
            await asyncio.sleep(0.005)


# --- one connection after another ----------------------------------------------------------------


def test_a_connection_serves_one_call_after_another(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            for i in range(5):
                assert (await client.post(server.url, b"%d" % i, {}, 2)).body == b"%d" % i
                async with client.stream("POST", server.url, b"s%d" % i, {}, 2) as streamed:
                    assert (await read_all(streamed)).body == b"s%d" % i
            assert server.connections == 1

    drive(main)


@pytest.mark.parametrize(
    "reply",
    [
        whole(b"abc", b"200 OK", b"Connection: close"),
        whole(b"abc").replace(b"1.1", b"1.0"),
        whole(b"abc") + whole(b"def"),
        whole(b"abc") + b"H",
        whole(b"abc") + b"junk",
        whole(b"abc", b"200 OK", b"Content-Encoding: br"),
    ],
    ids=["close", "HTTP/1.0", "two replies", "one and a bit", "junk behind", "unreadable"],
)
def test_a_connection_not_to_be_trusted_is_closed(reply: bytes, drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(replies(reply, hold=True)) as server, Client() as client:
            for _ in range(2):
                try:
                    assert (await client.post(server.url, b"{}", {}, 2)).body == b"abc"
                except ProviderError as error:
                    assert "packed as br" in str(error)  # noqa: PT017  one case of six
            assert server.connections == 2
            await until(lambda: server.open == 0 and not client._open)

    drive(main)


def test_a_reply_that_nobody_asked_for_is_never_taken_for_one(drive: Drive) -> None:
    async def early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(b"poison"))
        while True:
            _, body = await request(reader)
            writer.write(whole(body))
            await asyncio.sleep(0.02)
            writer.write(whole(b"poison"))

    async def main() -> None:
        async with RawServer(early) as server, Client() as client:
            for i in range(6):
                try:
                    reply = await client.post(server.url, b"%d" % i, {}, 2)
                except ProviderError as error:
                    assert error.kind == "connection"  # noqa: PT017
                else:
                    # What came with the very first packet cannot be told from an answer.
                    assert reply.body == b"%d" % i or server.connections > 1 or i == 0
                await asyncio.sleep(0.04)
            assert server.connections > 1

    drive(main)


def test_many_at_once_each_get_their_own(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            for _ in range(2):
                bodies = [b"%d" % i for i in range(400)]
                asked = [client.post(server.url, body, {}, 10) for body in bodies]
                assert [reply.body for reply in await asyncio.gather(*asked)] == bodies
            assert server.connections <= 400
            assert len(client._open) == server.connections

    drive(main)


def test_a_cancelled_call_leaves_nothing_to_the_next(drive: Drive) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, body = await request(reader)
            data = whole(body)
            writer.write(data[:-2])
            await asyncio.sleep(0.05 if body.startswith(b"slow") else 0)
            writer.write(data[-2:])

    async def main() -> None:
        async with RawServer(slow) as server, Client() as client:
            for i in range(10):
                task = asyncio.ensure_future(client.post(server.url, b"slow%d" % i, {}, 2))
                await asyncio.sleep(0.003 * i)  # connecting, waiting, half read
                task.cancel()
                assert (await client.post(server.url, b"next%d" % i, {}, 2)).body == b"next%d" % i
                with pytest.raises(asyncio.CancelledError):
                    await task
            await until(lambda: server.open == len(client._open))
            assert len(client._open) <= 2

    drive(main)


def test_a_service_may_close_idle_connections(drive: Drive) -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(whole(body))
        await asyncio.sleep(0.02)  # then it is closed

    async def main() -> None:
        async with RawServer(hasty) as server, Client() as client:
            for i in range(3):
                asked = (client.post(server.url, body, {}, 2) for body in (b"a", b"b"))
                assert [reply.body for reply in await asyncio.gather(*asked)] == [b"a", b"b"]
                await until(lambda: not client._open)
                assert not any(client._idle.values())
                assert server.connections == 2 * (i + 1)

    drive(main)


def test_what_was_closed_while_the_loop_had_no_time_is_not_used(
    drive: Drive, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "RESTED_S", 0.01)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"

    def serve(times: int) -> list[socket.socket]:
        taken = []
        for _ in range(times):
            taken.append(listening.accept()[0])
            taken[-1].recv(2**16)
            taken[-1].sendall(whole(b"abc"))
        return taken

    async def main() -> None:
        async with Client() as client:
            serving = asyncio.to_thread(serve, 3)
            asked = [client.post(url, b"", {}, 2) for _ in range(3)]
            taken, *first = await asyncio.gather(serving, *asked)
            for one in taken:
                one.close()
            time.sleep(0.05)  # noqa: ASYNC251  a step that leaves the loop no time
            serving = asyncio.to_thread(serve, 3)
            asked = [client.post(url, b"", {}, 2) for _ in range(3)]
            taken, *second = await asyncio.gather(serving, *asked)
            assert {reply.body for reply in first + second} == {b"abc"}
            for one in taken:
                one.close()

    with listening:
        drive(main)


def test_nothing_is_sent_twice(drive: Drive) -> None:
    bodies: list[bytes] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bodies.append((await request(reader))[1])
        writer.write(whole(b"abc"))
        bodies.append((await request(reader))[1])  # taken, and never answered

    async def main() -> None:
        bodies.clear()
        async with RawServer(once) as server, Client() as client:
            await client.post(server.url, b"1", {}, 2)
            with pytest.raises(ProviderError, match="closed before") as caught:
                await client.post(server.url, b"2", {}, 2)
            assert (caught.value.kind, caught.value.unreachable) == ("connection", False)
            assert bodies == [b"1", b"2"]

    drive(main)


def test_idle_connections_are_dropped_before_services_drop_them(
    drive: Drive, monkeypatch: Any
) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.05)

    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            await asyncio.gather(*(client.post(server.url, b"a", {}, 2) for _ in range(4)))
            await asyncio.sleep(0.1)
            await client.post(server.url, b"a", {}, 2)
            await until(lambda: server.open == 1 == len(client._open))
            assert server.connections == 5

    drive(main)


def test_those_at_the_bottom_are_dropped_too(drive: Drive, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "KEPT_S", 0.1)

    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            await asyncio.gather(*(client.post(server.url, b"a", {}, 2) for _ in range(4)))
            for _ in range(10):  # one at a time needs one
                await client.post(server.url, b"a", {}, 2)
                await asyncio.sleep(0.02)
            assert len(client._open) == 1
            assert server.connections == 4

    drive(main)


# --- the end -------------------------------------------------------------------------------------


def test_close_ends_calls_under_way(drive: Drive, monkeypatch: Any) -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, body = await request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf" if body == b"half" else b"")
        await reader.read()

    async def listen(client: HttpTransport, url: str) -> bytes:
        async with client.stream("POST", url, b"half", {}, 60) as streamed:
            return (await read_all(streamed)).body

    async def main() -> None:
        client = HttpTransport()
        with full_backlog() as nowhere:
            async with RawServer(half) as server:
                calls = [
                    *(client.post(server.url, b"", {}, 60) for _ in range(3)),
                    client.post(server.url, b"half", {}, 60),
                    listen(client, server.url),
                    client.post(nowhere, b"", {}, 60),
                ]
                tasks = [asyncio.ensure_future(call) for call in calls]
                await until(lambda: server.open == 5)
                await asyncio.sleep(0.02)
                await client.close()
                assert not client._open
                for found in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(found, ProviderError)
                    assert (found.kind, str(found)) == (
                        "connection", "connection failed: closed by karat",
                    )  # fmt: skip
                await until(lambda: server.open == 0)
                with pytest.raises(ProviderError, match="closed by karat"):
                    await client.post(server.url, b"", {}, 1)

    drive(main)


# --- time ----------------------------------------------------------------------------------------


class full_backlog:  # noqa: N801  used as a function
    """The address of a listener whose queue is full: what connects waits for ever."""

    def __enter__(self) -> str:
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        self._waiting = []
        for _ in range(4):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(self._listening.getsockname())
            self._waiting.append(waiting)
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"

    def __exit__(self, *error: object) -> None:
        for one in [self._listening, *self._waiting]:
            one.close()


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await request(reader)
    writer.write(CHUNKED)
    for _ in range(12):
        writer.write(b"1\r\na\r\n")
        await asyncio.sleep(0.02)
    writer.write(b"0\r\n\r\n")
    await reader.read()


async def timed_out(asked: Any, within_s: float) -> ProviderError:
    began = time.perf_counter()
    with pytest.raises(ProviderError) as caught:
        await asked
    assert time.perf_counter() - began < within_s
    assert (caught.value.kind, caught.value.status) == ("timeout", 0)
    return caught.value


async def read(client: HttpTransport, url: str, timeout_s: float) -> bytes:
    async with client.stream("POST", url, b"", {}, timeout_s) as streamed:
        return (await read_all(streamed)).body


def test_what_takes_too_long_is_a_timeout(drive: Drive) -> None:
    async def main() -> None:
        async with Client() as client:
            with full_backlog() as url:
                for asked in (client.post(url, b"", {}, 0.1), read(client, url, 0.1)):
                    error = await timed_out(asked, 0.5)
                    assert "no connection within 0.1 s" in str(error)
                    assert error.unreachable  # nobody took it
            async with RawServer(silent) as server:
                for asked in (client.post(server.url, b"", {}, 0.1), read(client, server.url, 0.1)):
                    error = await timed_out(asked, 0.5)
                    assert "no answer within 0.1 s" in str(error)
                    assert not error.unreachable
                await until(lambda: server.open == 0)
            async with RawServer(trickle) as server:
                await timed_out(client.post(server.url, b"", {}, 0.1), 0.4)
                assert await read(client, server.url, 0.1) == b"a" * 12  # its silences are short
            async with RawServer(replies(CHUNKED + b"1\r\na\r\n", hold=True)) as server:
                await timed_out(read(client, server.url, 0.1), 0.5)

    drive(main)


# --- nobody there --------------------------------------------------------------------------------


def test_nobody_there_is_said(drive: Drive) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def main() -> None:
        async with Client() as client:
            for host in (f"127.0.0.1:{port}", "nobody.invalid:80", "a..b:80", "é..b:80"):
                with pytest.raises(ProviderError) as caught:
                    await client.post(f"http://{host}/v1", b"", {}, 5)
                if host[0] != "é":
                    assert f"no connection to {host}: " in str(caught.value)
                    assert (caught.value.kind, caught.value.unreachable) == ("connection", True)

    drive(main)


def test_no_more_files_is_not_the_services_fault(drive: Drive, monkeypatch: Any) -> None:
    async def main() -> None:
        async def none(*args: Any, **named: Any) -> Any:
            raise OSError(errno.EMFILE, "Too many open files")

        class Loop:
            def __getattr__(self, name: str) -> Any:
                return none if name == "create_connection" else getattr(loop, name)

        loop = asyncio.get_running_loop()
        async with Client() as client:
            monkeypatch.setattr(module.asyncio, "get_running_loop", Loop)
            with pytest.raises(ProviderError, match="raise `ulimit -n`") as caught:
                await client.post("http://127.0.0.1/v1", b"", {}, 5)
            monkeypatch.undo()
        assert (caught.value.kind, caught.value.unreachable) == ("connection", False)

    drive(main)


def test_ipv6(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo, "::1") as server, Client() as client:
            assert "[::1]" in server.url
            assert (await client.post(server.url, b"abc", {}, 2)).body == b"abc"

    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    drive(main)


# --- TLS -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed one for localhost, and a server's context with it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        f" -keyout {key} -out {cert} -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


@pytest.fixture
def _fresh_trust() -> Any:
    module._tls.cache_clear()
    yield
    module._tls.cache_clear()


@pytest.mark.usefixtures("_fresh_trust")
def test_tls(drive: Drive, certificate: Any, monkeypatch: Any) -> None:
    cert, context = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    big = b"x" * 2**21

    async def main() -> None:
        async with RawServer(echo, tls=context) as server, Client() as client:
            url = server.url.replace("127.0.0.1", "localhost")
            for body in (b"abc", big, b""):
                assert (await client.post(url, body, {}, 5)).body == body
                async with client.stream("POST", url, body, {}, 5) as streamed:
                    assert (await read_all(streamed)).body == body
            assert server.connections == 1
            with pytest.raises(ProviderError, match="IP address mismatch") as caught:
                await client.post(server.url, b"", {}, 5)
            assert "SSL_CERT_FILE" not in str(caught.value)
        async with RawServer(replies(b"HTTP/1.1 200 OK\r\n\r\nabc"), tls=context) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            async with Client() as client:
                assert (await client.post(url, b"", {}, 5)).body == b"abc"
        async with RawServer(silent, tls=context) as server, Client() as client:
            url = server.url.replace("127.0.0.1", "localhost")
            await timed_out(client.post(url, b"", {}, 0.2), 0.7)

    drive(main)


@pytest.mark.usefixtures("_fresh_trust")
def test_a_certificate_that_nobody_knows(drive: Drive, certificate: Any) -> None:
    async def main() -> None:
        async with RawServer(echo, tls=certificate[1]) as server, Client() as client:
            url = server.url.replace("127.0.0.1", "localhost")
            with pytest.raises(ProviderError) as caught:
                await client.post(url, b"", {"authorization": "Bearer k"}, 5)
            error = caught.value
            assert "its certificate is not accepted: self" in str(error)
            assert "SSL_CERT_FILE" in str(error)
            assert (error.kind, error.unreachable) == ("connection", True)

    driven_quietly(drive, main)


def driven_quietly(drive: Drive, main: Any) -> None:
    """A server's loop reports the handshake that its client refused."""

    async def quiet() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        await main()

    drive(quiet)


def test_tls_where_there_is_none_and_none_where_there_is(drive: Drive, certificate: Any) -> None:
    async def main() -> None:
        async with RawServer(replies(b"HTTP/1.1 400 No\r\n\r\n")) as server, Client() as client:

            async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await reader.read(1)
                writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            async with RawServer(plain) as server:
                with pytest.raises(ProviderError, match="write http://") as caught:
                    await client.post(server.url.replace("http:", "https:"), b"", {}, 5)
            assert (caught.value.kind, caught.value.unreachable) == ("connection", True)
        async with RawServer(echo, tls=certificate[1]) as server, Client() as client:
            with pytest.raises(ProviderError) as caught:
                await client.post(server.url.replace("https:", "http:"), b"{}", {}, 5)
            assert caught.value.kind == "connection"

    driven_quietly(drive, main)


# --- what goes out -------------------------------------------------------------------------------


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


# --- streams and their connections ---------------------------------------------------------------


def test_breaking_off_closes_the_connection(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(trickle) as server, Client() as client:
            for taken in range(3):  # before the first piece, between two, and two on
                async with client.stream("POST", server.url, b"", {}, 2) as streamed:
                    pieces = streamed.pieces()
                    for _ in range(taken):
                        assert await anext(pieces) == b"a"
                await until(lambda: server.open == 0 and not client._open)
            with pytest.raises(ProviderError, match="closed by karat"):
                await anext(pieces)  # what is over is over, and does not wait
            assert server.connections == 3

    drive(main)


def test_a_stream_read_to_its_end_leaves_its_connection_alone(drive: Drive) -> None:
    async def main() -> None:
        async with RawServer(echo) as server, Client() as client:
            async with client.stream("POST", server.url, b"abc", {}, 2) as streamed:
                assert [piece async for piece in streamed.pieces()] == [b"abc"]
                post = asyncio.ensure_future(client.post(server.url, b"def", {}, 2))
                await asyncio.sleep(0)
                assert [piece async for piece in streamed.pieces()] == []  # read again
            assert (await post).body == b"def"
            asked = [client.post(server.url, b"%d" % i, {}, 2) for i in range(2)]
            assert [reply.body for reply in await asyncio.gather(*asked)] == [b"0", b"1"]
            assert server.connections == 2

    drive(main)
