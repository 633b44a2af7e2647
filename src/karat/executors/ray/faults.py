"""Ray's errors in words of karat's: what was lost, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ray.exceptions import (
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    WorkerCrashedError,
)  # fmt: skip

from karat.errors import KaratError, RunError

# What Ray's errors say; there is no code to tell these apart.
NODE_GONE = "node has died"
OUT_OF_MEMORY = ("OutOfMemory", "low on memory", "out of memory issue", "memory pressure")
AT_BIRTH = "error raised in its creation task"
KEPT = "Everything paid for is kept; run again to go on"


@contextmanager
def explained() -> Iterator[None]:
    """Turns what Ray raises in the block into one of karat's errors."""
    try:
        yield
    except RayError as error:
        raise explain(error) from error


def explain(error: RayError) -> KaratError:
    """What a person can do about an error of a task or an actor."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        if isinstance(cause, KaratError):
            return cause
        return RunError(f"a task broke: {type(cause).__name__}: {_line(cause)}. {KEPT}")
    if isinstance(error, OutOfMemoryError | WorkerCrashedError):
        return RunError(
            f"a task lost its process again and again ({why_lost(error)}); give its machine more "
            f"memory, or look at Ray's logs there. {KEPT}"
        )
    if isinstance(error, RuntimeEnvSetupError):
        return RunError(f"a machine of the cluster cannot set up what a run needs: {_line(error)}")
    if isinstance(error, RayActorError):
        return RunError(f"a process of the run was lost: {why_lost(error)}. {KEPT}")
    return RunError(f"Ray: {_line(error)}. {KEPT}")


def why_lost(error: RayError) -> str:
    """Why a process was lost, of the page that Ray says about it."""
    said = str(error)
    if NODE_GONE in said:
        return "its machine is gone"
    if any(words in said for words in OUT_OF_MEMORY):
        return "its machine ran out of memory, and Ray ended it"
    if AT_BIRTH in said:
        return f"it cannot begin there: {said.strip().splitlines()[-1].strip()[:300]}"
    if isinstance(error, WorkerCrashedError) or "worker process has died" in said:
        return "its process ended by itself: killed, out of memory, or by a step"
    return next(filter(None, map(str.strip, said.splitlines())), "nobody knows why")[:200]


def by_itself(error: RayError) -> bool:
    """Whether it was lost by itself, and not with its machine."""
    return NODE_GONE not in str(error)


def _line(error: BaseException) -> str:
    """The first line of what it says."""
    return next(filter(None, map(str.strip, str(error).splitlines())), repr(error))[:300]
