"""A judge: any chat model, asked for grades as JSON under a rubric that anyone can read.

Three ways of asking. `rubric` grades attributes on stated levels, by default HelpSteer2's five, so
that a judge and a reward model of that family can be held against each other; `score` asks for one
number from 1 to 10; `pairwise` for the better of two, in both orders. The reasoning comes before
the grades in the schema, because what a model writes first is what the rest follows from. The
prompts are files in recipes/prompts, and one of the same name beside the recipe takes its place;
what they say is part of the judge's identity.

Calls: one per response and sample; pairwise, two per pair and sample, hence n(n−1) of up to
`opponents` + 1 responses and about n·opponents beyond: 20 for 5, 32 for 8, 64 for 16.

Source: HelpSteer2 (2406.08673) appendix, annotation guidelines, for the levels; both orders and
reference-guided judging: MT-Bench (2306.05685) §3.3–3.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from karat.errors import RecipeError
from karat.models.billing import CHARACTERS_PER_TOKEN
from karat.rewards.base import Ask, Candidates, Scale, Scores
from karat.rewards.head import ATTRIBUTES, SCALE, with_reward
from karat.rewards.questions import (
    Piece,
    fill,
    find_template,
    material,
    own_text,
    reference_of,
)
from karat.rewards.tournament import ATTRIBUTES as WINS
from karat.rewards.tournament import OPPONENTS, Verdict, meetings, once_each, play, standings
from karat.row import Message, canonical, digest
from karat.together import all_of

Number = int | float
Positive = Annotated[int, msgspec.Meta(ge=1)]
Warmth = Annotated[float, msgspec.Meta(ge=0, le=2)]
BETTER = {"A": 1.0, "B": -1.0, "tie": 0.0}
REASONING = {"type": "string"}
_TAKEN = ("reasoning", "reward", "disagreement")


@dataclass(frozen=True)
class Manner:
    """How a model is asked: `samples` answers, read against `schema` up to `tries` times each."""

    model: str
    system: str
    schema: dict[str, Any]
    shown: Path  # the template of what it is shown
    reference: str
    samples: int
    temperature: float | None
    max_tokens: int | None
    reasoning: str | None
    tries: int

    async def answers(
        self, ask: Ask, job: Candidates, pieces: Sequence[Piece]
    ) -> list[dict[str, Any]]:
        """The JSON values of all samples. Raises: RowError, ProviderError, RunError."""
        if self.reference:
            pieces = [("reference answer", reference_of(job.meta, self.reference)), *pieces]
        said = [
            Message("system", self.system),
            Message("user", material(self.shown, job.prompt, pieces)),
        ]
        found = await ask.chat(
            self.model, said, n=self.samples, temperature=self.temperature,
            max_tokens=self.max_tokens, schema=self.schema, tries=self.tries,
            reasoning=self.reasoning,
        )  # fmt: skip
        return [answer.value for answer in found]


class Judge:
    """What all ways of judging share: an Asking reward; see rewards.base."""

    rewards: tuple[str, ...] = ()
    licence = ""  # that of the model behind it
    within_prompt: frozenset[str] = frozenset()

    def __init__(self, manner: Manner, way: str, attributes: Mapping[str, Scale]) -> None:
        self.manner = manner
        self.name = f"judge/{manner.model}"
        self.models: tuple[str, ...] = (manner.model,)
        self.sampling = {
            "n": manner.samples, "temperature": manner.temperature,
            "max_tokens": manner.max_tokens, "reasoning": manner.reasoning, "schema": manner.schema,
        }  # fmt: skip
        self.attributes = dict(attributes)
        if manner.samples > 1:
            self.attributes["disagreement"] = (0.0, 1.0)
        said = {name: value for name, value in vars(manner).items() if name != "shown"}
        shown = 2 if way.startswith("pairwise") else 1
        self.shows = (shown, len(manner.system) // CHARACTERS_PER_TOKEN)
        key = digest(way, canonical({**said, "shown": manner.shown.read_text("utf-8")}), size=8)
        self.identity = f"{self.name} {way}@{key.hex()}"


class Grader(Judge):
    """Grades each response alone. With samples the mean of all, and `disagreement`: their standard
    deviation as a share of the scale, the mean over the attributes."""

    def __init__(self, manner: Manner, way: str, scales: Mapping[str, Scale]) -> None:
        self.scales = dict(scales)
        # HelpSteer2's five, on their own scale, make a reward.
        self.weighs = list(scales.items()) == [(name, SCALE) for name in ATTRIBUTES]
        self.known_lowest = self.weighs or way == "score"
        super().__init__(manner, way, {**scales, "reward": SCALE} if self.weighs else scales)

    def calls(self, n: int) -> int:
        return n * self.manner.samples

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The grades of each response.

        An empty one gets the lowest of each scale without a call, unless the attributes are the
        user's own: of those nobody here knows which end is the bad one, so the judge is asked.
        Raises: RowError for answers that never fit and for a missing reference.
        """
        texts, place = once_each(job.responses)
        found = await all_of(self._one(ask, job, text) for text in texts)
        return [dict(found[p]) for p in place]

    async def _one(self, ask: Ask, job: Candidates, text: str) -> Scores:
        if self.known_lowest and not text.strip():
            return {name: low for name, (low, _) in self.attributes.items()}
        answers = await self.manner.answers(ask, job, [("response", text)])
        grades = {name: [float(answer[name]) for answer in answers] for name in self.scales}
        scores = {name: fmean(values) for name, values in grades.items()}
        if self.weighs:
            scores["reward"] = float(with_reward(np.array([list(scores.values())]))[0, -1])
        if self.manner.samples > 1:
            width = {name: high - low for name, (low, high) in self.scales.items()}
            scores["disagreement"] = fmean(pstdev(v) / width[name] for name, v in grades.items())
        return scores


