"""Run directories to be damaged, and ways to damage a file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from fault_run import Case, Forks, undisturbed
from server import Server

WIDTH, PAGE, COMMIT = 4, 4096, "after commit"


@dataclass
class Runs:
    """Directories to be copied and damaged: of a run that came to its end, and of one that was
    killed at two thirds, whose journal is partly in its -wal. `sent` is what that had asked for."""

    case: Case
    whole: Path
    killed: Path
    sent: list[dict[str, object]]


@pytest.fixture(scope="module")
def runs(forks: Forks, teacher: Server, tmp_path_factory) -> Runs:
    folder = tmp_path_factory.mktemp("damaged")
    case, out = undisturbed(forks, folder, "plain", teacher), folder / "killed"
    commits = [n for n, name in enumerate(case.events, 1) if name == COMMIT]
    for share in (
        3,
        4,
        6,
        9,
    ):  # how many answers a commit brings depends on how busy the machine is
        teacher.requests.clear()
        at = commits[len(commits) // share]
        stopped = forks.run(case.recipe, out, WIDTH, at=at, signal=int(signal.SIGTERM))
        assert stopped.status == 130
        killed = forks.run(case.recipe, out, WIDTH, at=at, signal=int(signal.SIGKILL))
        if killed.status == -signal.SIGKILL and not any((out / "stages").glob("*.parquet")):
            break  # no stage holds what the journal will be made to lose
        shutil.rmtree(out)
    assert (out / "journal.sqlite").stat().st_size > PAGE
    assert (out / "journal.sqlite-wal").stat().st_size > PAGE
    sent = list(teacher.requests)
    return Runs(case, case.out, out, sent)


def copied(source: Path, to: Path) -> Path:
    return Path(shutil.copytree(source, to / "out"))


def journal_of(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("journal.sqlite*"))}


def over(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def cut(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def restore(out: Path, files: dict[str, bytes]) -> None:
    """A person puts a copy back."""
    for path in out.glob("journal.sqlite*"):
        path.rmdir() if path.is_dir() else path.unlink()
    for name, data in files.items():
        (out / name).write_bytes(data)


def flipped(path: Path, share: float) -> None:
    place = int(path.stat().st_size * share)
    over(path, place, bytes([path.read_bytes()[place] ^ 0xFF]))


def answers(folder: Path, out: Path) -> int:
    """How many answers can be read, found out on a copy: who opens a journal mends it."""
    copy = folder / "looked"
    copy.mkdir()
    for name, data in journal_of(out).items():
        (copy / name).write_bytes(data)
    with closing(sqlite3.connect(copy / "journal.sqlite")) as base:
        count: int = base.execute("SELECT count(*) FROM calls WHERE kind = 'chat'").fetchone()[0]
    shutil.rmtree(copy)
    return count


def leaf_of_calls(path: Path) -> int:
    """The number of a page that holds answers and nothing else."""
    with closing(sqlite3.connect(path)) as base:
        root = base.execute("SELECT rootpage FROM sqlite_master WHERE name = 'calls'").fetchone()[0]
    data = path.read_bytes()
    start = (root - 1) * PAGE
    assert data[start] == 0x05, "the table fits one page; make more answers"  # interior, a table
    pointer = int.from_bytes(data[start + 12 : start + 14], "big")
    return int.from_bytes(data[start + pointer : start + pointer + 4], "big")
