"""Rules of `filters` that are made for answers, each as limits and the statistics held to them.

Some are verifiers' verdicts taken as a statistic of 0 and 1; others count what should not be in a
text at all. All limits can be set in a recipe, and one of null is off.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.curation.boilerplate import KINDS as PHRASES
from karat.curation.boilerplate import boilerplate as phrases_in
from karat.curation.limits import Statistic
from karat.curation.markup import (
    control_characters,
    entities,
    mojibake,
    speaks_of_markup,
    tags,
    template_marks,
    unbalanced,
)
from karat.curation.pages import Pages
from karat.curation.pii import KINDS as PERSONAL
from karat.curation.pii import Kind, suspects
from karat.curation.pii import find as personal_in
from karat.row import Message
from karat.verifiers._language import same_language, told
from karat.verifiers._prose import prose
from karat.verifiers.base import Item, Verifier, find

Floats = NDArray[np.float64]
On = Literal["prompt", "response", "conversation"]
Most = Annotated[int, msgspec.Meta(ge=0)] | None
Part = Annotated[float, msgspec.Meta(gt=0, le=1)]

PROFANITY = "profanity_check"
SHOWN = 60  # characters of a phrase in a reason
LETTERS = 20  # of prose, from which its language can be told


class Judged(NamedTuple):
    """Texts to be judged, each with the response in it and the turns before that.

    Where conversations are judged, a rule on how a response behaves (refusals, loops, set phrases)
    reads `answers`, any other the whole text. `answers` are the texts themselves where prompts are
    judged, and `turns` are then empty.
    """

    pages: Pages
    answers: Sequence[str]
    turns: Sequence[tuple[Message, ...]]

    def prompt(self, text: int) -> str:
        """What was said before the response."""
        return "\n".join(turn.content for turn in self.turns[text]) if self.turns else ""


class Length(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a text's size; None for none. Blank texts have no characters."""

    min_characters: Most = 1
    max_characters: Most = None
    min_words: Most = None
    max_words: Most = None


def length(judged: Judged, limits: Length) -> list[Statistic]:
    """Characters without white space around, and words."""
    characters = judged.pages.each(lambda text: len(text.strip()))
    found = [Statistic("characters", characters, limits.min_characters, limits.max_characters)]
    if limits.min_words is not None or limits.max_words is not None:
        words = judged.pages.word_counts.astype(np.float64)
        found.append(Statistic("words", words, limits.min_words, limits.max_words))
    return found


class Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`languages`: those that pass (ISO 639-1); without them a response has to be in that of its
    prompt. `confidence`: the detector's probability below which a language is not believed.

    Source: fastText on the whole text and 0.65: FineWeb (2406.17557) §3.3.
    """

    languages: list[str] | None = None
    confidence: Part = 0.65


def language(judged: Judged, limits: Language) -> list[Statistic]:
    """Whether a text is in another language; not told of less than 20 letters of prose."""
    if limits.languages is None:
        options = {"confidence": limits.confidence}
        return [_verdicts(judged, find("language"), options, "other language")]
    values, names = np.full(len(judged.pages), np.nan), {}
    for place, text in enumerate(judged.pages.texts):
        said = prose(text[:20_000])
        if sum(map(str.isalpha, said)) < LETTERS:
            continue
        found, sure = told(said)
        right = found is not None and any(same_language(found, one) for one in limits.languages)
        values[place] = float(not right and sure >= limits.confidence)
        names[place] = f"{found}, {sure:.2f}"
    return [Statistic("other language", values, high=0, shown=names.__getitem__)]


class Repetition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As the verifier `repetition`: the share said twice, and how many turns make a loop."""

    most: Part = 0.6
    times: Annotated[int, msgspec.Meta(ge=2)] = 4


def repetition(judged: Judged, limits: Repetition) -> list[Statistic]:
    """Whether a response loops or says most of what it says twice."""
    return [_verdicts(judged, find("repetition"), msgspec.structs.asdict(limits), "repeats")]


class Refusal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As the verifier `refusal`: whether refusals that help, and those that ask, fail too."""

    partial: bool = False
    asking: bool = False


def refusal(judged: Judged, limits: Refusal) -> list[Statistic]:
    """Whether a response declines."""
    return [_verdicts(judged, find("refusal"), msgspec.structs.asdict(limits), "declines")]


def _verdicts(judged: Judged, verifier: Verifier, options: dict[str, Any], name: str) -> Statistic:
    """1 where a verifier's check fails, NaN where it cannot decide."""
    values, reasons = np.zeros(len(judged.pages)), {}
    for place, answer in enumerate(judged.answers):
        turns = judged.turns[place] if judged.turns else ()
        verdict = verifier.verify(Item(turns, answer), **options)
        values[place] = np.nan if verdict.passed is None else float(not verdict.passed)
        if verdict.passed is False:
            reasons[place] = _short(verdict.reason.removeprefix(f"{name}: "))
    return Statistic(name, values, high=0, shown=reasons.__getitem__)


