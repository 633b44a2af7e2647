"""What is said where nobody is, or nobody to be trusted."""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from raw_server import (
    LOOPS,
    Client,
    Drive,
    RawServer,
    driven,
    echo,
    replies,
    silent,
    timed_out,
)

from karat.errors import ProviderError
from karat.models import transport as module
from karat.models.transport import read_all


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def drive(request: pytest.FixtureRequest) -> Drive:
    return lambda main: driven(request.param, main)


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
            await timed_out(client.post(url, b"", {}, 0.2), 2)

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
