"""A journal and other files of a run that are locked, damaged, half-written, gone or read-only.

Two ends are right. Either the run says what is wrong with which file and what to do, having sent
nothing and changed nothing; or it goes on to the end of an undisturbed run, and pays again only for
what could not be read.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from conftest import wait_for
from fault_damage import (
    PAGE,
    WIDTH,
    answers,
    copied,
    cut,
    flipped,
    journal_of,
    leaf_of_calls,
    over,
    restore,
)
from fault_damage import runs as runs
from fault_run import ALL, Case, bought_twice, fresh
from fault_run import forks as forks
from fault_run import teacher as teacher

from karat.live import read
from karat.rundir import Run

Damage = Callable[[Path], object]
JOURNAL, WAL, SHM = (f"journal.sqlite{end}" for end in ("", "-wal", "-shm"))


# --- damaged -------------------------------------------------------------------------------------


def whole_pages(out: Path) -> None:
    """All but the first pages, as a disk gives them back that has lost them."""
    path = out / "journal.sqlite"
    data = bytearray(path.read_bytes())
    data[2 * PAGE :] = random.Random(1).randbytes(len(data) - 2 * PAGE)
    path.write_bytes(data)


def without(out: Path, *ends: str) -> None:
    for end in ends:
        (out / f"journal.sqlite{end}").unlink()


def folder_instead(out: Path) -> None:
    without(out, "")
    (out / "journal.sqlite").mkdir()


SAID: dict[str, tuple[Damage, str]] = {
    "header gone": (lambda out: over(out / "journal.sqlite", 0, b"\xa5" * 100), "is damaged"),
    "header of zeros": (lambda out: over(out / "journal.sqlite", 0, bytes(100)), "is damaged"),
    "pages": (whole_pages, "is damaged"),
    "cut in half": (lambda out: cut(out / "journal.sqlite", 0.5), "is damaged"),
    "cut within a page": (lambda out: os.truncate(out / "journal.sqlite", PAGE + 77), "is damaged"),
    "no bytes": (lambda out: os.truncate(out / "journal.sqlite", 0), "put it back"),
    "gone": (lambda out: without(out, ""), "put it back"),
    "gone with all": (lambda out: without(out, "", "-wal", "-shm"), "put it back"),
    "a folder": (folder_instead, "journal.sqlite"),
}


@pytest.mark.parametrize("name", SAID)
def test_a_journal_that_cannot_be_read_is_named_and_nothing_is_paid(
    forks, runs, teacher, tmp_path, name
):
    damage, said = SAID[name]
    # The -wal of a killed run may hold the header, too.
    out = copied(runs.whole if name.startswith("header") else runs.killed, tmp_path)
    before = journal_of(out)
    damage(out)
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        assert ended.status in (1, 2), ended.text
        ended.assert_said(str(out / "journal.sqlite"), said, status=ended.status)
        assert len(teacher.requests) == 0
        if name in ("gone", "no bytes"):  # what is left is not taken for rubbish
            assert (out / WAL).read_bytes() == before[WAL]
        if ALL:
            restore(out, before)
            assert forks.run(runs.case.recipe, out, WIDTH).status == 0
            runs.case.assert_same(out)
            assert bought_twice(teacher) == 0


MENDED: dict[str, Damage] = {
    "no -shm": lambda out: without(out, "-shm"),
    "a -shm of noise": lambda out: (out / SHM).write_bytes(random.Random(2).randbytes(8 * PAGE)),
    "a -shm cut short": lambda out: cut(out / SHM, 0.3),
    "no -wal": lambda out: without(out, "-wal"),
    "no -wal and no -shm": lambda out: without(out, "-wal", "-shm"),
    "an empty -wal": lambda out: os.truncate(out / WAL, 0),
    "a -wal without its header": lambda out: over(out / WAL, 0, bytes(32)),
    **{f"a -wal torn at {share}": lambda out, share=share: cut(out / WAL, share)
       for share in (0.05, 0.4, 0.77, 0.99)},
    **{f"a -wal flipped at {share}": lambda out, share=share: flipped(out / WAL, share)
       for share in (0.2, 0.9)},
}  # fmt: skip


# Each in the suite of all faults; of every kind one in the suite of every day.
FEW = ["a -shm of noise", "no -wal", "a -wal torn at 0.4", "a -wal flipped at 0.2"]


@pytest.mark.parametrize("name", MENDED if ALL else FEW)
def test_what_a_log_has_lost_is_bought_again_and_nothing_else(forks, runs, teacher, tmp_path, name):
    out = copied(runs.killed, tmp_path)
    MENDED[name](out)
    held = answers(tmp_path, out)
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        assert ended.status == 0, ended.text
        ended.assert_calm()
        runs.case.assert_same(out)
        assert bought_twice(teacher) == 0
        assert len(teacher.requests) == runs.case.asked - held // 2  # each brought two answers


def assert_same_rows(case: Case, out: Path) -> None:
    """But not the sums of the ledger, where something was bought again."""
    for name in ("accepted.parquet", "dropped.parquet", "data.jsonl"):
        folder = out if name.endswith("parquet") else out / "export"
        assert (folder / name).read_bytes() == case.want[name], name


def test_what_recover_saves_is_not_paid_for_again(forks, runs, teacher, tmp_path):
    """The advice that a damaged journal's error gives, as a person would follow it."""
    tool = shutil.which("sqlite3")
    if tool is None or subprocess.run([tool, runs.whole / JOURNAL, ".recover"], check=False,
                                      capture_output=True).returncode:  # fmt: skip
        pytest.skip("no sqlite3 command here, or one that was built without .recover")
    out = copied(runs.whole, tmp_path)
    shutil.rmtree(out / "stages")
    path, saved = out / "journal.sqlite", out / "saved.sqlite"
    page = leaf_of_calls(path)
    over(path, (page - 1) * PAGE, random.Random(3).randbytes(PAGE))
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        ended.assert_said(f"`sqlite3 {path} .recover | sqlite3 {saved}`")
        assert len(teacher.requests) == 0
        sql = subprocess.run([tool, path, ".recover"], capture_output=True, check=True).stdout
        subprocess.run([tool, saved], input=sql, check=True)
        restore(out, {"journal.sqlite": saved.read_bytes()})
        saved.unlink()
        assert forks.run(runs.case.recipe, out, WIDTH).status == 0
        assert 0 < len(teacher.requests) < runs.case.asked / 2
        assert_same_rows(runs.case, out)


