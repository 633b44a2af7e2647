"""The Run directory: everything a run knows is a file a person can open.

recipe.yaml      the recipe with every default spelled out
journal.sqlite   every paid answer and what it cost
stages/          the rows between steps, one Parquet file per stage
accepted.parquet, dropped.parquet, report.json, export/
grading.html     what grading found, where the recipe has steps that find something
live.json        what the run is doing now, and how it ended; see karat.live
cluster.log      what happened on a cluster: workers that came, and that were lost
places.json      where stages/, accepted.parquet and dropped.parquet, or the journal, are, where
                 they are not here; see karat.elsewhere
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from karat import places
from karat.display.run import run_html
from karat.elsewhere import PLACES, Elsewhere, data_at, in_schema, moved, read_places, settle
from karat.errors import RecipeError, RunError
from karat.journal import Address, parse_address
from karat.row import Row
from karat.rowset import Rows, damaged, opened_rows
from karat.table import SCHEMA, from_batch

STAGES, JOURNAL = "stages", "journal.sqlite"
CLUSTER_LOG = "cluster.log"
REPORT_KEYS = {
    "name", "recipe_hash", "rows", "funnel", "scores", "models", "diversity", "human_share",
    "cost_usd", "warnings", "exports", "this_run",
}  # fmt: skip


class Run:
    """A run's directory. Its files are written by karat.run and readable with anything.

    Its rows and its journal may lie elsewhere, as its places.json says; what is small, and what is
    made of the rows to be taken along, is always in the directory.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.export = self.path / "export"
        self.report_file = self.path / "report.json"
        self.grading_file = self.path / "grading.html"
        self.live_file = self.path / "live.json"
        self.places_file = self.path / PLACES

    def __repr__(self) -> str:
        return f"<run {self.path}>"

    def _repr_html_(self) -> str:
        return run_html(self)

    @classmethod
    def at(
        cls, out: str | Path | None, name: str, data: str | Path | None = None,
        journal: str | None = None, *, option: str = "--out",
    ) -> Run:  # fmt: skip
        """The run called `name` in `out`, by default in runs/NAME; it need not exist yet.

        `data` is where its rows are to be, `journal` where its journal: URLs, by default in the
        directory, which is named with `option`. Nothing is written before `settle`.

        Raises: RecipeError where the run has begun elsewhere.
        """
        run = cls(Path("runs") / name if out is None else out)
        if journal is not None:
            parse_address(journal)  # a password in it goes to the environment, and nowhere else
            journal = in_schema(journal, name)
        run.elsewhere = moved(run.path, run.elsewhere, data, journal, option)
        return run

    @classmethod
    def open(cls, path: str | Path) -> Run:
        """An existing run. Raises: RecipeError when the directory holds none."""
        run = cls(path)
        if not run.recipe.is_file():
            raise RecipeError(f"{path} is not a run: {_instead(run.path)}")
        return run

    def settle(self, name: str, option: str = "--out") -> None:
        """Writes down where the rows and the journal of this run, called `name`, are.

        Raises: RecipeError where the data's place holds another run's, or cannot be used; RunError.
        """
        settle(self.path, self.elsewhere, name, option)

    @cached_property
    def elsewhere(self) -> Elsewhere:
        """What of the run is not in its directory. Raises: RecipeError for a damaged file."""
        return read_places(self.path)

    @cached_property
    def data(self) -> Path:
        """The folder of the rows. Raises: RecipeError."""
        named = self.elsewhere.data
        return self.path if named is None else data_at(self.path, named)

    @property
    def journal(self) -> Address:
        """The journal: a Path, or the address of a database."""
        named = self.elsewhere.journal
        return self.path / JOURNAL if named is None else parse_address(named)

    @property
    def stages(self) -> Path:
        """The folder of the rows between steps. Raises: RecipeError."""
        return self.data / STAGES

    @property
    def accepted_file(self) -> Path:
        """A Parquet file, or a folder of parts: read it with karat.parquet."""
        return self.data / "accepted.parquet"

    @property
    def dropped_file(self) -> Path:
        """A Parquet file, or a folder of parts: read it with karat.parquet."""
        return self.data / "dropped.parquet"

    @property
    def report(self) -> dict[str, Any]:
        """report.json. Raises: RecipeError while the run has not come to its end yet."""
        try:
            found: dict[str, Any] = orjson.loads(self.report_file.read_bytes())
        except FileNotFoundError:
            raise RecipeError(f"{self.path} has no report yet: run it to the end first") from None
        except (OSError, ValueError) as error:
            raise damaged(self.report_file, error) from error
        if missing := REPORT_KEYS - set(found if isinstance(found, dict) else ()):
            raise damaged(self.report_file, f"no {min(missing)}")
        return found

    @property
    def accepted(self) -> Rows:
        """The accepted rows: `run.accepted[0]`, `.to_pandas()`, `.to_polars()`, `.to_hf()`.

        Raises: RecipeError while there are none yet, or they cannot be read.
        """
        return Rows(self.accepted_file, "accepted")

    @property
    def dropped(self) -> Rows:
        """The dropped rows with their reasons, as `accepted` has its own. Raises: RecipeError."""
        return Rows(self.dropped_file, "dropped")


def _instead(path: Path) -> str:
    """What a directory is that is no run, and what to open in it."""
    if (path / "asked.json").is_file():
        return f"it is a cycle; open {path / 'cycle.html'}, or `karat show {path / 'round-1/run'}`"
    if (path / "plan.json").is_file():
        return f"it is a lift; open {path / 'lift.html'}"
    return "it has no recipe.yaml (`karat run` makes one)"


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
    try:
        places.write_whole(path, data)
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {places.shown(error)}; {places.remedy(error)} and run again"
        ) from error


def first_rows(path: Path, count: int) -> list[Row]:
    """The first rows of accepted.parquet or dropped.parquet. Raises: RecipeError."""
    found: list[Row] = []
    with opened_rows(path) as file:
        for batch in file.iter_batches(max(count, 1), columns=SCHEMA.names):
            found += from_batch(batch)
            if len(found) >= count:
                break
    return found[:count]
