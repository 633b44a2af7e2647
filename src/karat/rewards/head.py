"""A reward head: five HelpSteer2 attributes, one reward, and how sure of it the head is.

Fitted on human ratings it says all five on 0–4, and its reward compares across prompts; fitted on
preferences alone it has a reward that compares within one prompt only. Its members were each
fitted on a part of the prompts: their mean is the score, their spread the `uncertainty`. NumPy
alone reads and applies it, so a core install can grade. `head_model` has its arithmetic,
`head_file` its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from karat.errors import RecipeError, did_you_mean
from karat.rewards.base import UNBOUNDED, Candidates
from karat.rewards.columns import Floats, read_raw
from karat.rewards.head_file import FORMAT, head_from_bytes
from karat.rewards.head_model import ATTRIBUTES, REWARD_WEIGHTS, SCALE, Head, spread, with_reward

if TYPE_CHECKING:
    from karat.row import Message

__all__ = [
    "ATTRIBUTES",
    "BUILTIN",
    "FORMAT",
    "REWARD_WEIGHTS",
    "SCALE",
    "Floats",
    "Head",
    "HeadReward",
    "card",
    "head_from_bytes",
    "load",
    "with_reward",
]

BUILTIN = ("helpsteer2",)
UNCERTAINTY = "uncertainty"
_DECIMALS = 6


class HeadReward:
    """Grades with a head shipped in the package (`helpsteer2`) or made by `karat reward train`.

    A `Reward` of the kernel: `score` is pure numpy on one core, deterministic and thread-safe;
    about three milliseconds per response of ordinary length.

    Raises:
        RecipeError: no such head, or a file that is not one.
    """

    def __init__(self, head: str | Path = "helpsteer2") -> None:
        data, self.name = _find(head)
        self.head = head_from_bytes(data, str(head))
        self.identity = f"{self.name}@{blake2b(data, digest_size=8).hexdigest()}"
        scale = SCALE if self.head.rated else UNBOUNDED
        self.attributes: dict[str, tuple[float, float]] = dict.fromkeys(self.head.outputs, scale)
        if self.head.members > 1:
            self.attributes[UNCERTAINTY] = (0.0, scale[1])
        self.licence = str(self.head.meta.get("licence", "unknown"))
        # Ratings are on one scale, comparable anywhere; preferences order one prompt's responses.
        self.within_prompt = frozenset(() if self.head.rated else self.attributes)
        self.models: tuple[str, ...] = ()
        self.batch = 256

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> Floats:
        """scores_NA in the order of `attributes`.

        On 0–4 where the head was fitted on ratings, and then an empty response scores 0 everywhere.
        `uncertainty` is the standard deviation of the members' rewards.
        """
        return self.score_many([Candidates(tuple(prompt), tuple(responses))])[0]

    def score_many(self, jobs: Sequence[Candidates]) -> list[Floats]:
        """scores_NA of each job: the trees are walked once for all of them."""
        static = self.head.columns.static
        raw_NR = np.concatenate([read_raw(job.prompt, job.responses, static) for job in jobs])
        votes_NMA = self.head.votes(raw_NR)
        scores_NA = self.head.settled(votes_NMA)
        if UNCERTAINTY in self.attributes:
            high = self.attributes[UNCERTAINTY][1]
            scores_NA = np.column_stack([scores_NA, np.minimum(spread(votes_NMA), high)])
        scores_NA = np.round(scores_NA, _DECIMALS)
        if self.head.rated:
            texts = [response for job in jobs for response in job.responses]
            scores_NA[[not response.strip() for response in texts]] = 0.0
        return np.split(scores_NA, np.cumsum([len(job.responses) for job in jobs])[:-1])

    def __repr__(self) -> str:
        return f"HeadReward({self.identity!r})"


def card(builtin: str = "helpsteer2") -> str:
    """The card of a shipped head: data, licence, held-out figures, what it is not good for."""
    return resources.files("karat.rewards").joinpath(f"assets/{builtin}.md").read_text("utf-8")


def load(name: str, folder: Path) -> HeadReward:
    """The head behind `embedded/NAME` or `head/PATH.npz`, a relative path being one of `folder`.

    Raises: RecipeError.
    """
    return HeadReward(name if name in BUILTIN else folder / name)


def _find(head: str | Path) -> tuple[bytes, str]:
    if head in BUILTIN:
        asset = resources.files("karat.rewards").joinpath(f"assets/{head}.npz")
        return asset.read_bytes(), f"embedded/{head}"
    path = Path(head)
    try:
        return path.read_bytes(), f"head/{path.stem}"
    except OSError as error:
        raise RecipeError(
            f"no reward head '{head}' ({error.strerror or error}): give the path of a file made by"
            f" `karat reward train`, or a built-in one; {did_you_mean(path.name, BUILTIN)}"
        ) from error
