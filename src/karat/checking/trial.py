"""Asks a reward about the probes and keeps what it said: the evidence that the checks read.

Two desks over journals that are thrown away: what the first holds it would answer from, and
whether a reward says the same twice is one of the questions. A refusal is evidence too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.checking.probes import BRIEF, DEFAULTS, ELSEWHERE, ENDINGS, Probe, long_text, probes
from karat.errors import ProviderError, RowError
from karat.grading import Desk
from karat.inquiry import main_attribute
from karat.models.endpoint import Asker
from karat.models.wire import Post
from karat.rewards.base import Candidates, Reward, Scores, is_local, is_remote
from karat.rewards.tokens import Seen
from karat.row import Message
from karat.together import all_of

Floats = NDArray[np.float64]
ANSWERS = ("good", "bad", "other")  # another question's good answer: fluent, and beside the point
SIZES = (60, 400, 1_600, 6_400)  # words of the long texts
NOISE = 0.05  # of σ: what a batch may change in half precision
FEW = 3  # questions without an answer after which no more are asked
CLOSE = 1.2  # how near the words are found from which on an end is not seen
SYSTEM_PROBE = " Is there anything else you would like to know about it?"


class Length(msgspec.Struct):
    """What a text of `words` scores with each of ENDINGS, and as the answer to another question;
    None where it was refused."""

    words: int
    ends: tuple[float | None, float | None]
    elsewhere: float | None
    refusal: str = ""


class Evidence(msgspec.Struct):
    """scores_PNA of the probes' ANSWERS, alone and `again` in other company; NaN where there is
    none. `systems` maps a system prompt (None: no such turn) to a score, `system_tokens` to what
    the server counted. `seen` is a text in tokens, `otherwise` in the server's own template,
    `used` the tokens it was graded with."""

    attributes: list[str]
    main: str
    first: Floats
    again: Floats
    systems: dict[str | None, float]
    system_tokens: dict[str | None, int]
    lengths: list[Length]
    refusals: list[str]
    questions: int = 0  # how many probes were asked about
    seen: Seen | None = None
    otherwise: Seen | None = None
    used: int | None = None
    text: str = ""
    unseen: str = ""  # why there are no tokens to look at

    def of_main(self, scores_PNA: Floats) -> Floats:
        """scores_PN of the attribute that ranks."""
        return scores_PNA[:, :, self.attributes.index(self.main)]

    @property
    def silent(self) -> bool:
        """Whether it gave no score at all."""
        return not bool(np.isfinite(self.first).any())

    @property
    def noise(self) -> float:
        """How far the ranking attribute of one text moves by itself: what devices round; never so
        much that it hides a difference."""
        moved = np.abs(self.of_main(self.first) - self.of_main(self.again))
        if not np.isfinite(moved).any():
            return 0.0
        return min(float(np.nanmax(moved)), NOISE * float(np.nanstd(self.of_main(self.first))))

    @property
    def coarse(self) -> bool:
        """Whether it has so few values that equal scores say nothing."""
        values = self.of_main(self.first)
        values = values[np.isfinite(values)]
        return len(np.unique(values.round(9))) < len(values) / 2


class Trial:
    """One reward, called `name`, before two desks."""

    def __init__(self, reward: Reward, name: str, desks: tuple[Desk, Desk]) -> None:
        self.reward, self.name, self.desks = reward, name, desks
        self.attributes = list(reward.attributes)
        self.main = main_attribute(reward)
        self.refusals: list[str] = []
        self.scores = self.questions = 0

    async def run(self, say: Callable[[str], None]) -> Evidence:
        """Raises: RunError where nobody answers."""
        say("asking about easy answers")
        first_PNA = await self._probes(0)
        found = Evidence(
            self.attributes, self.main, first_PNA, np.full_like(first_PNA, np.nan), {}, {}, [],
            self.refusals,
        )  # fmt: skip
        found.questions = self.questions
        if found.silent:
            return found
        say("asking again, in another order")
        found.again = await self._probes(1)
        found.questions = self.questions
        say("asking with system prompts")
        await self._systems(found)
        if not found.coarse:
            say("asking about long texts")
            found.lengths = await self._lengths(found.noise)
        await self._look(found)
        return found

    async def _probes(self, turn: int) -> Floats:
        """scores_PNA. The first time prompt by prompt, then backwards and side by side."""
        every = probes()
        jobs = [(p, (p.good, p.bad, every[i - 1].good)) for i, p in enumerate(every)]
        scores_PNA = np.full((len(every), len(ANSWERS), len(self.attributes)), np.nan)
        if turn == 0:
            for i, (probe, texts) in enumerate(jobs):
                if len(self.refusals) == i == FEW:
                    break  # it answers nothing: each further try would be paid and waited for
                scores_PNA[i] = await self._answers(0, f"probe {i}", probe.messages, texts)
                self.questions += 1
            return scores_PNA
        texts_P = [texts[::-1] for _, texts in jobs]
        self.questions += len(jobs)
        calls = [
            self._answers(1, f"again {i}", probe.messages, texts_P[i])
            for i, (probe, _) in enumerate(jobs)
        ]
        for i, lines_NA in enumerate(await all_of(calls)):
            scores_PNA[i] = lines_NA[::-1]
        return scores_PNA

    async def _answers(
        self, desk: int, label: str, prompt: Sequence[Message], texts: Sequence[str]
    ) -> Floats:
        """scores_NA, NaN for what was refused, which is kept. Raises: RunError."""
        lines_NA = np.full((len(texts), len(self.attributes)), np.nan)
        job = Candidates(tuple(prompt), tuple(texts))
        try:
            found = await self.desks[desk].score(self.name, job, Asker("check", label))
        except (RowError, ProviderError) as error:
            self.refusals.append(str(error))
            return lines_NA
        self.scores += len(found)
        for place, scores in enumerate(found):
            if scores is not None:
                lines_NA[place] = [_value(scores, name) for name in self.attributes]
        return lines_NA

    async def _one(self, label: str, prompt: Sequence[Message], text: str) -> float | None:
        """The ranking attribute of one text; None where it is refused."""
        lines_NA = await self._answers(0, label, prompt, [text])
        value = float(lines_NA[0, self.attributes.index(self.main)])
        return None if np.isnan(value) else value

    async def _systems(self, found: Evidence) -> None:
        """One conversation with no system prompt, a brief one, and those that templates add."""
        probe, before = probes()[0], len(self.refusals)
        for number, system in enumerate((None, BRIEF, *DEFAULTS)):
            head = [] if system is None else [Message("system", system)]
            label = f"system {number}"
            text = probe.good + SYSTEM_PROBE
            value = await self._one(label, [*head, *probe.messages], text)
            if value is None:
                continue
            found.systems[system] = value
            used = self._counted(label)
            if used is not None:
                found.system_tokens[system] = used
        del self.refusals[before:]  # one who takes no system prompts is not at fault

    def _counted(self, label: str) -> int | None:
        """Tokens a server of scores says it read for a question of one response."""
        if not is_remote(self.reward):
            return None
        rows = self.desks[0].client.journal.query(
            "SELECT prompt_tokens FROM attempts WHERE row = ? AND outcome = 'answered' AND "
            "tokens_from = 'reported' AND samples = 1", label,
        )  # fmt: skip
        counts = [row[0] for row in rows]
        return counts[0] if len(counts) == 1 else None

    async def _lengths(self, noise: float) -> list[Length]:
        """Longer and longer texts; where an end is not seen any more, from how many words on."""
        found: list[Length] = []
        for words in SIZES:
            made = await self._length(words)
            found.append(made)
            if made.refusal or blind(made, noise):
                break
        if len(found) > 1 and blind(found[-1], noise):
            low, high = found[-2].words, found[-1].words
            while high > CLOSE * low:
                middle = round((low * high) ** 0.5)
                made = await self._length(middle)
                found.append(made)
                low, high = (low, middle) if blind(made, noise) else (middle, high)
        return sorted(found, key=lambda one: one.words)

    async def _length(self, words: int) -> Length:
        probe, before = probes()[4], len(self.refusals)
        ends = [
            await self._one(f"length {words} {i}", probe.messages, long_text(words, ending))
            for i, ending in enumerate(ENDINGS)
        ]
        text = long_text(words, ENDINGS[0])
        other = await self._one(f"length {words} 2", [Message("user", ELSEWHERE)], text)
        refused = self.refusals[before:]
        del self.refusals[before:]
        return Length(words, (ends[0], ends[1]), other, refused[0] if refused else "")

    # --- tokens --------------------------------------------------------------------------------

    async def _look(self, found: Evidence) -> None:
        """One text as the model reads it, where that can be asked."""
        probe, text = probes()[0], probes()[0].good + SYSTEM_PROBE
        reward = self.reward
        found.text = reward.text(probe.messages, text) if hasattr(reward, "text") else ""
        if is_remote(reward) and hasattr(reward, "look"):
            found.seen, found.unseen = await self._asked(reward.look, probe, text)
            if hasattr(reward, "look_otherwise"):
                found.otherwise, _ = await self._asked(reward.look_otherwise, probe, text)
        elif is_local(reward) and hasattr(reward, "seen"):
            try:
                found.seen = reward.seen(probe.messages, text)
            except RowError as error:
                found.unseen = str(error)
        else:
            found.unseen = "this kind of reward shows no tokens"
        found.used = found.system_tokens.get(None)

    async def _asked(
        self, look: Callable[[str, Sequence[Message], str], Post | None], probe: Probe, text: str
    ) -> tuple[Seen | None, str]:
        """What the server's tokenizer makes of the text, or why it does not say."""
        endpoint = self.desks[0].client.endpoint(f"reward {self.reward.identity}")
        provider = endpoint.provider
        post = look(provider.address, probe.messages, text)
        if post is None:
            return None, "this address shows no tokens"
        try:
            reply = await provider.transport.post(*post, provider.headers, endpoint.spec.timeout_s)
            if reply.status != 200:
                return None, f"the server's /tokenize answers {reply.status}"
            seen: Seen = self.reward.seen(reply)  # type: ignore[attr-defined]
        except (ProviderError, ValueError) as error:
            return None, f"the server's /tokenize: {error}"
        return seen, ""


def blind(one: Length, noise: float) -> str:
    """What its score does not depend on, but for noise: its ending, or what was asked; "" where it
    depends on both."""
    first, second = one.ends
    if first is not None and second is not None and abs(first - second) <= noise:
        return "ending"
    if first is not None and one.elsewhere is not None and abs(first - one.elsewhere) <= noise:
        return "question"
    return ""


def _value(scores: Scores, name: str) -> float:
    return scores.get(name, float("nan"))
