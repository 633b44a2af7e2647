"""What travels between the driver, its workers and the tasks of table steps: plain data."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from karat import __version__
from karat.errors import RecipeError, RunError
from karat.executors.ray.units import Unit
from karat.recipe import Recipe
from karat.recipefile import parse_step
from karat.stage import Stage, StepStats
from karat.step import StepCall
from karat.target import Round

WHERE = "the recipe"
_WRITTEN = re.compile(r"(?P<name>.+)=(?P<copies>\d+)(?::(?P<gpus>\d*\.?\d+))?")


class Pool(msgspec.Struct, frozen=True):
    """How many copies of a reward there are, and what share of a GPU each has."""

    copies: int
    gpus: float = 0.0


def parse_pools(written: Iterable[str]) -> dict[str, Pool]:
    """`NAME=COPIES`, or `NAME=COPIES:GPUS` for each copy: `armorm=4:0.5`. Raises: RecipeError."""
    found = {}
    for text in written:
        match = _WRITTEN.fullmatch(text)
        if match is None or not int(match["copies"]):
            raise RecipeError(
                f"--pool takes NAME=COPIES or NAME=COPIES:GPUS, as in armorm=4:0.5; got {text!r}"
            )
        found[match["name"]] = Pool(int(match["copies"]), float(match["gpus"] or 0))
    return found


class Order(msgspec.Struct):
    """What any process of a run must know: the recipe, as it travels, and what this round knows.

    `folder` is where the recipe lay on the driver. Elsewhere a copy of it is the working directory.
    """

    tree: dict[str, Any]
    folder: Path
    origin: str
    scopes: Mapping[str, str]
    round: Round
    version: str = __version__

    def recipe(self, *, keyless: bool = False) -> Recipe:
        """`keyless`: where no model is asked. Raises: RecipeError for what this machine lacks: a
        key, a file, a package; RunError where it has another karat."""
        if self.version != __version__:
            raise RunError(
                f"karat is {self.version} where this run was begun and {__version__} on "
                f"{socket.gethostname()}: rows would differ. Install the same one on all machines"
            )
        tree = {**self.tree, "folder": str(self.here())}
        try:
            return Recipe.of(tree, self.origin, keyless=keyless)
        except RecipeError as error:
            where = f"on {socket.gethostname()}, where a worker should run"
            raise RecipeError(f"{error} ({where})") from None

    def here(self) -> Path:
        return self.folder if self.folder.is_dir() else Path.cwd()


class Steps(msgspec.Struct):
    """Consecutive steps of a recipe by their labels, with their parameters as they travel."""

    labels: list[str]
    written: list[tuple[str, dict[str, Any]]]

    @classmethod
    def of(cls, recipe: Recipe, calls: list[tuple[str, StepCall]]) -> Steps:
        return cls(
            [label for label, _ in calls],
            [(call.step.path, recipe.travelling(call)) for _, call in calls],
        )

    def calls(self, folder: Path) -> list[tuple[str, StepCall]]:
        found = [parse_step({name: params}, WHERE, folder) for name, params in self.written]
        return list(zip(self.labels, found, strict=True))

    def stage(self, folder: Path, number: int) -> Stage:
        calls = self.calls(folder)
        return Stage(number, self.labels, [call for _, call in calls], "")


def check_steps(calls: Iterable[StepCall]) -> None:
    """Raises: RecipeError for a step that no other process can find."""
    for call in calls:
        if call.step.path.startswith("__main__:"):
            raise RecipeError(
                f"step '{call.step.path}' is written in the program itself, which workers do not "
                "run; put it into a module beside the recipe, and import it from there"
            )


class Task(msgspec.Struct):
    """One unit to be walked into one file. `name` tells it from all others of the run."""

    name: str
    unit: Unit
    target: Path
    key: str


class Done(msgspec.Struct):
    """What became of a unit; it stands at the end of the unit's file too, but for an error."""

    number: int
    rows: int = 0
    failures: int = 0
    passing: int = 0  # rows whose calls may be answered another time
    stats: list[StepStats] = []
    warnings: list[str] = []
    error: Any = None  # a KaratError, which ends the run
