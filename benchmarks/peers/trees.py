"""A command and every process that comes of it: CPU seconds, memory, and an end.

Tools start workers and servers of their own, and some of those outlive who started them. So the
benchmark makes itself the reaper of orphans (prctl PR_SET_CHILD_SUBREAPER, Linux only): what a dead
parent leaves comes here, is ended and is counted. CPU seconds are the kernel's, from the usage it
reports at each wait. Memory is the sum of the proportional set sizes of all processes, in which a
page that forked workers share counts once, sampled four times a second.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
TICK_S, SAMPLE_S = 0.02, 0.25
LEAVE_S = 2.0  # for what a tool's own end ends, a moment after it
SAID = 8000  # bytes of what a command printed last


class Ran(NamedTuple):
    """How a command went: CPU seconds and MB of its whole tree."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    ended: Literal["itself", "in time", "killed"]  # "in time": it had not ended, and was
    code: int
    said: str

    def failure(self) -> str | None:
        if self.ended == "in time":
            return f"no end in {self.wall_s:.0f} s"
        if self.ended == "itself" and self.code:
            lines = [line for line in self.said.splitlines() if line.strip()]
            return f"exit {self.code}: {lines[-1].strip()[:200] if lines else ''}"
        return None


def run_tree(
    command: list[str],
    folder: Path,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    kill: Callable[[], bool] = lambda: False,
) -> Ran:
    """Runs `command` in `folder`; ends the whole tree by SIGKILL once `kill` says so or time is up.

    Of what the command printed, the end is kept: a result in the last line, or why it failed.
    """
    _reap_orphans(True)
    before = set(_children_of(os.getpid(), _parents()))
    usage = _Usage()
    with tempfile.TemporaryFile() as said:
        began = time.monotonic()
        child = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        ended, sampled = "itself", 0.0
        while (code := usage.poll(child.pid)) is None:
            now = time.monotonic()
            if now - began > timeout_s or kill():
                ended = "in time" if now - began > timeout_s else "killed"
                break
            if now - sampled > SAMPLE_S:
                sampled = now
                usage.sample(_family(child.pid, before))
            time.sleep(TICK_S)
        wall = time.monotonic() - began
        found = _end(child.pid, code, before, usage, LEAVE_S if ended == "itself" else 0)
        _reap_orphans(False)
        child.returncode = found
        said.seek(0, os.SEEK_END)
        said.seek(max(0, said.tell() - SAID))
        words = said.read().decode("utf-8", "replace")
    return Ran(usage.cpu_s, wall, usage.peak_mb, ended, found, words)


class _Usage:
    """What the kernel said at each wait, and the most memory that was seen."""

    def __init__(self) -> None:
        self.cpu_s = self.peak_mb = 0.0

    def poll(self, pid: int, flags: int = os.WNOHANG) -> int | None:
        done, status, usage = os.wait4(pid, flags)
        if not done:
            return None
        self.cpu_s += usage.ru_utime + usage.ru_stime
        return os.waitstatus_to_exitcode(status)

    def sample(self, pids: set[int]) -> None:
        self.peak_mb = max(self.peak_mb, sum(map(_pss_mb, pids)))


def _end(root: int, code: int | None, before: set[int], usage: _Usage, leave_s: float) -> int:
    """No process of the tree is left afterwards; the exit code of its root."""
    until = time.monotonic() + leave_s
    while family := _family(root if code is None else 0, before):
        if time.monotonic() >= until:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        for pid in _children_of(os.getpid(), _parents()):
            if pid not in before and (found := usage.poll(pid)) is not None and pid == root:
                code = found
        time.sleep(TICK_S)
    return 0 if code is None else code


def _family(root: int, before: set[int]) -> set[int]:
    """The root and all that came of it, orphans that came to us among them."""
    parents = _parents()
    found = {root} & parents.keys()
    found |= {pid for pid in _children_of(os.getpid(), parents) if pid not in before}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _children_of(parent: int, parents: dict[int, int]) -> list[int]:
    return [pid for pid, of in parents.items() if of == parent]


def _parents() -> dict[int, int]:
    """Every process of the machine with its parent's id."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - a hundred names, ten times a second
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2].split()
                found[int(name)] = int(fields[1])
    return found


def _pss_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _reap_orphans(wanted: bool) -> None:
    """Whether processes whose parent ends become children of this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
