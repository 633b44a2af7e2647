"""`karat serve`: refused before it binds, said when it serves, ended in order."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from conftest import run_karat, start_karat
from raw import ask
from server import Server
from serving import Serving

from karat.cli import main
from karat.errors import RecipeError
from karat.web import serve
from karat.web.desk import Settings
from karat.web.gateway.engine import Gateway
from karat.web.serve import Options, check, new_token

LONG = "k" * 32


def refused(*args: object) -> str:
    """What `karat serve` says where it does not serve."""
    made: Result = CliRunner().invoke(main, ["serve", *map(str, args)])
    assert made.exit_code == 2, made.output
    return made.output


# --- before the address is bound -----------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "10.1.2.3"])
def test_others_reach_it_only_with_a_token(host: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a token is needed: --new-token"):
        check(Options(runs=tmp_path, host=host))
    said = refused("--runs", tmp_path, "--host", host)
    assert "can be reached by others" in said
    assert check(Options(host=host, new_token=tmp_path / "token"))[0].token


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_this_machine_needs_none(host: str) -> None:
    assert check(Options(host=host))[0].token is None


def test_who_comes_by_another_name_comes_through_a_proxy(tmp_path: Path) -> None:
    for number, name in enumerate(("karat.lan", "proxy.example:443", "localhost.evil.example")):
        names = ("localhost:9000", name)
        with pytest.raises(RecipeError, match=rf"--host-name {name}.*a token is needed"):
            check(Options(host_names=names))
        assert check(Options(host_names=names, new_token=tmp_path / f"{number}"))[0].token
    own = ("localhost:9000", "127.0.0.1:9000", "[::1]:9000", "LocalHost")
    assert check(Options(host_names=own))[0].hosts == own


def test_a_token_is_long_and_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("A", LONG[:-1]), ("B", " " * 40), ("C", "é" * 32), ("D", LONG + "\x07")):
        monkeypatch.setenv(name, value)
        (tmp_path / name).write_text(value, encoding="utf-8")
        for how in ({"token_env": name}, {"token_file": tmp_path / name}):
            with pytest.raises(RecipeError) as failed:
                check(Options(host="0.0.0.0", **how))
            assert value.strip() not in str(failed.value) or not value.strip()
    monkeypatch.setenv("E", f" {LONG}\n")
    (tmp_path / "e").write_text(f"{LONG}\n")
    assert check(Options(token_env="E"))[0].token == LONG
    assert check(Options(token_file=tmp_path / "e"))[0].token == LONG
    options = {name for option in main.commands["serve"].params for name in option.opts}
    assert "--token" not in options
    assert "--token-env" in options
    assert "is not set" in refused("--token-env", "NOT_THERE")
    assert "cannot read" in refused("--token-file", tmp_path / "not-there")
    assert "one of" in refused("--token-env", "E", "--token-file", tmp_path / "e")


def test_a_new_token_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "token"
    made = new_token(path)
    assert len(made) >= serve.LEAST_TOKEN
    assert path.read_text() == f"{made}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert new_token(tmp_path / "other") != made
    with pytest.raises(RecipeError, match="exists; use it with --token-file"):
        new_token(path)


def test_what_is_wrong_is_said_before_the_address_is_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "bind", lambda _: pytest.fail("it was bound"))
    (tmp_path / "file").write_text("")
    (tmp_path / "bad.yaml").write_text("modells: {}\n")
    assert "is a file" in refused("--runs", tmp_path / "file")
    assert "no folder" in refused("--runs", tmp_path / "not-there")
    assert "did you mean 'models'" in refused("--runs", tmp_path, "--config", tmp_path / "bad.yaml")
    assert "no such address" in refused("--runs", tmp_path, "--host", "nowhere.invalid")
    for name in ("http://x", "a b", "x/y", "", "x:0", "x:99999", "*"):
        assert "write a name" in refused("--runs", tmp_path, "--host-name", name)


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        said = refused("--runs", tmp_path, "--port", port)
    assert f"127.0.0.1:{port}: it is in use" in said
    gateway = Gateway(tmp_path)  # the folder was let go of
    asyncio.run(gateway.close())


@pytest.mark.parametrize("package", ["uvicorn", "starlette", "duckdb"])
def test_without_its_packages_it_says_what_to_install(tmp_path: Path, package: str) -> None:
    prelude = f"import sys; sys.modules[{package!r}] = None"
    status, out, err = run_karat("serve", "--runs", tmp_path, prelude=prelude)
    assert (status, out) == (2, "")
    assert err == (
        "error: the dashboard and the gateway need more packages: pip install 'karat[serve]'\n"
    )


# --- while it serves, and at its end -------------------------------------------------------------


class Started:
    """`karat serve` as a process, once it says where."""

    def __init__(self, *args: object) -> None:
        self.process = start_karat("serve", "--port", 0, *args)
        assert self.process.stdout is not None
        self.said: list[str] = []
        while "Ctrl-C" not in "".join(self.said[-1:]):
            self.said.append(self.process.stdout.readline())
            assert self.said[-1], self.process.communicate()
        self.port = int(self.said[0].split("http://127.0.0.1:")[1].split()[0])
        end = time.monotonic() + 20
        while not _answers(self.port):
            assert time.monotonic() < end
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, "".join(self.said) + out, err


def _answers(port: int) -> bool:
    try:
        return ask(port, "/healthz").status == 200
    except OSError:
        return False


def test_it_ends_in_order_and_what_is_being_paid_for_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    with Server(latency_s=1.0) as model:
        config = tmp_path / "config.yaml"
        config.write_text(yaml.safe_dump({"models": {"teacher": model.model(price=PRICE)}}))
        served = Started("--runs", tmp_path / "runs", "--config", config, "--access-log")
        asked: dict[str, Any] = {"model": "teacher", "messages": [{"role": "user", "content": "x"}]}
        replies: list[Any] = []
        paths = (("/v1/chat/completions", "POST", json.dumps(asked).encode()), ("/runs/events",))
        threads = [
            threading.Thread(
                target=lambda one=one: replies.append(
                    ask(served.port, *one, content_type="application/json")
                )
            )
            for one in paths
        ]
        for thread in threads:
            thread.start()
        while not model.requests:
            time.sleep(0.01)
        status, out, err = served.stop()
        for thread in threads:
            thread.join(10)
    assert status == 0, err
    assert all(line.split(" ", 2)[-1].startswith("GET /") for line in err.splitlines()), err
    assert "(0 runs in" in out
    assert "teacher" in out
    assert out.splitlines()[-2:] == [
        "Stopping: calls under way may finish (Ctrl-C again stops at once) …", "Stopped."
    ]  # fmt: skip
    kinds = sorted((reply.status, reply.headers["content-type"].split(";")[0]) for reply in replies)
    assert kinds == [(200, "application/json"), (200, "text/event-stream")]
    ledger = Gateway(tmp_path / "runs")
    assert list(ledger.journal.query("SELECT error, cost_nano FROM attempts")) == [("", 24_000)]
    asyncio.run(ledger.close())
    assert "GET /runs/events 200" in err
    assert "GET /healthz 200" in err


PRICE = {"input": 1.0, "output": 2.0}


def test_a_terminated_server_ends_the_same_way_and_says_no_token(tmp_path: Path) -> None:
    token = tmp_path / "token"
    served = Started("--runs", tmp_path, "--new-token", token)
    secret = token.read_text().strip()
    assert ask(served.port, "/runs").status == 401
    assert ask(served.port, "/runs", x_api_key=secret).status == 200
    with pytest.raises(RecipeError):  # a second one over the same folder
        check(Options(runs=tmp_path, new_token=token))
    other = CliRunner().invoke(main, ["serve", "--runs", str(tmp_path), "--port", "0"])
    assert other.exit_code == 1
    assert other.output.strip().endswith(
        f"is in use by another karat (process {served.process.pid} at http://127.0.0.1:"
        f"{served.port}); use that one, or name another directory in --runs"
    )
    status, out, err = served.stop(signal.SIGTERM)
    assert (status, err) == (0, "")
    assert "asks for its token" in out
    assert secret not in out + err


def test_it_ends_although_nobody_reads_what_it_says(tmp_path: Path) -> None:
    process = Started("--runs", tmp_path).process
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_pages_are_ended_at_once(tmp_path: Path) -> None:
    """A page that listens does not hold up the end of the server."""
    server = Serving(tmp_path).__enter__()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as made:
        made.sendall(f"GET /runs/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
        heard = b""
        while b"data: {}" not in heard:  # with the head, or after it
            heard += made.recv(4096)
        started = time.monotonic()
        server.__exit__()
        assert time.monotonic() - started < 2
        assert made.recv(100).endswith(b"0\r\n\r\n")


def test_what_is_said_names_an_address_one_can_open(tmp_path: Path) -> None:
    def shown(host: str) -> str:
        return serve._shown(Settings(root=tmp_path, host=host, port=80))

    assert [shown(host) for host in ("0.0.0.0", "::", "::1", "localhost")] == [
        "127.0.0.1:80", "[::1]:80", "[::1]:80", "localhost:80"
    ]  # fmt: skip


def test_an_address_of_ipv6_is_served(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with Serving(tmp_path, host="::1") as server:
        asked = f"GET /healthz HTTP/1.1\r\nHost: [::1]:{server.port}\r\n\r\n".encode()
        with socket.create_connection(("::1", server.port), timeout=10) as made:
            made.sendall(asked)
            assert b"200 OK" in made.recv(4096)
