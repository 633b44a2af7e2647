"""Where best_of_n.py's scores come from: humans, urns of their ratings, a small model, heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import best_of_n_instructions
import numpy as np
from numpy.typing import NDArray

import karat
from karat.rewards.columns import read_raw
from karat.rewards.head import REWARD_WEIGHTS, Head
from karat.row import Row
from karat.step import StepCall
from karat.steps.grade import grade
from karat.steps.read import read
from karat.steps.respond import respond
from karat.steps.verify import verify
from karat.table import SCHEMA, from_batch
from karat.training.ratings import read_human
from karat.training.reward_cross import folds_of
from karat.training.reward_fit import fit_head
from karat.training.reward_settings import Settings
from karat.training.reward_table import Table, table_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MODEL, REWARD = "embedded/smollm2-135m", "embedded/helpsteer2"


def prompts(data: Path, count: int) -> list[dict[str, str]]:
    """MT-Bench first turns and Self-Instruct user tasks in turn, of up to 600 characters."""
    lines = [
        (data / f"prompts/{name}.jsonl").read_text("utf-8").splitlines()
        for name in ("mt-bench", "self-instruct-user")
    ]
    bench = [json.loads(line)["turns"][0] for line in lines[0]]
    tasks = [json.loads(line) for line in lines[1]]
    asked = [f"{t['instruction']}\n\n{t['instances'][0]['input']}".strip() for t in tasks]
    mixed = zip([t for t in bench if len(t) <= 600], [t for t in asked if len(t) <= 600])  # noqa: B905
    flat = [
        {"prompt": text, "from": name}
        for pair in mixed
        for text, name in zip(pair, ("mt-bench", "self-instruct"), strict=True)
    ]
    return flat[:count]


def generate(data: Path, out: Path, count: int, samples: int) -> list[Row]:
    """Rows with `samples` graded answers each; what was bought before is not bought again."""
    return bought(out, prompts(data, count), samples, 48, grade(reward=REWARD))


def verified(data: Path, out: Path, count: int, samples: int) -> list[Row]:
    """The same for prompts with instructions, by how many of them an answer follows."""
    asked = best_of_n_instructions.prompts(data, count)
    tokens = best_of_n_instructions.TOKENS
    return bought(out, asked, samples, tokens, verify(checks=["instructions"]))


def bought(
    out: Path, asked: list[dict[str, Any]], samples: int, tokens: int, graded: StepCall
) -> list[Row]:
    """Rows of one recipe, whose journal lies in `out`: those with all their answers."""
    out.mkdir(parents=True, exist_ok=True)
    given = "".join(json.dumps(record) + "\n" for record in asked)
    (out / "prompts.jsonl").write_text(given, "utf-8")
    recipe = karat.Recipe(
        [
            read(path=str(out / "prompts.jsonl")),
            respond(models=[MODEL], n=samples, temperature=1.0, max_tokens=tokens),
            graded,
        ],
        name="best-of-n", seed=7, export=["jsonl"],
    )  # fmt: skip
    run = karat.run(recipe, out / "run")
    batches = run.accepted.select(SCHEMA.names).to_batches()
    rows = [row for batch in batches for row in from_batch(batch)]
    return [row for row in rows if len(row.responses) == samples]


def urns(first_PN: Floats, draws: int, seed: int = 0) -> Floats:
    """score_PN: each prompt's own ratings, then as a Pólya urn draws on: one of all ratings with
    weight α, or one of the prompt's own so far. α gives the urns the ratings' correlation within
    prompts, 1 / (1 + α)."""
    random = np.random.default_rng(seed)
    alike = float(np.corrcoef(np.vstack([first_PN, first_PN[:, ::-1]]).T)[0, 1])
    alpha = 1 / alike - 1
    found_PN = np.concatenate([first_PN, np.empty((len(first_PN), draws))], axis=1)
    for n in range(first_PN.shape[1], found_PN.shape[1]):
        own_P = found_PN[np.arange(len(found_PN)), random.integers(0, n, len(found_PN))]
        fresh_P = random.choice(first_PN.ravel(), len(found_PN))
        found_PN[:, n] = np.where(
            random.random(len(found_PN)) < alpha / (alpha + n), fresh_P, own_P
        )
    return found_PN


def rated(data: Path) -> tuple[Table, Floats, Floats]:
    """(rows, human_PN, head_PN) of HelpSteer2's pairs: the humans' own reward, 0–4, and that of a
    head trained on the other folds."""
    table = table_of(read_human([data / "helpsteer2/ratings.jsonl"]), 7)
    human_R = table.y_RA @ np.array(REWARD_WEIGHTS)
    head_R = np.empty(len(human_R))
    fold_R, fold_P = folds_of(table, 5, 7)
    for fold in range(5):
        head = fit_head(table, Settings(), fold_R != fold, fold_P != fold)
        head_R[fold_R == fold] = graded_by(head, table.raw_RW[fold_R == fold])
    pairs = [rows for rows in map(np.flatnonzero, _members(table)) if len(rows) == 2]
    return table, human_R[np.array(pairs)], head_R[np.array(pairs)]


def _prompts(table: Table) -> Ints:
    """The number of each row's prompt, in the order in which they appear."""
    _, first, code = np.unique(table.group_R, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[code]


def _members(table: Table) -> list[NDArray[np.bool_]]:
    prompt_R = _prompts(table)
    return [prompt_R == prompt for prompt in range(int(prompt_R.max()) + 1)]


def heads(table: Table, sizes: list[int]) -> list[Head]:
    """Heads trained on the first so many prompts, and one trained on the second half of all."""
    prompt_R = _prompts(table)
    none = np.zeros(len(table.group_P), np.bool_)
    masks = [prompt_R < size for size in sizes] + [prompt_R > int(prompt_R.max()) // 2]
    return [fit_head(table, Settings(), mask, none) for mask in masks]


def graded_by(head: Head, raw_NR: Floats) -> Floats:
    """The reward a head gives to responses as it reads them."""
    found: Floats = head.predict(raw_NR.astype(np.float64))[:, -1]
    return found


def features_of(rows: list[Row]) -> Floats:
    """raw_NR: of all responses, row after row."""
    return np.concatenate(
        [read_raw(row.messages, [r.content for r in row.responses]) for row in rows]
    )