def test_a_journal_that_was_all_in_its_log_is_not_begun_anew(
    forks, runs, teacher, tmp_path, monkeypatch
):
    """So it is until the first checkpoint: without its -wal the file is one empty page."""
    out = tmp_path / "out"
    monkeypatch.setattr(teacher, "latency_s", 0.08)
    with fresh(teacher):
        child = forks.start(runs.case.recipe, out, 1)
        wait_for(lambda: getattr(read(Run(out)), "answers", 0) > 0)  # said once a second
        child.kill()
        assert child.wait().status == -signal.SIGKILL
        monkeypatch.undo()
        assert (out / "journal.sqlite").stat().st_size <= PAGE
        before = journal_of(out)
        without(out, "-wal", "-shm")
        forks.run(runs.case.recipe, out, WIDTH).assert_said("put it back with its -wal")
        restore(out, before)
        assert forks.run(runs.case.recipe, out, WIDTH).status == 0
        assert bought_twice(teacher) <= 1
        runs.case.assert_same(out)


FLIPS = {"letter": (0, b"X"), "no text": (3, b"\xff")}


@pytest.mark.parametrize("name", FLIPS)
def test_a_wrong_bit_in_an_answer_is_found_and_the_answer_bought_again(
    forks, runs, teacher, tmp_path, name
):
    """SQLite keeps no checksum of its own file; each answer has one."""
    out = copied(runs.whole, tmp_path)
    shutil.rmtree(out / "stages")
    path, (ahead, wrong) = out / "journal.sqlite", FLIPS[name]
    with closing(sqlite3.connect(path)) as base:
        (text,) = base.execute("SELECT content FROM calls ORDER BY rowid LIMIT 1").fetchone()
    over(path, path.read_bytes().index(text.encode()) + ahead, wrong)
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        assert ended.status == 0, ended.text
        assert "its checksum differs" in ended.text
        assert_same_rows(runs.case, out)
        assert len(teacher.requests) == 1
        assert forks.run(runs.case.recipe, out, WIDTH).status == 0  # and is kept, this time
        assert len(teacher.requests) == 1


# --- locked --------------------------------------------------------------------------------------


LOCKS = [(how, held_s) for how in ("BEGIN IMMEDIATE", "PRAGMA locking_mode = EXCLUSIVE")
         for held_s in (0.5, 600.0)]  # fmt: skip


