"""What a reward is: named attributes on a stated scale, and a way to score responses.

Nothing in karat compares raw scores of two different rewards: a score only means something next to
others of the same reward, which is why its name is part of the key it is stored under. Some mean
something only next to others of the same *prompt*: those trained on preferences alone (Bradley-
Terry) are free to add any constant to all responses of one prompt, and a share of won comparisons
says nothing beyond its own field. A reward names these attributes in `within_prompt`.

Three ways of scoring, told apart by what a reward has: `score` (a model or a rule in this process:
Local), `post` and `read` (a server that answers with numbers: Remote), `grade` (whatever asks
models of the recipe or other rewards: Asking).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeGuard

import msgspec
import numpy as np
from numpy.typing import NDArray

from karat.models.chat import Completion
from karat.models.spec import ModelSpec
from karat.models.transport import HttpReply
from karat.models.wire import Post
from karat.row import Message

Scale = tuple[float, float]
UNBOUNDED: Scale = (float("-inf"), float("inf"))
Scores = dict[str, float]  # attribute → score


class Candidates(msgspec.Struct, frozen=True):
    """What a reward sees of a row: the conversation, n responses to it, the row's own fields."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    meta: Mapping[str, Any] = {}


class Reward(Protocol):
    """Grades the responses to one prompt.

    `attributes` maps each name to its scale (low, high), in the order of the columns of a score
    array; UNBOUNDED where there is none. `identity` names the reward and the exact weights behind
    it: it goes into every journal key. `models` are the models behind it, as a recipe names them;
    `within_prompt` those attributes whose scores compare within one prompt only.
    """

    name: str
    identity: str
    attributes: dict[str, Scale]
    licence: str
    within_prompt: frozenset[str]
    models: tuple[str, ...]


class Local(Reward, Protocol):
    """Scores in this process, up to `batch` responses at a time. What it scores together never
    changes a score."""

    batch: int

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> NDArray[np.float64]:
        """scores_NA: one line per response, one column per attribute. Sync and thread-safe."""
        ...

    def score_many(self, jobs: Sequence[Candidates]) -> Sequence[NDArray[np.float64] | Exception]:
        """scores_NA of each job, in order: what `score` would say, sooner. An exception stands for
        a job that cannot be scored, and is raised where its row waits."""
        ...


class Remote(Reward, Protocol):
    """A server that answers with scores. `spec` is its address, key, price and limits; `together`
    how many responses one request may hold, None for any number; `unserved` what to do where
    nobody is at its address (HTTP 404)."""

    spec: ModelSpec
    together: int | None

    @property
    def unserved(self) -> str: ...

    def post(self, address: str, prompt: Sequence[Message], responses: Sequence[str]) -> Post:
        """The request for these responses. Raises: RowError for a row it cannot score."""
        ...

    def read(self, reply: HttpReply, count: int) -> list[Scores]:
        """The scores in a reply of status 200, one for each response that was sent.

        Raises: ValueError, with what is wrong, for anything else: that is tried again.
        """
        ...


class Asking(Reward, Protocol):
    """Asks models of the recipe, or other rewards (`rewards`, by name), for its scores. `sampling`
    is what it asks of the models in a request's words, so that a recipe can be checked for it;
    `shows` how many responses one question holds, and about how many tokens of its own words."""

    rewards: tuple[str, ...]
    sampling: Mapping[str, Any]

    @property
    def shows(self) -> tuple[int, int]: ...

    def calls(self, n: int) -> int:
        """How many questions it puts to each of its models about n responses, at the most."""
        ...

    async def grade(self, ask: Ask, job: Candidates) -> list[Scores | None]:
        """The scores of each response; None where it has none to give.

        Raises: RowError when what was answered cannot be read, however often it was asked for.
        """
        ...


class Ask(Protocol):
    """What an Asking reward may touch. Answers are journaled, priced and replayed as a step's."""

    async def chat(
        self, model: str, messages: Sequence[Message], *, n: int = 1,
        temperature: float | None = None, top_p: float | None = None,
        max_tokens: int | None = None, logprobs: int | None = None,
        schema: dict[str, Any] | None = None, tries: int = 3, reasoning: str | None = None,
    ) -> list[Completion]:  # fmt: skip
        """n answers. The seed follows from what is asked, so that a judgement bought once is found
        again whatever run, step or row it was bought for. With `schema` each answer's `value` fits.

        Raises: RowError, ProviderError, RunError.
        """
        ...

    def of_earlier_run(self, answer: Completion) -> bool:
        """Whether an answer was bought before this run began: what failed then is tried again."""
        ...

    async def score(self, reward: str, job: Candidates) -> list[Scores | None]:
        """Another reward's scores."""
        ...

    def attributes(self, reward: str) -> Mapping[str, Scale]:
        """Another reward's attributes and their scales."""
        ...


def is_local(reward: Reward) -> TypeGuard[Local]:
    return hasattr(reward, "score")


def is_remote(reward: Reward) -> TypeGuard[Remote]:
    return hasattr(reward, "post")


def is_asking(reward: Reward) -> TypeGuard[Asking]:
    return hasattr(reward, "grade")
