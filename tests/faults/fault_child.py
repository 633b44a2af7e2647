"""A fork server of whole runs: `karat …` as a process of its own, for a tenth of its price.

Importing karat costs a second of CPU, which a hundred killed runs cannot afford. This process has
imported it all and has neither threads nor a loop; each order, a line of JSON on stdin, becomes a
child that carries out one command of karat's and ends. A child may be told to die at its k-th event
(a file of the run directory opened for writing, moved or removed; a commit of the journal; a write
of Parquet), or at any instruction a moment after it.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SAFE = ("karat", "pyarrow", "numpy", "rich", "click", "yaml", "msgspec", "orjson", "uvloop")
OVERRIDE, SEARCH = 1, 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's way around permissions
CAPABILITIES = 0x20080522  # of the third version
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> None:
    import karat.cli  # noqa: F401

    _say(ready=os.getpid())
    while line := sys.stdin.readline():
        order = json.loads(line)
        if "shell" in order:
            done = subprocess.run(order["shell"], capture_output=True, text=True, check=False)
            _say(status=done.returncode, text=done.stdout + done.stderr)
        elif "learn" in order:
            _say(threads=_learn(order["learn"], order["recipe"], order["out"]))
        else:
            _run(order)


def _run(order: dict[str, Any]) -> None:
    """Three words: the child's id, that it is at its end, and its status once nobody will signal
    it any more. Until then its id is its own."""
    alive, hold = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(alive)
        _child(order)
    os.close(hold)
    _say(pid=child)
    os.read(alive, 1)  # nothing ever comes: it is closed when the child ends, however it ends
    os.close(alive)
    _say(ended=True)
    sys.stdin.readline()
    _, status = os.waitpid(child, 0)
    _say(status=os.waitstatus_to_exitcode(status))


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


def _learn(file: str, recipe: str, out: str) -> int:
    """Imports what an earlier child had imported by its end, and makes the tables that karat keeps
    in memory, so that no later child needs to. Returns how many threads this process has: one, or
    it must not fork."""
    for name in json.loads(Path(file).read_text()):
        if name.partition(".")[0] in SAFE:
            with suppress(Exception):
                importlib.import_module(name)
    from karat.curation import normal, words
    from karat.recipe import Recipe
    from karat.report import grading_page
    from karat.rewards.base import Candidates
    from karat.row import Message
    from karat.rundir import Run
    from karat.stage import cut
    from karat.step import Step

    normal._settled()
    words._kinds()
    grading_page.page(Run(out).report)
    loaded, source, kept = Recipe.load(recipe), Step.source, dict[str, bytes]()
    cut(loaded)
    # A step's digest is read from 170 files, which change under no test.
    kept.update({call.step.path: source(call.step) for call in loaded.steps})
    Step.source = lambda self: kept.get(self.path) or source(self)  # type: ignore[method-assign]
    reward = loaded.reward("helpsteer2")
    reward.score_many([Candidates((Message("user", "What is it?"),), ("A thing.",))])
    gc.freeze()
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 1


# --- in the child --------------------------------------------------------------------------------


def _child(order: dict[str, Any]) -> None:
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(log, number)
        code = _command(order)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _command(order: dict[str, Any]) -> int:
    from karat.cli import main as karat

    events = Events(order["out"], order.get("at", 0), order.get("signal", 9), order.get("after", 0))
    events.listen()
    if "told" not in order:  # how a report looks on a terminal is tested elsewhere
        from karat.report import text

        text.print_report = lambda *_: None
    if "busy_s" in order:
        from karat.journal import sqlite_connect

        sqlite_connect.BUSY_S = order["busy_s"]
    if "file_bytes" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_bytes"],) * 2)
    if order.get("ordinary"):
        drop_override()
    code = 0
    try:
        karat(order["args"], prog_name="karat")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    if "told" in order:
        told = {"events": events.seen, "modules": sorted(sys.modules)}
        Path(order["told"]).write_text(json.dumps(told["modules"]))
        Path(order["told"]).with_suffix(".events").write_text(json.dumps(told["events"]))
    return code


class Events:
    """What a run does to its directory, counted; at number `at` a signal comes, at once or so many
    seconds `after`. A signal that comes later is SIGALRM, which ends a process as SIGKILL does:
    wherever it is, with nothing said."""

    def __init__(self, out: str, at: int, number: int, after: float) -> None:
        self._out, self._at, self._number, self._after = out, at, number, after
        self.seen: list[str] = []

    def listen(self) -> None:
        import pyarrow.parquet as pq

        from karat.journal.sqlite import SqliteJournal

        sys.addaudithook(self._audited)
        self._around(SqliteJournal, "_commit", "commit")
        self._around(pq.ParquetWriter, "write_table", "table")
        self._around(pq.ParquetWriter, "close", "footer")

    def _around(self, owner: Any, name: str, said: str) -> None:
        plain: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(plain)
        def told(*args: Any, **options: Any) -> Any:
            self._count(f"before {said}")
            made = plain(*args, **options)
            self._count(f"after {said}")
            return made

        setattr(owner, name, told)

    def _audited(self, name: str, args: tuple[Any, ...]) -> None:
        if name == "open":
            mode, flags = args[1], args[2]
            writes = any(letter in mode for letter in "wax+") if isinstance(mode, str) else False
            if not writes and not (isinstance(flags, int) and flags & WRITES):
                return
        elif name not in ("os.rename", "os.remove", "os.mkdir", "os.truncate"):
            return
        path = args[0]
        if not isinstance(path, (str, os.PathLike)) or not os.fspath(path).startswith(self._out):
            return
        changes = Path(path).exists() == (name == "os.remove")
        if changes or name not in ("os.remove", "os.mkdir"):
            self._count(f"{name.removeprefix('os.')} {Path(path).name}")

    def _count(self, what: str) -> None:
        self.seen.append(what)
        if len(self.seen) != self._at:
            return
        if self._after:
            signal.setitimer(signal.ITIMER_REAL, self._after)
        else:
            os.kill(os.getpid(), self._number)


def drop_override() -> None:
    """Holds root, too, to what permissions say."""

    class Header(ctypes.Structure):
        _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))

    class Sets(ctypes.Structure):
        _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32),
                    ("inheritable", ctypes.c_uint32))  # fmt: skip

    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = Header(CAPABILITIES, 0), (Sets * 2)()
    if libc.capget(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capget")
    for kind in ("effective", "permitted"):
        setattr(sets[0], kind, getattr(sets[0], kind) & ~(1 << OVERRIDE | 1 << SEARCH))
    if libc.capset(ctypes.byref(header), sets):
        raise OSError(ctypes.get_errno(), "capset")


if __name__ == "__main__":
    main()
