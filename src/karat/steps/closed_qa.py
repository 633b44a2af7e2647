"""closed_qa: questions that a passage answers, each with its answer, checked three ways.

A question is worth training or testing on when its answer can be found in the passage, when
somebody else finds the same answer there, and when nobody knows it without the passage. Each check
can be left out, and each writes down what it saw. What fails is dropped with the reason and keeps
its question: how a writer fails is worth knowing too.

Questions are asked for as a list, and each answer by a call of its own that shows the passage
again: models of any size manage both, and services that cache prompts charge the passage once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from karat.context import Context
from karat.curation.answers import agreement, support, token_f1
from karat.curation.declining import declines
from karat.curation.lists import parse_list
from karat.curation.questions import is_question, points_outside
from karat.errors import RowError
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Ids, Message, Response, Row
from karat.step import ModelName, Positive, Temperature, step
from karat.steps._negatives import hard_negatives
from karat.steps._passages import TAKEN, passages
from karat.templates import turns
from karat.together import all_of

Part = Annotated[float, msgspec.Meta(ge=0, le=1)]
TRIES = 3  # calls for one list before karat settles for fewer
SAME = 0.8  # token F1 from which two questions are one
SHORTEST, LONGEST = 8, 400  # characters of a question
_TURN = re.compile(r"^(?=--- )", re.MULTILINE)
_LABEL = re.compile(r"^\W*(?:the )?answer(?: is)?\s*[:：][\s*_]*", re.IGNORECASE)


@step
async def closed_qa(
    row: Row,
    ctx: Context,
    *,
    model: ModelName,
    checker: ModelName | None = None,
    per_chunk: Positive = 3,
    style: Literal["reading", "retrieval"] = "reading",
    self_contained: bool = True,
    grounded: Part | None = 0.6,
    too_easy: Part | None = 0.8,
    answerable: Part | None = 0.5,
    negatives: Annotated[int, msgspec.Meta(ge=0)] = 4,
    hardest: Part | None = 0.95,
    temperature: Temperature | None = 0.7,
    max_tokens: Positive | None = 300,
    answer_tokens: Positive | None = 100,
) -> list[Row]:
    """Turns a row with a `passage` in its meta into up to `per_chunk` rows, a question each.

    The prompt is the passage and the question (`style: reading`) or the question alone
    (`retrieval`); the written answer is the row's first response. Checks in this order, the
    cheapest first; the first that fails drops the row, and null leaves one out:
    - `self_contained`: the question does not speak of "the passage", which a search never sees,
      nor of an "it" or "she" that it does not name (told in simple cases, in English);
    - `grounded`: of the answer's words, at least this share stands together in the passage, not
      counting words of the question and such as "is" and "of";
    - `too_easy`: the `checker` (the model itself, if left out), asked without the passage, agrees
      with the answer to less than this;
    - `answerable`: the checker, shown the passage, agrees with the answer to at least this.
    Agreement is SQuAD's token F1 in 0 … 1, not counting words of the question; 1 where one answer
    stands whole in the other; 0 where they exclude each other (karat.curation.answers).

    `temperature` is that of the questions; answers and checks are asked for at 0. With null none is
    said at all, for models that take none.

    Meta keeps what the passage row had and gets `question`, `answer`, `support` (start and end
    inside the passage), `checks` (what each saw) and `negatives`: of the row's `candidates` up to
    `negatives` passages, the most similar to the question first, without those in which the answer
    is `grounded` to 0.6 as well, and those more similar to the question than `hardest` times the
    passage itself is. `candidates` are what documents leaves there, or a list of texts.

    Source: token F1, Rajpurkar et al. 2016 (1606.05250) §6.1; a second answer as the test of the
    first, Alberti et al. 2019 (1906.05416); what is known without the passage, Kaushik and Lipton
    2018 (1808.04926); a ceiling for negatives relative to the positive, NV-Retriever (2407.15831).
    """
    passage, others = _passage(row), _candidates(row)
    ask = _Asker(ctx, passage, model, checker or model, temperature, max_tokens, answer_tokens)
    questions = await ask.questions(per_chunk)
    limits = _Limits(self_contained, grounded, too_easy, answerable)
    made = await all_of(_written(ask, limits, row, *found) for found in questions)
    ids = Ids()
    for child in made:
        question = child.meta["question"]
        prompt = ask.prompt(question) if style == "reading" else question
        child.messages = [Message("user", prompt)]
        child.id = ids.assign(child.messages, {}, row.id)
        if child.dropped is None:
            child.meta["negatives"] = hard_negatives(child.meta, others, negatives, hardest)
    return made


closed_qa.needs = ("passage",)


def _passage(row: Row) -> str:
    passage = row.meta.get("passage")
    if isinstance(passage, str) and passage.strip():
        return passage
    raise RowError(
        "the row has no passage; put documents before closed_qa or name its column passage"
    )


def _candidates(row: Row) -> list[dict[str, Any]]:
    found = passages(row.meta.get("candidates"))
    if found is None:
        raise RowError(f"the row's candidates are not {TAKEN}; mend the column or rename it")
    return found


class _Limits(msgspec.Struct):
    """What the checks ask for; None leaves one out."""

    self_contained: bool
    grounded: float | None
    too_easy: float | None
    answerable: float | None


class _Asker:
    """Asks about one passage."""

    def __init__(
        self, ctx: Context, passage: str, model: str, checker: str, temperature: float | None,
        max_tokens: int | None, answer_tokens: int | None,
    ) -> None:  # fmt: skip
        self.passage = passage
        self._ctx, self._model, self._checker = ctx, model, checker
        self._temperature, self._max_tokens = temperature, max_tokens
        self._greedy = None if temperature is None else 0.0
        self._answer_tokens = answer_tokens
        # A line of a document must not begin a turn of a template.
        self._shown = _TURN.sub(" ", passage)

    def prompt(self, question: str) -> str:
        """What a user says who wants the question answered from the passage."""
        return self._ctx.render("closed_qa", passage=self.passage, question=question)

    async def questions(self, wanted: int) -> list[tuple[str, str]]:
        """(question, call) of up to `wanted` different questions."""
        found: list[tuple[str, str]] = []
        for attempt in range(TRIES):
            count = wanted - len(found)
            asked = turns(self._ctx.render("closed_qa_questions", passage=self._shown, n=count))
            (answer,) = await self._ctx.chat(
                self._model, asked, temperature=self._temperature, max_tokens=self._max_tokens,
                index=attempt,
            )  # fmt: skip
            known = [item for t in asked if t.role == "assistant" for item in parse_list(t.content)]
            known += [question for question, _ in found]
            for item in parse_list(answer.content, cut=answer.finish_reason == "length"):
                # For a list a last semicolon is punctuation; in Greek it asks.
                asks = f"{item};" in answer.content and is_question(f"{item};")
                question = " ".join(item.split()) + ";" * asks
                if len(found) < wanted and _is_new(question, known):
                    known.append(question)
                    found.append((question, answer.call))
            if len(found) == wanted:
                break
        return found

    async def answer(self, question: str) -> Completion:
        return await self._ask("closed_qa_answer", question, self._model, "teacher")

    async def check(self, question: str, *, shown: bool) -> Completion:
        """The checker's own answer, from the passage or from what it knows."""
        template = "closed_qa_check" if shown else "closed_qa_unseen"
        return await self._ask(template, question, self._checker, "judge")

    async def _ask(self, template: str, question: str, model: str, role: str) -> Completion:
        asked = turns(self._ctx.render(template, passage=self._shown, question=question))
        (answer,) = await self._ctx.chat(
            model, asked, temperature=self._greedy, max_tokens=self._answer_tokens, role=role
        )
        return answer


