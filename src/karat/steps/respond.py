"""respond: n candidate answers to each prompt, from one model or several."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from karat.context import Context
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.row import Message, Response, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._variety import Variety, axes, draw, problem, shipped
from karat.together import all_of


@step
async def respond(
    row: Row,
    ctx: Context,
    *,
    models: list[ModelName],
    n: Positive = 1,
    temperature: Temperature | None = None,
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None,
    max_tokens: Positive | None = None,
    stop: list[str] = [],  # noqa: B006  read only
    system: str | None = None,
    variety: Variety = "off",
) -> Row:
    """Adds `n` responses of each model to the row, drawn independently.

    Responses the row already has are kept, so human and model answers can be graded together.
    `system` is put in front where the row brings no system message of its own. With `variety`
    (`default`, or lists of one's own by axis) each row gets a voice drawn by seed behind it:
    persona, tone, length, expertise, language and format of the answers, recorded in
    `meta.answer_voice`. Left open, sampling
    values are the model's own; for best-of-n, temperature .8 to 1 is usual (Llama 2 used 1.2 to
    1.3, ReST-EM .7). Raising n later buys only the new samples.
    """
    messages = row.messages
    if not messages:
        raise RowError("the row has no message to respond to; put prompts or read before respond")
    if messages[0].role != "system":
        voice = draw(ctx.rng(), axes(variety, "responses"))
        told = [system] if system is not None else []
        if voice:
            every = dict.fromkeys(shipped()["responses"], "")
            told.append(" ".join(ctx.render("respond_system", **{**every, **voice}).split()))
            row.meta["answer_voice"] = voice
        if told:
            messages = [Message("system", "\n".join(told)), *messages]
    drawn = await all_of(
        ctx.chat(
            model, messages, n=n, temperature=temperature, top_p=top_p,
            max_tokens=max_tokens, stop=stop,
        )
        for model in models
    )  # fmt: skip
    row.messages = messages
    row.responses += [
        Response(c.content, c.model, c.index, c.finish_reason, c.call)
        for completions in drawn
        for c in completions
    ]
    return row


respond.marks = ("answer_voice",)


@respond.rule
def _rule(
    *, models: list[str], n: int, temperature: float | None, variety: Variety, **_: Any
) -> str | None:
    if not models:
        return "models is empty; name at least one"
    for model in models:
        if models.count(model) > 1:
            return f"models names the same model twice: {model}; raise n for more answers of it"
    if n > 1 and temperature == 0:
        return "n above 1 at temperature 0 would buy the same answer n times; raise temperature"
    return problem(variety)


@respond.plan
def _plan(rows: int, *, models: list[str], n: int, max_tokens: int | None, **_: Any) -> Forecast:
    calls = [CallForecast(model, rows, n, max_tokens) for model in models]
    return Forecast(rows, calls, responses=n * len(models))
