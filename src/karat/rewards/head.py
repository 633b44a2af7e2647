"""A reward head: five HelpSteer2 attributes, one reward, and how sure of it the head is.

Fitted on human ratings it says all five on 0–4, and its reward compares across prompts; fitted on
preferences alone it has a reward that compares within one prompt only. Its members were each
fitted on a part of the prompts: their mean is the score, their spread the `uncertainty`. NumPy
alone reads and applies it, so a core install can grade; only one that was trained with `--frozen`
reads the layers of a language model as well (`hidden`). `head_model` has its arithmetic,
`head_file` its file.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from karat.errors import RecipeError, RowError, did_you_mean
from karat.rewards.base import UNBOUNDED, Candidates
from karat.rewards.columns import Floats, read_raw
from karat.rewards.head_file import FORMAT, head_from_bytes
from karat.rewards.head_model import ATTRIBUTES, REWARD_WEIGHTS, SCALE, Head, spread, with_reward

if TYPE_CHECKING:
    from karat.rewards._states import FrozenModel
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
_GATHERED = 32  # responses at a time where each takes a second


class HeadReward:
    """Grades with a head shipped in the package (`helpsteer2`) or made by `karat reward train`.

    A `Reward` of the kernel: `score` is pure numpy on one core, deterministic and thread-safe;
    about three milliseconds per response of ordinary length. A head that reads a language model
    needs torch and takes as long as that model; `base` is where the model lies now, one of `folder`
    if relative, instead of where it lay in training.

    Raises:
        RecipeError: no such head, or a file that is not one; no model that it reads, or another.
    """

    def __init__(
        self, head: str | Path = "helpsteer2", *, base: str | None = None, folder: Path = Path()
    ) -> None:
        data, self.name = _find(head)
        self.head = head_from_bytes(data, str(head))
        self._reader = _reader(self.head, base, folder, head)
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
        if self._reader is not None:
            self.batch = _GATHERED
            self.seen = self._reader.seen  # a head alone reads no tokens, and is not asked for any

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> Floats:
        """scores_NA in the order of `attributes`.

        On 0–4 where the head was fitted on ratings, and then an empty response scores 0 everywhere.
        `uncertainty` is the standard deviation of the members' rewards.
        """
        (found,) = self.score_many([Candidates(tuple(prompt), tuple(responses))])
        if isinstance(found, RowError):
            raise found
        return found

    def score_many(self, jobs: Sequence[Candidates]) -> list[Floats | RowError]:
        """scores_NA of each job: the trees are walked once for all of them. A RowError in place of
        those of a conversation that the language model's chat template refuses. Raises: RunError
        where that model cannot be loaded."""
        read = [self._read(job) for job in jobs]
        good = [job for job, raw in zip(jobs, read, strict=True) if not isinstance(raw, RowError)]
        scored = iter(self._scores(good, [raw for raw in read if not isinstance(raw, RowError)]))
        return [raw if isinstance(raw, RowError) else next(scored) for raw in read]

    def _read(self, job: Candidates) -> Floats | RowError:
        raw_NR = read_raw(job.prompt, job.responses, self.head.columns.static)
        if self._reader is None:
            return raw_NR
        try:
            return np.hstack([raw_NR, self._reader.read(job.prompt, job.responses)])
        except RowError as error:
            return error

    def _scores(self, jobs: Sequence[Candidates], raw: Sequence[Floats]) -> list[Floats]:
        if not jobs:
            return []
        raw_NR = np.concatenate(raw)
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


def load(name: str, folder: Path, *, base: str | None = None) -> HeadReward:
    """The head behind `embedded/NAME` or `head/PATH.npz`, a relative path being one of `folder`.

    `base`: where the language model lies that the head reads, if not where it lay in training.
    Loads nothing of torch. Raises: RecipeError.
    """
    return HeadReward(name if name in BUILTIN else folder / name, base=base, folder=folder)


def _reader(head: Head, base: str | None, folder: Path, file: str | Path) -> FrozenModel | None:
    """What reads the head's language model, None where it needs none. Raises: RecipeError."""
    if head.hidden is None:
        if base is not None:
            raise RecipeError(f"{file} reads no language model: leave `base` out")
        return None
    from karat.rewards._states import FrozenModel, check

    where = folder if base is not None else Path(file).parent
    check(head.hidden.reading, base, where)
    return FrozenModel(head.hidden.reading, base, where)


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
