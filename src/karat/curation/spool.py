"""Growing columns, in memory or in a folder that outlives the process.

What a table step works out about a million texts is gigabytes and minutes. In a folder it is read
back through the page cache, so the process stays small, and a run that was killed goes on where it
last committed.
"""

from __future__ import annotations

import json
import os
import shutil
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from karat import places

STATE = "state.json"
FOOTER = 1 << 16  # bytes at a file's end


class Column(Protocol):
    """Rows of numbers that only grow."""

    def extend(self, values: NDArray[Any]) -> None: ...

    @property
    def values(self) -> NDArray[Any]: ...


class Held:
    """In memory. It grows in place: a list of parts would double in memory when joined."""

    def __init__(self, kind: Any, *width: int) -> None:
        self._array = np.empty((1024, *width), kind)
        self._length = 0

    def extend(self, values: NDArray[Any]) -> None:
        length = self._length + len(values)
        if length > len(self._array):
            room = max(length, len(self._array) * 5 // 4)
            self._array.resize((room, *self._array.shape[1:]), refcheck=False)
        self._array[self._length : length] = values
        self._length = length

    @property
    def values(self) -> NDArray[Any]:
        return self._array[: self._length]


class _Filed:
    """In a file, which is mapped to be read."""

    def __init__(self, file: BinaryIO, kind: Any, width: tuple[int, ...]) -> None:
        self.file, self._kind, self._width = file, np.dtype(kind), width

    def extend(self, values: NDArray[Any]) -> None:
        if values.size:
            self.file.write(np.ascontiguousarray(values, self._kind).data.cast("B"))

    @property
    def values(self) -> NDArray[Any]:
        self.file.flush()
        one = self._kind.itemsize * int(np.prod(self._width, dtype=np.int64))
        shape = (self.file.tell() // one, *self._width)
        if not shape[0]:
            return np.zeros(shape, self._kind)
        return np.memmap(self.file.name, self._kind, "r", shape=shape)


class Spool:
    """Columns and how many rows of their source are in them; a context manager.

    Without a folder all is in memory. With one, columns hold what they held at the last `commit`
    for the same `key`, and `rows` says how much of the source that was; another key begins anew.
    The folder goes when the block ends well, and stays after an exception or a kill.
    """

    def __init__(self, folder: Path | None = None, key: str = "") -> None:
        self.rows = 0
        self._folder, self._key = folder, key
        self._columns: dict[str, _Filed] = {}
        self._sizes: dict[str, int] = {}
        if folder is None:
            return
        state = _state(folder)
        if state.get("key") == key:
            self.rows, self._sizes = int(state["rows"]), dict(state["sizes"])
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True, exist_ok=True)

    def column(self, name: str, kind: Any, *width: int) -> Column:
        """A column of numbers of one kind, or of rows of so many."""
        if self._folder is None:
            return Held(kind, *width)
        file = (self._folder / f"{name}.bin").open("ab")
        file.truncate(self._sizes.get(name, 0))
        file.seek(0, os.SEEK_END)
        self._columns[name] = _Filed(file, kind, width)
        return self._columns[name]

    def commit(self, rows: int) -> None:
        """What is in the columns now belongs to the first `rows` rows of the source."""
        self.rows = rows
        if self._folder is None:
            return
        for name, column in self._columns.items():
            column.file.flush()
            os.fsync(column.file.fileno())
            self._sizes[name] = column.file.tell()
        new = self._folder / f"{STATE}.tmp"
        new.write_text(json.dumps({"key": self._key, "rows": rows, "sizes": self._sizes}))
        new.replace(self._folder / STATE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for column in self._columns.values():
            column.file.close()
        if kind is None and self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _state(folder: Path) -> dict[str, Any]:
    """The last commit, empty where there is none or a file is shorter than it says."""
    try:
        state: dict[str, Any] = json.loads((folder / STATE).read_text())
        sizes = {name: (folder / f"{name}.bin").stat().st_size for name in state["sizes"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return state if all(sizes[name] >= size for name, size in state["sizes"].items()) else {}


def file_key(path: Path, *parts: object) -> str:
    """Changes with a Parquet file, whose end lists all its pieces, and with each of the parts."""
    stamp = places.stamp(path)
    with path.open("rb") if not places.is_remote(path) else places.ranges(path) as file:
        file.seek(max(0, (stamp[1] if stamp else 0) - FOOTER))
        end = file.read()
    return blake2b(end + repr((stamp, *parts)).encode(), digest_size=16).hexdigest()
