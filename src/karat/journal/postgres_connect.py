"""Connections to PostgreSQL, what to do about their errors, and waiting for a server that is away.

A connection is made when it is first used and again after it broke. No pool of a library's: it
would hide why a server cannot be reached behind the time it waited, log it beside our progress, and
cost four threads for each journal.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.adapt import Loader

from karat.errors import RunError
from karat.journal.address import PostgresAddress

if TYPE_CHECKING:
    from psycopg.abc import Buffer

T = TypeVar("T")
Base = psycopg.Connection[tuple[Any, ...]]
OLDEST = 14  # of PostgreSQL
CONNECT_S = 10
# A server whose machine is gone says nothing: after so long it counts as away.
SILENT_S = 30
STATEMENT_S = 60  # one statement of karat's takes milliseconds
PAUSES_S = (0.05, 5.0)  # first, longest
_AGAIN = ("40001", "40P01")  # serialization, deadlock: at once
_STANDBY = "25006"  # read-only: the server that was reached is not the one that writes

# What connecting says, in part, and what is the matter. libpq gives no code before a connection.
_REFUSALS = (
    ("authentication method requirement", "asks for the password in the clear; have scram-sha-256 "
     "set in its pg_hba.conf, or set PGREQUIREAUTH=password where the connection is encrypted"),
    ("password|fe_sendauth", "refuses the password of {user}; set PGPASSWORD or ~/.pgpass"),
    (r"pg_hba\.conf", "does not let {user} in from here ({said}); its operator says who may in "
     "pg_hba.conf"),
    ('role ".*" (does not exist|is not permitted)', "has no user {user} who may log in; name "
     "another, or have it created"),
    ('database ".*" does not exist', "has no database '{database}'; create it (createdb "
     "{database}), or name another"),
    ("does not support SSL", "offers no SSL; have it turned on there, or say sslmode=prefer"),
    ("certificate|SSL", "cannot be trusted as sslmode asks ({said}); name the file of its "
     "authority as sslrootcert"),
    ("too many clients|connection slots|too many connections", "takes no more connections; raise "
     "its max_connections, or work with fewer workers"),
    ("translate host|not known|resolve", "cannot be found ({said}); check the host"),
)  # fmt: skip
_SOON = re.compile("starting up|shutting down|recovery mode")


class _WholeLoader(Loader):
    """Sums of whole numbers as whole numbers, as SQLite gives them."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return float(text) if b"." in text or b"N" in text else int(text)


def connect(address: PostgresAddress, patient_s: float = 0.0) -> Base:
    """In autocommit, with `$1` for values. `patient_s`: how long a server that is being started is
    waited for. Raises: psycopg.Error, RunError."""
    until = time.monotonic() + patient_s
    while True:
        try:
            base: Base = psycopg.Connection.connect("", **_parameters(address))
            break
        except psycopg.OperationalError as error:
            if time.monotonic() >= until or not _SOON.search(str(error)):
                raise
            time.sleep(0.2)
    base.adapters.register_loader("numeric", _WholeLoader)
    try:
        _check(base, address)
        base.execute(f"SET statement_timeout = '{STATEMENT_S}s'; SET TimeZone = 'UTC'")
    except BaseException:
        base.close()
        raise
    return base


def _parameters(address: PostgresAddress) -> dict[str, Any]:
    known = {
        "host": address.host, "port": str(address.port) if address.host else "",
        "user": address.user, "dbname": address.database, **dict(address.options),
    }  # fmt: skip
    if psycopg.pq.version() >= 160_000 and not os.environ.get("PGREQUIREAUTH"):
        # An address may come from anybody's places.json, and the password is for one server.
        known["require_auth"] = "!password"
    return {
        **{name: value for name, value in known.items() if value},
        "autocommit": True, "cursor_factory": psycopg.RawCursor, "application_name": "karat",
        "client_encoding": "utf8", "connect_timeout": CONNECT_S,
        "keepalives_idle": SILENT_S // 3, "keepalives_interval": SILENT_S // 3,
        "keepalives_count": 2, "tcp_user_timeout": SILENT_S * 1000,
    }  # fmt: skip


def _check(base: Base, address: PostgresAddress) -> None:
    if base.info.server_version < OLDEST * 10_000:
        raise RunError(
            f"{name_of(address)} is PostgreSQL {base.info.server_version // 10_000}; karat needs "
            f"{OLDEST} or newer"
        )
    if base.info.parameter_status("server_encoding") != "UTF8":
        raise RunError(
            f"the database of {name_of(address)} does not hold UTF-8; create one with "
            "createdb --encoding UTF8 --template template0, and name it"
        )


def name_of(address: PostgresAddress) -> str:
    """The server and database, for a person."""
    host = address.host or os.environ.get("PGHOST") or "this machine"
    at = f"{host}:{address.port}" if address.host else host
    database = address.database or os.environ.get("PGDATABASE") or ""
    return f"PostgreSQL at {at}/{database}".rstrip("/")


