"""evolve: prompts made harder, more specific, or into new ones, one operation at a time.

A model asked for hard prompts writes easy ones; asked to add one thing to an easy one, and again,
it writes hard ones. The operations are those of Evol-Instruct, and for code those of
Genetic-Instruct, where a mutation changes a task and a crossover makes one of several.
"""

from __future__ import annotations

from typing import Any, Literal

from karat.context import Context
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.peers import Peers
from karat.row import Ids, Message, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._rewrites import Change, asked, fault, licence, written

How = Literal[
    "deepen", "constrain", "concretise", "reason", "complicate", "broaden", "mutate", "crossover"
]
# Of a mutation, and how often each is drawn: the last one "please refrain from doing frequently".
# Source: the five evolutions of WizardCoder (2306.08568 §3.1), which Genetic-Instruct mutates by.
MUTATIONS = {"constrain": 2, "replace": 2, "lengthen": 2, "mislead": 2, "tighten": 1}
NEW = ("broaden", "crossover")  # what makes a new prompt beside its parents
OTHER = ("concretise", "reason", "mutate_replace")  # what may put words in place of others


@step
async def evolve(
    row: Row,
    ctx: Context,
    peers: Peers,
    *,
    model: ModelName,
    how: list[How] = [  # noqa: B006  read only
        "deepen", "constrain", "concretise", "reason", "complicate", "broaden"
    ],
    rounds: Positive = 1,
    keep: Literal["last", "new", "all"] = "last",
    failed: Literal["keep", "drop"] = "keep",
    parents: Positive = 2,
    carry: list[str] = [  # noqa: B006  read only
        "topic", "macro_topic", "task", "persona", "tone", "language"
    ],
    tries: Positive = 3,
    temperature: Temperature | None = 0.8,
    max_tokens: Positive = 500,
) -> list[Row]:  # fmt: skip
    """Rewrites a row's prompt `rounds` times, each time by an operation of `how` drawn by seed.

    In depth: `deepen`, `constrain` (one more requirement), `concretise`, `reason` (more steps),
    `complicate` (data to work on). In breadth: `broaden`, a rarer prompt of the same field. For
    code: `mutate`, one of five ways to make a task harder, and `crossover`, a new task from this
    one and `parents` - 1 others drawn by seed. Each has a template evolve_NAME.md.

    A rewrite is refused, and asked for again up to `tries` times in all, if it is no usable prompt,
    adds fewer than 3 words to its parent (or, in breadth, is too near it), was cut off, or holds
    words of the request. Where none is taken the prompt stays as it is for that round, and may
    evolve in the next.

    `keep`: the `last` prompt of each row, every `new` one, or `all` with the one that came in; a
    dedupe after `all` needs `keep: longest`, or it drops a rewrite for repeating its parent. A row
    that never evolved stays as it is, with its responses; `failed: drop` drops it. An evolved
    row has none, since they answer its parent, and of `meta` only what is in `carry`, its licence,
    and `evolved` (the operations so far), `depth` (how many), `parents` (row ids): a reference
    answer would be its parent's. Turns before the last are kept in depth, in breadth none.

    Source: Evol-Instruct, Xu et al. (2304.12244) §3.2; Genetic-Instruct, Majumdar et al.
    (2407.21077); the mutations, WizardCoder (2306.08568) §3.1.
    """
    if not any(turn.role == "user" and turn.content.strip() for turn in row.messages):
        raise RowError("the row has no prompt to evolve; put prompts or read before evolve")
    now, made = row, list[Row]()
    for number in range(rounds):
        rng = ctx.rng(number)
        name: str = rng.choice(how)
        if name == "mutate":
            name += "_" + rng.choices(list(MUTATIONS), list(MUTATIONS.values()))[0]
        others = peers.draw(row.id, parents - 1, number) if name == "crossover" else []
        if name == "crossover" and not others:
            ctx.count("nobody to cross with")
            continue
        for attempt in range(number * tries, (number + 1) * tries):
            found = await _rewrite(ctx, name, [now, *others], attempt, model, {
                "temperature": temperature, "max_tokens": max_tokens,
            })  # fmt: skip
            if found is not None:
                now = _evolved(name, now, others, *found, carry, row.id)
                made.append(now)
                break
    return _kept(row, made, keep, failed)


evolve.marks = ("evolved", "depth", "parents")


async def _rewrite(
    ctx: Context, name: str, parents: list[Row], index: int, model: str, sampling: dict[str, Any]
) -> tuple[str, str] | None:
    """(prompt, key of its call) of one attempt, or None where it is refused."""
    prompts = [parent.prompt for parent in parents]
    messages = asked(ctx, f"evolve_{name}", prompts)
    (answer,) = await ctx.chat(model, messages, index=index, **sampling)
    prompt = written(answer.content)
    change: Change = "new" if name in NEW else "other" if name in OTHER else "longer"
    problem = fault(prompt, prompts, messages, change)
    if answer.finish_reason == "length":
        problem = "cut off"
    ctx.count(problem or "taken")
    return None if problem else (prompt, answer.call)


def _evolved(
    name: str, parent: Row, others: list[Row], prompt: str, call: str, carry: list[str], root: str
) -> Row:
    """The row of a rewritten prompt."""
    meta = {key: parent.meta[key] for key in carry if key in parent.meta}
    if any(other.meta.get("task") != meta.get("task") for other in others):
        meta.pop("task", None)
    meta |= licence([parent, *others])
    past = parent.meta.get("evolved")
    meta["evolved"] = [*(past if isinstance(past, list) else []), name]
    meta["depth"] = len(meta["evolved"])
    before = [root] if parent.id == root else parent.meta["parents"]
    meta["parents"] = list(dict.fromkeys([*before, *(other.id for other in others)]))
    calls = [key for one in (parent, *others) for key in one.calls]
    last = max(place for place, turn in enumerate(parent.messages) if turn.role == "user")
    kept = [turn for turn in parent.messages[:last] if name not in NEW or turn.role == "system"]
    messages = [*kept, Message("user", prompt)]
    return Row("", messages, meta=meta, calls=list(dict.fromkeys([*calls, call])))


def _kept(row: Row, made: list[Row], keep: str, failed: str) -> list[Row]:
    """What of a row goes on, with ids."""
    if not made:
        if keep != "all" and failed == "drop":
            row.dropped = "no rewrite was taken"
        return [row]
    ids = Ids()
    for one in made:
        one.id = ids.assign(one.messages, one.meta, row.id)
    if keep == "last":
        return made[-1:]
    return made if keep == "new" else [row, *made]


@evolve.rule
def _rule(
    *,
    how: list[str],
    parents: int,
    keep: str,
    failed: str,
    tries: int,
    temperature: float | None,
    **_: Any,
) -> str | None:
    if not how:
        return "how is empty; name at least one operation"
    if "crossover" in how and parents < 2:
        return "how has crossover, which needs at least 2 parents"
    if keep == "all" and failed == "drop":
        return "failed: drop has no use with keep: all, which keeps every row that comes in"
    if tries > 1 and temperature == 0:
        return "at temperature 0 another try is the same answer; raise temperature or set tries: 1"
    return None


@evolve.plan
def _plan(rows: int, *, model: str, rounds: int, keep: str, max_tokens: int, **_: Any) -> Forecast:
    out = {"last": 1, "new": rounds, "all": rounds + 1}[keep]
    return Forecast(rows * out, [CallForecast(model, rows * rounds, 1, max_tokens)])