class Boilerplate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many phrases of each kind may stand in a text; None for any number."""

    speaks_as_a_model: Most = 0
    training_cut_off: Most = 0
    page_furniture: Most = 0
    filler_text: Most = 0


def boilerplate(judged: Judged, limits: Boilerplate) -> list[Statistic]:
    """Set phrases of models and pages, but for those of a kind that the prompt has too."""
    most = {kind: getattr(limits, kind.replace(" ", "_").replace("-", "_"))
            for kind in PHRASES}  # fmt: skip
    counts = {kind: np.zeros(len(judged.pages)) for kind in most}
    phrases: dict[str, dict[int, str]] = {kind: {} for kind in most}
    for place, answer in enumerate(judged.answers):
        found = phrases_in(answer)
        asked = phrases_in(judged.prompt(place)) if found else {}
        for kind in found.keys() - asked.keys():
            counts[kind][place] = len(found[kind])
            phrases[kind][place] = _short(found[kind][0])
    return [
        Statistic(kind, counts[kind], high=most[kind], shown=phrases[kind].__getitem__)
        for kind in most
    ]


class Markup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much damage of each kind may be in a text; None for any.

    `tags` and `entities` are counted outside code, and not where the prompt speaks of
    markup.
    """

    mojibake: Most = 0
    replacement_characters: Most = 0
    control_characters: Most = 0
    template_marks: Most = 0
    unbalanced: Most = 0
    tags: Most = 2
    entities: Most = 5


def markup(judged: Judged, limits: Markup) -> list[Statistic]:
    """Wrongly decoded text, characters that stand for none, remains of chat templates, blocks and
    formulas left open, HTML."""
    texts = judged.pages.texts

    def of_web(count: Callable[[str], list[str]]) -> Floats:
        found = judged.pages.each(lambda text: len(count(text)))
        for place in np.flatnonzero(found).tolist():
            if speaks_of_markup(judged.prompt(place)):
                found[place] = 0
        return found

    counts: dict[str, Floats] = {
        "mojibake": judged.pages.each(lambda text: len(mojibake(text))),
        "replacement characters": judged.pages.each(lambda text: text.count("\ufffd")),
        "control characters": judged.pages.each(lambda text: len(control_characters(text))),
        "template marks": judged.pages.each(lambda text: len(template_marks(text))),
        "unbalanced": np.array([unbalanced(text) for text in texts], np.float64),
        "tags": of_web(tags),
        "entities": of_web(entities),
    }
    return [
        Statistic(name, values, high=getattr(limits, name.replace(" ", "_")))
        for name, values in counts.items()
    ]


class Pii(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Kinds of personal data that a text may not hold: key, email, iban, card, ip, phone."""

    kinds: list[Kind] = msgspec.field(default_factory=lambda: list(PERSONAL))


def pii(judged: Judged, limits: Pii) -> list[Statistic]:
    """Finds of each kind. A reason says how many there are, and not what they say."""
    kinds = [kind for kind in PERSONAL if kind in limits.kinds]
    counts = {kind: np.zeros(len(judged.pages)) for kind in kinds}
    for place in suspects(judged.pages.texts, kinds):
        for found in personal_in(judged.pages.texts[place], kinds):
            counts[found.kind][place] += 1
    return [Statistic(kind, values, high=0) for kind, values in counts.items()]


class Toxicity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The probability of profanity from which a text fails."""

    most: Part = 0.8


def toxicity(judged: Judged, limits: Toxicity) -> list[Statistic]:
    """The probability that a text is profane, by words alone: a linear model of 200,000 comments.

    Source: alt-profanity-check, MIT; V. Zhou 2019.
    """
    texts = list(judged.pages.texts)
    values = _profanity()(texts) if texts else []
    return [Statistic("profanity", np.asarray(values, np.float64), high=limits.most, kind="share")]


@cache
def _profanity() -> Callable[[list[str]], Sequence[float]]:
    found: Callable[[list[str]], Sequence[float]] = importlib.import_module(PROFANITY).predict_prob
    return found


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 2]} …"
