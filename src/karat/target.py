"""`exactly: N`: how many rows a recipe shall end with, and what a round knows of those before it.

A recipe that says it is walked in rounds, each with fresh seeds, until that many rows are accepted
(karat.rounds). What a round may know is fixed before it begins: what earlier rounds wrote, and
which strata have enough. So a run that was killed goes on where it stood, at any concurrency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from karat.errors import RecipeError
from karat.wording import explain

Stratum = tuple[str, ...]
Origin = tuple[dict[str, Any], list[str]]  # meta and calls of a row


class Target(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """`rows` accepted in all, or of every stratum: rows alike in the `meta` fields named in `per`.

    After `rounds` rounds the run ends with what there is; without it, when it has run dry.
    """

    rows: Annotated[int, msgspec.Meta(ge=1)]
    per: tuple[str, ...] = ()
    rounds: Annotated[int, msgspec.Meta(ge=1)] | None = None

    def stratum(self, meta: Mapping[str, Any]) -> Stratum | None:
        """Where a row belongs; None where it lacks one of the fields, as human rows may."""
        if any(meta.get(key) is None for key in self.per):
            return None
        return tuple(str(meta[key]) for key in self.per)

    def plain(self) -> int | dict[str, Any]:
        """As a recipe file says it."""
        if not self.per and self.rounds is None:
            return self.rows
        return {"rows": self.rows, "per": list(self.per), "rounds": self.rounds}


def parse_target(value: Any) -> Target | None:
    """A recipe's `exactly`: a number, or `{rows: 50, per: task}`. Raises: RecipeError."""
    if value is None:
        return None
    tree = {"rows": value} if not isinstance(value, dict) else dict(value)
    if isinstance(tree.get("per"), str):
        tree["per"] = [tree["per"]]
    try:
        return msgspec.convert(tree, Target)
    except msgspec.ValidationError as error:
        said = explain(str(error), tree, Target)
        raise RecipeError(
            f"exactly: {said}; write exactly: 500, or exactly: {{rows: 50, per: task}}"
        ) from None


class Round(msgspec.Struct):
    """What the steps of one round may know of the rounds before.

    `written` holds, by step, the texts that earlier rounds wrote. `standing` says of each stratum
    met so far whether it wants more rows. `topics` is where each topic came from.
    """

    number: int = 1
    written: dict[str, list[str]] = {}
    standing: dict[Stratum, bool] = {}
    per: tuple[str, ...] = ()
    topics: dict[str, Origin] = {}

    def wants(self, meta: Mapping[str, Any]) -> bool:
        """Whether rows with these fields are still wanted; of fields not known yet, any value."""
        known = [(place, str(meta[k])) for place, k in enumerate(self.per) if k in meta]
        alike = [
            wanted
            for stratum, wanted in self.standing.items()
            if all(stratum[place] == value for place, value in known)
        ]
        return any(alike) or not alike

    def values(self, field: str) -> list[str] | None:
        """The values of a field whose strata want more; None where any value will do."""
        if field not in self.per or not self.standing:
            return None
        place = self.per.index(field)
        return list(dict.fromkeys(s[place] for s, wanted in self.standing.items() if wanted))
