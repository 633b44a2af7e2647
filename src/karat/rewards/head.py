"""A reward head: five HelpSteer2 attributes and one reward from the features of a response.

The shape is that of Nemotron-4-340B-Reward, a representation of prompt and response with a small
head on top, one output per attribute. The head is half a linear map and half a forest of random
trees, averaged: the forest finds what only holds together (short *and* asked for briefly), the
linear half keeps the order right outside what the forest has seen, such as loops and cut-off text.
Numpy alone reads and applies it, so a core install can grade.

Source: arXiv 2406.08673, HelpSteer2 (five attributes on 0–4; the weights of `reward` are its
"goodness" .65 helpfulness + .8 correctness + .45 coherence, divided by 1.9 to stay on 0–4).
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from karat.errors import RecipeError, did_you_mean
from karat.rewards import features
from karat.rewards.base import Candidates

if TYPE_CHECKING:
    from karat.row import Message

Floats = NDArray[np.float64]
Ints = NDArray[np.int32]

FORMAT = "karat-reward-head-1"
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
REWARD_WEIGHTS = (0.65 / 1.9, 0.8 / 1.9, 0.45 / 1.9, 0.0, 0.0)
SCALE = (0.0, 4.0)
BUILTIN = ("helpsteer2",)
_Z_LIMIT = 3.0
_DECIMALS = 6
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map on features clipped to `low_F`..`high_F` and standardised to ±3 deviations.

    Clipping bounds what a text unlike any seen in training can do to the score.
    """

    low_F: Floats
    high_F: Floats
    mean_F: Floats
    scale_F: Floats
    weight_FA: Floats
    bias_A: Floats

    def standardise(self, x_NF: Floats) -> Floats:
        """z_NF: clipped, centred, in deviations."""
        z_NF = (np.clip(x_NF, self.low_F, self.high_F) - self.mean_F) / self.scale_F
        return np.asarray(np.clip(z_NF, -_Z_LIMIT, _Z_LIMIT), dtype=np.float64)

    def predict(self, x_NF: Floats) -> Floats:
        """y_NA on the attributes' scale, unclipped."""
        # One row at a time: a product of the whole matrix rounds differently for different N, and a
        # score must not depend on what else was graded with it.
        rows = [z_F @ self.weight_FA for z_F in self.standardise(x_NF)]
        return np.array(rows).reshape(-1, len(self.bias_A)) + self.bias_A