def _is_new(question: str, known: Sequence[str]) -> bool:
    """Whether it is a question, and not one there is already, the template's own among them."""
    usable = SHORTEST <= len(question) <= LONGEST and is_question(question)
    return usable and all(token_f1(question, other) < SAME for other in known)


async def _written(ask: _Asker, limits: _Limits, parent: Row, question: str, call: str) -> Row:
    """One question with its answer and what the checks say of them."""
    meta = {key: value for key, value in parent.meta.items() if key != "candidates"}
    checks: dict[str, Any] = {}
    row = Row(
        "", meta={**meta, "question": question, "checks": checks}, calls=[*parent.calls, call]
    )
    if limits.self_contained:
        said = points_outside(question)
        checks["self_contained"] = {"passed": not said}
        if said:
            row.dropped = f"not self-contained (it says '{said}')"
            return row
    answer = await ask.answer(question)
    text = _LABEL.sub("", answer.content.strip()).strip("*_ \n")
    row.calls.append(answer.call)
    row.meta["answer"] = text
    row.responses = [Response(text, answer.model, 0, answer.finish_reason, answer.call)]
    if declines(text):
        row.dropped = "no answer (the writer found none)"
    elif answer.finish_reason == "length":
        row.dropped = "answer cut off (at answer_tokens)"
    else:
        row.dropped = await _failed(ask, limits, row.meta, checks)
    return row


