"""Files under way: at their name whole, or never there.

On this machine a file is written beside its name and moved. A store has no such move, but shows an
object only when all of it was sent: what is written goes there in parts, on a thread of its own, so
that rows need not wait for the network; and what did not become whole is taken back.
"""

from __future__ import annotations

import io
import tempfile
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from karat import places

WAITING = 4  # blocks that may wait to be sent


class Sink(Protocol):
    """`where` is what a writer of Parquet is given."""

    where: Any

    def commit(self) -> None:
        """Puts the file at its name. Raises: OSError."""

    def discard(self) -> None:
        """Forgets it; never raises."""


def sink(path: Path) -> Sink:
    """A file to be. Raises: OSError."""
    return _Upload(path) if places.is_remote(path) else _Beside(path)


class _Beside:
    """A file of this machine, written beside its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Not a name that another could write to: a worker that was given up may be at it, too.
        self.where = path.with_suffix(f".{uuid4().hex[:12]}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)

    def commit(self) -> None:
        if self._path.is_dir():  # the same table was in parts before
            places.remove(self._path)
        self.where.replace(self._path)

    def discard(self) -> None:
        with suppress(OSError):
            self.where.unlink(missing_ok=True)


class _Upload:
    """An object of a store. `where` is a file that only grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _object(path)
        self._block = io.BytesIO()
        self._sent: deque[Future[None]] = deque()
        self._thread = ThreadPoolExecutor(1, "karat-upload")
        self._size = 0
        self.where = self
        self.closed = False
        self.mode = "wb"

    def write(self, data: bytes) -> int:
        size = self._block.write(data)
        self._size += size
        if self._block.tell() >= places.BLOCK:
            self._send()
        return size

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        """There is nothing that would be seen any earlier."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The writer is done; whether the file counts is another question."""

    def _send(self) -> None:
        while len(self._sent) >= WAITING:
            self._sent.popleft().result()
        block, self._block = self._block.getvalue(), io.BytesIO()
        self._sent.append(self._thread.submit(self._put, block))

    def _put(self, block: bytes) -> None:
        places.asked(self._file.write, block)

    def commit(self) -> None:
        self._send()
        while self._sent:
            self._sent.popleft().result()
        self._thread.shutdown()
        if places.is_dir(self._path):  # the same table was in parts before
            places.remove(self._path)
        places.asked(self._file.close)
        places.asked(self._file.commit)
        self.closed = True

    def discard(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        if self.closed:
            return
        self.closed = True
        with suppress(Exception):  # a store that is not reached keeps no object either
            self._file.discard()
        with suppress(AttributeError):  # else it would be sent when the file is forgotten
            self._file.closed = True


def _object(path: Path) -> Any:
    """A store's file that waits for `commit` and knows `discard`."""
    from fsspec.spec import AbstractBufferedFile

    store, name = places.store(path), places.name(path)
    file = places.asked(store.open, name, "wb", block_size=places.BLOCK, autocommit=False)
    base = getattr(type(file), "discard", None)
    if base is None or base is AbstractBufferedFile.discard:
        file.closed = True  # nothing was sent yet
        return _Local(store, name)
    return file


class _Local:
    """For stores whose libraries cannot take an upload back: it is sent when it is whole."""

    def __init__(self, store: Any, name: str) -> None:
        self._store, self._name = store, name
        self._file = tempfile.NamedTemporaryFile()  # noqa: SIM115  it is closed at the end
        self.closed = False

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.flush()

    def commit(self) -> None:
        self._store.put_file(self._file.name, self._name)
        self._file.close()

    def discard(self) -> None:
        self._file.close()
