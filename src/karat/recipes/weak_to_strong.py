"""weak_to_strong: the model of one round makes the data of the next, and rounds accumulate.

A list of steps has no loop; Python has. Every round runs the same recipe with another teacher and
fresh seeds, and joins what it accepted to what all earlier rounds accepted: nothing is replaced,
since a set that each round replaces collapses, while one that grows keeps its error bounded.

Source: Nemotron-4 340B (2406.11704) §3.2.4, iterative weak-to-strong alignment; Gerstgrasser et al.
(2404.01413) for accumulating.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from karat.api import run
from karat.columns import Decision, Table
from karat.context import Context
from karat.errors import RecipeError
from karat.recipe import Recipe
from karat.recipefile import dump
from karat.row import Row
from karat.rundir import Run, write_atomic
from karat.step import InputPath, step
from karat.steps._mix_files import earlier_rows
from karat.steps.dedupe import dedupe
from karat.steps.mix import mix

# From the export of the rounds so far, the name of the model that the next round asks.
Train = Callable[[Path, int], str]


@step
def rounds(ctx: Context, *, files: list[InputPath]) -> Iterator[Row]:
    """The accepted rows of all rounds as they are, with `meta.round`, earlier rounds first."""
    for number, file in enumerate(files, 1):
        for row in earlier_rows(ctx.path(file), number, ctx=ctx):
            row.meta["round"] = number  # whatever the rows read in said
            yield row


@step
def ranked(table: Table, ctx: Context, *, by: str) -> Decision:
    """Changes nothing; says by which score the rounds chose, for exports of pairs."""
    return Decision(notes={"ranking": by})


def weak_to_strong(
    models: Sequence[str],
    out: str | Path,
    *,
    recipe: str | Path = "nemotron-preference",
    overrides: Sequence[str] = (),
    train: Train | None = None,
    human: str | Path | None = None,
    share: float = 0.2,
    threshold: float = 0.8,
) -> Run:
    """Runs one round for each of `models`, weakest first, and returns the data of all of them.

    `recipe` must name a model `teacher`; `overrides` change it as on the command line. After each
    round but the last, `train` gets the TRL file of all rounds so far and says which model the next
    round asks in place of the listed one: a path or an address that serves what was trained. A
    prompt that an earlier round has already is left out, so earlier rounds stay as they are.
    `human` is mixed in to `share` at every join. Directories: out/round-1, out/data-1, …

    Raises: RecipeError, RunError. Running again goes on where it stopped.
    """
    if not models:
        raise RecipeError("weak_to_strong: models is empty; name one a round, weakest first")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    asked = models[0]
    for number, listed in enumerate(models, 1):
        asked = listed if train is None or number == 1 else asked
        run(_round(recipe, overrides, asked, number, folder), folder / f"round-{number}")
        joined = run(_join(folder, number, human, share, threshold), folder / f"data-{number}")
        if train is not None and number < len(models):
            asked = train(joined.export / "trl-sft.jsonl", number)
    return joined


def _round(
    recipe: str | Path, overrides: Sequence[str], teacher: str, number: int, folder: Path
) -> Recipe:
    """The recipe of one round: its teacher, and seeds of its own."""
    loaded = Recipe.load(recipe, overrides)
    if "teacher" not in loaded.models:
        raise RecipeError(f"{recipe}: names no model 'teacher', which every round sets anew")
    tree = loaded.resolved()
    tree["seed"] += number - 1
    held = tree["models"]["teacher"]
    if isinstance(held, list):
        raise RecipeError(f"{recipe}: 'teacher' has fallbacks, which would answer in its place")
    tree["models"]["teacher"] = {**held, "model": teacher} if isinstance(held, dict) else teacher
    path = folder / f"round-{number}.yaml"
    write_atomic(path, dump(tree).encode())
    return Recipe.load(path)


def _join(
    folder: Path, number: int, human: str | Path | None, share: float, threshold: float
) -> Recipe:
    """What all rounds so far accepted."""
    runs = [Run.open(folder / f"round-{n}") for n in range(1, number + 1)]
    steps = [
        rounds(files=[str(made.accepted_file.absolute()) for made in runs]),
        dedupe(on="prompt", threshold=threshold, keep="first"),
    ]
    if ranking := runs[0].report["ranking"]:
        steps.append(ranked(by=ranking))
    if human is not None:
        steps.append(mix(human=str(Path(human).absolute()), share=share))
    return Recipe(steps, name=f"data-{number}", export=["jsonl", "trl-sft", "trl-preference"])


def main() -> None:
    """`python -m karat.recipes.weak_to_strong MODEL MODEL … --out DIR`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="+", help="provider/model, one a round, weakest first")
    parser.add_argument("--out", default="runs/weak-to-strong")
    parser.add_argument("--recipe", default="nemotron-preference")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--human", help="a file of human rows, mixed in at every join")
    asked = parser.parse_args()
    done = weak_to_strong(
        asked.models, asked.out, recipe=asked.recipe, overrides=asked.overrides, human=asked.human
    )
    rows = done.report["rows"]["accepted"]
    print(f"{rows:,} rows of {len(asked.models)} rounds in {done.path}")  # noqa: T201


if __name__ == "__main__":
    main()
