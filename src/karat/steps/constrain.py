"""constrain: instructions about an answer's form, appended to prompts; checks need no model.

Instruction-following prompts are ordinary ones with verifiable instructions added (Nemotron-4 340B,
arXiv 2406.11704 §3.2; IFEval, arXiv 2311.07911). What was asked stands in `meta`, so `verify` can
tell without a judge which answers did it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from karat.context import Context
from karat.errors import RecipeError, RowError
from karat.row import Message, Row
from karat.step import Positive, step
from karat.verifiers._words import is_english
from karat.verifiers.instructions import Constraint, chosen, compose

MOST = 5  # more of them than IFEval's three, and hardly any model follows them all
AS_LIST = 0.25  # share of prompts that give several as a list, where there are several
HEADS = ("Follow these rules:", "Requirements:", "Please keep to the following:", "Conditions:")
_ENDS = tuple(".?!:;…。？！\"'”’)]")


@step
async def constrain(
    row: Row,
    ctx: Context,
    *,
    count: Positive | list[Positive] = [1, 3],  # noqa: B006  read only
    kinds: list[str] | None = None,
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0,
) -> Row:
    """Appends `count` verifiable instructions (a number, or from one to another) to the last turn.

    Kinds, values and wording are drawn by seed; those of one prompt never contradict each other,
    and keywords are the prompt's own where it has some. `kinds` are names of IFEval's instructions
    or their families (`keywords`, `length_constraints:number_words`); left out, all that can be
    checked here. A `share` of the rows gets them. They are written in English and count as English
    does, so a row whose user turns are not in English by their common words stays as it is, and so
    does one that none of the kinds suits; the report counts both.

    `meta` gets `constraints`, a list of {id, kwargs}, and the task `instruction`; the task before
    is kept as `base_task`. A row that has constraints or responses already is dropped.
    """
    place = next(
        (i for i in reversed(range(len(row.messages))) if row.messages[i].role == "user"), -1
    )
    if place < 0:
        raise RowError("the row has no turn of a user; put prompts or read before constrain")
    if row.responses:
        raise RowError("the row has responses to its prompt as it was; put constrain before them")
    if "constraints" in row.meta:
        raise RowError("the row has constraints already")
    rng = ctx.rng()
    if rng.random() >= share:
        return row
    low, high = _range(count)
    if not is_english(" ".join(m.content for m in row.messages if m.role == "user")):
        ctx.count("not in English")
        return row
    prompt = row.messages[place].content
    found = compose(rng, prompt, rng.randint(low, high), kinds)
    if not found:
        ctx.count("no kind suits")
        return row
    row.messages = list(row.messages)
    row.messages[place] = Message("user", _joined(prompt, found, rng))
    before = {"base_task": row.meta["task"]} if "task" in row.meta else {}
    asked = [{"id": one.id, "kwargs": one.kwargs} for one in found]
    row.meta = {**row.meta, **before, "task": "instruction", "constraints": asked}
    return row


constrain.marks = ("task", "base_task", "constraints")


def _range(count: int | list[int]) -> tuple[int, int]:
    return (count, count) if isinstance(count, int) else (count[0], count[-1])


def _joined(prompt: str, found: Sequence[Constraint], rng: random.Random) -> str:
    """The prompt and its instructions: one text, two paragraphs, or a list below."""
    text = prompt.rstrip()
    if len(found) > 1 and rng.random() < AS_LIST:
        lines = "".join(f"\n- {one.text}" for one in found)
        return f"{text}\n\n{rng.choice(HEADS)}{lines}"
    if "\n" not in text and rng.random() < 0.5:
        return f"{text if text.endswith(_ENDS) else f'{text}.'} {_sentences(found)}"
    return f"{text}\n\n{_sentences(found)}"


def _sentences(found: Sequence[Constraint]) -> str:
    return " ".join(one.text for one in found)


@constrain.rule
def _rule(*, count: int | list[int], kinds: list[str] | None, **_: Any) -> str | None:
    if isinstance(count, list) and (len(count) != 2 or count[0] > count[1]):
        return f"count: write a number, or two of them, the smaller first; got {count}"
    if _range(count)[1] > MOST:
        return f"count: at most {MOST} instructions go into one prompt"
    if kinds is None:
        return None
    try:
        found = chosen(kinds)
    except RecipeError as error:
        return f"kinds: {error}"
    return None if found else "kinds is empty; name at least one, or leave it out for all"
