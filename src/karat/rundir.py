"""The Run directory: everything a run knows is a file a person can open.

recipe.yaml      the recipe with every default spelled out
journal.sqlite   every paid answer and what it cost
stages/          the rows between steps, one Parquet file per stage
accepted.parquet, dropped.parquet, report.json, export/
grading.html     what grading found, where the recipe has steps that find something
live.json        what the run is doing now, and how it ended; see karat.live
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from karat.errors import RecipeError, RunError
from karat.row import Row
from karat.table import SCHEMA, from_batch

REPORT_KEYS = {
    "name", "recipe_hash", "rows", "funnel", "scores", "models", "diversity", "human_share",
    "cost_usd", "warnings", "exports", "this_run",
}  # fmt: skip


class Run:
    """A run's directory. Its files are written by karat.run and readable with anything."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.journal = self.path / "journal.sqlite"
        self.stages = self.path / "stages"
        self.export = self.path / "export"
        self.accepted_file = self.path / "accepted.parquet"
        self.dropped_file = self.path / "dropped.parquet"
        self.report_file = self.path / "report.json"
        self.grading_file = self.path / "grading.html"
        self.live_file = self.path / "live.json"

    def __repr__(self) -> str:
        return f"<run {self.path}>"

    @classmethod
    def at(cls, out: str | Path | None, name: str) -> Run:
        """The run in `out`, by default in runs/NAME; it need not exist yet."""
        return cls(Path("runs") / name if out is None else out)

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises: RecipeError when the directory holds none."""
        run = cls(path)
        if not run.recipe.is_file():
            raise RecipeError(f"{path} is not a run: {_instead(run.path)}")
        return run

    @property
    def report(self) -> dict[str, Any]:
        """report.json. Raises: RecipeError while the run has not come to its end yet."""
        try:
            found: dict[str, Any] = orjson.loads(self.report_file.read_bytes())
        except FileNotFoundError:
            raise RecipeError(f"{self.path} has no report yet: run it to the end first") from None
        except (OSError, ValueError) as error:
            raise _damaged(self.report_file, error) from error
        if missing := REPORT_KEYS - set(found if isinstance(found, dict) else ()):
            raise _damaged(self.report_file, f"no {min(missing)}")
        return found

    @property
    def accepted(self) -> pa.Table:
        """The accepted rows: `.to_pandas()`, or polars.from_arrow(…)."""
        with _opened(self.accepted_file) as file:
            return file.read()

    @property
    def dropped(self) -> pa.Table:
        """The dropped rows with their reasons."""
        with _opened(self.dropped_file) as file:
            return file.read()


def _instead(path: Path) -> str:
    """What a directory is that is no run, and what to open in it."""
    if (path / "asked.json").is_file():
        return f"it is a cycle; open {path / 'cycle.html'}, or `karat show {path / 'round-1/run'}`"
    if (path / "plan.json").is_file():
        return f"it is a lift; open {path / 'lift.html'}"
    return "it has no recipe.yaml (`karat run` makes one)"


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A result of a run. Raises: RecipeError when it is not there, or not whole."""
    try:
        with pq.ParquetFile(path) as file:
            if missing := set(SCHEMA.names) - set(file.schema_arrow.names):
                raise _damaged(path, f"no column {min(missing)}")
            yield file
    except FileNotFoundError:
        raise RecipeError(
            f"{path.parent} has no {path.name}: run it to the end; nothing is paid for twice"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, reason: object) -> RecipeError:
    return RecipeError(
        f"{path} cannot be read ({reason}): remove it and run the recipe again into the same "
        "directory; nothing is paid for twice"
    )


class Lock:
    """Holds a run directory for one process; the system lets go when the process ends.

    `option` is what the directory is named with. Raises: RunError when another process holds it, or
    the directory cannot be made.
    """

    def __init__(self, run: Run, option: str = "--out") -> None:
        self._path = run.path / ".lock"
        self._held: int | None = None
        self._another = f"name another directory in {option}"

    def __enter__(self) -> Lock:
        try:
            import fcntl
        except ImportError:
            raise RunError("karat runs on Linux and macOS; on Windows, use it inside WSL") from None

        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            held = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(f"cannot use {folder}: {error.strerror}; {self._another}") from None
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(held, 0)
            os.write(held, str(os.getpid()).encode())
        except BlockingIOError:
            other, _, where = os.read(held, 400).decode("ascii", "replace").strip().partition(" ")
            os.close(held)
            at = f" at {where}" if where else ""
            wait = "use that one" if where else "wait for it to end"
            raise RunError(
                f"{folder} is in use by another karat (process {other}{at}); {wait}, or "
                f"{self._another}"
            ) from None
        except OSError as error:  # a full disk, or a file system that locks nothing
            os.close(held)
            raise RunError(
                f"cannot lock {folder}: {error.strerror}; make room, or {self._another}"
            ) from None
        self._held = held
        return self

    def tell(self, address: str) -> None:
        """Where whoever finds it locked finds the one that holds it."""
        if self._held is not None:
            with suppress(OSError):  # a disk that is full now is no reason to stop
                os.pwrite(self._held, f"{os.getpid()} {address}".encode(), 0)

    def __exit__(self, *error: object) -> None:
        if self._held is not None:
            os.close(self._held)


def write_atomic(path: Path, data: bytes) -> None:
    """The whole file or none of it. Raises: RunError."""
    beside = path.with_name(f".{path.name}.tmp")
    try:
        beside.write_bytes(data)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; make room and run again") from error


def first_rows(path: Path, count: int) -> list[Row]:
    """The first rows of accepted.parquet or dropped.parquet. Raises: RecipeError."""
    with _opened(path) as file:
        for batch in file.iter_batches(max(count, 1), columns=SCHEMA.names):
            return from_batch(batch)[:count]
    return []
