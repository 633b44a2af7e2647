"""A disk that is full: whole runs on one with too little room, and on with a little more.

Each failure must say which file could not be written and what to do; what is paid for twice are at
most the calls in flight at each failure; and with enough room in the end the result is that of a
run on an endless disk. A small tmpfs is the real thing, and needs root or a user namespace: it is
mounted where only the run's processes see it. A limit on the size of files needs neither.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import slow
from fault_run import ALL, Case, Ended, Forks, bought_twice, fresh, undisturbed
from fault_run import teacher as teacher
from server import Server

WIDTH = 4
ADVICE = ("make room", "free some")
KIB = 1024


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """With mounts of its own where that is allowed."""
    folder = tmp_path_factory.mktemp("disks")
    try:
        server = Forks(folder, apart=True)
    except (AssertionError, OSError):
        server = Forks(folder)
    with server:
        yield server


@pytest.fixture(scope="module")
def case(forks: Forks, teacher: Server, tmp_path_factory) -> Case:
    return undisturbed(forks, tmp_path_factory.mktemp("endless"), "plain", teacher)


class Disk:
    """A tmpfs of so many KiB. `out` is the run directory as its processes name it, `seen` as this
    one does."""

    def __init__(self, forks: Forks, folder: Path, options: str) -> None:
        self.forks, self.folder = forks, folder / "disk"
        self.folder.mkdir()
        words = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder)
        status, text = forks.shell(*words) if shutil.which("unshare") else (1, "no unshare")
        if status:
            pytest.skip(f"no tmpfs can be mounted here: {text.strip()}")
        assert not self.folder.is_mount()  # nobody else's file system has changed
        self.out = self.folder / "out"
        self.seen = forks.seen(self.out)

    def grow(self, options: str) -> None:
        status, text = self.forks.shell("mount", "-o", f"remount,{options}", self.folder)
        assert status == 0, text


def tried(forks: Forks, case: Case, out: Path, **order: int) -> Ended:
    """A run that comes to its end or says why not, naming a file of the run and what to do."""
    ended = forks.run(case.recipe, out, WIDTH, **order)
    ended.assert_calm()
    if ended.status:
        ended.assert_said(str(out))
        assert any(advice in ended.text for advice in ADVICE), ended.text
    return ended


def reason(ended: Ended) -> str:
    """Which file it was, from `error: cannot write PATH: …`."""
    (line,) = (line for line in ended.text.splitlines() if line.startswith("error: "))
    words = line.replace(";", " ").replace(":", " ").split()
    return next(Path(word).name for word in words if word.startswith("/"))


@slow
def test_a_disk_that_grows_a_little_at_a_time(forks, case, teacher, tmp_path):
    room, step, failures = 16, 16 if ALL else 64, 0
    disk = Disk(forks, tmp_path, f"size={room}k")
    with fresh(teacher):
        while tried(forks, case, disk.out).status:
            failures, room = failures + 1, room + step
            assert room < 4096
            disk.grow(f"size={room}k")
        twice = bought_twice(teacher)
        case.assert_same(disk.seen)
        assert twice <= WIDTH * failures
        assert len(teacher.requests) == case.asked + twice


def test_a_disk_that_is_full_when_everything_is_paid_for(forks, case, teacher, tmp_path):
    """Stages, results, exports and the report fail one after another, and nothing is bought."""
    disk, named, room = Disk(forks, tmp_path, "size=64m"), set(), 64 * KIB
    shutil.copytree(case.out, disk.seen)
    for path in ("stages", "export"):
        shutil.rmtree(disk.seen / path)
    for path in ("accepted.parquet", "dropped.parquet", "report.json", "grading.html"):
        (disk.seen / path).unlink()
    status, text = forks.shell("du", "-sk", disk.folder)
    assert status == 0, text
    # What SQLite needs to work at all: its -shm, and pages of its -wal.
    room = int(text.split()[0]) + 80
    disk.grow(f"size={room}k")
    with fresh(teacher):
        while (ended := tried(forks, case, disk.out)).status:
            named.add(reason(ended))
            room += 4 if ALL else 12
            assert room < 4096, ended.text
            disk.grow(f"size={room}k")
        case.assert_same(disk.seen)
        assert len(teacher.requests) == 0
    assert named - {"journal.sqlite"}


def test_a_disk_that_fills_up_while_answers_come(forks, case, teacher, tmp_path):
    """One failure in the middle of what is paid for: no answer is lost but those in flight."""
    disk = Disk(forks, tmp_path, "size=160k")
    with fresh(teacher):
        ended = tried(forks, case, disk.out)
        assert ended.status == 1
        sent = len(teacher.requests)
        assert 0 < sent < case.asked
        again = tried(forks, case, disk.out)  # with no more room: said again, whatever it buys
        assert again.status == 1
        assert len(teacher.requests) - sent <= WIDTH
        disk.grow("size=64m")
        assert tried(forks, case, disk.out).status == 0
        case.assert_same(disk.seen)
        assert bought_twice(teacher) <= 2 * WIDTH


def test_a_disk_without_room_for_another_file(forks, case, teacher, tmp_path):
    """No inodes are left: the same words, though there is space."""
    disk, files, failures = Disk(forks, tmp_path, "size=64m,nr_inodes=3"), 3, 0
    with fresh(teacher):
        while (ended := tried(forks, case, disk.out)).status:
            failures, files = failures + 1, files + (1 if ALL else 3)
            assert files < 64, ended.text
            disk.grow(f"size=64m,nr_inodes={files}")
        case.assert_same(disk.seen)
        assert bought_twice(teacher) <= WIDTH * failures
    assert failures > 2


@slow
def test_files_that_may_grow_a_little_more_each_time(forks, case, teacher, tmp_path):
    """A limit on file size stands for a quota: EFBIG instead of ENOSPC, and no root."""
    out, size, failures = tmp_path / "out", 3 * KIB, 0
    with fresh(teacher):
        while (ended := tried(forks, case, out, file_bytes=size)).status:
            failures, size = failures + 1, int(size * (1.3 if ALL else 2))
            assert size < 2**22, ended.text
        case.assert_same(out)
        twice = bought_twice(teacher)
        assert twice <= WIDTH * failures
        assert len(teacher.requests) == case.asked + twice
    assert failures > 3
