"""Students behind a server of their own: started by a command, waited for, ended whatever happens.

The server is a child of this process in a session of its own, so that it and its workers can be
ended together, and the kernel ends it where karat itself is killed (the command alone: of `sh -c`
not what that started, but for `exec`). Nothing of it is shared with what runs here already: the
port is free, and the answers are known by the weights that gave them, not by the port, so a server
started anew buys nothing twice.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from karat.errors import RecipeError, RunError
from karat.row import digest

Say = Callable[[str], None]
WAIT_S = 900.0  # large models load for minutes
POLL_S = 0.2
GRACE_S = 20.0  # to end by itself
ANSWER_S = 5.0  # to say what it serves
LONGEST = 1 << 20  # bytes of what it says it serves
TAIL = 15  # lines of its log that an error shows
PORTS = range(20_000, 32_000)  # below those that systems hand out


class Server:
    """A command that serves a model at an address of this machine."""

    def __init__(
        self, command: str, values: Mapping[str, str], log: Path, say: Say, wait_s: float = WAIT_S
    ) -> None:
        """Starts it and waits until it answers. Raises: RecipeError, RunError."""
        self.port = free_port(log.parent)
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.log = log
        arguments = _arguments(command, {**values, "port": str(self.port)})
        say(f"starting {shlex.join(arguments)}")
        try:
            with log.open("wb") as out:
                self._process = subprocess.Popen(
                    arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                    start_new_session=True, preexec_fn=_with_parent,
                )  # fmt: skip
        except OSError as error:
            raise RecipeError(f"--serve: cannot start {arguments[0]}: {error.strerror}") from None
        atexit.register(self.stop)
        try:
            self.model = self._wait(wait_s)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends it and all it has started; once more does nothing."""
        try:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_S)
        finally:  # where Ctrl-C is pressed again as well
            with suppress(ProcessLookupError, PermissionError):  # workers that outlived it
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            atexit.unregister(self.stop)

    def _wait(self, wait_s: float) -> str:
        """The name it serves its model under. Raises: RunError."""
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            if (status := self._process.poll()) is not None:
                raise RunError(f"the server ended with status {status}: {self._tail()}")
            names = _models(self.base_url)
            if names and self._process.poll() is None:
                return names[0]
            time.sleep(POLL_S)
        raise RunError(f"the server gave no answer within {wait_s:g} s: {self._tail()}")

    def _tail(self) -> str:
        try:
            lines = self.log.read_bytes().decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        said = [line.strip() for line in lines if line.strip()][-TAIL:]
        return " / ".join(said) or "it said nothing"


def free_port(folder: Path) -> int:
    """A port nobody listens on: for one folder the same, as long as it is free."""
    first = int.from_bytes(digest(str(folder.absolute()), size=4), "little") % len(PORTS)
    for step in range(100):
        port = PORTS[(first + step) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RunError("no free port from 20000 to 32000; end some servers and run again")


def _arguments(command: str, values: Mapping[str, str]) -> list[str]:
    """The command's words, each {name} in its place. Split first: a path may hold spaces."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise RecipeError(f"--serve {command!r}: {error}") from None
    # All at once: a path may hold "{port}" itself.
    place = re.compile("|".join(re.escape(f"{{{name}}}") for name in values))
    return [place.sub(lambda found: values[found[0][1:-1]], word) for word in words]


def _models(base_url: str) -> list[str]:
    """What it says it serves; nothing while it does not answer."""
    request = Request(f"{base_url}/models", headers={"Accept": "application/json"})
    try:
        end, read = time.monotonic() + ANSWER_S, b""
        with _DIRECT.open(request, timeout=ANSWER_S) as reply:
            while piece := reply.read1(LONGEST):
                read += piece
                if len(read) > LONGEST or time.monotonic() > end:
                    return []
        said: Any = json.loads(read)
        return [str(one["id"]) for one in said["data"]]
    except (URLError, OSError, HTTPException, ValueError, KeyError, TypeError):
        return []


# This machine's own address is no business of a proxy's.
_DIRECT = build_opener(ProxyHandler({}))


def _with_parent() -> None:
    """In the child: its end comes with that of karat, even by SIGKILL. Linux only: elsewhere a
    server outlives that, and only that."""
    if _LIBC is not None:
        _LIBC.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