@dataclass(frozen=True, slots=True)
class Forest:
    """Regression trees laid end to end: node i goes to `child[i]`, or one further if x > threshold.

    A leaf is its own child with an infinite threshold, so every response walks `depth` steps
    through every tree at once and no step asks who has arrived.
    """

    roots_T: Ints
    feature_K: Ints
    threshold_K: Floats
    child_K: Ints
    value_KA: Floats
    depth: int

    def predict(self, x_NF: Floats) -> Floats:
        """y_NA: the mean over the trees."""
        # scikit-learn compares in float32, and so must this, to take the same turns.
        x32_NF = x_NF.astype(np.float32)
        blocks = [self._block(x32_NF[i : i + _BLOCK]) for i in range(0, len(x_NF), _BLOCK)]
        return np.concatenate(blocks) if blocks else np.empty((0, self.value_KA.shape[1]))

    def _block(self, x_NF: NDArray[np.float32]) -> Floats:
        rows_N1 = np.arange(len(x_NF))[:, None]
        node_NT = np.broadcast_to(self.roots_T, (len(x_NF), len(self.roots_T)))
        for _ in range(self.depth):
            right_NT = x_NF[rows_N1, self.feature_K[node_NT]] > self.threshold_K[node_NT]
            node_NT = self.child_K[node_NT] + right_NT
        return np.asarray(self.value_KA[node_NT].mean(axis=1), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Head:
    """A linear map and a forest, averaged; `meta` is what the training command wrote down."""

    linear: Linear
    forest: Forest
    meta: dict[str, Any]

    def predict(self, x_NF: Floats) -> Floats:
        """y_NA in the order of `ATTRIBUTES`, 0–4."""
        y_NA = (self.linear.predict(x_NF) + self.forest.predict(x_NF)) / 2
        return np.asarray(np.clip(y_NA, *SCALE), dtype=np.float64)

    def to_bytes(self) -> bytes:
        """The head as an .npz; the same head gives the same bytes."""
        meta = self.meta | {
            "format": FORMAT,
            "features": features.VERSION,
            "names": list(features.NAMES),
            "attributes": list(ATTRIBUTES),
            "depth": self.forest.depth,
        }
        file = io.BytesIO()
        np.savez_compressed(
            file,
            meta=np.frombuffer(json.dumps(meta, sort_keys=True).encode(), dtype=np.uint8),
            linear=_pack_linear(self.linear),
            bias=self.linear.bias_A,
            roots=self.forest.roots_T,
            feature=self.forest.feature_K.astype(np.uint8),
            threshold=self.forest.threshold_K.astype(np.float32),
            step=(self.forest.child_K - np.arange(len(self.forest.child_K))).astype(np.uint16),
            value=np.round(self.forest.value_KA * _QUANTA).astype(np.uint16),
        )
        return file.getvalue()


_UNREADABLE = (
    *(AttributeError, LookupError, TypeError, ValueError),
    *(EOFError, OSError, zipfile.BadZipFile, zlib.error),
)
_QUANTA = 1000.0  # leaves are stored to a thousandth of a point
_LINEAR_ROWS = 4
_DEEPEST = 1000


def _pack_linear(linear: Linear) -> Floats:
    rows = (linear.low_F, linear.high_F, linear.mean_F, linear.scale_F)
    return np.vstack([*rows, linear.weight_FA.T])


def head_from_bytes(data: bytes, where: str) -> Head:
    """Read a head; `where` names it in errors.

    Raises:
        RecipeError: the bytes are no head, or a head of another version of the features.
    """
    again = "make it again with `karat reward train`"
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        found = (meta["format"], meta["features"], meta["names"], meta["attributes"])
    except _UNREADABLE as error:
        raise RecipeError(f"{where}: not a reward head; {again}") from error
    if found != (FORMAT, features.VERSION, list(features.NAMES), list(ATTRIBUTES)):
        raise RecipeError(
            f"{where}: a reward head of another version ({found[0]}, features {found[1]}); this"
            f" karat reads {FORMAT}, features {features.VERSION}: {again}"
        )
    try:
        head = _unpack(arrays, meta)
    except _UNREADABLE as error:
        raise RecipeError(f"{where}: a damaged reward head; {again}") from error
    return head


def _unpack(arrays: dict[str, NDArray[Any]], meta: dict[str, Any]) -> Head:
    rows, width = arrays["linear"].astype(np.float64), len(features.NAMES)
    low_F, high_F, mean_F, scale_F, *weights = rows
    bias_A = arrays["bias"].astype(np.float64)
    linear = Linear(low_F, high_F, mean_F, scale_F, np.array(weights).T.copy(), bias_A)
    nodes = len(arrays["step"])
    forest = Forest(
        roots_T=arrays["roots"].astype(np.int32),
        feature_K=arrays["feature"].astype(np.int32),
        threshold_K=arrays["threshold"].astype(np.float64),
        child_K=(arrays["step"] + np.arange(nodes)).astype(np.int32),
        value_KA=arrays["value"] / _QUANTA,
        depth=int(meta["depth"]),
    )
    right = forest.child_K + np.isfinite(forest.threshold_K)
    if (
        rows.shape != (_LINEAR_ROWS + len(ATTRIBUTES), width)
        or not np.isfinite(rows).all()
        or forest.value_KA.shape != (nodes, len(ATTRIBUTES))
        or not 0 < forest.depth <= _DEEPEST
        or not nodes
        or max(forest.roots_T.max(), right.max()) >= nodes
        or forest.feature_K.max() >= width
    ):
        raise ValueError("arrays do not fit together")
    return Head(linear, forest, meta)


class HeadReward:
    """Grades with a head shipped in the package (`helpsteer2`) or made by `karat reward train`.

    A `Reward` of the kernel: `score` is pure numpy on one core, deterministic and thread-safe;
    about a millisecond per response of ordinary length.

    Raises:
        RecipeError: no such head, or a file that is not one.
    """

    def __init__(self, head: str | Path = "helpsteer2") -> None:
        data, self.name = _find(head)
        self.head = head_from_bytes(data, str(head))
        self.identity = f"{self.name}@{blake2b(data, digest_size=8).hexdigest()}"
        self.attributes: dict[str, tuple[float, float]] = dict.fromkeys(
            (*ATTRIBUTES, "reward"), SCALE
        )
        self.licence = str(self.head.meta.get("licence", "unknown"))
        self.within_prompt: frozenset[str] = frozenset()  # regression: comparable anywhere
        self.models: tuple[str, ...] = ()
        self.batch = 256

    def score(self, prompt: Sequence[Message], responses: Sequence[str]) -> Floats:
        """scores_NA, all on 0–4: `ATTRIBUTES`, then `reward`, their weighted mean.

        An empty response scores 0 everywhere.
        """
        return self.score_many([Candidates(tuple(prompt), tuple(responses))])[0]

    def score_many(self, jobs: Sequence[Candidates]) -> list[Floats]:
        """scores_NA of each job: the trees are walked once for all of them."""
        x_NF = np.concatenate([features.features(job.prompt, job.responses) for job in jobs])
        scores_NA = np.round(with_reward(self.head.predict(x_NF)), _DECIMALS)
        texts = [response for job in jobs for response in job.responses]
        scores_NA[[not response.strip() for response in texts]] = 0.0
        return np.split(scores_NA, np.cumsum([len(job.responses) for job in jobs])[:-1])

    def __repr__(self) -> str:
        return f"HeadReward({self.identity!r})"


def with_reward(y_NA: Floats) -> Floats:
    """The five attributes with `reward` appended: their weighted mean under `REWARD_WEIGHTS`."""
    return np.column_stack([y_NA, (y_NA * np.array(REWARD_WEIGHTS)).sum(axis=1)])


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
