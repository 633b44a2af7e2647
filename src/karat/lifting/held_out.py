"""What students are measured on: prompts with something to verify, and answers people wrote.

A prompt a student was trained on measures memory. So whatever is held out is compared with the
prompts of the arms, by equal words, by runs of eight words and by meaning; what comes too near is
left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from karat.curation.embedding import embed
from karat.curation.leakage import MOST_SHARED, NEAR, Runs
from karat.curation.selection import nearest_chosen
from karat.curation.shingles import digests, normalise
from karat.curation.words import words
from karat.errors import RecipeError
from karat.report.survey_source import own_file, read_foreign
from karat.rewards.rated_files import chat_of, messages_of
from karat.row import Message, digest
from karat.rundir import Run
from karat.stage import read_rows
from karat.steps._files import input_files, read_files
from karat.verifiers.base import Item, accepted, find

CHECKED_BY = (  # the fields that a verifier reads, the clearest first
    ("instruction_id_list", "instructions"), ("constraints", "instructions"), ("test", "code"),
    ("tests", "code"), ("test_list", "code"), ("answer", "math"),
)  # fmt: skip
ASKED = ("prompt", "messages", "question", "problem", "instruction", "text")
HELPFUL = 3.5  # of 4: an answer of HelpSteer's that is a reference
FEWEST = 8
MOST_REFERENCES, LONGEST = 128, 4_000  # references, and characters of one with its prompt
SHOWN = "known are IFEval (instruction_id_list), GSM8K (question, answer), HumanEval (test), MBPP"


class Asked(NamedTuple):
    """One held-out prompt and what its verifier must know."""

    messages: tuple[Message, ...]
    meta: dict[str, Any]


class HeldOut(NamedTuple):
    """Prompts of one file with the verifier that judges answers; `near` were left out, too near to
    what is trained on. `digest` stands for the prompts and what is verified."""

    name: str
    verifier: str
    items: list[Asked]
    near: int

    @property
    def digest(self) -> str:
        return digest(*(repr(item) for item in self.items)).hex()


class Reference(NamedTuple):
    """A prompt and an answer a person wrote, or found helpful."""

    messages: tuple[Message, ...]
    answer: str


def held_out(path: Path, trained_on: Sequence[str], most: int | None = None) -> HeldOut:
    """The prompts of a file or run that can be verified, without those near `trained_on`.

    Raises: RecipeError where no verifier knows the file, or too few prompts are left.
    """
    verifier, items = "", []
    for one in _asked(path):
        name = next((name for field, name in CHECKED_BY if one.meta.get(field) is not None), "")
        verifier = verifier or name
        if name and name == verifier:
            items.append(one)
    if not items:
        raise RecipeError(f"{path}: no prompt says what to verify; {SHOWN}, and karat's own rows")
    find(verifier)
    near = too_near([_text(one.messages) for one in items], trained_on)
    left = [one for one, is_near in zip(items, near, strict=True) if not is_near]
    if len(left) < FEWEST:
        raise RecipeError(
            f"{path}: {len(left)} prompts are left of {len(items)} ({int(near.sum())} are too near "
            f"to what the arms are trained on); {FEWEST} are wanted"
        )
    left = _fewer(left, most)
    return HeldOut(str(path), verifier, left, int(near.sum()))


def references(
    path: Path, trained_on: Sequence[str], most: int = MOST_REFERENCES
) -> list[Reference]:
    """Prompts with an answer of people's, without those near `trained_on`: HelpSteer's answers
    rated helpful, Self-Instruct's own, or the first answer of any file `read` can read.

    Those longer than `LONGEST` are left out. Raises: RecipeError where too few are left.
    """
    every = list(_references(path))
    found = [one for one in every if len(_text(one.messages)) + len(one.answer) <= LONGEST]
    near = too_near([_text(one.messages) for one in found], trained_on) if found else []
    left = [one for one, is_near in zip(found, near, strict=True) if not is_near]
    if len(left) < FEWEST:
        raise RecipeError(
            f"{path}: {len(left)} prompts with an answer are left of {len(every)}; {FEWEST} are "
            "wanted"
        )
    return _fewer(left, most)


def too_near(texts: Sequence[str], others: Sequence[str]) -> Any:
    """flag_T: which texts are in the others, say more than half of the same, or mean the same."""
    if not texts or not others:
        return np.zeros(len(texts), np.bool_)
    both = normalise(pa.array([*texts, *others], pa.string()))
    rows, rest = np.arange(len(texts)), np.arange(len(texts), len(texts) + len(others))
    runs = Runs()
    runs.add(words(both))
    keys = digests(both)
    near = np.isin(keys[rows], keys[rest]) | (runs.shared(rows, rest) > MOST_SHARED)
    vectors = embed([*texts, *others])
    return near | (nearest_chosen(vectors, rest, rows).similarity >= NEAR)


def verified(held: HeldOut, answers: Sequence[str]) -> list[tuple[float, float]]:
    """(share of what was asked that an answer does, whether it does all) of each prompt's answer;
    NaN where the verifier cannot decide."""
    verify, options = find(held.verifier).verify, accepted(held.verifier, {})
    found = []
    for item, answer in zip(held.items, answers, strict=True):
        verdict = verify(Item(item.messages, answer, "", item.meta), **options)
        whole = float("nan") if verdict.passed is None else float(verdict.passed)
        found.append((whole if verdict.share is None else verdict.share, whole))
    return found


def _fewer(items: list[Any], most: int | None) -> list[Any]:
    """As many, spread by digest: the first of a file may be of one kind."""
    if most is None or len(items) <= most:
        return items
    order = sorted(range(len(items)), key=lambda i: digest(_text(items[i].messages)))
    return [items[i] for i in sorted(order[:most])]


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(m.content for m in messages if m.role != "system")


def _asked(path: Path) -> Iterator[Asked]:
    """Prompts with all their fields. Raises: RecipeError."""
    if (file := own_file(path)) is not None:
        rows = [row for row in read_rows(file) if row.messages]
        test = [row for row in rows if row.meta.get("split") == "test"]
        for row in test or ([] if (path / "recipe.yaml").is_file() else rows):
            yield Asked(tuple(row.messages), row.meta)
        if not test and (path / "recipe.yaml").is_file():
            raise RecipeError(f"{path} has no rows of a split 'test'; add `split` to its recipe")
        return
    for record in read_files(input_files(path), path):
        if record.value is None:
            raise RecipeError(f"{record.where}: {record.problem}; mend the line, or take it out")
        value = next((record.value[key] for key in ASKED if record.value.get(key)), None)
        try:
            messages = messages_of(value) if isinstance(value, str) else chat_of(value or ())
        except (KeyError, TypeError):
            messages = ()
        if messages:
            meta = record.value.get("meta")
            yield Asked(messages, {**record.value, **(meta if isinstance(meta, dict) else {})})


def _references(path: Path) -> Iterator[Reference]:
    file = own_file(path)
    if file is None and (tasks := list(_instances(path))):
        yield from tasks
        return
    seen: set[str] = set()
    for row in read_rows(file) if file else read_foreign(path):
        rated = [r for r in row.kept() if r.scores.get("human.helpfulness", 4.0) >= HELPFUL]
        text = next((r.content for r in rated if r.content.strip()), "")
        key = _text(row.messages)
        if row.dropped is None and text and key not in seen:
            seen.add(key)
            yield Reference(tuple(row.messages), text)


def _instances(path: Path) -> Iterator[Reference]:
    """Self-Instruct's tasks: an instruction, and inputs with outputs, of which the first counts."""
    for record in read_files(input_files(path), path):
        fields = record.value or {}
        first = next(iter(fields.get("instances") or ()), None)
        if isinstance(first, dict) and first.get("output") and fields.get("instruction"):
            asked = f"{fields['instruction']}\n\n{first.get('input') or ''}".strip()
            yield Reference((Message("user", asked),), str(first["output"]))


def test_split(run: Run) -> Path | None:
    """The run itself, where it has a test split of its own."""
    metas = (row.meta for row in read_rows(run.accepted_file, bare=True))
    return run.path if any(meta.get("split") == "test" for meta in metas) else None
