"""The launcher: forks a process per case, holds it to its time and output, says what came of it.

It runs none of the tested code, not even a parse of it. What the process writes is bytes of a
bounded number, read as text and never unpickled. Whether tests passed is said by the process under
test, which proves only that it reached their end: the token that goes with its word is drawn
after the fork, and lies unread in a pipe until then.
"""

from __future__ import annotations

import gc
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False  # typing, contextlib and signal together cost 15 ms per check
if TYPE_CHECKING:
    from typing import Any

    from karat.verifiers._jail import locks, trial
else:
    import locks
    import trial

SIGKILL = 9
SAID_BYTES = 2**16
STUCK = 4  # seconds on the clock per CPU second allowed, and 5 more, before a case is stuck


def main() -> None:
    """Reads a job, {"cases": […], …}, from standard input; writes a list of outcomes."""
    job = marshal.loads(sys.stdin.buffer.read())
    report = os.dup(1)
    gc.disable()  # a collection would copy the pages that a fork shares
    outcomes: list[dict[str, Any]] = []
    for case in job["cases"]:
        outcomes.append(_run(job, case, report))
        if outcomes[-1]["ended"] in ("missing", "time"):
            break
    with os.fdopen(report, "wb") as stream:
        stream.write(marshal.dumps(outcomes))


def _run(job: dict[str, Any], case: bytes, report: int) -> dict[str, Any]:
    """One case in a process of its own: what it said and printed, and how it ended."""
    said_in, said_out = os.pipe()
    printed_in, printed_out = os.pipe()
    lacking_in, lacking_out = os.pipe()
    token_in, token_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for fd in (report, said_in, printed_in, lacking_in, token_out):
                os.close(fd)
            _become(job, case, said_out, printed_out, token_in, lacking_out)
        except BaseException as error:
            os.write(lacking_out, f"failed: {error!r}".encode()[:100])
        finally:
            os._exit(70)
    token = os.urandom(16).hex().encode()
    os.write(token_out, token)
    for fd in (said_out, printed_out, lacking_out, token_in, token_out):
        os.close(fd)
    lacking = os.read(lacking_in, 100)  # closed before any tested code runs
    limit = {said_in: SAID_BYTES, printed_in: job["output_bytes"]}
    found, cause = _gather(limit, time.monotonic() + STUCK * job["seconds"] + 5)
    for kill in (os.killpg, os.kill):  # its group first: it may have started others
        try:
            kill(pid, SIGKILL)
        except ProcessLookupError:
            continue
    _, status, used = os.wait4(pid, 0)
    for fd in (*limit, lacking_in):
        os.close(fd)
    code = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    if not cause and (code == -24 or (code == -9 and cpu >= job["seconds"])):
        cause = "time"  # SIGXCPU, or SIGKILL where it was caught
    passed, _, note = found[said_in].partition(b"\n")
    return {
        "ended": "missing" if lacking else cause or _ended(code),
        "code": code,
        "passed": passed[len(token) :] if passed.startswith(token) else b"",
        "note": (lacking or note)[:300].decode("utf-8", "replace"),
        "printed": found[printed_in],
        "cpu_ms": round(1000 * cpu),
    }


def _ended(code: int) -> str:
    return "exit" if code == 0 else "signal" if code < 0 else "error"


def _gather(limit: dict[int, int], deadline: float) -> tuple[dict[int, bytes], str]:
    """What comes through pipes until all are closed; or why nothing more was read."""
    found = dict.fromkeys(limit, b"")
    poll = select.poll()
    for fd in limit:
        poll.register(fd, select.POLLIN)
    left = len(limit)
    pieces: dict[int, list[bytes]] = {fd: [] for fd in limit}
    sizes = dict.fromkeys(limit, 0)
    cause = ""
    while left and not cause:
        wait = deadline - time.monotonic()
        ready = poll.poll(1000 * wait) if wait > 0 else []
        if not ready:
            cause = "time"
        for fd, _ in ready:
            piece = os.read(fd, 2**16)
            if not piece:
                poll.unregister(fd)
                left -= 1
            pieces[fd].append(piece)
            sizes[fd] += len(piece)
            if sizes[fd] > limit[fd]:
                cause = "output"
    for fd in limit:
        found[fd] = b"".join(pieces[fd])[: limit[fd]]
    return found, cause


def _become(
    job: dict[str, Any], case: bytes, said: int, printed: int, token: int, lacking: int
) -> None:
    """Turns the forked process into the one that is tested, and runs it. Does not return."""
    os.setpgid(0, 0)
    if sys.platform.startswith("linux"):
        import ctypes

        ctypes.CDLL(None).prctl(1, SIGKILL, 0, 0, 0)  # ends with the launcher
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(_stdin(case) if case else nothing, 0)
    os.dup2(printed if job["kind"] == "program" else nothing, 1)
    os.dup2(nothing, 2)
    kept = {said, token, lacking}
    for fd in range(3, 256):
        if fd not in kept:
            try:
                os.close(fd)
            except OSError:
                continue
    missing = locks.lock(job["scratch"], job["seconds"], job["memory_mb"])
    refused = [name for name in missing if name != "disk"]
    if refused and not job["weaker"]:
        os.write(lacking, " ".join(refused).encode())
        os._exit(0)
    os.close(lacking)
    trial.run(job, said, token)


def _stdin(case: bytes) -> int:
    """A file in memory, at its start: a pipe would need someone to feed it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("stdin")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    left = memoryview(case)
    while left:
        left = left[os.write(fd, left) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
