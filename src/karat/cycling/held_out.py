"""Held-out prompts, whatever their file calls them, and what to do where there are too few.

Sets to measure by are published for other harnesses: MT-Bench has turns, others a column of a name
of their own. A prompt nobody answers for is of no use as a training row, so more is taken here than
`read` takes; where two columns could be meant, it is asked and not guessed.
"""

from __future__ import annotations

from collections.abc import Mapping as Tree
from itertools import islice
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, RunError
from karat.rundir import Run
from karat.steps._files import input_files, read_files
from karat.steps._mapping import resolve
from karat.steps._shapes import Mapping

FEWEST = 2
SAMPLES = 100  # records looked at
NAMES = ("text", "input", "query", "problem", "task", "goal")  # beyond those `read` knows


def reading(path: Path) -> dict[str, str]:
    """The parameters with which `read` finds the prompts of a file or folder; none where it does by
    itself. Of turns the first is the prompt: those after it follow an answer.

    Raises: RecipeError where no column is, or several may be, that of the prompts.
    """
    records = islice(read_files(input_files(path), path), SAMPLES)
    samples = [one.value for one in records if isinstance(one.value, dict)]
    if not samples or any(name in samples[0] for name in ("prompt", "messages")):
        return {}
    turns = [one.get("turns") for one in samples]
    if all(isinstance(one, list) and one for one in turns):
        plain = all(isinstance(one[0], str) for one in turns if one)
        return {"prompt": "turns.0"} if plain else {"messages": "turns"}
    try:
        resolve(Mapping(), samples, str(path))
    except RecipeError:
        return {"prompt": _column(samples, path)}
    return {}


def _column(samples: list[dict[str, Any]], path: Path) -> str:
    columns = list(dict.fromkeys(name for one in samples for name in one))
    texts = [
        name for name in columns
        if all(isinstance(one.get(name), str) and one[name].strip() for one in samples)
    ]  # fmt: skip
    known = [name for name in NAMES if name in texts]
    if known or len(texts) == 1:
        return (known or texts)[0]
    raise RecipeError(
        f"--held-out {path}: which column holds the prompts is not clear (there are "
        f"{', '.join(columns) or 'none'}); call it prompt, or write lines of "
        '{"prompt": …} or {"messages": […]}'
    )


def but_held_out(tree: Tree[str, Any], other: Tree[str, Any]) -> dict[str, Any]:
    """What was asked, less the held-out prompts that it or the other one names."""
    named = {str(one.get("held_out")) for one in (tree, other)}
    files = {path: sha for path, sha in (tree.get("files") or {}).items() if path not in named}
    return {**tree, "held_out": None, "files": files}


def too_few(found: int, first: Run | None) -> RunError:
    """`first`: the first round's run, where its test part was to be held out."""
    many = "1 held-out prompt is" if found == 1 else f"{found:,} held-out prompts are"
    said = f"{many} too few to compare rounds by"
    if first is None:
        return RunError(f"{said}: name a file of more in --held-out; nothing written is lost")
    rows = first.report["rows"]
    accepted, dropped = rows["accepted"], rows["dropped"]
    why = f"round 1 accepted {accepted:,} row{'' if accepted == 1 else 's'}"
    if dropped:
        why += f", {dropped:,} dropped, most by {_mostly(first)}"
    return RunError(
        f"{said}, which are the test part of round 1: {why}; `karat show {first.path}` says where "
        "rows went. Name prompts in --held-out; the answers of round 1 are kept"
    )


def _mostly(run: Run) -> str:
    """The reason why most rows were dropped."""
    reasons: dict[str, int] = {}
    for step in run.report["funnel"]:
        for reason, number in step["dropped"].items():
            told = f"{step['label']}: {reason}"
            reasons[told] = reasons.get(told, 0) + number
    return max(reasons, key=lambda one: reasons[one], default="no step")
