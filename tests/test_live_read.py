"""Whether a run still runs, as whoever looks at its folder can tell."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager

import msgspec
import pytest

import karat.live as live
from karat.live import State, read
from karat.rundir import Lock, Run


def saved(run, **fields):
    """A run's folder whose live.json says that, on this machine."""
    run.path.mkdir(exist_ok=True)
    state = State(pid=os.getpid(), host=live._host(), updated=time.time())
    for name, value in fields.items():
        setattr(state, name, value)
    run.live_file.write_bytes(msgspec.json.encode(state))
    return run


def test_looking_never_stands_in_the_way_of_a_run_that_starts(tmp_path):
    run = saved(Run(tmp_path / "out"), pid=os.getppid())
    looker = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sys\nfrom karat.live import read\nfrom karat.rundir import Run\n"
            "run = Run(sys.argv[1])\nprint('ready', flush=True)\nwhile True: read(run)",
            str(run.path),
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert looker.stdout.readline() == "ready\n"
        for _ in range(300):
            with Lock(run):  # raises where anybody else holds it
                pass
    finally:
        looker.kill()
        looker.communicate(timeout=10)


def test_a_held_folder_runs_and_a_free_one_does_not(tmp_path):
    run = saved(Run(tmp_path / "out"))
    assert read(run).state == "stopped"  # no lock was ever there
    with Lock(run):
        assert read(run).state == "running"
        other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        try:
            saved(run, pid=other.pid)  # alive, and not the one that holds it: its id came again
            assert read(run).state == "stopped"
        finally:
            other.communicate(b"\n", timeout=10)
        saved(run)
    assert read(run).state == "stopped"


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1, 2**70])
def test_a_process_that_cannot_be_is_not_at_work(tmp_path, pid):
    run = saved(Run(tmp_path / "out"))
    text = run.live_file.read_text().replace(f'"pid":{os.getpid()}', f'"pid":{pid}')
    run.live_file.write_text(text)
    with Lock(run):
        found = read(run)
    assert found is None or found.state == "stopped"


def test_without_proc_a_living_process_counts(tmp_path, monkeypatch):
    @contextmanager
    def none(path):
        raise PermissionError(path)
        yield

    monkeypatch.setattr(os, "scandir", none)
    run = saved(Run(tmp_path / "out"))
    with Lock(run):
        pass
    assert read(run).state == "running"
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(ProcessLookupError()))
    assert read(run).state == "stopped"
    monkeypatch.setattr(os, "kill", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert read(run).state == "running"


def test_of_another_machine_the_time_of_writing_decides(tmp_path):
    run = saved(Run(tmp_path / "out"), host="elsewhere pid:[1]", pid=1)
    assert read(run).state == "running"
    saved(run, host="elsewhere pid:[1]", updated=time.time() - 2 * live.FRESH_S)
    assert read(run).state == "stopped"


def test_a_run_that_ends_while_it_is_looked_at_is_not_called_stopped(tmp_path, monkeypatch):
    run = saved(Run(tmp_path / "out"))

    def gone(run_, state):
        saved(run, state="finished")
        return False

    monkeypatch.setattr(live, "_at_work", gone)
    assert read(run).state == "finished"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b'{"version": 2}', b'{"steps": 3}', b"0" * 100_000]
)
def test_what_cannot_be_read_is_nothing(tmp_path, data):
    run = Run(tmp_path)
    assert read(run) is None
    run.live_file.write_bytes(data)
    assert read(run) is None
