"""Whether a training set still says what people say: a guard against collapse.

A model trained on its predecessor's output forgets the rare first. No score shows it: a judge's
rises while the loss on human text grows, and distinct-n or compression can move the wrong way. So
nothing here looks at a reward. What is asked is how well a set prepares for human text that is
*not* in it: which of its words, rare words and word pairs the set has, and how surprising it would
be to a small smoothed model of the set, each time beside human text of the same size. Variety at
equal size (entropy, word types, Vendi score) is measured too and judged against nothing, since it
differs from one kind of text to another.

Every figure comes from half samples of texts, drawn without replacement (see subsamples.py for why
it is no bootstrap): half of the reference, half of the set, and as much of other human text. The
human rows of the set are drawn from that same human half, so that no text is in the reference too.
The spread gives the intervals, and only what is worse beyond its interval and a margin counts.

Source: collapse of tails, Shumailov et al. 2024 (Nature 631) and 2410.13098; accumulating bounds
it, Gerstgrasser et al. (2404.01413). The margins: benchmarks/collapse.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from karat.curation.embedding import embed
from karat.curation.shingles import Ints, chunks, normalise, words
from karat.intervals import LEVEL, Interval

DRAWS = 24
LEAST_WORDS = 1_000  # of each half; of fewer, nothing is judged
RARE = 3  # a word that the reference says so often, or less, is of its tail
DISCOUNT = 0.75  # of absolute discounting, as in most of the literature
EMBEDDED = 400  # texts of each side for a Vendi score
LEAST_EMBEDDED = 16
REFERENCE = 1 / 3  # of the human texts, those kept to compare with
# How far each figure may go the wrong way before it counts, as a ratio; benchmarks/collapse.py has
# what other margins would find. Those left out are told and not judged.
MARGINS = {"surprise": 1.02, "rare_words": 0.9, "word_pairs": 0.98}
SAID = {
    "surprise": "human text would be {ratio:.2f} times as surprising to a model of {set}",
    "rare_words": "{set} has {ratio:.0%} of the rare human words that {base} has",
    "word_pairs": "{set} has {ratio:.0%} of the human word pairs that {base} has",
}
Floats = NDArray[np.float64]


class Figure(msgspec.Struct, frozen=True):
    """A measure of the set and of what it is compared with, and the interval of their ratio."""

    value: float
    base: float
    ratio: Interval
    worse: bool = False


class Comparison(msgspec.Struct, frozen=True):
    """One set beside another; figures by name. See `compared`."""

    figures: dict[str, Figure]
    seen: bool  # whether the reference had to be taken from texts that are in the set

    @property
    def worse(self) -> list[str]:
        """The judged figures that are worse beyond their interval and margin, in order."""
        return [name for name, figure in self.figures.items() if figure.worse]

    def says(self, of: str, base: str) -> str:
        """What is worse, in words; empty where nothing is."""
        return "; ".join(
            SAID[name].format(ratio=self.figures[name].ratio.value, set=of, base=base)
            for name in self.worse
        )

    def notes(self) -> dict[str, dict[str, float | list[float]]]:
        """The figures for report.json."""
        return {
            name: {
                "mix": f.value,
                "base": f.base,
                "ratio": f.ratio.value,
                "interval": [f.ratio.low, f.ratio.high],
            }
            for name, f in self.figures.items()
        }


def compared(
    made: Sequence[str],
    human: Sequence[str],
    used: int = 0,
    *,
    previous: Sequence[str] | None = None,
    seed: int = 0,
    meanings: bool = True,
) -> Comparison | None:
    """The set of the `made` texts and the first `used` of the `human` ones, beside as much human
    text; with `previous`, only `made` beside as much of those. None where there is too little text
    to tell.

    The reference is a third of the human texts, from their end, of those not used as far as there
    are: best texts that no model was trained on, for a model knows the words of those it was.

    All at equal numbers of words. surprise: the perplexity of the reference under a word pair model
    (absolute discounting) of the set; words, rare_words: the share of its word types, and of those
    that the whole reference says at most 3 times, that the set has; word_pairs: the share of its
    running word pairs; entropy: e to the power of the entropy of words; types: different words;
    vendi, in 1 … 256: of order 2, of static embeddings, at equal numbers of texts, up to 400; only
    with `meanings`, for it takes as long as all the others.
    Above 1 is worse for the ratio of surprise, better for all others.
    """
    seen, split = _split(len(human), used)
    held = np.arange(split, len(human))
    bag = _Bag([*human, *made, *(previous or ())])
    first, last = len(human), len(human) + len(made)
    made_M = np.arange(first, last)
    other_N = np.arange(split) if previous is None else np.arange(last, bag.texts)
    rare_V = np.bincount(bag.take(held)[0], minlength=bag.vocabulary) <= RARE
    inside = min(used, split) if previous is None else 0
    inside_share = inside / max(1, split)
    if not _enough(bag.size[held], bag.size[other_N], bag.size[made_M], inside_share):
        return None
    rng = np.random.default_rng(seed)
    drawn: list[dict[str, tuple[float, float]]] = []
    for _ in range(DRAWS):
        reference = bag.take(_half(held, rng))
        others = _half(other_N, rng)
        inner = others[: round(inside_share * len(others))]
        places = rng.permutation(np.concatenate([inner, _half(made_M, rng)]))
        # A set that hardly has words left is no reason to take as little human text.
        equal = max(LEAST_WORDS, int(min(bag.size[places].sum(), bag.size[others].sum())))
        sides = [bag.take(_up_to(bag, some, equal)) for some in (places, rng.permutation(others))]
        drawn.append(_fit(bag, reference, sides, rare_V) | _variety(sides))
    figures = {name: _figure(name, [one[name] for one in drawn]) for name in drawn[0]}
    if meanings:
        texts = [*human, *made, *(previous or ())]
        figures |= _vendi(texts, made_M, other_N[:split], inside_share, rng)
    return Comparison(figures, seen)


def _split(human: int, used: int) -> tuple[bool, int]:
    """(whether the reference was used, where it begins)."""
    start = human - math.ceil(REFERENCE * human)
    if used <= start:
        return False, start
    if human - used >= REFERENCE * human / 2:  # half of what was meant is still enough
        return False, used
    return True, start


def _enough(held: Ints, other: Ints, made: Ints, inside_share: float) -> bool:
    """Whether halves hold enough words. A set of many texts that hardly have any is told, not
    passed over: models do end in nothing but brackets."""
    people = min(int(held.sum()), int(other.sum()))
    if people / 2 < LEAST_WORDS:
        return False
    words = int(made.sum()) + inside_share * int(other.sum())
    usual = len(made) * float(other.mean())
    return words / 2 >= LEAST_WORDS or (usual / 2 >= LEAST_WORDS and int(made.sum()) < usual / 2)


class _Bag:
    """Texts as numbers of words and of word pairs, each text's in one piece."""

    def __init__(self, texts: Sequence[str]) -> None:
        normal = normalise(pa.array(list(texts), pa.string()))
        parts = [words(chunk) for chunk in chunks(normal)]
        flat = np.concatenate([np.zeros(0, np.uint64), *(part.hashes for part in parts)])
        sizes = [np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)]
        self.size: Ints = np.concatenate(sizes)
        self.texts = len(self.size)
        self._offsets = np.append(0, np.cumsum(self.size))
        known, self._words = np.unique(flat, return_inverse=True)
        self.vocabulary = len(known)
        # What a text begins with follows its edge, a word of its own that is never said.
        left = np.append(self.vocabulary, self._words[:-1])[: len(flat)]
        left[self._offsets[:-1][self.size > 0]] = self.vocabulary
        pairs, self._pairs = np.unique(
            left * (self.vocabulary + 1) + self._words, return_inverse=True
        )
        self.pairs, self.left = len(pairs), pairs // (self.vocabulary + 1)

    def take(self, places: Ints) -> tuple[Ints, Ints]:
        """(words_W, pairs_W) of some texts; a word's pair is the one that ends in it."""
        size = self.size[places]
        ends = np.cumsum(size)
        total = int(ends[-1]) if len(ends) else 0
        flat = np.arange(total) + np.repeat(self._offsets[places] - (ends - size), size)
        return self._words[flat], self._pairs[flat]


