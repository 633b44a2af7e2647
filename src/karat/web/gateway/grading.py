"""Which rewards a caller may ask through the gateway, and their scores: a run's own way of grading.

The rewards are those of the server's config, and the heads that karat ships. None else can be named
in a request: a reward may be a file, and no text of a request becomes a path. Scores of a reward in
this process are kept by the digest of what was graded, as in a run, and hold no text; a server's
and a judge's are bought on the terms of the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from karat.errors import RecipeError, RowError
from karat.grading import Desk
from karat.rewards.base import (
    UNBOUNDED,
    Candidates,
    Remote,
    Reward,
    Scores,
    is_asking,
    is_remote,
)
from karat.rewards.head import BUILTIN
from karat.rewards.load import load_reward
from karat.rewards.questions import TEXT_FILES, reference_of
from karat.row import Message
from karat.web.gateway.door import Headers, told
from karat.web.gateway.engine import Asked, Caller, Figures, Gateway
from karat.web.gateway.refusals import Refused, bad_request

ROLES = ("system", "developer", "user", "assistant")
SHIPPED = tuple(f"embedded/{name}" for name in BUILTIN)
MOST_PRINCIPLE = 20_000  # characters


class Grader(NamedTuple):
    """A reward that may be asked, as the caller names it, and where. `references` are the fields of
    `meta` in which it, or what it asks, looks for a right answer."""

    name: str
    reward: Reward
    desk: Desk
    references: tuple[str, ...] = ()

    @property
    def compares(self) -> bool:
        """Whether its scores are of responses held against each other, so that one alone has none
        or another one."""
        reward = self.reward
        return is_asking(reward) and (reward.shows[0] > 1 or bool(reward.rewards))

    async def grade(self, asked: Asked, job: Candidates) -> list[Scores | None]:
        """The attributes of each response; None where it has none to give.

        Raises: Refused; RowError, ProviderError, RunError.
        """
        if self.compares and len(job.responses) < 2:
            raise bad_request(
                f"'{self.name}' compares responses to one prompt with each other: send two or more",
                "responses",
            )
        for field in self.references:
            try:
                reference_of(job.meta, field)
            except RowError as error:
                raise bad_request(str(error), "meta") from None
        return await self.desk.score(self.name, job, asked.asker._replace(role="reward"))


def names(gateway: Gateway, caller: Caller) -> list[str]:
    """The rewards a caller may ask, those of the config first."""
    every = dict.fromkeys((*gateway.config.rewards, *SHIPPED))
    return [name for name in every if caller.may_use(name)]


def is_reward(gateway: Gateway, name: str) -> bool:
    """Whether a name is a reward's here, whoever may ask it."""
    return name in gateway.config.rewards or name in SHIPPED


def find(gateway: Gateway, name: str, caller: Caller, principle: str = "") -> Grader:
    """The reward behind a name. `principle` is what a generative reward model is to judge by, in
    place of what the config says. Raises: Refused."""
    if name in SHIPPED and name not in gateway.config.rewards:
        if not caller.may_use(name):
            raise Refused(
                403, "permission_error", f"this key may not use the reward '{name}'",
                code="model_not_allowed",
            )  # fmt: skip
    else:
        gateway.reward(name, caller)
    if principle:
        return _by_principle(gateway, name, principle)
    behind = gateway.graders.behind(name).values()
    for reward in behind:
        if is_remote(reward):
            _connect(gateway, reward)
    fields = (getattr(getattr(one, "manner", None), "reference", "") for one in behind)
    references = tuple(field for field in fields if field)
    return Grader(name, gateway.graders.get(name), gateway.desk, references)


def _connect(gateway: Gateway, reward: Remote) -> None:
    """A server of scores that refused once is asked again later: a gateway stays up for months."""
    known = f"reward {reward.identity}"  # as karat.grading has it
    gateway.client.models.setdefault(known, reward.spec)
    for endpoint in gateway.client.route(known):
        endpoint.forgives = True


def _by_principle(gateway: Gateway, name: str, principle: str) -> Grader:
    """Raises: Refused."""
    written = gateway.config.rewards.get(name, name)
    tree = {"reward": written} if isinstance(written, str) else dict(written)
    if not str(tree.get("reward", "")).startswith("genrm/"):
        raise bad_request(
            f"'{name}' takes no principle: only a generative reward model (genrm/…) does",
            "principle",
        )
    if len(principle) > MOST_PRINCIPLE:
        raise bad_request(f"send at most {MOST_PRINCIPLE:,} characters", "principle")
    if principle.endswith(TEXT_FILES):  # in a recipe that names a file; in a request it never does
        principle += "\n"
    tree.pop("opponents", None)
    config = gateway.config
    try:
        reward = load_reward(
            {**tree, "form": "principle", "principle": principle}, config.folder, config.providers
        )
    except RecipeError as error:
        raise bad_request(str(error), "principle") from None
    return Grader(name, reward, Desk(gateway.client, lambda _: reward, gateway.desk.allowed))


def headers(asked: Asked, figures: Figures, name: str) -> Headers:
    """As of any answer; what was neither bought nor looked for in the cache says nothing of it."""
    looked = asked.terms.look or bool(asked.terms.model)
    return [one for one in told(figures, name) if looked or one[0] != b"x-karat-cache"]


# --- what is graded ------------------------------------------------------------------------------


def read_turns(given: Sequence[dict[str, Any]]) -> list[Message]:
    """A conversation of texts, as what is graded is. Raises: RefusedError."""
    found = []
    for place, turn in enumerate(given):
        where, role = f"messages.{place}", turn.get("role")
        if role not in ROLES:
            raise bad_request(f"{where}.role must be one of {', '.join(ROLES)}", "messages")
        content = turn.get("content")
        if isinstance(content, list):
            content = "\n\n".join(_part(part, where) for part in content)
        if not isinstance(content, str):
            raise bad_request(f"{where}.content must be text", "messages")
        found.append(Message("system" if role == "developer" else role, content))
    return found


def _part(part: Any, where: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str):
        text: str = part["text"]
        return text
    raise bad_request(f"{where}.content: a reward reads text, no other parts", "messages")


# --- as others see them --------------------------------------------------------------------------


def attributes(reward: Reward) -> dict[str, dict[str, Any]]:
    """Of each attribute its scale (null: it has no ends) and where its scores compare."""
    return {
        name: {
            "scale": None if scale == UNBOUNDED else list(scale),
            "comparable": "within_prompt" if name in reward.within_prompt else "anywhere",
        }
        for name, scale in reward.attributes.items()
    }


def reward_entries(gateway: Gateway, caller: Caller) -> list[dict[str, Any]]:
    """The caller's rewards as entries of `/v1/models`; one whose files are gone is left out."""
    found = []
    for name in names(gateway, caller):
        try:
            reward = gateway.graders.get(name)
        except RecipeError:
            continue
        found.append({
            "id": name, "object": "model", "created": 0, "owned_by": "karat", "type": "reward",
            "attributes": attributes(reward), "licence": reward.licence or "that of its models",
        })  # fmt: skip
    return found
