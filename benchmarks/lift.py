"""Lift: whether students of karat's best answers do better than students of random ones.

    python benchmarks/lift.py [--data ../shared/data] [--out runs/lift] [--minutes 30]
        [--rows N --prompts N] [--by SCORE] [--tasks 160] [--only prompts|pool|reward|lift|people]

1. prompts  Self-Instruct's human tasks, the short ones, to train on, and people's own answers to
            others of them; IFEval's prompts that 80 tokens can follow, to measure on.
2. pool     benchmarks/lift.yaml: eight answers of SmolLM2-135M to each task, graded.
3. reward   A second head, trained on HelpSteer's ratings: it does not choose, and judges.
4. lift     `karat lift`: five arms, three seeds, within so many minutes.
5. people   `karat lift --pool`: the embedded reward on ratings it has not seen.

Everything is found again: what was stopped goes on. The lift's own figures lie in OUT/lift-SCORE.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

import best_of_n_instructions

import karat
from karat.lifting.lift import lift
from karat.lifting.pool import pool_lift, print_lines
from karat.training.reward_head import main_train
from karat.training.reward_plan import Plan
from karat.training.student_settings import Settings

RECIPE = Path(__file__).with_suffix(".yaml")
STUDENT, REWARD = "embedded/smollm2-135m", "helpsteer2"
LONGEST = 300  # characters of a task
REFERENCES = 32  # people's answers: a student reads them all
# A few dozen rows: steps of 4 rather than 16, so that there are some, and each a larger one.
SETTINGS = Settings(epochs=2.0, batch_size=4, learning_rate=5e-4, max_length=512)
PARTS = ("prompts", "pool", "reward", "lift", "people")


def prompts(data: Path, out: Path, tasks: int) -> None:
    """Writes prompts.jsonl, references.jsonl and eval.jsonl."""
    found: list[dict[str, str]] = []
    for name in ("self-instruct-user", "self-instruct-seeds"):
        for line in (data / f"prompts/{name}.jsonl").read_text("utf-8").splitlines():
            task = json.loads(line)
            asked = f"{task['instruction']}\n\n{task['instances'][0]['input']}".strip()
            if len(asked) <= LONGEST and not task.get("is_classification"):
                found.append({"prompt": asked, "response": task["instances"][0]["output"]})
    asked_only = [{"prompt": one["prompt"]} for one in found[:tasks]]
    people = [one for one in found[tasks:] if 40 <= len(one["response"]) <= 2 * LONGEST]
    people = people[:REFERENCES]
    held = best_of_n_instructions.prompts(data, 10_000)
    for name, rows in (("prompts", asked_only), ("references", people), ("eval", held)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text(text, "utf-8")
        print(f"{name}: {len(rows)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("runs/lift"))
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rows", type=int, help="Prompts to train on, instead of --minutes.")
    parser.add_argument("--prompts", type=int, help="Prompts to measure on, with --rows.")
    parser.add_argument("--by", default=f"{REWARD}.reward")
    parser.add_argument("--tasks", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=PARTS, action="append")
    asked = parser.parse_args()
    parts, out = asked.only or PARTS, asked.out
    out.mkdir(parents=True, exist_ok=True)
    head = out / "helpsteer1.npz"

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    if "prompts" in parts:
        prompts(asked.data, out, asked.tasks)
    if "pool" in parts:
        recipe = karat.Recipe.load(RECIPE, [f"read.path={(out / 'prompts.jsonl').absolute()}"])
        run = karat.run(recipe, out / "pool")
        print(f"pool: {run.report['rows']}")
    if "reward" in parts and not head.is_file():
        ratings = asked.data / "helpsteer1/ratings.jsonl"
        print(main_train([ratings], head, plan=Plan(repeats=1), say=say).summary())
    if "lift" in parts:
        made = lift(
            out / "pool", student=STUDENT, out=out / f"lift-{asked.by}", held=out / "eval.jsonl",
            reward=f"head/{head.absolute()}", human=out / "references.jsonl",
            by=asked.by, seeds=asked.seeds, max_tokens=best_of_n_instructions.TOKENS,
            rows=asked.rows, prompts=asked.prompts,
            budget_minutes=None if asked.rows else asked.minutes, settings=SETTINGS,
            command=shlex.join(["python", *sys.argv]), say=say,
        )  # fmt: skip
        print(made.verdict, *made.files.values(), sep="\n")
    if "people" in parts:
        ratings = asked.data / "helpsteer1/ratings.jsonl"
        print(*print_lines(pool_lift(ratings, f"embedded/{REWARD}", out=out / "people")), sep="\n")


if __name__ == "__main__":
    main()