def _half(places: Ints, rng: np.random.Generator) -> Ints:
    return rng.permutation(places)[: max(1, len(places) // 2)]


def _up_to(bag: _Bag, places: Ints, wanted: int) -> Ints:
    """The first of the texts, as many as have so many words together, or all."""
    enough = np.searchsorted(np.cumsum(bag.size[places]), wanted) + 1
    return places[:enough]


def _fit(
    bag: _Bag, reference: tuple[Ints, Ints], sides: Sequence[tuple[Ints, Ints]],
    rare_V: NDArray[np.bool_],
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """How well each side prepares for the reference, by name."""
    said_V = np.zeros(bag.vocabulary, np.bool_)
    said_V[reference[0]] = True
    found: dict[str, list[float]] = {}
    for words_W, pairs_W in sides:
        count_V = np.bincount(words_W, minlength=bag.vocabulary)
        count_P = np.bincount(pairs_W, minlength=bag.pairs)
        figures = {
            "surprise": _surprise(bag, reference, count_V, count_P),
            "words": _part(count_V[said_V] > 0),
            "rare_words": _part(count_V[said_V & rare_V] > 0),
            "word_pairs": _part(count_P[reference[1]] > 0),
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    return {name: (values[0], values[-1]) for name, values in found.items()}


def _part(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _surprise(bag: _Bag, reference: tuple[Ints, Ints], count_V: Ints, count_P: Ints) -> float:
    """The perplexity of the reference: pairs back off to words, words to all words there are."""
    words_W, pairs_W = reference
    total = max(1, int(count_V.sum()))
    gone = DISCOUNT * np.count_nonzero(count_V) / total if count_V.any() else 1.0
    word_W = np.maximum(count_V[words_W] - DISCOUNT, 0) / total + gone / bag.vocabulary
    before_V = np.bincount(bag.left, count_P, minlength=bag.vocabulary + 1)
    kinds_V = np.bincount(bag.left, count_P > 0, minlength=bag.vocabulary + 1)
    left_W = bag.left[pairs_W]
    known = np.maximum(before_V[left_W], 1)
    pair_W = np.maximum(count_P[pairs_W] - DISCOUNT, 0) + DISCOUNT * kinds_V[left_W] * word_W
    p_W = np.where(before_V[left_W] > 0, pair_W / known, word_W)
    return float(np.exp(-np.log(p_W).mean()))


def _variety(sides: Sequence[tuple[Ints, Ints]]) -> dict[str, tuple[float, float]]:
    """Variety of each side at equal numbers of words, by name."""
    equal = min(len(words_W) for words_W, _ in sides)
    entropy, types = [], []
    for words_W, _ in sides:
        count_V = np.bincount(words_W[:equal])
        share = count_V[count_V > 0] / max(1, equal)
        entropy.append(float(np.exp(-(share * np.log(share)).sum())))
        types.append(float(len(share)))
    return {"entropy": (entropy[0], entropy[1]), "types": (types[0], types[1])}


def _vendi(
    texts: Sequence[str], made: Ints, other: Ints, inside_share: float, rng: np.random.Generator
) -> dict[str, Figure]:
    """The Vendi score of meanings, of as many texts of both sides, from halves as above."""
    human = round(inside_share * len(other))
    some = min(EMBEDDED, len(made) + human, len(other))
    if some < LEAST_EMBEDDED:
        return {}
    inner = round(some * human / max(1, human + len(made)))
    mix = np.concatenate([rng.permutation(other)[:inner], rng.permutation(made)[: some - inner]])
    sides = [embed([texts[n] for n in part]) for part in (mix, rng.permutation(other)[: len(mix)])]
    halves = [[side[_half(np.arange(len(side)), rng)] for side in sides] for _ in range(DRAWS)]
    return {"vendi": _figure("vendi", [(_spread(one), _spread(two)) for one, two in halves])}


def _spread(vectors_ND: NDArray[np.float32]) -> float:
    """The Vendi score of order 2, whose matrix needs no eigenvalues: 1 / |covariance|²."""
    known_ND = vectors_ND[vectors_ND.any(axis=1)]
    square = float(((known_ND.T @ known_ND) ** 2).sum())
    return len(known_ND) ** 2 / square if square else 0.0


def _figure(name: str, drawn: Sequence[tuple[float, float]]) -> Figure:
    """Mean figures, and the ratio with its interval, on a scale of logarithms."""
    value_D = np.array(drawn, np.float64)
    mean = value_D.mean(axis=0)
    if (value_D <= 0).any():
        # Nothing of the kind on one side: no logarithm, and no doubt either if it was there.
        lost = bool(mean[0] <= 0 < mean[1])
        ratio = Interval(0.0, 0.0, 0.0) if lost else Interval(1.0, 0.0, math.inf)
        return Figure(float(mean[0]), float(mean[1]), ratio, lost and name in MARGINS)
    log_D = np.log(value_D[:, 0] / value_D[:, 1])
    middle = float(log_D.mean())
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * float(log_D.std(ddof=1))
    ratio = Interval(*(math.exp(middle + way * reach) for way in (0, -1, 1)))
    return Figure(float(mean[0]), float(mean[1]), ratio, _worse(name, ratio))


def _worse(name: str, ratio: Interval) -> bool:
    margin = MARGINS.get(name)
    if margin is None:
        return False
    return ratio.low > margin if margin > 1 else ratio.high < margin
