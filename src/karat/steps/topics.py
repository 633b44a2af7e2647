"""topics: what to write prompts about, from a model, from keywords, from the user's list."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from karat.context import PROMPTS, Context
from karat.curation.lists import parse_list
from karat.curation.novelty import Pool, prepare
from karat.errors import RecipeError, RowError, did_you_mean
from karat.forecast import CallForecast, Forecast
from karat.models.chat import Completion
from karat.row import Ids, Row
from karat.step import DatasetName, ModelName, Positive, Temperature, step
from karat.templates import turns
from karat.together import all_of

MACRO_FROM = 12  # more topics than this are asked for as macro topics and their subtopics
TRIES = 4  # calls for one list before karat settles for fewer
PER_CALL = 25  # subtopics asked for at once
TOLD = 20  # topics that a model is told to keep away from
LONGEST = 120  # characters; what is longer is a sentence about topics, not a topic
ALIKE = 0.8  # cosine of embeddings from which a model's topic is one of those before
_EXPLAINED = re.compile(r": |：| [–—-] ")
_WORD = re.compile(r"\w+")


@step
async def topics(
    row: Row,
    ctx: Context,
    *,
    model: ModelName | None = None,
    n: Positive | None = None,
    given: list[str] = [],  # noqa: B006  read only
    keywords: DatasetName | None = None,
    about: str | None = None,
    temperature: Temperature | None = 0.9,
    max_tokens: Positive = 400,
) -> list[Row]:
    """Makes one row per topic: the user's own (`given`), then keywords, then a model's, up to `n`.

    `keywords` is a file with one a line, or a list karat ships (`python`, `math`); where `n` is
    less than it holds they are drawn by seed. More than 12 of a model's are asked for in two
    levels, macro topics and then subtopics of each; the macro topic stays in `meta`. Of a model's
    topics those are left out that say what another one says, in other words or another order; one
    that runs dry gives fewer, with a warning. `about` narrows the field. What is given stays as it
    is.

    Source: macro topics, subtopics and keywords (3K topics, 12K for Python, 17K for mathematics):
    Nemotron-4 340B (2406.11704) §3.2.1.
    """
    pool = _Pool()
    for name in _own(ctx, given):
        pool.add(name)
    if keywords is not None:
        listed = _keywords(ctx, keywords)
        ctx.rng().shuffle(listed)
        for name in listed[: None if n is None else max(0, n - len(pool.names))]:
            pool.add(name)
    wanted = n if n is not None else len(pool.names)
    calls: list[str] = []
    again, macro = ctx.wanted("topic"), ctx.wanted("macro_topic")
    if model is not None and len(pool.names) < wanted and again is None:
        pool.keep_from(ctx.written().texts)
        ask = _Asker(ctx, model, temperature, max_tokens, calls)
        if wanted <= MACRO_FROM and macro is None:
            await ask.fill(pool, wanted, "topics", about=about)
        else:
            await _two_levels(ask, pool, wanted, about, macro)
    names = pool.names[:wanted] if again is None else again
    if not names:
        raise RowError("the model named no topics")
    if len(names) < wanted and again is None:
        ctx.warn(f"{len(names)} topics instead of {wanted}: the model ran dry")
    ids = Ids()
    made = []
    for name in names:
        held = ctx.origin(name) if again is not None else None
        meta, paid = held or ({"topic": name}, calls)
        if name in pool.macro:
            meta["macro_topic"] = pool.macro[name]
        made.append(Row(ids.assign([], meta, row.id), meta=dict(meta), calls=list(paid)))
    return made


topics.marks = ("topic", "macro_topic")


def _own(ctx: Context, given: list[str]) -> list[str]:
    """The user's topics; in a later round of a recipe that counts by topic, those still wanted."""
    return [name.strip() for name in given if ctx.wants({"topic": name.strip()})]


class _Pool:
    """Topics in the order they came, none twice."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.macro: dict[str, str] = {}  # of a subtopic, the topic it belongs to
        self._spelled: set[str] = set()
        self._keys: set[str] = set()
        self._told = Pool()
        self._fresh: list[str] = []  # not in the pool yet: where no model is asked, none need be

    def keep_from(self, names: list[str]) -> None:
        """From now on no topic of a model's is taken that is one of these."""
        self._keys.update(map(_key, names))
        self._fresh += names

    def under(self, macro: str) -> list[str]:
        """The last topics taken under a macro topic."""
        return [name for name, held in self.macro.items() if held == macro][-TOLD:]

    def read(self, answer: Completion, most: int, macro: str = "") -> tuple[int, int]:
        """Takes up to `most` topics of a model's list, without what it explains behind a colon.

        Returns how many items the list had, and how many of them are topics that are new.
        """
        items = parse_list(answer.content, cut=answer.finish_reason == "length")
        taken = 0
        for item in items:
            name = _line(_EXPLAINED.split(item, maxsplit=1)[0]).rstrip(".。:：").strip()
            fits = taken < most and 0 < len(name) <= LONGEST and not self._known(name)
            if fits and self.add(name):
                taken += 1
                if macro:
                    self.macro[name] = macro
        return len(items), taken

    def add(self, name: str) -> bool:
        """Takes a topic that is not there yet in the same letters."""
        if name.casefold() in self._spelled:
            return False
        self._spelled.add(name.casefold())
        self._keys.add(_key(name))
        self.names.append(name)
        self._fresh.append(name)
        return True

    def _known(self, name: str) -> bool:
        """Whether another topic has the same words, or means the same."""
        if _key(name) in self._keys:
            return True
        self._told.extend(self._fresh)
        self._fresh = []
        (one,) = prepare([name])
        return self._told.near(one, jaccard=1.0, cosine=ALIKE) is not None


