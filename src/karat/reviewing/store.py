"""The reviews of a run: `ratings.jsonl` in its folder, which only grows.

A person's hour is worth more than a run, so a line is on the disk before anybody is told that it
was saved, written whole or not at all, under a lock that other processes respect. Nothing is ever
changed in place: who says something else, or takes it back, adds a line. The file is the one that
`human` rewards and `karat reward train` read; what stands in it is told in karat.rewards.
review_lines.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import orjson

from karat.errors import RunError
from karat.rewards.review_lines import (
    COMPARISON,
    EDIT,
    RATING,
    RATINGS,
    SKIP,
    WITHDRAWAL,
    review_of,
)
from karat.rundir import Run

CHUNK = 2**20


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a reviewer said, as it stands.

    `keys` are the rating keys of what it is about, in hex: one, or the two that were compared, in
    the order of `strength`: negative where the first is better, 0 for neither. `drawn` tells by
    which queue the row came, "random" being the only one of which figures are unbiased; `of` how
    many answers of the row were asked about.
    """

    kind: str
    rater: str
    row: str
    mark: str = ""
    keys: tuple[str, ...] = ()
    values: dict[str, float] = {}
    strength: float = 0.0
    both_bad: bool = False
    comment: str = ""
    edited: str = ""
    seconds: float = 0.0
    drawn: str = ""
    of: int = 1
    time: str = ""
    ours: bool = True  # said on karat's page, and can be taken back there


class Reviews:
    """The reviews of one run. May be shared by threads; other processes may write beside it.

    `standing` maps marks to what stands, oldest first; `broken` counts lines nobody can read.
    """

    def __init__(self, run: Run) -> None:
        self.path = run.path / RATINGS
        self.standing: dict[str, Said] = {}
        self.broken = 0
        self._offset, self._file = 0, (0, 0)
        self._lock = threading.RLock()

    def append(self, records: Sequence[dict[str, Any]]) -> None:
        """Returns once the records are on the disk itself, all of them or none.

        Raises: RunError, and then nothing was written.
        """
        lines = b"".join(
            orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records
        )
        try:
            with self._lock, _locked(self.path) as file:
                _write_whole(file, lines)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise RunError(
                    f"{self.path} is a link, which reviews are not written through; put the file "
                    "itself there. Nothing was saved, and what you said is still in the form"
                ) from error
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; nothing was saved, and what you said "
                "is still in the form: make room, or mend the folder's permissions, and save again"
            ) from error
        self.refresh()

    def refresh(self) -> None:
        """Takes in what was written since, by whomever. Raises: RunError."""
        with self._lock:
            try:
                with self.path.open("rb") as file:
                    self._read(file.fileno())
            except FileNotFoundError:
                self._begin((0, 0))
            except OSError as error:
                raise RunError(f"cannot read {self.path}: {error.strerror}") from error

    def _begin(self, identity: tuple[int, int]) -> None:
        self.standing, self.broken, self._offset, self._file = {}, 0, 0, identity

    def _read(self, file: int) -> None:
        stat = os.fstat(file)
        if (stat.st_dev, stat.st_ino) != self._file or stat.st_size < self._offset:
            self._begin((stat.st_dev, stat.st_ino))  # another file by this name
        rest = b""
        while chunk := os.pread(file, CHUNK, self._offset + len(rest)):
            rest += chunk
            whole = rest.rfind(b"\n") + 1  # a line without an end is still being written
            for line in rest[:whole].splitlines():
                self._take(line)
            self._offset += whole
            rest = rest[whole:]

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            record = orjson.loads(line.removeprefix(b"\xef\xbb\xbf"))
            found = said_of(record)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.broken += 1
            return
        if found is None:
            return
        if found.kind == WITHDRAWAL:
            self.standing.pop(found.mark, None)
        else:
            self.standing.pop(found.mark, None)  # so that the order is that of last words
            self.standing[found.mark] = found

    def all(self) -> list[Said]:
        """What stands, those said last at the end."""
        with self._lock:
            return list(self.standing.values())

    def reviewers(self) -> list[str]:
        """Their names, in order of the alphabet."""
        return sorted({said.rater for said in self.all()})

    def last_of(self, rater: str) -> Said | None:
        """What a reviewer said last and has not taken back."""
        mine = (said for said in reversed(self.all()) if said.rater == rater and said.ours)
        return next(mine, None)


def said_of(record: dict[str, Any]) -> Said | None:
    """What a line says; None of a line that names neither a reviewer nor what it is about.

    Raises: KeyError, TypeError, ValueError for a line that is not what it seems.
    """
    review = review_of(record)
    if review is None:  # a rating that another program appended
        if not (record.get("rater") and record.get("key") and isinstance(record["values"], dict)):
            return None
        rater, key = str(record["rater"]), str(record["key"])
        return Said(
            kind=RATING, rater=rater, row=str(record.get("row", "")), mark=f"{rater}/{key}",
            keys=(key,), values=_numbers(record["values"]), time=str(record.get("time", "")),
            ours=False,
        )  # fmt: skip
    kind = review["kind"]
    edited = record.get("edited", "") if kind == EDIT else ""
    return Said(
        kind=kind, rater=str(record["rater"]), row=str(record.get("row", "")),
        mark=str(review["mark"]), keys=tuple(map(str, review.get("keys", ()))),
        values=_numbers(record.get("values", {})),
        strength=float(record["preference_strength"]) if kind == COMPARISON else 0.0,
        both_bad=bool(review.get("both_bad")), comment=str(review.get("comment", "")),
        edited=str(edited), seconds=float(review.get("seconds", 0.0)),
        drawn=str(review.get("drawn", "")), of=int(review.get("of", 1)),
        time=str(record.get("time", "")),
    )  # fmt: skip


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def now() -> str:
    """UTC, as ISO 8601 with milliseconds: two words of one person within a second have an order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def withdrawal(said: Said) -> dict[str, Any]:
    """The line that takes back what was said."""
    return {
        "row": said.row, "rater": said.rater, "time": now(),
        "review": {"kind": WITHDRAWAL, "mark": said.mark},
    }  # fmt: skip


def is_answer(said: Said) -> bool:
    """Whether it says something about responses, not that there was nothing to say."""
    return said.kind != SKIP


# --- the file ------------------------------------------------------------------------------------


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The open file, which no other process writes to meanwhile."""
    fresh = not path.exists()
    # A run may come from anybody, and a link of its would lead to a file of the reader's.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        if fresh:  # its name must outlive a power cut too
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        yield file
    finally:
        os.close(file)


def _write_whole(file: int, lines: bytes) -> None:
    """Appends lines; of a full disk nothing stays behind. Raises: OSError."""
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        lines = b"\n" + lines  # a power cut may have left half a line; ours must not join it
    try:
        done = 0
        while done < len(lines):
            done += os.write(file, lines[done:])
        os.fsync(file)
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise
