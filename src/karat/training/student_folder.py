"""The folder of a student: whether it is finished, begun, or somebody else's.

karat.json is written last, so a folder that has it is finished. Until then checkpoints/ holds what
a killed training goes on from, and started.json there says of which data and settings it is: a
folder is never filled with half of one student and half of another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import orjson

from karat.errors import RecipeError
from karat.rundir import write_atomic

FACTS, MERGED, CHECKPOINTS = "karat.json", "merged", "checkpoints"
_STARTED, LOCK = "started.json", ".lock"
_WORDS = {"data_sha": "its data", "base": "its base", "base_identity": "its base's weights"}


class Trained(msgspec.Struct, frozen=True):
    """A student: its folder, the base's name as given, steps, tokens trained on (each epoch's),
    seconds, the loss curve as (step, loss), losses on held-out parts before and after, the command
    that made it, and whether that was just now."""

    folder: Path
    base: str
    steps: int
    tokens: int
    seconds: float
    curve: tuple[tuple[int, float], ...]
    held_out: dict[str, tuple[float, float]]
    command: str
    new: bool = True


def ends(curve: tuple[tuple[int, float], ...]) -> tuple[float, float]:
    """The mean loss of the first and of the last quarter of a curve: one step's is mostly its
    rows'."""
    size = max(1, len(curve) // 4)
    losses = [loss for _, loss in curve]
    return sum(losses[:size]) / size, sum(losses[-size:]) / size


def check_free(
    out: Path, own: Collection[str] = (FACTS, CHECKPOINTS), other: Collection[str] = ()
) -> None:  # fmt: skip
    """`own`: names that only the same command puts there; `other`: such as it never does.

    Raises: RecipeError where the folder holds something that no training of ours has put there: it
    would be overwritten."""
    if out.exists() and not out.is_dir():
        raise RecipeError(f"{out} is a file; name a folder in -o")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    names = {name for name in names if not (name.startswith(".") and name.endswith(".tmp"))}
    if names - {LOCK} and (not names & {*own} or names & {*other}):
        raise RecipeError(f"{out} is not empty: name a folder of its own in -o")


@contextmanager
def taken_back(out: Path) -> Iterator[None]:
    """Where a training is refused before anything was noted, the folders it made go again."""
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        checkpoints = out / CHECKPOINTS
        if missing and not (checkpoints / _STARTED).exists():
            with suppress(OSError):  # what is not empty stays
                checkpoints.rmdir()
                (out / LOCK).unlink(missing_ok=True)
                for folder in missing:
                    folder.rmdir()
        raise


def finished(out: Path, what: dict[str, Any]) -> Trained | None:
    """The student that is there, if it is this one. Raises: RecipeError if it is another."""
    try:
        facts = orjson.loads((out / FACTS).read_bytes())
    except OSError:
        return None
    except ValueError:
        raise RecipeError(f"{out / FACTS} cannot be read; name another folder in -o") from None
    _check_same(facts, what, out, "holds a student")
    curve = tuple((int(step), float(loss)) for step, loss in facts["curve"])
    held_out = {name: (float(a), float(b)) for name, (a, b) in facts["held_out"].items()}
    return Trained(
        out, facts["base"], facts["steps"], facts["tokens"], facts["seconds"], curve, held_out,
        facts["command"], new=False,
    )  # fmt: skip


def begun(out: Path, what: dict[str, Any]) -> dict[str, Any]:
    """What an interrupted training has noted; makes room for checkpoints. Raises: RecipeError if
    it was another one."""
    (out / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    try:
        facts: dict[str, Any] = orjson.loads((out / CHECKPOINTS / _STARTED).read_bytes())
    except (OSError, ValueError):
        return {}
    _check_same(facts, what, out, "holds the checkpoint of a student")
    return facts


def note(out: Path, facts: dict[str, Any]) -> None:
    """Notes what is being trained. Raises: RunError."""
    write_atomic(out / CHECKPOINTS / _STARTED, orjson.dumps(facts))


def last_checkpoint(folder: Path) -> Path | None:
    """The last whole one: the trainer writes its state after everything else."""
    found = folder.glob("checkpoint-*")
    whole = [path for path in found if (path / "trainer_state.json").is_file()]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _check_same(facts: dict[str, Any], what: dict[str, Any], out: Path, holds: str) -> None:
    """Raises: RecipeError, saying what differs."""
    differ = [
        _WORDS.get(name, name)
        for name in what
        if name != "settings" and facts.get(name) != what[name]
    ]
    theirs = facts.get("settings") or {}
    ours = what["settings"]
    differ += [
        f"{name} ({theirs.get(name)}, now {ours.get(name)})"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differ:
        raise RecipeError(
            f"{out} {holds} that differs in {', '.join(differ)}: name another folder in -o, or "
            "remove this one"
        )