def explain(error: BaseException, address: PostgresAddress) -> RunError:
    """What to do about an error of the database."""
    if isinstance(error, RunError):
        return error
    where, state = name_of(address), getattr(error, "sqlstate", None)
    said = _first_line(error)
    user = f"'{address.user}'" if address.user else "this user"
    if state is None and isinstance(error, psycopg.OperationalError):
        for words, text in _REFUSALS:
            if re.search(words, str(error)):
                told = text.format(user=user, database=address.database, said=said)
                return RunError(f"{where} {told}")
        return RunError(f"{where} does not answer ({said}); is it running? Run again to go on")
    if state == "42501":
        return RunError(
            f"{where} does not let {user} write there ({said}); its operator can say: CREATE "
            f"SCHEMA {address.quoted} AUTHORIZATION {address.user or 'NAME'}"
        )
    if state == "53100":
        return RunError(f"{where} has no space left; free some and run again: it resumes")
    if state == _STANDBY:
        return RunError(f"{where} only reads; name the server that writes, and run again")
    if state in ("42P01", "3F000"):
        return RunError(f"the tables of {address} are gone; restore them, or name another schema")
    return RunError(f"{where}: {said}; run again to go on")


def _first_line(error: BaseException) -> str:
    """What the server says, without the addresses it was tried at, and never a password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines or [type(error).__name__])[0]
    for mark in ("FATAL:", "failed: ", "ERROR:"):
        if mark in text:
            text = text.rpartition(mark)[2].strip()
    secret = os.environ.get("PGPASSWORD")
    return text.replace(secret, "…") if secret else text


def is_away(error: BaseException) -> bool:
    """Whether nobody was there to ask, or the server went while it was asked; not that it refused,
    which another try would not change."""
    said = str(error)
    return (
        isinstance(error, psycopg.OperationalError)
        and (getattr(error, "sqlstate", None) or "57P").startswith(("57P", "08"))
        and not any(re.search(words, said) for words, _ in _REFUSALS)
    )


def is_passing(error: BaseException) -> bool:
    """Whether it may go away by itself: the server restarts, is full, or another takes over."""
    return isinstance(error, psycopg.OperationalError) or (
        getattr(error, "sqlstate", None) in (*_AGAIN, _STANDBY)
    )


class Line:
    """One connection, for one thread at a time; `prepare` is called whenever it is made anew."""

    def __init__(self, address: PostgresAddress, prepare: Callable[[Base], None]) -> None:
        self._address, self._prepare = address, prepare
        self._base: Base | None = None

    def use(self) -> Base:
        """Raises: psycopg.Error, RunError."""
        if self._base is None:
            base = connect(self._address)
            try:
                self._prepare(base)
            except BaseException:
                base.close()
                raise
            self._base = base
        return self._base

    def drop(self) -> None:
        base, self._base = self._base, None
        if base is not None:
            with suppress(psycopg.Error):
                base.close()


class Patience:
    """Tries again what a server that is away could not do; of one journal, for all its threads.

    `tell` is told when it goes and when it is back. A connection that only broke is no absence: it
    is made anew without a word.
    """

    def __init__(
        self, address: PostgresAddress, patience_s: float, tell: Callable[[str], None],
        waiting: Callable[[], int],
    ) -> None:  # fmt: skip
        self._address, self._patience_s = address, patience_s
        self._tell, self._waiting = tell, waiting
        self._one = threading.Lock()
        self._since: float | None = None
        self._told = False
        self.hurried = threading.Event()

    def persist(self, line: Line, act: Callable[[Base], T], most_s: float | None = None) -> T:
        """What `act` makes of the connection; it must be one that may be done twice.

        Raises: psycopg.Error, RunError when it cannot be done or the server stays away.
        """
        pause, tried = PAUSES_S[0], 0
        most = self._patience_s if most_s is None else min(most_s, self._patience_s)
        while True:
            try:
                made = act(line.use())
            except psycopg.Error as error:
                if not is_passing(error):
                    raise
                if error.sqlstate in _AGAIN:
                    continue
                line.drop()
                away = self._away(error, tell=tried > 0)
                if away >= most or self.hurried.is_set():
                    raise
                if tried:
                    self.hurried.wait(min(pause, max(most - away, 0.01)))
                    pause = min(2 * pause, PAUSES_S[1])
                tried += 1
                continue
            self._back()
            return made

    def _away(self, error: BaseException, *, tell: bool) -> float:
        """Seconds since it went."""
        now = time.monotonic()
        with self._one:
            if self._since is None:
                self._since = now
            telling, self._told = tell and not self._told, self._told or tell
            since = self._since
        if telling:
            said = str(explain(error, self._address)).partition(";")[0]
            count = self._waiting()
            wait = f"; {count:,} answers wait" if count else ""
            self._tell(f"{said}{wait}; tried again for {self._patience_s:g} s")
        return now - since

    def _back(self) -> None:
        if self._since is None:
            return
        with self._one:
            since, told, self._since, self._told = self._since, self._told, None, False
        if told and since is not None:
            self._tell(f"{name_of(self._address)} is back after {time.monotonic() - since:.1f} s")
