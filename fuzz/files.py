"""Files that somebody else wrote: recipes, records in every shape, Parquet."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any

from fuzz.promises import named, promise
from karat.errors import KaratError, RecipeError
from karat.overrides import override
from karat.recipe import Recipe
from karat.recipefile import checked, name_of_file, parse
from karat.row import Row
from karat.steps.read import count_rows, read
from karat.table import from_batch, to_batch
from karat.yaml12 import dump

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".jsonl.gz", ".csv.gz", ".json.bz2", ".jsonl.xz",
           ".jsonl.zst")  # fmt: skip
ELSEWHERE = (":", "://", "embedded", "transformers", "head/", "anyllm")  # code, hubs, weights


@cache
def folder() -> Path:
    """Of this process, in memory where the machine has such a place."""
    memory = Path("/dev/shm")
    there = memory.is_dir() and os.access(memory, os.W_OK)
    _kept.append(made := tempfile.TemporaryDirectory(dir=memory if there else None))
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []  # until the process ends


class Ctx:
    """As much of a context as a source step touches."""

    def path(self, value: str) -> Path:
        return Path(value)

    def warn(self, text: str) -> None:
        promise(isinstance(text, str), "a warning that is no text")


def recipe(data: bytes) -> None:
    """A recipe file: read, written back, made a Recipe where that loads no code and no weights."""
    path = folder() / "recipe.yaml"
    path.write_bytes(data)
    tree = named(lambda: parse(path), RecipeError)
    if tree is None:
        return
    if _is_plain(tree):
        path.write_text(dump(tree), encoding="utf-8", newline="")
        promise(parse(path) == tree, "another tree once it is dumped and parsed")
    found = named(lambda: checked(tree, "recipe.yaml"), RecipeError)
    if found is None:
        return
    for text in ("seed=3", "respond.n=2", "models.teacher.concurrency=8", "rewards.judge.x.y=1"):
        named(lambda text=text: override(found, text), RecipeError)
    again = named(lambda: checked(found, "recipe.yaml"), RecipeError)
    if again is None or any(sign in repr(again) for sign in ELSEWHERE[1:]) or _names_code(again):
        return
    again["folder"] = str(folder())
    asked = {"name": name_of_file(path), **again}
    made = named(lambda: Recipe.of(asked, "recipe.yaml", keyless=True), RecipeError)
    if made is not None:
        plain = made.resolved()
        told = Recipe.of(checked(plain, "again"), "again", keyless=True)
        promise(told.resolved() == plain, "another recipe once it is resolved")


def _is_plain(value: Any) -> bool:
    """Whether it is what JSON could say, with text for keys."""
    if isinstance(value, dict):
        return all(isinstance(key, str) for key in value) and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not (isinstance(value, float) and isnan(value))


def _names_code(tree: dict[str, Any]) -> bool:
    steps = (next(iter(item)) for item in tree["steps"])
    return any(":" in name for name in steps)


def records(data: bytes) -> None:
    """The first byte chooses the file's kind; the rest is the file."""
    kind = ENDINGS[(data[0] if data else 0) % len(ENDINGS)]
    path = folder() / f"records{kind}"
    path.write_bytes(data[1:])
    _rows(path)


def parquet(data: bytes) -> None:
    """A Parquet file."""
    path = folder() / "records.parquet"
    path.write_bytes(data)
    _rows(path)


def _rows(path: Path) -> None:
    """Every way of reading it; what is read can be written, and reads back the same."""
    count_rows([path])
    for params in ({}, {"group": True}, {"limit": 1}, {"responses": [], "keep": ["id"]}):
        call = read(path=str(path), **params)
        rows = named(lambda call=call: list(call.step.function(Ctx(), **call.params)), KaratError)
        if rows:
            _kept_whole(rows)


def _kept_whole(rows: list[Row]) -> None:
    again = list(from_batch(to_batch(rows)))
    promise([row.id for row in again] == [row.id for row in rows], "other ids")
    promise(again == rows, "other rows once they are written and read")
    promise(len({row.id for row in rows}) == len(rows), "two rows of one id")
