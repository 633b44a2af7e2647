"""`karat serve`: everything is checked, then one address is bound, then it is served until it is
stopped.

An address that others can reach is bound only with a token that nobody can guess, which comes from
a variable or a file: arguments are read by every process of a machine. The first Ctrl-C ends in
order: pages end at once, calls that are being paid for may finish and are recorded.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import os
import re
import secrets
import socket
import sys
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from karat.errors import RecipeError
from karat.web.app import build
from karat.web.desk import Desk, Settings
from karat.web.entry import LEAST_TOKEN
from karat.web.gateway.config import Config, load
from karat.web.gateway.engine import LIMIT_S, Gateway
from karat.web.origins import LOOPBACK, WILDCARDS, bracketed, is_host_name
from karat.web.wire import Protocol

KEEP_S = 75  # an idle connection; clients give theirs up sooner, so that none is closed under way
MOST_AT_ONCE = 4096  # connections
END_EVERY_S = 0.1

Tell = Callable[[str], None]


class Options(msgspec.Struct, kw_only=True):
    """What a person asks for. `runs` None is the folder ./runs, which need not be there yet."""

    runs: Path | None = None
    config: str | None = None
    host: str = "127.0.0.1"
    port: int = 8321
    host_names: tuple[str, ...] = ()
    token_env: str | None = None
    token_file: Path | None = None
    new_token: Path | None = None
    budget_usd: float | None = None
    journal: str | None = None
    log_bodies: bool = False
    access_log: bool = False
    open_browser: bool = False


class Server(uvicorn.Server):
    """Ends streams of events when it ends, and leaves the signal at that."""

    def __init__(self, config: uvicorn.Config, desk: Desk, tell: Tell = lambda _: None) -> None:
        super().__init__(config)
        self._desk, self._tell = desk, tell

    def handle_exit(self, sig: int, frame: Any) -> None:
        if not self.should_exit:
            self._tell("Stopping: calls under way may finish (Ctrl-C again stops at once) …")
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.closing.set()
        late = asyncio.ensure_future(self._end_connections())
        try:
            await super().shutdown(sockets)
        finally:
            late.cancel()
        self._captured_signals.clear()

    async def _end_connections(self) -> None:
        """uvicorn tells each connection once that the server ends, and waits for those that are
        opened, or become idle, after that."""
        while True:
            await asyncio.sleep(END_EVERY_S)
            for connection in list(self.server_state.connections):
                connection.shutdown()


def server(desk: Desk, tell: Tell = lambda _: None) -> Server:
    """uvicorn over a desk's application, with karat's limits."""
    config = uvicorn.Config(
        build(desk), http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_keep_alive=KEEP_S,
        limit_concurrency=MOST_AT_ONCE, timeout_graceful_shutdown=int(LIMIT_S),
    )  # fmt: skip
    return Server(config, desk, tell)


async def until_stopped(running: Server, listening: socket.socket, gateway: Gateway | None) -> None:
    """Serves; whatever happens, what the gateway has paid for is committed at the end."""
    try:
        await running.serve([listening])
    finally:
        if gateway is not None:
            await gateway.close()


def serve(options: Options, tell: Tell) -> None:
    """Until it is stopped. Raises: RecipeError and RunError before the address is bound."""
    settings, config = check(options)
    gateway = Gateway(
        settings.root, config, journal=options.journal, token=settings.token,
        budget_usd=options.budget_usd or config.budget_usd, log_bodies=options.log_bodies,
    )  # fmt: skip
    try:
        listening = bind(settings)
    except BaseException:
        asyncio.run(gateway.close())
        raise
    settings = msgspec.structs.replace(settings, port=listening.getsockname()[1])
    desk = Desk(settings, gateway)
    _log(options)
    url = f"http://{_shown(settings)}"
    gateway.lock.tell(url)
    tell = _unbroken(tell)
    running = server(desk, tell)
    for line in said(desk, url, config):
        tell(line)
    if options.open_browser:
        webbrowser.open(url)
    with _loop() as runner, suppress(KeyboardInterrupt):
        runner.run(until_stopped(running, listening, gateway))
    tell("Stopped.")


def _unbroken(tell: Tell) -> Tell:
    """`tell`, for as long as somebody reads it: a closed pipe is no reason to miss a signal."""

    def heard(line: str) -> None:
        try:
            tell(line)
        except OSError:
            with suppress(OSError):  # what is still to be flushed at the end goes nowhere
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return heard


def check(options: Options) -> tuple[Settings, Config]:
    """Everything that can be wrong before the address is bound. Raises: RecipeError."""
    root = options.runs or Path("runs")
    if root.exists() and not root.is_dir():
        raise RecipeError(f"{root} is a file; name the folder that holds runs in --runs")
    if options.runs is not None and not root.exists():
        raise RecipeError(f"no folder {root}; make it first, or name another in --runs")
    for name in options.host_names:
        if not is_host_name(name):
            raise RecipeError(f"--host-name {name}: write a name, perhaps with a port: karat.lan")
    token = _token(options)
    others = [name for name in options.host_names if not _is_own(name)]
    if token is None and others:
        raise RecipeError(
            f"--host-name {others[0]}: whoever comes by that name comes through a proxy, so others "
            "reach this server and a token is needed: --new-token FILE makes one, --token-file "
            "FILE or --token-env NAME names yours"
        )
    if token is None and not _is_loopback(options.host):
        raise RecipeError(
            f"--host {options.host} can be reached by others, so a token is needed: --new-token "
            "FILE makes one, --token-file FILE or --token-env NAME names yours"
        )
    config = Config() if options.config is None else load(options.config)
    settings = Settings(
        root=root, host=options.host, port=options.port, token=token, hosts=options.host_names
    )
    return settings, config


def _token(options: Options) -> str | None:
    """Raises: RecipeError."""
    given = [options.token_env, options.token_file, options.new_token]
    if sum(one is not None for one in given) > 1:
        raise RecipeError("give one of --token-env, --token-file and --new-token")
    if options.new_token is not None:
        return new_token(options.new_token)
    if options.token_env is not None:
        if options.token_env not in os.environ:
            raise RecipeError(
                f"the variable {options.token_env} is not set; export the token in it"
            )
        found, where = os.environ[options.token_env], f"the variable {options.token_env}"
    elif options.token_file is not None:
        try:
            found, where = options.token_file.read_text("ascii"), str(options.token_file)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not ASCII text"
            raise RecipeError(f"cannot read the token in {options.token_file}: {why}") from None
    else:
        return None
    found = found.strip()
    if len(found.encode()) < LEAST_TOKEN or not (found.isascii() and found.isprintable()):
        raise RecipeError(
            f"the token in {where} must have {LEAST_TOKEN} bytes or more, all of them printable "
            "ASCII; --new-token FILE makes one"
        )
    return found


def new_token(path: Path) -> str:
    """Makes a token and writes it where only its owner reads it. Raises: RecipeError."""
    made = secrets.token_urlsafe(LEAST_TOKEN)
    try:
        held = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RecipeError(f"{path} exists; use it with --token-file, or name a new file") from None
    except OSError as error:
        raise RecipeError(f"cannot write the token to {path}: {error.strerror}") from None
    with os.fdopen(held, "w") as file:
        file.write(f"{made}\n")
    return made


def bind(settings: Settings) -> socket.socket:
    """The address, listening. Raises: RecipeError for one that cannot be had."""
    host, port = settings.host, settings.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        if isinstance(error, PermissionError):
            why = "only an administrator may use it; choose a --port from 1024 on"
        elif error.errno == errno.EADDRINUSE:
            why = (
                "it is in use, perhaps by another karat; name another --port (0: any that is free)"
            )
        else:
            why = f"{error.strerror or error}; see --host and --port"
        raise RecipeError(f"cannot listen on {bracketed(host)}:{port}: {why}") from None


def said(desk: Desk, url: str, config: Config) -> list[str]:
    """What a person is told when a server has started."""
    settings, count = desk.settings, len(desk.shelf.places())
    runs = f"{count} run{'' if count == 1 else 's'} in {settings.root}"
    named = ", ".join([*config.models, *config.rewards][:6])
    lines = [
        f"Dashboard  {url}  ({runs})",
        f"Gateway    {url}/v1  ({named or 'any provider/model that karat reaches'})",
    ]
    if settings.token is not None:
        lines.append(
            "           asks for its token, in the browser and as `Authorization: Bearer …`"
        )
    return [*lines, "Ctrl-C stops it."]


def _is_own(name: str) -> bool:
    """Whether a --host-name can only be this machine's: what the far end of a tunnel writes."""
    host = re.sub(r":\d+$", "", name.lower())
    try:
        return host in LOOPBACK or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    """By what the name stands for, all of it."""
    if host in WILDCARDS:
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise RecipeError(f"--host {host}: no such address on this machine") from None
    return all(ipaddress.ip_address(str(one[4][0])).is_loopback for one in found)


def _shown(settings: Settings) -> str:
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "") else settings.host
    return f"{bracketed('::1' if host == '::' else host)}:{settings.port}"


def _log(options: Options) -> None:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    level = logging.INFO if options.access_log else logging.WARNING
    logging.getLogger("karat.web.access").setLevel(level)


def _loop() -> asyncio.Runner:
    """On uvloop where it exists."""
    try:
        import uvloop
    except ImportError:
        return asyncio.Runner()
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
