"""On which terms a row's models wrote it, and whose each of its licences is.

A name alone does not say it: `openai/x` may be a server of the user's own, which sells nothing. So
the run is asked first, whose report has the terms it resolved, then its recipe, which is read and
never executed; by its name alone a model is looked up where neither knows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from karat.errors import KaratError
from karat.licensing.rows import called_rights, given_rights, text_of
from karat.licensing.solved import Source
from karat.models.rights import STRICTNESS, Rights
from karat.models.spec import parse_model
from karat.recipefile import parse
from karat.row import Row
from karat.rundir import Run

Known = dict[str, Rights]
GRADER = "a grader of the run"
ITSELF = "the row itself"
MOST_PARTS = 1000  # of one model in a recipe


class _Held(msgspec.Struct, frozen=True):
    sources: tuple[Source, ...] = ()


class _Report(msgspec.Struct, frozen=True):
    licences: _Held = _Held()


def terms(run: Run, called: Iterable[str], given: Iterable[str]) -> Known:
    """What is known of each model, by `provider/name`: `called` were asked, `given` are named by a
    file."""
    known = {**_of_recipe(run), **_of_report(run)}
    found = {model: known.get(model) or called_rights(model) for model in called if model}
    more = {model: known.get(model) or given_rights(model) for model in given if model}
    return {**more, **found}


def owners(run: Run, row: Row, licences: Iterable[str], models: Known) -> list[tuple[str, str]]:
    """(licence, whose it is) of each licence in the row's column, in words; the second is empty
    where nobody knows any more."""
    own = text_of(row.meta.get("licence")) or text_of(row.meta.get("license"))
    graded = any(response.scores for response in row.responses)
    graders = [s for s in _sources(run) if graded and s.role == "grader" and s.licence]
    found = []
    for licence in licences:
        parts = {licence, *licence.split("; ")}  # a panel's are those of all it asks
        whose = [name for name, rights in models.items() if rights.licence == licence]
        whose += [f"{s.name} ({GRADER})" for s in graders if s.licence in parts]
        whose += [ITSELF] if licence == own else []
        found.append((licence, ", ".join(dict.fromkeys(whose))))
    return found


def _of_report(run: Run) -> Known:
    found: Known = {}
    for one in _sources(run):
        if one.training is not None:
            _add(found, one.name, Rights(one.licence, one.training, one.note, one.document))
    return found


def _sources(run: Run) -> tuple[Source, ...]:
    """Everything the run says it is made of."""
    return _seen(_read_report, run.report_file) or ()


def _of_recipe(run: Run) -> Known:
    return _seen(_read_recipe, run.recipe) or {}


def _seen(read: Callable[[Path, int], Any], path: Path) -> Any:
    """What a file says, read anew once it has changed; None where it cannot be read."""
    try:
        return read(path, path.stat().st_mtime_ns)
    except OSError:
        return None


@lru_cache(maxsize=16)
def _read_report(path: Path, changed_ns: int) -> tuple[Source, ...]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Report).licences.sources
    except msgspec.DecodeError:  # of another version, or no report at all
        return ()


@lru_cache(maxsize=16)
def _read_recipe(path: Path, changed_ns: int) -> Known:
    found: Known = {}
    try:
        written = parse(path).get("models") or {}
        plain = [value for value in written.values() if _is_small(value)]
        for spec in [one for value in plain for one in parse_model(value).route()]:
            _add(found, spec.model, spec.rights())
    except (KaratError, AttributeError, KeyError, TypeError, ValueError):
        return {}  # a file that anybody may have written
    return found


def _is_small(value: Any) -> bool:
    """Whether it is no more than a model takes to say: a few aliases can stand for 10^9 words."""
    waiting = [value]
    for _ in range(MOST_PARTS):
        if not waiting:
            return True
        one = waiting.pop()
        inside = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
        waiting += islice(inside, MOST_PARTS)
    return False


def _add(found: Known, model: str, said: Rights) -> None:
    """Where two servers serve a model of one name, the stricter terms are told."""
    before = found.get(model)
    ranks = [STRICTNESS.index(one.training) for one in (before or said, said)]
    if before is None or ranks[1] > ranks[0]:
        found[model] = said
