"""What the numbers of a server of scores stand for: names, scales, and what they compare with.

A classification head says how many numbers it gives and nothing else. Which attribute each is, is
the recipe's to say; where it says nothing there is one, `reward`, without a scale, that compares
responses to the same prompt only: so are most reward models trained (Bradley-Terry).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Literal, NamedTuple

import orjson

from karat.errors import RecipeError
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.rewards.base import UNBOUNDED, Scale, Scores

Named = list[str] | dict[str, tuple[float, float]] | None
Comparable = Literal["within_prompt", "anywhere"] | None
TOGETHER = 32  # responses of one request: a batch for a server, and one bad text fails few others
_NAME = re.compile(r"\w+")
# They make a server drop part of a text without a word.
_CUTTING = ("truncate_prompt_tokens", "truncation_side", "truncation")


class Outputs(NamedTuple):
    """The attributes in the order a head gives them, and those that compare within a prompt."""

    attributes: dict[str, Scale]
    within_prompt: frozenset[str]

    def scores(self, values: Any) -> Scores:
        """The numbers of one response. Raises: ValueError for a wrong number of them, or no number.

        What is NaN is left to whoever checks scores; servers that cannot write it send null.
        """
        if not isinstance(values, list):
            raise ValueError(f"not a list of numbers but {type(values).__name__}")
        if len(values) != len(self.attributes):
            names = ", ".join(self.attributes)
            raise ValueError(
                f"the head gives {len(values)} numbers where {len(self.attributes)} ({names}) are "
                f"named; name all {len(values)} in attributes, in the head's order"
            )
        return {
            name: number(value, name)
            for name, value in zip(self.attributes, values, strict=True)
        }  # fmt: skip


def outputs(attributes: Named, comparable: Comparable, single: Scale = UNBOUNDED) -> Outputs:
    """Those a recipe names; `single` is the scale of `reward` where it names none.

    Where it does not say what they compare with, an attribute with a scale compares anywhere (a
    rating was predicted), one without compares within its prompt. Raises: RecipeError.
    """
    found: dict[str, Scale]
    if attributes is None:
        found = {"reward": single}
    elif isinstance(attributes, Mapping):
        found = {name: (low, high) for name, (low, high) in attributes.items()}
    else:
        found = dict.fromkeys(attributes, UNBOUNDED)
        if len(found) != len(attributes):
            raise RecipeError("attributes: a name is there twice")
    if not found:
        raise RecipeError("attributes: name at least one, or leave it out for one 'reward'")
    for name, (low, high) in found.items():
        if not _NAME.fullmatch(name):
            raise RecipeError(f"attributes: '{name}' must be of letters, digits and '_'")
        if not low < high:
            raise RecipeError(f"attributes: the scale of '{name}' must be [low, high], low first")
    within = {
        None: [name for name, scale in found.items() if scale == UNBOUNDED],
        "anywhere": [],
        "within_prompt": list(found),
    }[comparable]
    return Outputs(found, frozenset(within))


def number(value: Any, name: str) -> float:
    """Raises: ValueError for what is no number."""
    if value is None:
        raise ValueError(f"its {name} is null, which servers write for NaN: no score")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its {name} is {value!r}, which is no number")
    return float(value)


def tree_of(reply: HttpReply) -> Any:
    """The reply's JSON, NaN and infinities too. Raises: ValueError."""
    try:
        return orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise ValueError("it is no JSON") from None


def in_order(items: Any, count: int) -> list[dict[str, Any]]:
    """The items of a list by their `index`. Raises: ValueError when not one for each response."""
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ValueError("its data is no list of results")
    if len(items) != count:
        raise ValueError(f"{len(items)} results for {count} responses")
    places = [item.get("index", place) for place, item in enumerate(items)]
    if sorted(map(str, places)) != sorted(map(str, range(count))):
        raise ValueError(f"results with the indices {places} for {count} responses")
    return sorted(items, key=lambda item: int(item.get("index", 0)))


def root(address: str) -> str:
    """The server's own address, where addresses that are not OpenAI's begin."""
    return address.removesuffix("/v1")


def body(spec: ModelSpec, fields: Mapping[str, Any]) -> bytes:
    """A request's JSON with what the service and the recipe add to every one."""
    return orjson.dumps({"model": spec.name, **fields, **spec.offered_by().extra, **spec.extra})


def check_extra(spec: ModelSpec, reserved: Sequence[str] = ()) -> None:
    """Raises: RecipeError for fields that would cut texts, or undo what the reward says itself."""
    for name in spec.extra:
        if name in _CUTTING:
            raise RecipeError(
                f"extra.{name} makes the server cut long texts without a word, and score the rest; "
                "leave it out: what is too long is refused and its row dropped"
            )
        if name in reserved:
            raise RecipeError(f"extra must not hold '{name}', which this reward says itself")


def licence_of(spec: ModelSpec, written: str | None) -> str:
    """As the recipe says, else as the table of rights knows the model."""
    return written or spec.rights().licence


def scale_text(attributes: Mapping[str, Scale]) -> str:
    """For an identity: names and scales, which decide what is accepted."""
    return ",".join(
        f"{name}[{low:g},{high:g}]" if isfinite(low) and isfinite(high) else name
        for name, (low, high) in attributes.items()
    )
