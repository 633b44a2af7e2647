"""Other karat processes that call the same endpoint, and how they hear of each other.

Runs of one machine share a service's limit without a server between them, by files in the cache:
each writes once a second what it does and reads what the others wrote. A file holds a few numbers
and its name a digest: no address and no key. Nobody's run may fail over this: whatever goes wrong
with a file, the run goes on as if it were alone. A process that was killed leaves its file behind,
so one counts only while it is fresh and its process lives; the start time tells that process from a
later one with its number. The workers of a cluster have a mailbox of their own (exchange.py).
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import msgspec

from karat.errors import RunError

TICK_S = 1.0
STALE_S = 5.0
FORGOTTEN_S = 600.0  # a file this old is swept away
AT_MOST = 64  # neighbours that are read: a second's work must stay small
_SERIAL = itertools.count()  # two runs in one process are neighbours, too


class Neighbour(msgspec.Struct, frozen=True):
    """What one process says of itself.

    `rate` is the pace it keeps, in calls per second, None where nothing but its width holds it
    back. `used` and `tokens` are what it took a second lately. `demand`: it could use more.
    """

    rate: float | None = None
    used: float = 0.0
    tokens: float = 0.0
    demand: bool = False
    pid: int = 0
    start: int = 0


class Mailbox(Protocol):
    """Carries words between the processes that share one endpoint. Nothing in it raises.

    `tick_s`: how often a word is carried.
    """

    tick_s: float

    def publish(self, mine: Neighbour) -> None:
        """Says what this process does; the others read it within about a tick or two."""

    def read(self) -> dict[str, Neighbour]:
        """The others that live, by a name that stays theirs."""

    def leave(self) -> None:
        """The others need not share with this process until it publishes again."""


class FileMailbox:
    """Files in the cache of this machine, for the endpoint of this identity."""

    def __init__(self, identity: str, folder: Path | None = None) -> None:
        self.tick_s = TICK_S
        self._digest = digest_of(identity)
        self._folder = folder or _folder()
        self._file: Path | None = None
        self._start = start_of(os.getpid())

    def publish(self, mine: Neighbour) -> None:
        if self._folder is None:
            return
        with suppress(OSError):
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file = self._folder / f"{self._digest}.{os.getpid()}.{next(_SERIAL)}"
            mine = msgspec.structs.replace(mine, pid=os.getpid(), start=self._start)
            draft = self._file.with_name(f"~{self._file.name}")  # read whole or not at all
            draft.write_bytes(msgspec.json.encode(mine))
            draft.replace(self._file)

    def read(self) -> dict[str, Neighbour]:
        found: dict[str, Neighbour] = {}
        if self._folder is None:
            return found
        own = self._file.name if self._file else ""
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if not entry.name.startswith(self._digest) or entry.name == own:
                    continue
                with suppress(OSError, msgspec.DecodeError, ValueError):
                    other = _read(entry)
                    if other is not None:
                        found[entry.name] = other
                if len(found) == AT_MOST:
                    break
        return found

    def leave(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()
            self._file = None


def digest_of(identity: str) -> str:
    """A name for an endpoint that says nothing of it."""
    return hashlib.blake2b(identity.encode(), digest_size=12).hexdigest()


def _read(entry: os.DirEntry[str]) -> Neighbour | None:
    age = time.time() - entry.stat().st_mtime
    if age > FORGOTTEN_S:
        Path(entry.path).unlink()
    if abs(age) > STALE_S:
        return None
    other = msgspec.json.decode(Path(entry.path).read_bytes(), type=Neighbour)
    numbers = (other.rate or 0.0, other.used, other.tokens)
    sound = all(0 <= number < 1e9 for number in numbers)
    return other if sound and start_of(other.pid) == other.start else None


def start_of(pid: int) -> int:
    """When the process began, in the system's own ticks: -1 where none lives, 0 where unknown."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat.rpartition(b")")[2].split()[19])
    except FileNotFoundError:
        return -1 if Path("/proc/self/stat").exists() else 0
    except (OSError, ValueError, IndexError):
        return 0


def _folder() -> Path | None:
    from karat.models.weights import cache_dir  # it brings archives and processes along

    try:
        return cache_dir() / "neighbours"
    except RunError:
        return None
