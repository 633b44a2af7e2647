"""A real PostgreSQL for tests: Debian's, started on loopback, in a folder that is thrown away.

One server a process of pytest, begun when a test first asks for it (`postgres`), and a schema of
its own for each test (`pg_place`). tools/postgres.sh installs the package.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from karat.journal import Address, PostgresAddress

USER, PASSWORD, DATABASE = "karat", "a secret, 'quoted' \\ too", "postgres"
WAIT_S = 20.0
WATCH = (
    "cat >/dev/null; kill -QUIT $0; sleep 1; rm -rf $1"  # what is left when the tests are killed
)
SETTINGS = (
    "fsync=on", "max_connections=60", "log_min_messages=panic", "logging_collector=off",
    "shared_buffers=32MB", "listen_addresses=127.0.0.1", "autovacuum=off",
)  # fmt: skip


class Server:
    """One server; `stop` and `start` as often as a test needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None
        self._tools = tools()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (folder, secret):
                shutil.chown(path, *_unprivileged())
        self._run(
            "initdb", "-D", self.data, "-U", USER, "--pwfile", secret, "-A", "scram-sha-256",
            "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync",
        )  # fmt: skip
        self.start()

    def _as_user(self, name: str, *args: object) -> list[str]:
        words = [str(self._tools / name), *map(str, args)]
        if os.getuid() != 0:  # PostgreSQL refuses to be started by root
            return words
        user, group = _unprivileged()
        return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", *words]

    def _run(self, name: str, *args: object) -> None:
        done = subprocess.run(
            self._as_user(name, *args), cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{name}: {done.stdout}\n{done.stderr}"

    def start(self) -> None:
        """Returns once it takes connections, at the port it had before."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        settings = [part for one in SETTINGS for part in ("-c", one)]
        self._process = subprocess.Popen(
            self._as_user(
                "postgres", "-D", self.data, "-p", self.port, "-k", self.folder, *settings
            ),
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._watch = subprocess.Popen(
            ["sh", "-c", WATCH, str(self._process.pid), str(self.folder)], stdin=subprocess.PIPE
        )
        until = time.monotonic() + WAIT_S
        pid_file = self.data / "postmaster.pid"
        while not (pid_file.exists() and pid_file.read_text().rstrip().endswith("ready")):
            assert self._process.poll() is None, "postgres ended as it began"
            assert time.monotonic() < until, "postgres did not begin"
            time.sleep(0.02)

    def stop(self, *, at_once: bool = False) -> None:
        """In order, or as a crash is: what was not on the disk is lost."""
        assert self._process is not None
        assert self._watch is not None
        self._watch.kill()
        self._watch.communicate()
        self._process.send_signal(signal.SIGQUIT if at_once else signal.SIGINT)
        self._process.wait(WAIT_S)

    def address(self, schema: str, **more: str) -> PostgresAddress:
        at = {"host": "127.0.0.1", "port": self.port, "user": USER, "database": DATABASE, **more}
        return PostgresAddress(schema=schema, **at)


def tools() -> Path:
    """The folder with initdb. Skips the test where there is none."""
    found = shutil.which("initdb")
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    if found is not None:
        return Path(found).resolve().parent
    if places:
        return places[0].parent
    if os.environ.get("KARAT_POSTGRES") == "required":
        pytest.fail("no PostgreSQL here: sh tools/postgres.sh installs it")
    pytest.skip("no PostgreSQL here: sh tools/postgres.sh installs it")


def _unprivileged() -> tuple[str, str]:
    import pwd

    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "nobody", "nogroup"
    return "postgres", "postgres"


@contextmanager
def running() -> Iterator[Server]:
    """A server of one's own; its folder is removed when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="karat-pg-"))
    try:
        server = Server(folder)
        try:
            yield server
        finally:
            server.stop(at_once=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that the tests of this process share; they leave it running."""
    if os.environ.get("KARAT_POSTGRES") != "required":
        pytest.importorskip("psycopg")
    before = os.environ.get("PGPASSWORD")
    os.environ["PGPASSWORD"] = PASSWORD
    with running() as server:
        yield server
    if before is None:
        del os.environ["PGPASSWORD"]
    else:
        os.environ["PGPASSWORD"] = before


@pytest.fixture
def pg_place(postgres: Server) -> PostgresAddress:
    """Where a journal may be: a schema that is not there yet."""
    os.environ["PGPASSWORD"] = PASSWORD  # a test may have read an address with another one
    return postgres.address(f"run {uuid.uuid4().hex[:12]}")


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """Where a journal of either kind may be."""
    if request.param == "sqlite":
        return tmp_path / "journal.sqlite"
    return cast(Address, request.getfixturevalue("pg_place"))
