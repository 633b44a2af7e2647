"""Does variety on purpose help? Prompts with and without voices, with and without the novelty gate.

Four arms write prompts about the same twenty topics with the embedded model: variety off or on
(prompts: variety), gate off or on (prompts: novelty). Ten prompts of each topic are compared, or as
many as every arm has. What counts is how different they are: the Vendi score of their embeddings
and distinct-2, each with an interval. Arms are set against each other on the same topics: half of
the topics are drawn a hundred times, and what an easy topic gives to both arms cancels
(karat.curation.subsamples says why it is no bootstrap). Since the gate asks again for what it
refuses, the tokens of each arm are counted, and the measures are also taken at equal tokens: of
every arm as many prompts as the tokens of the cheapest would have bought.

    python benchmarks/diversity.py [--prompts 200] [--seeds 7 8] [--out DIR] [--model NAME]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import karat
from karat.curation.diversity import diversity
from karat.steps.prompts import prompts
from karat.steps.topics import topics
from karat.table import SCHEMA, from_batch

TOPICS = [
    "cooking", "the night sky", "saving money", "gardening", "how computers work", "sleep",
    "the Roman Empire", "bicycle repair", "job interviews", "volcanoes", "learning a language",
    "football", "house plants", "electric cars", "jazz", "first aid", "coral reefs", "chess",
    "train travel", "bees",
]  # fmt: skip
ARMS: dict[str, dict[str, Any]] = {
    "neither": {"variety": "off", "novelty": "off"},
    "variety": {"variety": "default", "novelty": "off"},
    "gate": {"variety": "off", "novelty": {}},
    "both": {"variety": "default", "novelty": {}},
}
MEASURES = ("vendi_embedding", "distinct_2", "near_duplicates")
DRAWS = 100
SPARE = 1  # prompts of a topic asked for beyond those compared: a gate may leave one out
Written = dict[str, list[str]]  # by topic


def write(arm: str, count: int, seed: int, model: str, out: Path) -> tuple[Written, int, int]:
    """(prompts by topic, completion tokens, calls) of one arm."""
    recipe = karat.Recipe(
        [
            topics(given=TOPICS),
            prompts(model=model, per_topic=-(-count // len(TOPICS)) + SPARE, max_tokens=200,
                    tasks=["open_qa", "writing"], **ARMS[arm]),
        ],
        name=f"{arm}-{seed}", seed=seed, export=["jsonl"],
    )  # fmt: skip
    run = karat.run(recipe, out / f"{arm}-{seed}")
    found: Written = {}
    for batch in run.accepted.select(SCHEMA.names).to_batches():
        for row in from_batch(batch):
            found.setdefault(row.meta["topic"], []).append(row.prompt)
    ledger = sqlite3.connect(run.journal)
    try:
        tokens, calls = ledger.execute(
            "SELECT sum(completion_tokens), sum(attempts) FROM minutes WHERE kind = 'chat'"
        ).fetchone()
    finally:
        ledger.close()
    return found, tokens, calls


def flat(written: Written, some: list[str]) -> list[str]:
    return [prompt for topic in some for prompt in written.get(topic, [])]


def measure(texts: list[str]) -> dict[str, float]:
    found = diversity(texts)
    return {name: found[name] for name in MEASURES}


def halves(figure: Callable[[list[str]], dict[str, float]]) -> dict[str, float]:
    """Standard error of each figure, from halves of the topics."""
    rng = np.random.default_rng(0)
    places = [sorted(rng.permutation(len(TOPICS))[: len(TOPICS) // 2]) for _ in range(DRAWS)]
    drawn = [figure([TOPICS[i] for i in some]) for some in places]
    return {name: float(np.std([d[name] for d in drawn], ddof=1)) for name in drawn[0]}


def arm_figures(written: Written) -> dict[str, dict[str, float]]:
    """Each measure with its 95% limits."""
    value = measure(flat(written, TOPICS))
    error = halves(lambda some: measure(flat(written, some)))
    return {
        n: {"value": v, "low": v - 1.96 * error[n], "high": v + 1.96 * error[n]}
        for n, v in value.items()
    }


def against(written: Written, base: Written) -> dict[str, dict[str, float]]:
    """How far an arm is above another one, on the same topics, with 95% limits."""

    def gap(some: list[str]) -> dict[str, float]:
        these, those = measure(flat(written, some)), measure(flat(base, some))
        return {name: these[name] - those[name] for name in MEASURES}

    value, error = gap(TOPICS), halves(gap)
    return {
        n: {"value": v, "low": v - 1.96 * error[n], "high": v + 1.96 * error[n]}
        for n, v in value.items()
    }


def level(arms: dict[str, Written], most: int) -> dict[str, Written]:
    """Every arm with the same number of prompts of each topic."""
    counts = {t: min(most, *(len(arm.get(t, [])) for arm in arms.values())) for t in TOPICS}
    return {name: {t: arm.get(t, [])[: counts[t]] for t in TOPICS} for name, arm in arms.items()}


def bought(written: Written, share: float) -> Written:
    """What this share of an arm's tokens would have bought: the first of each topic."""
    return {topic: texts[: max(1, round(share * len(texts)))] for topic, texts in written.items()}


def show(figure: dict[str, float], sign: str = "") -> str:
    low, high = figure["low"], figure["high"]
    return f"{figure['value']:{sign}.3g} ({low:{sign}.3g} … {high:{sign}.3g})"


def report(name: str, arms: dict[str, Written]) -> dict[str, Any]:
    print(
        f"\n{name}\n{'arm':10} {'prompts':>7}  {'Vendi, embeddings':28} {'distinct-2':28} near-dup."
    )
    found: dict[str, Any] = {}
    for arm, written in arms.items():
        figures = arm_figures(written)
        count = len(flat(written, TOPICS))
        near = figures["near_duplicates"]["value"]
        vendi, distinct = show(figures["vendi_embedding"]), show(figures["distinct_2"])
        print(f"{arm:10} {count:7}  {vendi:28} {distinct:28} {near:.1%}")
        found[arm] = {"prompts": count, **figures}
        if arm != "neither":
            gaps = against(written, arms["neither"])
            told = show(gaps["vendi_embedding"], "+"), show(gaps["distinct_2"], "+")
            print(f"{'':10} {'against':>7}  {told[0]:28} {told[1]:28}")
            found[arm]["against_neither"] = gaps
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7])
    parser.add_argument("--model", default="embedded/smollm2-135m")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = asked.out or Path(folder)
        results: dict[str, Any] = {}
        for seed in asked.seeds:
            arms: dict[str, Written] = {}
            paid: dict[str, int] = {}
            for arm in ARMS:
                arms[arm], paid[arm], calls = write(arm, asked.prompts, seed, asked.model, out)
                print(f"seed {seed}, {arm}: {paid[arm]:,} tokens in {calls:,} calls", flush=True)
            each = {arm: paid[arm] / len(flat(arms[arm], TOPICS)) for arm in ARMS}
            print("tokens a prompt: " + ", ".join(f"{arm} {each[arm]:.1f}" for arm in ARMS))
            same = level(arms, -(-asked.prompts // len(TOPICS)))
            equal = {arm: bought(same[arm], min(each.values()) / each[arm]) for arm in ARMS}
            results[str(seed)] = {
                "tokens_per_prompt": each,
                "equal_prompts": report(f"seed {seed}, equal numbers of prompts", same),
                "equal_tokens": report(f"seed {seed}, equal tokens", equal),
            }
        (out / "diversity.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
