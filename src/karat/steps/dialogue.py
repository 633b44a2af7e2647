"""dialogue: a first user turn goes on as a conversation between two models.

The user's side is asked for with the conversation written out and an example before it, not with
the roles swapped: a chat model in the assistant's place answers instead of asking (SmolLM2-135M did
in eight trials of eight; with the transcript, in two).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from karat.context import Context
from karat.curation.pleasantries import strip_pleasantries
from karat.curation.turns import repeats, whole_sentences
from karat.errors import ProviderError, RowError, did_you_mean
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Message, Response, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._transcript import ask_about, transcript

PLACES = 10_000  # more turns than any dialogue has
FINAL = ("user done", "too long")  # what no other draw would mend
PERSONAS = ("normal", "complex", "concise")  # Nemotron-4 340B §3.2; texts: dialogue_user.md


@step
async def dialogue(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    user_model: ModelName | None = None,
    turns: Positive = 3,
    end: Literal["assistant", "user"] = "assistant",
    personas: list[str] | dict[str, str | None] = ["normal", "complex", "concise"],  # noqa: B006
    share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0,
    min_turns: Positive = 1,
    tries: Positive = 1,
    temperature: Temperature | None = 0.7,
    user_temperature: Temperature | None = 1.0,
    max_tokens: Positive | None = None,
    user_max_tokens: Positive = 200,
    system: str | None = None,
) -> Row:
    """Continues the row's conversation until it has `turns` user turns, its first one included.

    `model` answers the conversation as it is; `user_model` (or the same) writes the user's next
    turn from a transcript. How the user speaks is drawn by seed from `personas`: names of karat's
    own, or a mapping of names to a sentence about the user (`{sceptic: "The user doubts what was
    said."}`, nothing for one of karat's). Pleasantries around the user's words are taken off.

    With `end: assistant` the last answer becomes the row's response, to be graded in context, and
    all before it the row's messages. With `end: user` the row ends in an unanswered user turn, for
    `respond` to answer as often as it likes. A first answer that the row already has (the first
    kept one) is taken and not bought again. A `share` of the rows, drawn by seed, goes on; the
    others stay as they are.

    The dialogue ends early, with what it has, when the user only thanks or says goodbye ("user
    done"), says again what was said or copies the template's example ("repeated"), when a user's
    turn was cut off by its token limit or an answer that was holds no whole sentence ("cut"), when
    a model writes nothing or declines ("empty"), and when the model's context is full ("too
    long"). A user's turn that was cut, empty or repeated is drawn up to `tries` times before that;
    small models need it. One that never got beyond its first turn is a single-turn row; `min_turns`
    drops rows with fewer user turns. A row whose first answer is empty is dropped.

    An answer in mid-dialogue that was cut off is trimmed to its last whole sentence before the user
    goes on; the last one stays as written, with its finish_reason. `meta` says user_persona,
    user_turns and ended. `persona` there is left alone: it is who wrote the first turn.

    Nemotron-4 340B decodes greedily (§3.2), which loops in long texts (Holtzman et al.,
    1904.09751) and makes one dialogue of each first turn, however often it is asked for. So answers
    are drawn at 0.7, as for rejection sampling (RSO, 2309.06657; ReST-EM, 2312.06585), and the
    user's turns, which shall differ, at 1.0. Write `temperature: null` for a model that takes none.

    Source: Nemotron-4 340B (arXiv 2406.11704) §3.2: dialogues, and two-turn prompts.
    """
    if not row.messages or row.messages[-1].role != "user":
        raise RowError("the row does not end in a user's turn; put prompts or read before dialogue")
    rng = ctx.rng()
    if rng.random() >= share:
        ctx.count("left as it is")
        return row
    persona = rng.choice(list(personas))
    manner = (personas[persona] or "") if isinstance(personas, dict) else ""
    answering = {"temperature": temperature, "max_tokens": max_tokens}
    asking = {"temperature": user_temperature, "max_tokens": user_max_tokens}
    talk = _Talk(ctx, row, system, {"persona": persona, "manner": " ".join(manner.split())}, tries)
    ended = await talk.run(
        turns, end, (model, answering), (user_model or model, asking), _given(row)
    )
    count = talk.user_turns()
    row.meta = {**row.meta, "user_persona": persona, "user_turns": count, "ended": ended}
    ctx.count("user turns", count)
    ctx.count(f"ended: {ended}")
    if end == "assistant" and talk.answer is None:
        row.dropped = f"no first answer ({ended})"
    elif count < min_turns:
        row.dropped = f"too few turns ({count} of {min_turns}, {ended})"
    talk.write(row, end)
    return row


dialogue.marks = ("user_persona", "user_turns", "ended")


def _given(row: Row) -> Response | None:
    """An answer the row brings along."""
    return next((found for found in row.kept() if found.content.strip()), None)


class _Talk:
    """A dialogue under way: messages up to the last user turn, and the answer to that one."""

    def __init__(
        self, ctx: Context, row: Row, system: str | None, manner: dict[str, str], tries: int
    ) -> None:
        self.ctx, self.manner, self.tries = ctx, manner, tries
        self.messages = list(row.messages)
        if system is not None and self.messages[0].role != "system":
            self.messages = [Message("system", system), *self.messages]
        self.first = len(self.messages)
        self.calls: list[str] = []  # of the turns added
        self.answer: Response | None = None

    def user_turns(self) -> int:
        return sum(message.role == "user" for message in self.messages)

    async def run(
        self, turns: int, end: str, answering: tuple[str, dict[str, Any]],
        asking: tuple[str, dict[str, Any]], given: Response | None,
    ) -> str:  # fmt: skip
        """Talks until there are enough turns; returns why it ended."""
        while True:
            number = self.user_turns()
            if end == "user" and number >= turns:
                return "turns"
            before, self.answer = self.answer, given
            if given is None:
                said, why = await self._call(answering, self.messages, 2 * number)
                if said is None:
                    if end == "assistant":
                        self._take_back(before)
                    return why
                self.answer = Response(said.content, said.model, 0, said.finish_reason, said.call)
            given = None
            if number >= turns:
                return "turns"
            why = await self._go_on(asking, 2 * number + 1)
            if why:
                return why

    async def _go_on(self, asking: tuple[str, dict[str, Any]], index: int) -> str:
        """Adds the answer and the user's next turn, or says why there is none."""
        assert self.answer is not None
        answer = self.answer.content.strip()
        if self.answer.finish_reason == "length":
            answer = whole_sentences(answer)
            if not answer:
                return "cut"
        history = [*self.messages, Message("assistant", answer)]
        asked = ask_about(
            self.ctx, "dialogue_user", conversation=transcript(history), **self.manner
        )
        said = [m.content for m in history if m.role != "system"]
        said += [m.content for m in asked if m.role == "assistant"]  # the template's example
        why = ""
        for attempt in range(self.tries):
            reply, why = await self._call(asking, asked, index + attempt * PLACES)
            if reply is not None:
                turn = strip_pleasantries(reply.content)
                why = _fault(turn, said, cut=reply.finish_reason == "length")
                if not why:
                    self.messages = [*history, Message("user", turn)]
                    self.calls += [call for call in (self.answer.call, reply.call) if call]
                    return ""
            if why in FINAL:
                break
        return why

    async def _call(
        self, whom: tuple[str, dict[str, Any]], messages: list[Message], index: int
    ) -> tuple[Completion | None, str]:
        """What a model says, or why it says nothing."""
        model, sampling = whom
        try:
            (said,) = await self.ctx.chat(model, messages, index=index, **sampling)
        except ProviderError as error:
            # Of a first turn it is the row's fault, and a longer context may take it some day.
            if error.kind != "context" or len(self.messages) == self.first:
                raise
            return None, "too long"
        if not said.content.strip() or said.finish_reason == "content_filter":
            return None, "empty"
        return said, ""

    def _take_back(self, answer: Response | None) -> None:
        """Without the last user turn, which got no answer: the answer before it is the last."""
        self.answer = answer
        if answer is not None:
            self.messages, self.calls = self.messages[:-2], self.calls[:-2]

    def write(self, row: Row, end: str) -> None:
        grown = len(self.messages) > self.first
        row.messages, row.calls = self.messages, [*row.calls, *self.calls]
        if end == "assistant":
            row.responses = [self.answer] if self.answer else []
        elif grown:
            row.responses = []  # they answered an earlier turn


def _fault(turn: str, said: list[str], *, cut: bool) -> str:
    """Why a user's turn does not go on with the dialogue; empty where it does."""
    if cut:
        return "cut"
    if not turn:
        return "user done"
    return "repeated" if repeats(turn, said) else ""


@dialogue.rule
def _rule(
    *, turns: int, end: str, min_turns: int, personas: list[str] | dict[str, str | None], **_: Any
) -> str | None:
    if not personas:
        return "personas is empty; name at least one"
    for name in personas:
        described = isinstance(personas, dict) and (personas[name] or "").strip()
        if name not in PERSONAS and not described:
            near = did_you_mean(name, PERSONAS)
            return (
                f"no persona '{name}'; {near}{'' if near.endswith('?') else '.'} One of your own "
                f"needs a sentence about the user: personas: {{{name}: …}}"
            )
    if min_turns > turns:
        return f"min_turns {min_turns} is above turns {turns}: every row would be dropped"
    if end == "user" and turns == 1:
        return (
            "turns: 1 with end: user would ask nobody anything; raise turns or leave the step out"
        )
    return None


@dialogue.plan
def _plan(
    rows: int, *, model: str, user_model: str | None, turns: int, end: str, share: float,
    max_tokens: int | None, user_max_tokens: int, **_: Any,
) -> Forecast:  # fmt: skip
    """As if every row came with one user turn and no answer, and no dialogue ended early."""
    going = round(rows * share)
    asks = going * (turns - 1)
    answers = asks + (going if end == "assistant" else 0)
    if user_model in (None, model):
        longest = None if max_tokens is None else max(max_tokens, user_max_tokens)
        return Forecast(rows, [CallForecast(model, answers + asks, 1, longest)])
    calls = [CallForecast(model, answers, 1, max_tokens)]
    if asks:
        calls.append(CallForecast(str(user_model), asks, 1, user_max_tokens))
    return Forecast(rows, calls)
