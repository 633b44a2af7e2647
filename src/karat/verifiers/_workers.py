"""Processes that may be stopped: a job each, held to CPU seconds and to memory.

A thread cannot be stopped, and a computation inside a C function hears no signal handler. So what
may run for ever runs in a process. It says "ready" once it has imported what it needs; then the
limits apply, as CPU time rather than time on the clock, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from karat.errors import RunError

START_S = 120.0  # a first import, its files not yet in memory, on a machine with other work
SLACK = 20.0  # seconds on the clock that a CPU second may take before a process counts as stuck


class Pool:
    """Processes of one script, started as they are needed, one per usable CPU at most.

    `ask` may be called from any thread. The script reads one line of JSON per job from its standard
    input and writes one; its first line is "ready".
    """

    def __init__(self, script: str, memory_mb: int) -> None:
        self._script = Path(__file__).with_name(script)
        self._memory_mb = memory_mb
        self._idle: list[_Worker] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(os.cpu_count() or 1)

    def ask(self, job: dict[str, Any], seconds: int) -> dict[str, Any] | None:
        """The script's answer; None where it took over `seconds` of CPU time, or broke.

        Raises: RunError where the script does not start.
        """
        with self._slots:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            if worker is None:
                worker = _Worker(self._script, self._memory_mb)
            try:
                answer = worker.ask(job, seconds)
            except BaseException:
                worker.stop()
                raise
            if answer is None:
                worker.stop()
                return None
            with self._lock:
                if not self._idle:
                    atexit.unregister(self.close)
                    atexit.register(self.close)
                self._idle.append(worker)
            return answer

    def close(self) -> None:
        """Ends the processes that are idle."""
        with self._lock:
            workers, self._idle = self._idle, []
        for worker in workers:
            worker.stop()


class _Worker:
    def __init__(self, script: Path, memory_mb: int) -> None:
        # -P: the script's folder has modules named json and math.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._memory_mb = memory_mb
        self._script = script
        self._ready = False

    def ask(self, job: dict[str, Any], seconds: int) -> dict[str, Any] | None:
        if not self._ready:
            if self._line(START_S) != b"ready":
                raise RunError(f"{self._script} did not start; run it by hand to see why")
            self._ready = True
        self._limit(seconds)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        line = self._line(SLACK * seconds)
        return json.loads(line) if line else None

    def _limit(self, seconds: int) -> None:
        if not hasattr(os, "fork") or not sys.platform.startswith("linux"):
            return  # no prlimit: the clock is the only limit
        import resource

        pid = self._process.pid
        with suppress(OSError):
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            used = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
            resource.prlimit(pid, resource.RLIMIT_CPU, (int(used) + 1 + seconds, -1))
            size = self._memory_mb * 2**20
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))

    def _line(self, seconds: float) -> bytes:
        """The next line without its end; nothing where none came in time or the process ended."""
        assert self._process.stdout is not None
        stream, deadline, found = self._process.stdout.fileno(), time.monotonic() + seconds, b""
        while not found.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stream], [], [], left)[0]:
                return b""
            more = os.read(stream, 2**16)
            if not more:
                return b""
            found += more
        return found[:-1]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                with suppress(BrokenPipeError):
                    stream.close()
