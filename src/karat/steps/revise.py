"""revise: a weak answer is edited with its grades in mind, so that a hard prompt need not go.

Dropping every prompt whose answers are weak leaves the easy ones, which made benchmarks worse
(Llama 3, 2407.21783). An edit stands beside the answer it was made of, graded by the same reward,
and a later `reject` chooses between the two.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from karat.context import Context
from karat.curation.edits import clean_edit
from karat.curation.turns import repeats
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Message, Response, Row
from karat.step import ModelName, Positive, ScoreKey, Temperature, step
from karat.steps._transcript import ask_about, transcript
from karat.together import all_of

# Words of the feedback in HelpSteer3, 2503.04378.
LEVELS = ("not", "slightly", "partially", "mostly", "perfectly")
WEAK = 2  # the highest level that is named as a fault
WORDS = {"helpfulness": "helpful", "correctness": "correct", "coherence": "coherent"}
# More of these is not better, or they sum the others up.
UNNAMED = ("verbosity", "complexity", "reward", "score", "length")
PLACES = 1000  # more edits of one answer than `n` ever asks for


@step
async def revise(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    by: ScoreKey,
    below: float,
    n: Positive = 1,
    which: Literal["best", "all"] = "best",
    critic: ModelName | None = None,
    temperature: Temperature | None = 0.7,
    max_tokens: Positive | None = None,
    critic_max_tokens: Positive = 200,
) -> Row:
    """Where the row's best `by` score is below `below`, adds `n` edits of its `best` answer, or of
    `all` its answers. A row that is good enough, or not graded, buys nothing.

    The model sees the conversation, the answer, and what the same reward's attributes say of it in
    words and figures ("slightly correct (1.2 of 4)"): the weak ones, else the weakest. Attributes
    of style, of which more is not better, are left out. `critic` first says in a sentence or two
    what is wrong, one more call for each answer.

    An announcement of the edit and sentences of the request that it repeats are taken off, unless
    the old answer has them too; an edit that is empty or no different is not added. The others are
    responses with the next free index. They are graded at once by the reward of `by`, and a `grade`
    step after this one replays that score; scores of judges and people, which no reward of the
    recipe gives, wait for their own step. `meta.revised` says for each edit: index, from and
    from_model (the answer's), by, before, after (null where not graded), critique (the key of its
    call, or null). The report counts edits that won.

    Source: draft, feedback, edit: HelpSteer3 (2503.04378), with a model for each of the three.
    """
    graded = [r for r in row.responses if by in r.scores and r.kept is not False]
    weak = sorted(graded, key=lambda r: -r.scores[by])
    if not weak or weak[0].scores[by] >= below:
        ctx.count("good enough" if weak else "not graded")
        return row
    weak = [r for r in (weak if which == "all" else weak[:1]) if r.content.strip()]
    drawn = await all_of(
        _edits(ctx, row, one, place, by, model, n, critic, temperature, max_tokens,
               critic_max_tokens)
        for place, one in enumerate(weak)
    )  # fmt: skip
    pairs = [(old, edit) for old, edits in zip(weak, drawn, strict=True) for edit in edits]
    await _add(ctx, row, by, pairs)
    return row


class _Edit(NamedTuple):
    """An edited text, the answer it came in, and the key of the critique behind it."""

    text: str
    answer: Completion
    critique: str | None


async def _edits(
    ctx: Context, row: Row, old: Response, place: int, by: str, model: str, n: int,
    critic: str | None, temperature: float | None, max_tokens: int | None, critic_max_tokens: int,
) -> list[_Edit]:  # fmt: skip
    """The usable edits of one answer."""
    system = [message for message in row.messages if message.role == "system"]
    ours, critique, key = _in_words(ctx, by, old), "", None
    if critic is not None:
        ask = ask_about(ctx, "critique")
        (said,) = await ctx.chat(
            critic, [*row.messages, Message("assistant", old.content), *ask],
            temperature=temperature, max_tokens=critic_max_tokens, index=place, role="judge",
        )  # fmt: skip
        critique, key = " ".join(said.content.split()), said.call
    asked = ask_about(
        ctx, "revise", conversation=transcript(row.messages), response=old.content,
        feedback=f"{ours} {critique}".strip(),
    )  # fmt: skip
    answers = await ctx.chat(
        model, [*system, *asked], n=n, temperature=temperature, max_tokens=max_tokens,
        index=place * PLACES,
    )  # fmt: skip
    # What the request says apart from the conversation: no part of an answer.
    frame = ask_about(ctx, "revise", conversation="", response="", feedback=ours)[-1].content
    turns = [message.content for message in row.messages if message.role == "user"]
    examples = [message.content for message in asked if message.role == "assistant"]
    found = []
    for answer in answers:
        text = clean_edit(
            answer.content, old.content, request=frame, critique=critique, asked=turns
        )
        if not text or answer.finish_reason == "content_filter" or repeats(text, examples):
            ctx.count("no edit in the reply")
        elif text.split() == old.content.split():
            ctx.count("unchanged")
        else:
            found.append(_Edit(text, answer, key))
    return found


def _in_words(ctx: Context, by: str, response: Response) -> str:
    """What a reward's attributes say of an answer, worst first; empty where there are no others."""
    reward = by.rpartition(".")[0]
    found: list[tuple[float, str]] = []
    for key, score in response.scores.items():
        name, _, attribute = key.rpartition(".")
        scale = ctx.scale(key) if name == reward and attribute not in UNNAMED else None
        if scale is None or not 0 < scale[1] - scale[0] < float("inf"):
            continue
        share = min(1.0, max(0.0, (score - scale[0]) / (scale[1] - scale[0])))
        level = round(share * (len(LEVELS) - 1))
        said = f"{LEVELS[level]} {WORDS.get(attribute, f'good in {attribute}')}"
        found.append((share, f"{said} ({score:.1f} of {scale[1]:g})"))
    found.sort()
    faults = [said for share, said in found if round(share * (len(LEVELS) - 1)) <= WEAK]
    faults = faults or [said for _, said in found[:1]]
    return f"The answer is {' and '.join(faults)}." if faults else ""


