"""The checks: what the evidence says of a reward. Each is one silent fault and nothing else.

Every finding comes from something that was measured, and says the figure. Scores alone cannot show
everything: what a check could not see is left to `unchecked`, never passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import NamedTuple

import numpy as np

from karat.checking.findings import SEVERITIES, Finding
from karat.checking.probes import BRIEF
from karat.checking.reading import doubled, length, other_template, smuggled
from karat.checking.trial import NOISE, Evidence, Floats, blind
from karat.intervals import share
from karat.rewards.base import UNBOUNDED, Reward, is_asking

CHECKS = (
    "answers", "scale", "identical", "saturation", "order", "bos", "template", "system", "length",
    "ranking",
)  # fmt: skip
DRIFT = 0.25  # of σ: what changes who wins
BUNCHED = 0.2  # of scores within EDGE of 0 or 1
EDGE = 0.02


def all_scores(found: Evidence, attribute: str) -> Floats:
    """Every score of an attribute."""
    values = found.first[:, :, found.attributes.index(attribute)].ravel()
    return values[np.isfinite(values)]


def answered(found: Evidence) -> Iterator[Finding]:
    """Whether it answers at all, and on the scale it states."""
    if found.silent and not found.refusals:
        yield Finding(
            "answers", "warning", f"it has no score for any of {found.questions} questions",
            "what it would say of others is not known",
            "nothing, where it knows only ratings that people gave to certain responses",
        )  # fmt: skip
    if not found.refusals:
        return
    said = max(set(found.refusals), key=lambda text: (found.refusals.count(text), text))
    scale = "out of the scale" in said
    yield Finding(
        "scale" if scale else "answers", "error",
        f"{len(found.refusals)} of {found.questions} questions got no usable score: {said}",
        "a run would drop every such row",
        "name the attributes with the scale the model really has, or leave the scale out"
        if scale else "mend what it says before grading",
    )  # fmt: skip


def identical(found: Evidence) -> Iterator[Finding]:
    """The same score whatever the text says."""
    for name in found.attributes:
        values = all_scores(found, name)
        if len(values) > 2 and np.ptp(values) <= 1e-9 * max(1.0, abs(values[0])):
            yield Finding(
                "identical", "error",
                f"{name} is {values[0]:g} for all of {len(values)} answers, good and bad",
                "nothing can be ranked by it, and every choice would be a draw of lots",
                "ask the address and the model that score: an untrained or one-label softmax head "
                "says 1.0 to everything",
            )  # fmt: skip


def saturated(found: Evidence, reward: Reward) -> Iterator[Finding]:
    """A sigmoid or softmax over a reward that has no scale."""
    free = [name for name in found.attributes if reward.attributes[name] == UNBOUNDED]
    if len(free) > 1:
        sums = found.first[:, :, [found.attributes.index(name) for name in free]].sum(axis=2)
        sums = sums[np.isfinite(sums)]
        if len(sums) and np.abs(sums - 1).max() < 1e-3:
            yield _activation(f"the {len(free)} outputs add up to 1 for every answer: a softmax")
            return
    for name in free:
        values = all_scores(found, name)
        if len(values) < 8 or np.ptp(values) == 0 or values.min() < 0 or values.max() > 1:
            continue
        near = float(np.mean((values < EDGE) | (values > 1 - EDGE)))
        seen = (
            f"all {len(values)} scores of {name} lie from {values.min():.4f} to {values.max():.4f}"
        )
        if near >= BUNCHED:
            yield _activation(f"{seen}, {near:.0%} of them within {EDGE:g} of 0 or 1")
        else:
            yield Finding(
                "saturation", "warning", seen,
                "a reward without a scale seldom stays between 0 and 1: a sigmoid would do this, "
                "and it flattens the differences between good answers",
                "see whether the server applies an activation; if the model scores so by itself, "
                f"name the scale: attributes: {{{name}: [0, 1]}}",
            )  # fmt: skip


def _activation(seen: str) -> Finding:
    return Finding(
        "saturation", "error", seen,
        "an activation squashes the reward: good answers all become 1.0 and cannot be told apart",
        "let the server send the raw output: start vLLM with --pooler-config "
        "'{\"use_activation\": false}', before 0.11 with --override-pooler-config "
        "'{\"softmax\": false}'; behind SGLang use /classify, not /v1/classify",
    )  # fmt: skip


def repeats(found: Evidence) -> Iterator[Finding]:
    """Other scores in another order, or in other company."""
    worst, name, moved = 0.0, "", 0.0
    for place, attribute in enumerate(found.attributes):
        first, again = found.first[:, :, place], found.again[:, :, place]
        gaps, spread = np.abs(first - again), float(np.nanstd(first))
        if spread > 0 and np.isfinite(gaps).any() and np.nanmax(gaps) / spread > worst:
            worst, name, moved = float(np.nanmax(gaps) / spread), attribute, float(np.nanmax(gaps))
    if worst <= NOISE:
        return
    yield Finding(
        "order", "error" if worst > DRIFT else "warning",
        f"{name} of the same answer moved by up to {moved:.3g} ({worst:.2f} σ) when its prompt's "
        "answers were asked in the other order",
        "what an answer scores depends on what it was graded with, so a run graded twice keeps "
        "other responses",
        "for a model: grade in float32, or one response a request; for a judge: ask in both "
        "orders, with temperature 0",
    )  # fmt: skip


class Duel(NamedTuple):
    """How often the good answer beat another kind, and lost to it, of so many."""

    against: str
    won: int
    lost: int
    rows: int

    @property
    def told(self) -> bool:
        """Whether it is told from chance."""
        return share(self.won, self.rows).low > 0.5

    @property
    def reversed(self) -> bool:
        return share(self.lost, self.rows).low > 0.5

    def __str__(self) -> str:
        interval = share(self.won, self.rows)
        return f"{self.won} of {self.rows} (95%: {interval.low:.0%} to {interval.high:.0%})"


def duels(found: Evidence) -> list[Duel]:
    """Good answers against bad ones, and against good answers to other questions."""
    scores_PN = found.of_main(found.first)
    made = []
    for place, against in ((1, "bad ones"), (2, "answers to another question")):
        gaps = scores_PN[:, 0] - scores_PN[:, place]
        gaps = gaps[np.isfinite(gaps)]
        if len(gaps):
            made.append(Duel(against, int((gaps > 0).sum()), int((gaps < 0).sum()), len(gaps)))
    return made


def ranking(found: Evidence, reward: Reward) -> Iterator[Finding]:
    """Good answers that do not rank above others."""
    every = duels(found)
    said = ", ".join(f"above {duel.against} in {duel}" for duel in every)
    seen = f"{found.main} puts good answers {said}"
    mend = (
        "the model reads another format than it was trained on (look at the chat template), its "
        "output has the opposite sign, or it is no reward model"
    )
    if is_asking(reward):
        mend = (
            "the model that is asked cannot tell them apart: ask a stronger one, or ask otherwise"
        )
    if any(duel.reversed for duel in every):
        yield Finding("ranking", "error", seen, "it prefers the worse answers", mend)
    elif every and not any(duel.told for duel in every):
        why = "on answers nobody would quarrel about it is no better than chance"
        yield Finding("ranking", "error", seen, why, mend)
    else:
        for duel in every:
            if not duel.told:
                yield Finding(
                    "ranking", "warning",
                    f"{found.main} puts good answers above {duel.against} in only {duel}",
                    "on this kind of difference it is not told from chance",
                    "do not rely on it where this difference matters; grade with a second reward",
                )  # fmt: skip


def figures(found: Evidence, reward: Reward) -> dict[str, str]:
    """What was measured."""
    made = {f"good above {duel.against}": str(duel) for duel in duels(found)}
    for name in found.attributes:
        values = all_scores(found, name)
        if len(values):
            low, high = reward.attributes[name]
            scale = f" on a scale of {low:g} to {high:g}" if isfinite(low + high) else ""
            made[f"{name}"] = (
                f"{values.min():.4g} to {values.max():.4g}, σ {values.std():.3g}{scale}"
            )
    gaps = np.abs(found.first - found.again)
    if np.isfinite(gaps).any():
        made["moved when asked again"] = f"{np.nanmax(gaps):.3g}"
    read = [one.words for one in found.lengths if not one.refusal and not blind(one, found.noise)]
    if read:
        made["longest text read to its end"] = f"{max(read):,} words"
    refused = [one for one in found.lengths if one.refusal]
    if refused:
        made["refused, not cut"] = f"from {refused[0].words:,} words on: {refused[0].refusal[:160]}"
    if found.seen is not None and found.seen.limit:
        made["context"] = f"{found.seen.limit:,} tokens"
    return made


def unchecked(found: Evidence, reward: Reward) -> dict[str, str]:
    """What could not be seen, and why."""
    made: dict[str, str] = {}
    if found.silent:
        return dict.fromkeys(CHECKS, "it gave no scores")
    if not np.isfinite(found.again).any():
        made["order"] = "asked again it gave no scores"
    if getattr(reward, "rewards", ()):
        made["length"] = "it weighs others against each other: check each of them by itself"
    elif found.coarse:
        made["length"] = "its scores have too few values: two that are equal say nothing"
    elif found.lengths[0].refusal:
        made["length"] = f"refuses even {found.lengths[0].words} words"
    if found.seen is None:
        made["bos"] = found.unseen or "no tokens to look at"
    systems = found.systems
    blind_to_it = systems.get(None) is not None and systems.get(None) == systems.get(BRIEF)
    pieces = found.text or (found.seen is not None and found.seen.pieces is not None)
    if not pieces and BRIEF not in found.system_tokens:
        if BRIEF not in systems:
            made["system"] = "it takes no conversation with a system prompt"
        elif found.coarse or blind_to_it:
            made["system"] = "a system prompt does not change its scores"
    if found.otherwise is None:
        made["template"] = "no other template to compare with; see the ranking"
    return made


def everything(found: Evidence, reward: Reward) -> list[Finding]:
    """All findings, gravest first."""
    if found.silent:
        return [*answered(found)]
    flat = [*identical(found)]
    made = [
        *answered(found), *flat, *saturated(found, reward), *doubled(found),
        *other_template(found), *smuggled(found), *repeats(found),
        *(() if getattr(reward, "rewards", ()) else length(found)),
        *(() if flat else ranking(found, reward)),
    ]  # fmt: skip
    return sorted(made, key=lambda one: SEVERITIES.index(one.severity))