def _line(text: str) -> str:
    return " ".join(text.split())


def _key(name: str) -> str:
    """What two spellings of a topic share: its words in any order, a plural s taken off."""
    words = _WORD.findall(name.casefold())
    stems = [w[:-1] if len(w) > 3 and w[-1] == "s" and w[-2] != "s" else w for w in words]
    return " ".join(sorted(stems)) or name.casefold()


class _Asker:
    """Asks for lists until a pool is full or the model repeats itself."""

    def __init__(
        self, ctx: Context, model: str, temperature: float | None, max_tokens: int, calls: list[str]
    ) -> None:
        self.ctx, self.model, self.calls = ctx, model, calls
        self.sampling: dict[str, Any] = {"temperature": temperature, "max_tokens": max_tokens}

    async def fill(self, pool: _Pool, wanted: int, template: str, **values: Any) -> None:
        """One list, asked for again while it is short."""
        for attempt in range(TRIES):
            missing, avoid = wanted - len(pool.names), pool.names[-TOLD:]
            if missing <= 0:
                return
            answer = await self.ask(template, attempt, n=missing, avoid=avoid, **values)
            self.take(pool, answer, missing)

    async def ask(self, template: str, attempt: int, **values: Any) -> Completion:
        # Data in one line each: it cannot add turns to the request.
        told = {k: _line(v) if isinstance(v, str) else v for k, v in values.items()}
        told["avoid"] = [_line(name) for name in values["avoid"]]
        text = self.ctx.render(template, **told)
        (answer,) = await self.ctx.chat(self.model, turns(text), index=attempt, **self.sampling)
        return answer

    def take(self, pool: _Pool, answer: Completion, most: int, macro: str = "") -> int:
        """Adds an answer's new topics to the pool; returns how many."""
        self.calls.append(answer.call)
        items, taken = pool.read(answer, most, macro)
        self.ctx.count("items", items)
        self.ctx.count("no new topic", items - taken)
        return taken


async def _two_levels(
    ask: _Asker, pool: _Pool, wanted: int, about: str | None, names: list[str] | None
) -> None:
    """Macro topics, then subtopics of all of them at once, those that come out short again."""
    if names is None:  # none is given: in a later round, those that want more
        macro = _Pool()
        for name in pool.names:
            macro.add(name)
        count = max(len(macro.names), math.ceil(math.sqrt(wanted)))
        await ask.fill(macro, count, "topics", about=about)
        names = macro.names[:count]
    each = math.ceil((wanted - len(pool.names)) / max(1, len(names)))
    short = dict.fromkeys(names, each)
    for wave in range(TRIES + each // PER_CALL):
        if not short or len(pool.names) >= wanted:
            return
        answers = await all_of(
            ask.ask("subtopics", wave, topic=name, n=min(n, PER_CALL), avoid=pool.under(name))
            for name, n in short.items()
        )
        # Read in one order, so that the same topics are there at any concurrency.
        for name, answer in zip(list(short), answers, strict=True):
            taken = ask.take(pool, answer, min(short[name], wanted - len(pool.names)), name)
            short[name] -= taken
            if short[name] <= 0 or (taken == 0 and wave > 0):
                del short[name]


def _keywords(ctx: Context | None, name: str) -> list[str]:
    """The lines of a keyword list. Raises: RecipeError."""
    shipped = _shipped(name)
    path = shipped if shipped.is_file() else Path(name) if ctx is None else ctx.path(name)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeError):
        known = [file.stem.removeprefix("keywords_") for file in PROMPTS.glob("keywords_*.txt")]
        raise RecipeError(
            f"keywords: no file {name} in UTF-8, and karat ships no list of that name; "
            f"{did_you_mean(name, known)}"
        ) from None
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))


def _shipped(name: str) -> Path:
    return PROMPTS / f"keywords_{name}.txt"


@topics.rule
def _rule(
    *, model: str | None, n: int | None, given: list[str], keywords: str | None, **_: Any
) -> str | None:
    if not all(name.strip() for name in given):
        return "given holds an empty topic; take it out"
    if model is None and not given and keywords is None:
        return "needs a model to name topics, topics of your own in given, or keywords"
    held = len({name.strip().casefold() for name in given})
    if model is None and n is not None and n > held and keywords is None:
        return f"n is {n} but given holds {held} different topics; name a model for the others"
    if model is not None and n is None:
        return "needs n, how many topics the model shall write"
    return None


@topics.plan
def _plan(
    rows: int, *, model: str | None, n: int | None, given: list[str], keywords: str | None,
    max_tokens: int, **_: Any,
) -> Forecast | None:  # fmt: skip
    held = len({name.strip().casefold() for name in given})
    if keywords is not None:
        shipped = _shipped(keywords)
        if not shipped.is_file() and n is None:
            return None  # a file of the user's: known when it is read
        listed = len(_keywords(None, keywords)) if shipped.is_file() else (n or 0)
        held += listed
    wanted = n if n is not None else held
    if model is None or wanted <= held:
        return Forecast(rows * min(wanted, held))
    macro = math.ceil(math.sqrt(wanted))
    calls = 1 if wanted <= MACRO_FROM else 1 + macro * math.ceil(wanted / macro / PER_CALL)
    return Forecast(rows * wanted, [CallForecast(model, rows * calls, 1, max_tokens)])