async def _add(
    ctx: Context, row: Row, by: str, pairs: list[tuple[Response, _Edit]]
) -> None:  # fmt: skip
    """Adds the edits to the row, graded where a reward of the recipe can."""
    if not pairs:
        return
    scores: list[dict[str, float]] = [{} for _ in pairs]
    if ctx.scale(by) is not None:
        texts = [edit.text for _, edit in pairs]
        scores = await ctx.score(by.rpartition(".")[0], row.messages, texts)
    index = max(response.index for response in row.responses)
    notes = []
    for (old, edit), found in zip(pairs, scores, strict=True):
        index += 1
        answer = edit.answer
        row.responses.append(
            Response(edit.text, answer.model, index, answer.finish_reason, answer.call, found)
        )
        before, after = old.scores[by], found.get(by)
        notes.append(
            {"index": index, "from": old.index, "from_model": old.model, "by": by,
             "before": before, "after": after, "critique": edit.critique}
        )  # fmt: skip
        ctx.count("edits")
        if after is not None:
            ctx.count("edits that won" if after > before else "edits that did not win")
    row.meta = {**row.meta, "revised": [*row.meta.get("revised", []), *notes]}


@revise.plan
def _plan(
    rows: int, *, model: str, n: int, critic: str | None, max_tokens: int | None,
    critic_max_tokens: int, **_: object,
) -> Forecast:  # fmt: skip
    """At most: as if one answer of every row were weak, since scores are not known before."""
    calls = [CallForecast(model, rows, n, max_tokens)]
    if critic is not None:
        calls.insert(0, CallForecast(critic, rows, 1, critic_max_tokens))
    return Forecast(rows, calls)
