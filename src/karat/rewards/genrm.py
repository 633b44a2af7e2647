"""Generative reward models: they think, then write scores, in a conversation with roles of its own.

Two forms. `pairwise`: the conversation, then the roles `response_1` and `response_2` (with a
`principle` before them where the model knows that role); the answer, after its thoughts, is JSON
`{"score_1": 1–5, "score_2": 1–5, "ranking": 1–6}`, or with the first Llama models the same three
numbers in boxes between headings. Each pair is asked in both orders and averaged. `principle`: the
conversation with the response as its last turn, then the role `principle`; the answer ends in
"Final Judgement: Yes" or "No", and the score is the share of samples that say yes.

No schema is sent: it would forbid the thoughts these models were trained to write first. What
cannot be read is drawn again, so the temperature is that of the published settings and not 0.

Source: pairwise: HelpSteer3-Preference (2505.11475), card of nvidia/Llama-3_3-Nemotron-Super-49B-
GenRM, and for the JSON form and settings (temperature .6, top_p .95, 16,384 tokens) NVIDIA-NeMo/Gym
resources_servers/genrm_compare; principle: RLBFF (2509.21319), card of nvidia/Qwen3-Nemotron-32B-
GenRM-Principle. Set top_p on the model in `models`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from karat.errors import RecipeError, RowError
from karat.models.billing import CHARACTERS_PER_TOKEN
from karat.models.chat import Completion
from karat.models.structured import Invalid, parse_answer
from karat.rewards.base import Ask, Candidates, Scale, Scores
from karat.rewards.questions import own_text
from karat.rewards.tournament import ATTRIBUTES as WINS
from karat.rewards.tournament import OPPONENTS, Verdict, meetings, once_each, play, standings
from karat.row import Message, canonical, digest
from karat.together import all_of

Positive = Annotated[int, msgspec.Meta(ge=1)]
Warmth = Annotated[float, msgspec.Meta(ge=0, le=2)]
T = TypeVar("T")

HELPFULNESS: Scale = (1.0, 5.0)
RANKING: Scale = (1.0, 6.0)
EVEN = 3.5  # ranking: below it response 1 is better, above it response 2
QUOTED = 200  # characters of an unreadable answer that an error shows
_LIMITS = {"score_1": HELPFULNESS, "score_2": HELPFULNESS, "ranking": RANKING}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        name: {"type": "number", "minimum": low, "maximum": high}
        for name, (low, high) in _LIMITS.items()
    },
    "required": list(_LIMITS),
}
_SECTION = re.compile(
    r"\[The Begin of (Individual Scores|Ranking Score)\](.*?)\[The End", re.DOTALL
)
_END = "[The End"
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
_JUDGEMENT = re.compile(r"Final\s++Judge?ment:\**+\s*+\**+(Yes|No)\b", re.IGNORECASE)


class Compared(msgspec.Struct, frozen=True):
    """What one answer says of the two responses, in the order they were shown in."""

    score_1: float
    score_2: float
    ranking: float


def read_pair(text: str, finish_reason: str = "stop") -> Compared:
    """The scores in an answer, whatever is written around them. Raises: ValueError."""
    said = _after_thoughts(text, finish_reason)
    # Up to the last end of a section: one that never ends would be looked for from every beginning.
    sections = dict(_SECTION.findall(said, 0, max(0, said.rfind(_END)) + len(_END)))
    if len(sections) == 2:
        numbers = [
            part for section in ("Individual Scores", "Ranking Score")
            for box in _BOXED.findall(sections[section])[-1:] for part in box.split(",")
        ]  # fmt: skip
        if len(numbers) != len(_LIMITS):
            raise ValueError("it holds no three numbers in boxes")
        found = dict(zip(_LIMITS, map(float, numbers), strict=True))
    else:
        try:
            found = parse_answer(said, _SCHEMA).value
        except Invalid as error:
            raise ValueError(str(error)) from None
    for name, (low, high) in _LIMITS.items():
        if not low <= found[name] <= high:  # NaN is not either
            raise ValueError(f"its {name} is {found[name]:g}, not {low:g} to {high:g}")
    return Compared(*(float(found[name]) for name in _LIMITS))


def read_judgement(text: str, finish_reason: str = "stop") -> float:
    """1 for yes, 0 for no. Raises: ValueError."""
    said = {word.lower() for word in _JUDGEMENT.findall(_after_thoughts(text, finish_reason))}
    if len(said) != 1:
        raise ValueError("it ends in no Final Judgement, or in two")
    return float(said == {"yes"})


def _after_thoughts(text: str, finish_reason: str) -> str:
    if finish_reason == "length":
        raise ValueError("it was cut off at max_tokens; raise that")
    if "<think>" in text and "</think>" not in text:
        raise ValueError("its thoughts never end")
    return text.rpartition("</think>")[2]


@dataclass(frozen=True)
class Manner:
    """How the model is asked: `samples` answers that can be read, of up to `tries` more drawn, and
    as many again where an earlier run has used these up."""

    model: str
    principle: str
    samples: int
    temperature: float | None
    max_tokens: int | None
    tries: int

    async def answers(
        self, ask: Ask, messages: Sequence[Message], read: Callable[[str, str], T]
    ) -> list[T]:
        """What the first `samples` readable answers say. Raises: RowError, with the last answer
        that could not be read."""
        drawn, wrong, most = self.samples, "", self.samples + self.tries - 1
        while True:
            answers = await ask.chat(
                self.model, messages, n=drawn, temperature=self.temperature,
                max_tokens=self.max_tokens,
            )  # fmt: skip
            found: list[T] = []
            for answer in answers:
                try:
                    found.append(_read(answer, read))
                except ValueError as error:
                    wrong = f"{error}: {answer.content[-QUOTED:]!r}"
            lacking = self.samples - len(found)
            if lacking <= 0:
                return found[: self.samples]
            if drawn == most and ask.of_earlier_run(answers[-1]):
                most += self.tries
            drawn = min(drawn + lacking, most)
            if drawn == len(answers):
                raise RowError(
                    f"genrm/{self.model}: {len(found)} of {drawn} answers can be read; {wrong}"
                )


def _read(answer: Completion, read: Callable[[str, str], T]) -> T:
    if answer.finish_reason == "content_filter":
        raise RowError(f"{answer.model} declined to answer: {answer.content[:QUOTED]!r}")
    return read(answer.content, answer.finish_reason)


class GenRm:
    """What both forms share: an Asking reward; see rewards.base."""

    rewards: tuple[str, ...] = ()
    licence = ""  # that of the model behind it

    def __init__(
        self, manner: Manner, form: str, attributes: Mapping[str, Scale], bound: Sequence[str] = ()
    ) -> None:
        self.manner = manner
        self.name = f"genrm/{manner.model}"
        self.models: tuple[str, ...] = (manner.model,)
        self.sampling = {
            "n": manner.samples, "temperature": manner.temperature, "max_tokens": manner.max_tokens,
        }  # fmt: skip
        shown = 2 if form.startswith("pairwise") else 1
        self.shows = (shown, len(manner.principle) // CHARACTERS_PER_TOKEN)
        self.attributes = dict(attributes)
        self.within_prompt = frozenset(bound)
        self.identity = f"{self.name} {form}@{digest(canonical(vars(manner)), size=8).hex()}"


class Pairwise(GenRm):
    """Scores pairs: `helpfulness` 1–5, the mean over a response's comparisons, both orders and all
    samples, and the standing in a tournament by the ranking (rewards.tournament).

    A pair is won by whom the two orders' rankings, averaged, favour; level is a tie.
    """

    def __init__(self, manner: Manner, opponents: int) -> None:
        attributes = {"helpfulness": HELPFULNESS, **WINS}
        super().__init__(manner, f"pairwise of {opponents}", attributes, ["wins"])
        self.opponents = opponents

    def calls(self, n: int) -> int:
        return 2 * meetings(n, self.opponents) * self.manner.samples

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The scores of each response; None for an empty one, and where there are no two distinct
        ones to compare. Raises: RowError."""
        texts, place = once_each([text for text in job.responses if text.strip()])
        if len(texts) < 2:
            return [None] * len(job.responses)
        given: dict[str, list[float]] = {text: [] for text in texts}

        async def compare(one: str, other: str) -> Verdict:
            forth, back = await all_of(
                self._compared(ask, job, *order) for order in ((one, other), (other, one))
            )
            given[one] += [forth.score_1, back.score_2]
            given[other] += [forth.score_2, back.score_1]
            ahead, behind = EVEN - forth.ranking, back.ranking - EVEN
            first = ((ahead > 0) + 0.5 * (ahead == 0) + (behind < 0) + 0.5 * (behind == 0)) / 2
            same = (ahead > 0) - (ahead < 0) == (behind > 0) - (behind < 0)
            return Verdict((ahead + behind) / 2, same, first)

        table = standings(len(texts), await play(texts, self.opponents, compare))
        scores = [
            {"helpfulness": fmean(sorted(given[text])), **standing}
            for text, standing in zip(texts, table, strict=True)
        ]
        found = iter(place)
        return [dict(scores[next(found)]) if text.strip() else None for text in job.responses]

    async def _compared(self, ask: Ask, job: Candidates, one: str, other: str) -> Compared:
        principle = self.manner.principle
        said = [
            *job.prompt,
            *([Message("principle", principle)] if principle else []),
            Message("response_1", one),
            Message("response_2", other),
        ]
        found = await self.manner.answers(ask, said, read_pair)
        return Compared(*(fmean(getattr(one, name) for one in found) for name in _LIMITS))


