"""What two recipes have otherwise, as a list a person reads; and whether a reward is the same one.

Steps are matched by their order, so that one more step in the middle is one line and not a
difference of every step after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import Any, NamedTuple

import orjson

from karat.recipefile import labelled, written_steps

# Whatever else a model's entry says changes how it is asked, and not what it answers.
MEANS = ("model", "temperature", "top_p", "max_tokens", "reasoning", "seed", "extra", "fallbacks")
MADE = ("weighted", "route")  # scores that steps make of others, by their own parameters
Tree = Mapping[str, Any]


class Change(NamedTuple):
    """One place of the recipes; None where a side has nothing there."""

    where: str
    a: str | None
    b: str | None


def changes(a: Tree, b: Tree) -> list[Change]:
    """All places that differ, in the order of a recipe. Where the files lie says nothing."""
    found: list[Change] = []
    keys = [key for key in dict.fromkeys([*a, *b]) if key not in ("folder", "steps", "name")]
    for key in keys:
        found += _of(key, a.get(key), b.get(key))
    return [*found, *_steps(a, b)]


def _of(where: str, a: Any, b: Any) -> Iterator[Change]:
    if a == b:
        return
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _of(f"{where}.{key}", a.get(key), b.get(key))
    else:
        yield Change(where, _said(a), _said(b))


def _said(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _steps(a: Tree, b: Tree) -> Iterator[Change]:
    ours, theirs = written_steps(a), written_steps(b)
    # Other parameters of a step are told one by one: only its name is matched.
    match = SequenceMatcher(
        None, [name for name, _ in ours], [name for name, _ in theirs], autojunk=False
    )
    labels, others = (labelled(name for name, _ in side) for side in (ours, theirs))
    for what, a0, a1, b0, b1 in match.get_opcodes():
        if what == "equal":
            for one, other in zip(range(a0, a1), range(b0, b1), strict=True):
                yield from _of(labels[one], ours[one][1], theirs[other][1])
            continue
        for place in range(a0, a1):
            yield Change(f"step {labels[place]}", _said(ours[place][1]) or "{}", None)
        for place in range(b0, b1):
            yield Change(f"step {others[place]}", None, _said(theirs[place][1]) or "{}")


# --- rewards -------------------------------------------------------------------------------------


def same_score(key: str, a: Tree | None, b: Tree | None) -> bool:
    """Whether a score of this name was given by the same reward on both sides, as far as their
    recipes say. Where a recipe is missing or leaves it open, it was not."""
    if a is None or b is None:
        return False
    name = key.rpartition(".")[0] or key
    if key.partition(".")[0] in MADE:
        return _equal(a.get("rewards"), b.get("rewards")) and not list(_steps(a, b))
    return _same_reward(name, a, b, set())


def _same_reward(name: str, a: Tree, b: Tree, seen: set[str]) -> bool:
    ours, theirs = (_part(side, "rewards").get(name) for side in (a, b))
    if not _equal(ours, theirs):
        return False
    seen.add(name)
    for word in _words(ours):
        if word in seen:
            continue
        if word in _part(a, "rewards") or word in _part(b, "rewards"):
            if not _same_reward(word, a, b, seen):
                return False
        elif not _equal(*(_meaning(_part(side, "models").get(word)) for side in (a, b))):
            return False
    return True


def _part(side: Tree, key: str) -> Tree:
    found = side.get(key)
    return found if isinstance(found, Mapping) else {}


def _meaning(spec: Any) -> Any:
    """Of a model what decides its answers."""
    if isinstance(spec, list):
        return [_meaning(one) for one in spec]
    if isinstance(spec, Mapping):
        kept = {key: spec[key] for key in MEANS if key in spec}
        return kept["model"] if list(kept) == ["model"] else kept
    return spec


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _words(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words(one)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b)
