"""Collapse: a language model retrained on its own output, and whether `mix`'s guard sees it.

    python benchmarks/collapse.py [--data ../shared/data] [--out runs/collapse] [--seeds 3]
        [--rounds 8] [--texts …]

A word trigram model (collapse_model.py) is trained on texts that people wrote, and in each of 8
rounds trained anew on texts that the model of the round before wrote. Arms: the made texts replace
all others (0%), or 10, 20 or 50% of each round's words are people's; or all rounds accumulate, with
the people's texts of the start; each with texts as they come, and with the best of 4 by the model's
own score, its mean log-probability a word. In a control arm nobody writes but people: each round
has other human texts of the same size. Without it every round would be damaged, and a guard that
always fires would look perfect.

Damage is what it is about: the perplexity of held-out human text, as a ratio to round 0, with a 95%
interval over held-out texts; a round counts as damaged where the interval's lower end is above
1.05 (1.0, 1.1 and 1.2 are told as well). The guard sees the texts only, as `mix` would hand them
over, and its reference is a part of the human texts that no model was trained on; it fires where
karat.curation.collapse finds a figure worse than human text beyond its interval and margin. What it
would find against the round before is told apart. Corpora differ in kind; figures are per corpus
and together. Words of held-out text that the first model does not know are left out everywhere.

About 5 CPU minutes. Writes collapse.svg, collapse.csv and prints tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from collapse_model import Ints, Model, Vocabulary
from collapse_shown import show, write
from collapse_texts import corpora

from karat.curation.collapse import Comparison, compared
from karat.intervals import Interval, Resamples

ARMS = {
    "replace, 0% human": (0.0, False),
    "replace, 10% human": (0.1, False),
    "replace, 20% human": (0.2, False),
    "replace, 50% human": (0.5, False),
    "accumulate": (0.0, True),
}
CONTROL = "only people write"
BEST_OF = (1, 4)
PARTS = (0.3, 0.15, 0.25)  # of a corpus: to start from, reference, held out; the rest is control's


class Round(NamedTuple):
    """What became of one round."""

    corpus: str
    seed: int
    arm: str
    best_of: int
    number: int
    perplexity: float
    damage: Interval  # perplexity over that of round 0
    score: float  # the model's own, of what it wrote: nats a word
    tail: float  # the share of the first texts' rare word types that the training set still has
    fired: list[str]  # against human text
    fell: list[str]  # against the round before
    found: Comparison


class Start(NamedTuple):
    """A corpus cut for one seed, and the model of round 0."""

    vocabulary: Vocabulary
    first: list[Ints]
    reference: list[str]
    held: list[Ints]
    others: list[Ints]
    model: Model


def start(texts: list[str], seed: int) -> Start:
    rng = np.random.default_rng(seed)
    mixed = [texts[n] for n in rng.permutation(len(texts))]
    ends = np.rint(np.cumsum(PARTS) * len(mixed)).astype(int)
    first, reference, held, others = (
        mixed[a:b] for a, b in zip([0, *ends], [*ends, len(mixed)], strict=True)
    )
    known = Vocabulary(first)
    read = [_some(known.read(part)) for part in (first, reference, held, others)]
    model = Model(read[0], known.size)
    return Start(known, read[0], known.write(read[1]), read[2], read[3], model)


def _some(texts: list[Ints]) -> list[Ints]:
    return [text for text in texts if len(text)]


def words_of(texts: list[Ints]) -> int:
    return sum(map(len, texts))


def up_to(texts: list[Ints], wanted: float) -> list[Ints]:
    """The first texts, as many as have so many words together."""
    reach = np.cumsum([len(text) for text in texts])
    return texts[: int(np.searchsorted(reach, wanted)) + 1] if wanted > 0 else []


def told(model: Model, wanted: float, best_of: int, rng: np.random.Generator) -> list[Ints]:
    """About so many words that the model writes, each text the best of some by its own score."""
    texts: list[Ints] = []
    while (missing := wanted - words_of(texts)) > 0:
        count = max(8, int(missing / 20))
        drawn = model.write(count * best_of, rng)
        nats_T, words_T = model.log_probability(drawn)
        best = (nats_T / words_T).reshape(count, best_of).argmax(axis=1)
        texts += [drawn[n * best_of + place] for n, place in enumerate(best)]
    return up_to(texts, wanted)


def rounds(
    corpus: str, seed: int, begun: Start, arm: str, best_of: int, last: int
) -> Iterator[Round]:
    """One arm, round by round."""
    share, accumulate = ARMS.get(arm, (0.0, False))
    rng = np.random.default_rng([seed, best_of, *arm.encode()])
    size = words_of(begun.first)
    people = up_to(begun.first, share * size)
    model, kept, before = begun.model, list[Ints](), list[str]()
    base_T, words_T = begun.model.log_probability(begun.held)
    rare = _rare(begun)
    draws = Resamples(len(words_T), 0, 1_000)
    human = begun.vocabulary.write(begun.first) + begun.reference
    for number in range(1, last + 1):
        if arm == CONTROL:
            pool = [*begun.first, *begun.others]
            made = up_to([pool[n] for n in rng.permutation(len(pool))], size)
        else:
            made = told(model, size - words_of(people), best_of, rng)
        own_T, of_T = model.log_probability(made)
        kept = kept + made if accumulate else made
        inside = begun.first if accumulate else people
        model = Model([*inside, *kept], begun.vocabulary.size)
        nats_T, _ = model.log_probability(begun.held)
        damage = draws.interval([base_T, nats_T, words_T.astype(float)], _ratio)
        texts = begun.vocabulary.write(kept)
        now = begun.vocabulary.write(made)
        found = compared(texts, human, len(inside), seed=seed, meanings=False)
        fell = compared(now, human, previous=before, seed=seed, meanings=False) if before else None
        assert found is not None
        there = np.zeros(begun.vocabulary.size, np.bool_)
        there[np.concatenate([*inside, *kept])] = True
        yield Round(
            corpus, seed, arm, best_of, number, float(np.exp(-nats_T.sum() / words_T.sum())),
            damage, float(own_T.sum() / of_T.sum()), float(there[rare].mean()), found.worse,
            fell.worse if fell else [], found,
        )  # fmt: skip
        before = now


def _ratio(sums: np.ndarray) -> np.ndarray:
    return np.exp((sums[..., 0] - sums[..., 1]) / sums[..., 2])


def _rare(begun: Start) -> Ints:
    count_V = np.bincount(np.concatenate(begun.first), minlength=begun.vocabulary.size)
    return np.flatnonzero((count_V > 0) & (count_V <= 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/collapse"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    found: list[Round] = []
    for corpus, texts in corpora(asked.data).items():
        for seed in range(asked.seeds):
            begun = start(texts, seed)
            nats_T, words_T = begun.model.log_probability(begun.held)
            print(
                f"{corpus}, seed {seed}: {len(begun.first):,} texts, {words_of(begun.first):,} "
                f"words; perplexity of {len(begun.held):,} held-out texts at the start "
                f"{np.exp(-nats_T.sum() / words_T.sum()):.1f}",
                flush=True,
            )
            for best_of in BEST_OF:
                for arm in ARMS:
                    found += rounds(corpus, seed, begun, arm, best_of, asked.rounds)
            found += rounds(corpus, seed, begun, CONTROL, 1, asked.rounds)
    show(found)
    write(found, asked.out)


if __name__ == "__main__":
    main()