class Principle(GenRm):
    """Whether a response follows a principle: `fulfils`, the share of samples that say yes, 0–1."""

    def __init__(self, manner: Manner) -> None:
        super().__init__(manner, "principle", {"fulfils": (0.0, 1.0)})

    def calls(self, n: int) -> int:
        return n * self.manner.samples

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The score of each response; None for an empty one. Raises: RowError."""
        return await all_of(self._one(ask, job, text) for text in job.responses)

    async def _one(self, ask: Ask, job: Candidates, text: str) -> Scores | None:
        if not text.strip():
            return None
        turns = [Message("assistant", text), Message("principle", self.manner.principle)]
        found = await self.manner.answers(ask, [*job.prompt, *turns], read_judgement)
        return {"fulfils": fmean(found)}


def load(
    name: str,
    folder: Path,
    *,
    form: Literal["pairwise", "principle"] = "pairwise",
    principle: str = "",
    opponents: Positive = OPPONENTS,
    samples: Positive = 1,
    temperature: Warmth | Literal["model"] = 0.6,
    max_tokens: Positive | None = 16384,
    tries: Positive = 3,
) -> GenRm:
    """The generative reward model behind `genrm/MODEL`: a name of the recipe's models, or
    provider/name, on a server whose chat template knows the roles.

    `principle`: what to judge by, a text or the name of a .md file beside the recipe. Calls: as
    many as a pairwise judge's; `principle` one per response and sample. Raises: RecipeError.
    """
    if form == "principle" and not principle:
        raise RecipeError("form: principle needs a principle, such as 'The answer is concise.'")
    if temperature == 0 and samples > 1:
        raise RecipeError(
            f"samples: {samples} at temperature 0 would be one answer {samples} times; say "
            "temperature: 0.6"
        )
    manner = Manner(
        name, own_text(folder, principle), samples,
        None if temperature == "model" else temperature, max_tokens, tries,
    )  # fmt: skip
    return Principle(manner) if form == "principle" else Pairwise(manner, opponents)