class Comparer(Judge):
    """Says which of two is better, in both orders; a verdict that changes with the order is a tie.

    The scores are those of a tournament (rewards.tournament); only `wins` is bound to its prompt.
    `disagreement` is the share of samples that differ from what most of their order said.
    """

    within_prompt = frozenset({"wins"})

    def __init__(self, manner: Manner, opponents: int) -> None:
        super().__init__(manner, f"pairwise of {opponents}", WINS)
        self.opponents = opponents

    def calls(self, n: int) -> int:
        return 2 * meetings(n, self.opponents) * self.manner.samples

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The standing of each response; None for a lone one, which nothing can be said of.

        An empty response loses to any other without a call. Raises: RowError.
        """
        if len(job.responses) < 2:
            return [None] * len(job.responses)
        texts, place = once_each(job.responses)
        split: dict[str, list[float]] = {text: [] for text in texts}

        async def compare(one: str, other: str) -> Verdict:
            if not one.strip() or not other.strip():
                return Verdict(float(bool(one.strip())) - bool(other.strip()), asked=False)
            orders = [(one, other), (other, one)]
            said = await all_of(
                self.manner.answers(ask, job, [("response A", a), ("response B", b)])
                for a, b in orders
            )
            forth, back = ([BETTER[answer["better"]] for answer in answers] for answers in said)
            for text in (one, other):
                split[text] += [_minority(forth), _minority(back)]
            return _verdict(forth, back)

        table = standings(len(texts), await play(texts, self.opponents, compare))
        if self.manner.samples > 1:
            for text, scores in zip(texts, table, strict=True):
                scores["disagreement"] = fmean(split[text] or [0.0])
        return [dict(table[p]) for p in place]


def _verdict(forth: Sequence[float], back: Sequence[float]) -> Verdict:
    """Of one pair: the answers in each order, 1 for the response shown first, −1 for the other."""
    one, other = _majority(forth), -_majority(back)
    first = (fmean([*forth, *back]) + 1) / 2
    return Verdict(one if one == other else 0.0, one == other, first)


def _majority(votes: Sequence[float]) -> float:
    return float(np.sign(sum(votes)))


def _minority(votes: Sequence[float]) -> float:
    return 1 - max(votes.count(vote) for vote in set(votes)) / len(votes)


def load(
    name: str,
    folder: Path,
    *,
    ask: Literal["rubric", "score", "pairwise"] = "rubric",
    rubric: str = "",
    attributes: dict[str, tuple[Number, Number]] = {},  # noqa: B006  read only
    reference: str = "",
    opponents: Positive = OPPONENTS,
    samples: Positive = 1,
    temperature: Warmth | Literal["model"] = 0.0,
    max_tokens: Positive | None = None,
    reasoning: str | None = None,
    explain: bool = True,
    tries: Positive = 3,
) -> Judge:
    """The judge behind `judge/MODEL`: a name of the recipe's models, or provider/name.

    `rubric`: what to grade by, a text or the name of a .md file beside the recipe, instead of
    karat's own; with `attributes` {name: [low, high]} it grades those. Two whole ends ask for whole
    numbers; write 0.0 for any. `reference`: the meta field with a right answer, which the judge is
    shown; a row without one fails. `samples`: the mean of so many answers at a `temperature` above
    0; `temperature: model` leaves it to the model. `explain: false` leaves out the reasoning field,
    for models that think by themselves (`reasoning`). Raises: RecipeError.
    """
    if attributes and (ask != "rubric" or not rubric):
        raise RecipeError("attributes needs ask: rubric, and a rubric that says what they mean")
    if samples > 1 and temperature == 0:
        raise RecipeError(
            f"samples: {samples} at temperature 0 would be one answer {samples} times; say "
            "temperature: 1"
        )
    scales = {"score": (1, 10)} if ask == "score" else _scales(attributes)
    pair = ask == "pairwise"
    own = {"score": "judge_overall", "pairwise": "judge_pair", "rubric": "judge_helpsteer2"}[ask]
    system = fill(
        find_template(folder, "judge"),
        rubric=own_text(folder, rubric) if rubric else fill(find_template(folder, own)),
        grades=[
            {"name": attribute, "low": low, "high": high, "whole": _whole(low, high)}
            for attribute, (low, high) in scales.items()
        ],
        pair=pair, explain=explain, reference=bool(reference),
    )  # fmt: skip
    grades = {key: _grade(low, high) for key, (low, high) in scales.items()}
    if pair:
        grades = {"better": {"type": "string", "enum": list(BETTER)}}
    manner = Manner(
        name, system, _schema({"reasoning": REASONING, **grades} if explain else grades),
        find_template(folder, "judge_material"), reference, samples,
        None if temperature == "model" else temperature, max_tokens, reasoning, tries,
    )  # fmt: skip
    if pair:
        return Comparer(manner, opponents)
    ends = {key: (float(low), float(high)) for key, (low, high) in scales.items()}
    return Grader(manner, ask, ends)


def _scales(given: dict[str, tuple[Number, Number]]) -> dict[str, tuple[Number, Number]]:
    """The user's own attributes, or HelpSteer2's. Raises: RecipeError."""
    for attribute, (low, high) in given.items():
        named = re.fullmatch(r"\w+", attribute) and attribute not in _TAKEN
        if not named or not low < high:
            raise RecipeError(f"attributes: '{attribute}: [{low}, {high}]' is no name and scale")
    if given:
        return given
    low, high = (int(end) for end in SCALE)
    return dict.fromkeys(ATTRIBUTES, (low, high))


def _whole(low: Number, high: Number) -> bool:
    return isinstance(low, int) and isinstance(high, int)


def _grade(low: Number, high: Number) -> dict[str, Any]:
    kind = "integer" if _whole(low, high) else "number"
    return {"type": kind, "minimum": low, "maximum": high}


def _schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
