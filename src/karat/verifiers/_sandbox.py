"""Runs tested code in a process that is locked in, and says how it ended.

Each check is an interpreter of its own, without site-packages and with nothing in its environment;
each case of it is a fork that first locks itself in (`_jail/locks.py`). CPU time and not the clock
decides when it has run too long, so that a busy machine changes no verdict, and hashes are not
random, so that a set is walked in the same order each time.
"""

from __future__ import annotations

import marshal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import RunError

JAIL = Path(__file__).with_name("_jail")
# No -I: it would also ignore the seed of hashes. -P, -s, -S are what else it means.
FLAGS = ("-P", "-s", "-S", "-X", "utf8")
BOOT = """import sys
sys.path.insert(0, sys.argv[1])
import launch
sys.path.pop(0)
for name in ("launch", "locks", "trial"):
    del sys.modules[name]
launch.main()
"""
OUTPUT_BYTES = 2**20
START_S = 30.0


class Outcome(msgspec.Struct, frozen=True):
    """How one case ended.

    `ended` is exit, error (another exit code than 0), signal, time, or output (it printed over
    1 MB). `passed` holds b"1" or b"0" per test, and is empty where the process did not reach their
    end. `note` is what it raised.
    """

    ended: str
    code: int
    passed: bytes
    note: str
    printed: bytes
    cpu_ms: int


def run(
    pieces: Sequence[str],
    *,
    tests: Sequence[str] = (),
    entry: str = "",
    context: Sequence[str] = (),
    completion: bool = False,
    inputs: Sequence[bytes] | None = None,
    seconds: int = 5,
    memory_mb: int = 512,
    weaker: bool = False,
) -> list[Outcome]:
    """An outcome per input for a program, one for a set of tests; fewer where one took too long,
    none where the launcher itself was killed, as by a machine out of memory.

    `pieces` are what may be the answer's code, best first, and `context` what its prompt may say
    of it; `trial` chooses. `inputs` are what a program reads: one process each.
    Raises: RunError where this machine cannot lock code in and `weaker` is not said.
    """
    job = {
        "kind": "tests" if inputs is None else "program",
        "cases": [b""] if inputs is None else list(inputs),
        "pieces": list(pieces),
        "context": list(context),
        "completion": completion,
        "tests": list(tests),
        "entry": entry,
        "seconds": seconds,
        "memory_mb": memory_mb,
        "output_bytes": OUTPUT_BYTES,
        "weaker": weaker,
    }
    found = [Outcome(**one) for one in _launched(job)]
    if found and found[-1].ended == "missing":
        lacking = found[-1].note
        if lacking.startswith("failed"):
            raise RunError(f"the sandbox does not start ({lacking}); try a larger memory_mb")
        raise RunError(
            f"this machine cannot keep tested code from: {lacking}; run on Linux 5.13 or "
            "newer (x86-64 or ARM), or set the verifier's option unsafe: true where what answers "
            "may do does not matter"
        )
    return found


def missing() -> tuple[str, ...]:
    """What this machine cannot keep from tested code: of files, network and processes."""
    try:
        run(["pass"], tests=["pass"])
    except RunError as error:
        return tuple(str(error).partition(": ")[2].partition(";")[0].split())
    return ()


def _launched(job: dict[str, Any]) -> list[dict[str, Any]]:
    """The launcher's report; nothing where it was killed. What it started ends with the call."""
    with tempfile.TemporaryDirectory(prefix="karat-code-", ignore_cleanup_errors=True) as scratch:
        job["scratch"] = scratch
        process = subprocess.Popen(
            [sys.executable, *FLAGS, "-c", BOOT, str(JAIL)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=scratch,
            env={"HOME": scratch, "PYTHONHASHSEED": "0", "MALLOC_ARENA_MAX": "1", "TZ": "UTC"},
            start_new_session=True,
        )
        # Per case the launcher's own limit, and one more.
        limit = START_S + (len(job["cases"]) + 1) * (4 * job["seconds"] + 5)
        try:
            report, _ = process.communicate(marshal.dumps(job), timeout=limit)
        except BaseException as error:
            process.kill()  # and with it the case that is running: PR_SET_PDEATHSIG
            process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            report = b""
    outcomes: list[dict[str, Any]] = marshal.loads(report) if report else []
    return outcomes
