"""Arms: of the same prompts, one answer each by another rule, so that only the choice differs.

A run keeps every answer it graded, those it turned down too. The arms take from them: the best by
the score the run ranked by, one at random, the longest, the worst. A student of the best that beats
its base shows that training works; one that beats a student of random answers to the same prompts
shows that choosing did. And as rewards like length, the longest answer is the arm to beat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import orjson

from karat.errors import RecipeError, did_you_mean
from karat.lifting.wording import count
from karat.row import Message, Response, Row, digest
from karat.rundir import Run
from karat.stage import read_rows

BASE = "base"
ARMS = "arms"  # the folder of all students
TOLD = {
    "best": "best by reward", "random": "random of n", "longest": "longest of n",
    "worst": "worst by reward", "kept": "kept by the run", BASE: "base, not trained",
}  # fmt: skip
DEFAULT = ("best", "random", "longest", "worst", BASE)
FEWEST = 8  # prompts that make a student


class Candidate(NamedTuple):
    """One answer: its text, its score, whether the run kept it."""

    text: str
    score: float
    kept: bool


class Prompt(NamedTuple):
    """A prompt with its different answers, two or more, in the row's order."""

    id: str
    messages: tuple[Message, ...]
    candidates: tuple[Candidate, ...]


class Candidates(NamedTuple):
    """What a run holds: its prompts, and rows that make none, by reason."""

    by: str
    prompts: list[Prompt]
    left_out: dict[str, int]


class Trained(msgspec.Struct, frozen=True):
    """What an arm is trained on: prompts, and means over them (and seeds) of the answer's score
    and characters; the answers that are also the best arm's, as a share."""

    prompts: int
    score: float
    characters: float
    as_best: float


def candidates(run: Run, by: str | None = None) -> Candidates:
    """The accepted rows' answers, graded by `by` or by the score the run ranked by.

    A row counts with two or more different answers that have a score. Rows of a split other than
    train are held out. Raises: RecipeError where the run ranked by nothing, or too few rows count.
    """
    by = by or run.report.get("ranking")
    if not by:
        raise RecipeError(
            f"{run.path} ranked its answers by no score; name the one that chooses: --by "
            "helpsteer2.reward"
        )
    found: list[Prompt] = []
    left_out: dict[str, int] = {}
    seen: set[str] = set()
    graded: set[str] = set()
    for row in read_rows(run.accepted_file):
        graded.update(*(response.scores for response in row.responses))
        one = _prompt(row, by)
        key = row.prompt if isinstance(one, str) else one.id
        reason = one if isinstance(one, str) else "the same prompt again" if key in seen else ""
        if reason or isinstance(one, str):
            left_out[reason] = left_out.get(reason, 0) + 1
        else:
            seen.add(key)
            found.append(one)
    if len(found) < FEWEST:
        if graded and by not in graded:
            raise RecipeError(
                f"{run.path}: no answer has a score '{by}', which --by names; "
                f"{did_you_mean(by, sorted(graded))}"
            )
        told = ", ".join(f"{number:,} with {reason}" for reason, number in left_out.items())
        raise RecipeError(
            f"{run.path}: {count(len(found), 'prompt')} with two different answers that have a "
            f"score '{by}', and {FEWEST} are wanted ({told or 'the run accepted no row'}). Answer "
            "each prompt more than once: respond: {n: 8}"
        )
    return Candidates(by, found, left_out)


def _prompt(row: Row, by: str) -> Prompt | str:
    """The row's prompt, or why it is none."""
    if row.meta.get("split", "train") != "train":
        return "a split that is held out"
    if not row.messages:
        return "no prompt"
    held: dict[str, Candidate] = {}
    for response in row.responses:
        score, text = response.scores.get(by), " ".join(response.content.split())
        if text and score is not None and math.isfinite(score):
            one = Candidate(response.content, score, _kept(row, response))
            if text not in held or one.score > held[text].score:
                held[text] = one
    if len(held) < 2:
        return "fewer than two different graded answers"
    key = digest(*(part for m in row.messages for part in (m.role, m.content))).hex()
    return Prompt(key, tuple(row.messages), tuple(held.values()))


def _kept(row: Row, response: Response) -> bool:
    return any(response is one for one in row.kept())


def fewer(prompts: Sequence[Prompt], most: int | None) -> list[Prompt]:
    """As many of them, by digest: the same ones whatever else the run holds."""
    chosen = sorted(prompts, key=lambda one: one.id)[: most or len(prompts)]
    kept = {one.id for one in chosen}
    return [one for one in prompts if one.id in kept]


# --- choosing ------------------------------------------------------------------------------------

Rule = Callable[[Prompt, int], Candidate]


def _random(prompt: Prompt, seed: int) -> Candidate:
    drawn = int.from_bytes(digest("lift", str(seed), prompt.id, size=8), "little")
    return prompt.candidates[int(np.random.default_rng(drawn).integers(len(prompt.candidates)))]


RULES: Mapping[str, Rule] = {
    "best": lambda prompt, _: max(prompt.candidates, key=lambda one: one.score),
    "random": _random,
    "longest": lambda prompt, _: max(prompt.candidates, key=lambda one: len(one.text)),
    "worst": lambda prompt, _: min(prompt.candidates, key=lambda one: one.score),
    "kept": lambda prompt, _: next(
        (one for one in prompt.candidates if one.kept),
        max(prompt.candidates, key=lambda one: one.score),
    ),
}


def check_arms(names: Sequence[str]) -> tuple[str, ...]:
    """The arms as they are compared, the first with each other. Raises: RecipeError."""
    for name in names:
        if name not in TOLD:
            raise RecipeError(f"no arm '{name}'; {did_you_mean(name, TOLD)}")
    if len(names) < 2 or len(set(names)) < len(names) or names[0] == BASE:
        raise RecipeError(
            "arms: name two or more different ones, first the one that is to be shown better: "
            f"--arms {','.join(DEFAULT)}"
        )
    return tuple(names)


def chosen(prompts: Iterable[Prompt], arm: str, seed: int) -> list[Candidate]:
    """One answer to each prompt. `seed` is that of the training: random draws again for each."""
    return [RULES[arm](prompt, seed) for prompt in prompts]


def lines_of(prompts: Sequence[Prompt], arm: str, seed: int) -> list[dict[str, Any]]:
    """What the arm's student is trained on, as `trl-sft` has it."""
    return [
        {
            "prompt": [{"role": m.role, "content": m.content} for m in prompt.messages],
            "completion": [{"role": "assistant", "content": one.text}],
        }
        for prompt, one in zip(prompts, chosen(prompts, arm, seed), strict=True)
    ]


def described(prompts: Sequence[Prompt], arm: str, seeds: Sequence[int]) -> Trained:
    """An arm's answers in figures, over all its seeds."""
    best = chosen(prompts, "best", 0)
    picked = [chosen(prompts, arm, seed) for seed in seeds]
    flat = [one for part in picked for one in part]
    same = [a.text == b.text for part in picked for a, b in zip(part, best, strict=True)]
    return Trained(
        len(prompts), float(np.mean([one.score for one in flat])),
        float(np.mean([len(one.text) for one in flat])), float(np.mean(same)),
    )  # fmt: skip


def data_digest(lines: Sequence[Mapping[str, Any]]) -> str:
    """What tells one set of lines from another."""
    return digest(*(orjson.dumps(line, option=orjson.OPT_SORT_KEYS) for line in lines)).hex()


def folder_of(out: Path, arm: str, seed: int) -> Path:
    """Where an arm's student of that seed lies."""
    return out / ARMS / arm if arm == BASE else out / ARMS / arm / f"seed-{seed}"
