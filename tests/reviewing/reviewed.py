"""What tests of reviews share: a finished run's files, with rows as wished; a reviewer's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from karat.reviewing import lines
from karat.reviewing.bench import Bench
from karat.reviewing.queue import Item
from karat.row import Message, Response, Row
from karat.rundir import Run
from karat.stage import StageWriter

FIVE = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def row(number: int, scores: list[dict[str, float]], **more: Any) -> Row:
    """A row with a response for each of `scores`, by two models in turn."""
    responses = [
        Response(f"Answer {place} to {number}.", f"service/model-{place % 2}", place, scores=one)
        for place, one in enumerate(scores)
    ]
    return Row(f"{number:016x}", [Message("user", f"What is {number}?")], responses, **more)


def rows(count: int, key: str = "rm.reward", n: int = 3) -> list[Row]:
    """Rows whose best two answers are `number` apart by the score."""
    return [
        row(i, [{key: float(place * (i + 1))} for place in range(n)], meta={"n": i})
        for i in range(count)
    ]


def run_of(folder: Path, accepted: list[Row], dropped: list[Row] = [], **meta: Any) -> Run:  # noqa: B006
    """A run that has ended, by its files."""
    run = Run(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.recipe.write_text("name: test\nsteps: []\n")
    for file, held in ((run.accepted_file, accepted), (run.dropped_file, dropped)):
        writer = StageWriter(file)
        writer.add(held)
        writer.close(meta)
    return run


def how(item: Item, rater: str, **more: Any) -> lines.How:
    return lines.How(rater, item.drawn, len(item.shown), **more)


def rate(bench: Bench, item: Item, rater: str, *values: int | dict[str, int]) -> None:
    """Rates the answers of a row in the order in which they are shown: all five alike, or not."""
    for place, value in zip(item.shown, values, strict=True):
        given = value if isinstance(value, dict) else dict.fromkeys(FIVE, value)
        said = lines.rating(item.row, item.row.responses[place], given, how(item, rater))
        bench.reviews.append([said])


def compare(bench: Bench, item: Item, rater: str, strength: int, bad: bool = False) -> None:
    first, second = (item.row.responses[place] for place in item.shown)
    told = lines.How(rater, item.drawn)
    bench.reviews.append([lines.comparison(item.row, first, second, strength, bad, told)])


def walk(bench: Bench, queue: Any, rater: str, most: int = 1000) -> list[str]:
    """The rows a reviewer is shown who rates every answer 2, in order."""
    found: list[str] = []
    while len(found) < most and (item := queue.next(rater, bench.reviews.all())):
        found.append(item.row.id)
        rate(bench, item, rater, *([2] * len(item.shown)))
    return found