@pytest.mark.parametrize(("how", "held_s"), LOCKS if ALL else LOCKS[::3])
def test_a_journal_another_program_holds_is_waited_for_and_then_named(
    forks, runs, teacher, tmp_path, how, held_s
):
    out = copied(runs.killed, tmp_path)
    with fresh(teacher):
        with closing(sqlite3.connect(out / "journal.sqlite", check_same_thread=False)) as base:
            base.isolation_level = None
            base.execute(how)
            if how.startswith("PRAGMA"):
                base.execute("BEGIN IMMEDIATE")
                base.execute("COMMIT")  # the lock stays
            child = forks.start(runs.case.recipe, out, WIDTH, busy_s=0.4 if held_s > 9 else 20)
            if held_s < 9:
                timer = threading.Timer(held_s, base.close)
                timer.start()
            ended = child.wait()
            if held_s < 9:
                timer.join()
        if held_s < 9:
            assert ended.status == 0, ended.text
        else:
            ended.assert_said("journal.sqlite", "is in use by another program; close it")
            assert len(teacher.requests) <= WIDTH + 1
            ended = forks.run(runs.case.recipe, out, WIDTH)
        ended.assert_calm()
        assert ended.status == 0, ended.text
        runs.case.assert_same(out)
        assert bought_twice(teacher) <= (WIDTH if held_s > 9 else 0)


# --- read-only -----------------------------------------------------------------------------------


READ_ONLY = ["journal.sqlite", "export", "", "stages"]


@pytest.mark.parametrize("name", READ_ONLY if ALL else READ_ONLY[:2])
def test_what_may_not_be_written_is_named_and_nothing_is_paid(forks, runs, teacher, tmp_path, name):
    """Root is held to permissions as well."""
    whole = name == "export"
    out = copied(runs.whole if whole else runs.killed, tmp_path)
    path = out / name
    path.mkdir(exist_ok=True) if name == "stages" else None
    mode = path.stat().st_mode
    path.chmod(mode & ~0o222)
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH, ordinary=True)
        path.chmod(mode)
        ended.assert_said(str(path), "permission")
        assert len(teacher.requests) == 0
        ended = forks.run(runs.case.recipe, out, WIDTH, ordinary=True)
        assert ended.status == 0, ended.text
        runs.case.assert_same(out)
        assert bought_twice(teacher) == 0


# --- half-written files of other kinds ------------------------------------------------------------

HALF = ["recipe.yaml", "live.json", "report.json", "accepted.parquet", "dropped.parquet",
        "export/data.jsonl"]  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 0.5] if ALL else [0.5])
@pytest.mark.parametrize("name", HALF if ALL else HALF[:4])
def test_a_file_of_a_run_that_is_half_there_is_made_again_for_free(
    forks, runs, teacher, tmp_path, name, share
):
    out = copied(runs.whole, tmp_path)
    cut(out / name, share)
    shown = forks.command(["show", out], out).wait()
    shown.assert_calm()
    if shown.status:
        shown.assert_said(name, "nothing is paid for twice", status=2)
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        assert ended.status == 0, ended.text
        runs.case.assert_same(out)
        assert len(teacher.requests) == 0


@pytest.mark.parametrize("damage", ["cut", "end", "empty", "left over"][: 4 if ALL else 2])
def test_stages_that_are_half_there_are_made_again_for_free(forks, runs, teacher, tmp_path, damage):
    out = copied(runs.whole, tmp_path)
    for path in sorted((out / "stages").iterdir()):
        if damage == "cut":
            cut(path, 0.5)
        elif damage == "empty":
            cut(path, 0)
        elif damage == "end":
            over(path, path.stat().st_size - 200, b"\xa5" * 100)
        else:
            path.rename(path.with_suffix(".0123456789ab.tmp"))
    with fresh(teacher):
        ended = forks.run(runs.case.recipe, out, WIDTH)
        assert ended.status == 0, ended.text
        runs.case.assert_same(out)
        assert len(teacher.requests) == 0
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("number", [0, -1] if ALL else [0])
def test_a_stage_with_a_hole_in_its_rows_is_named(forks, runs, teacher, tmp_path, number):
    """Its end says it is whole. A wrong bit in it must not become a wrong row."""
    out = copied(runs.whole, tmp_path)
    stages = sorted((out / "stages").iterdir())
    for later in stages[1:] if number == 0 else []:
        later.unlink()  # so that the first is read
    hole = stages[number]
    size = hole.stat().st_size
    for share in (0.2, 0.3, 0.4):
        flipped(hole, share)
    assert hole.stat().st_size == size
    with fresh(teacher):
        forks.run(runs.case.recipe, out, WIDTH).assert_said(
            str(hole), "remove it and run again", "nothing is paid for twice"
        )
        hole.unlink()
        assert forks.run(runs.case.recipe, out, WIDTH).status == 0
        runs.case.assert_same(out)
        assert len(teacher.requests) == 0
