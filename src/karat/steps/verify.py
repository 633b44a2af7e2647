"""verify: scores every response by checks that need no model.

A check knows what a reward model guesses: on IF-RewardBench (arXiv 2603.04738) how reward models
rank answers hardly agrees with how well these follow instructions (τ below .2). So the verdicts are
scores of their own, which `reject` takes as floors under any reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from karat.context import Context
from karat.errors import RowError
from karat.row import Row
from karat.step import step
from karat.verifiers.instructions import check_all

SHARE, ALL = "verifier.instructions", "verifier.instructions_all"


@step
async def verify(row: Row, ctx: Context) -> Row:
    """Adds two scores to every response: the share of the row's instructions that it follows, 0 to
    1, as `verifier.instructions`, and 1 or 0 for all of them as `verifier.instructions_all`.

    The instructions are those of `constrain`, or a file's own in IFEval's form (columns
    `instruction_id_list` and `kwargs`). Where nothing was asked nothing can be broken: both scores
    are 1, so that a floor lets rows without instructions pass. A row whose instructions cannot be
    read is dropped.
    """
    constraints = _asked(row.meta)
    for response in row.responses:
        followed = check_all(constraints, response.content, row.prompt)
        response.scores[SHARE] = sum(followed) / len(followed) if followed else 1.0
        response.scores[ALL] = float(all(followed))
    return row


verify.scores = {SHARE: (0.0, 1.0), ALL: (0.0, 1.0)}


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