async def _failed(
    ask: _Asker, limits: _Limits, meta: dict[str, Any], checks: dict[str, Any]
) -> str | None:
    """Why a question with its answer is dropped, or None; `checks` gets what was seen."""
    question, answer = meta["question"], meta["answer"]
    found = support(ask.passage, answer, question)
    meta["support"] = found.span._asdict()
    if limits.grounded is not None:
        passed = found.share >= limits.grounded
        checks["grounded"] = {"passed": passed, "share": round(found.share, 4)}
        if not passed:
            return f"not grounded ({found.share:.0%} of the answer's words stand in the passage)"
    if limits.too_easy is not None:
        unseen = await ask.check(question, shown=False)
        agreed = _agreement(question, answer, unseen)
        passed = agreed < limits.too_easy
        checks["too_easy"] = _seen(unseen, agreed, passed)
        if not passed:
            return "too easy (answered without the passage)"
    if limits.answerable is not None:
        other = await ask.check(question, shown=True)
        agreed = _agreement(question, answer, other)
        passed = agreed >= limits.answerable
        checks["answerable"] = _seen(other, agreed, passed)
        if not passed and declines(other.content):
            return "unanswerable (the checker found no answer)"
        if not passed:
            return f"answers disagree (agreement {agreed:.2f})"
    return None


def _agreement(question: str, answer: str, other: Completion) -> float:
    return 0.0 if declines(other.content) else agreement(answer, other.content, question)


def _seen(answer: Completion, agreed: float, passed: bool) -> dict[str, Any]:
    return {
        "passed": passed,
        "agreement": round(agreed, 4),
        "answer": answer.content.strip(),
        "call": answer.call,
    }


@closed_qa.plan
def _plan(
    rows: int, *, model: str, checker: str | None, per_chunk: int, too_easy: float | None,
    answerable: float | None, max_tokens: int | None, answer_tokens: int | None, **_: Any,
) -> Forecast:  # fmt: skip
    """Calls where every question comes with the first list and passes every check."""
    made = rows * per_chunk
    judge, checks = checker or model, made * ((too_easy is not None) + (answerable is not None))
    short = {model: made}
    short[judge] = short.get(judge, 0) + checks
    calls = [_calls(model, (rows, max_tokens), (short.pop(model), answer_tokens))]
    calls += [_calls(name, (count, answer_tokens)) for name, count in short.items() if count]
    return Forecast(made, calls)


def _calls(model: str, *parts: tuple[int, int | None]) -> CallForecast:
    """One forecast of (calls, tokens at most) of several kinds; the tokens are their mean."""
    total = sum(count for count, _ in parts)
    known = [(count, most) for count, most in parts if most is not None]
    mean = sum(count * most for count, most in known) // max(1, total)
    return CallForecast(model, total, 1, mean if len(known) == len(parts) else None)
