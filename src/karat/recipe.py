"""Recipe: models, rewards and a list of steps, checked before anything is spent.

Every mistake is reported with its file, step number and nearest right spelling. YAML and Python
make the same object and meet the same checks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

from karat import places
from karat.arguments import suggesting
from karat.display.recipe import recipe_html
from karat.errors import RecipeError
from karat.graders import Graders
from karat.modelchecks import check_asked
from karat.models.placing import placed
from karat.models.services import parse_service
from karat.models.spec import ModelSpec, parse_model
from karat.overrides import overridden
from karat.recipechecks import check_model, check_recipe
from karat.recipefile import (
    at,
    called,
    labelled,
    name_of,
    name_of_file,
    parse_step,
    typed,
)
from karat.rewards.base import Reward
from karat.row import canonical, digest
from karat.step import Step, StepCall
from karat.target import parse_target


class Recipe:
    """What to make. Steps are called with their parameters: `Recipe(steps=[respond(n=4)], …)`.

    `name` names the run's folder too, `seed` decides every draw. `exactly` is how many rows are to
    be accepted (see karat.target), `budget_usd` the most that may be spent, `models` and `rewards`
    what the steps' names stand for, `providers` services of one's own, `export` the formats at the
    end. `rights` says what to do about models that forbid training on their output: flag, or
    refuse. `origin` is what messages call it.

    `folder` is where relative paths, prompt templates and the user's own modules are looked for:
    the working directory, or for a recipe file its own folder unless it says another. With
    `keyless`, keys that are not set are told in `lacking`: it can be planned then, and not be run.
    Raises: RecipeError for anything that could not run.
    """

    @suggesting
    def __init__(
        self,
        steps: Sequence[StepCall],
        *,
        name: str = "run",
        seed: int = 0,
        exactly: int | dict[str, Any] | None = None,
        budget_usd: float | None = None,
        models: dict[str, Any] | None = None,
        rewards: dict[str, Any] | None = None,
        providers: dict[str, Any] | None = None,
        rights: str = "flag",
        export: Sequence[str] = ("jsonl",),
        origin: str | None = None,
        folder: Path | None = None,
        keyless: bool = False,
    ) -> None:
        self.origin = origin or f"recipe '{name}'"
        self.name = name_of(name, self.origin)
        self.seed = typed(seed, int, "seed", self.origin)
        self.budget_usd = budget_usd
        self.lacking: list[str] | None = [] if keyless else None
        self.folder = (folder or Path.cwd()).absolute()
        if isinstance(steps, StepCall | Step | str | dict):
            raise RecipeError(
                f"{self.origin}: steps is a list of steps, such as [respond(models=['small'])]; "
                f"got {steps!r:.80}"
            )
        self.steps = list(steps)
        self.export = [export] if isinstance(export, str) else list(export)
        with at(self.origin):
            self.exactly = parse_target(exactly)
            own = {key: parse_service(key, value) for key, value in (providers or {}).items()}
        self.providers = own
        self.rights = rights
        self.models: dict[str, ModelSpec] = {}
        for key, value in (models or {}).items():
            with at(f"{self.origin}, model '{key}'"):
                self.models[str(key)] = placed(parse_model(value, own), self.path)
        given = typed(rewards or {}, dict, "rewards", self.origin)
        self.rewards = {str(key): deepcopy(value) for key, value in given.items()}
        self.graders = Graders(self.rewards, self.folder, own)
        for number, call in enumerate(self.steps, 1):
            if not isinstance(call, StepCall):
                raise RecipeError(
                    f"{self.origin}, step {number}: call a step with its parameters, such as "
                    f"respond(models=['small']); got {call!r}"
                )
        self.labels = labelled(call.step.name for call in self.steps)
        check_recipe(self)

    def __repr__(self) -> str:
        return f"<recipe {self.name}: {' → '.join(self.labels)}>"

    def _repr_html_(self) -> str:
        return recipe_html(self)

    # --- what the steps name -------------------------------------------------------------------

    def reward(self, name: str) -> Reward:
        """The loaded reward behind a name of this recipe. Raises: RecipeError."""
        return self.graders.get(name)

    def identity(self, name: str) -> str:
        """What tells a reward, with all it asks, from any that could score otherwise."""
        return self.graders.identity(name, lambda model: self.models[model].meaning())

    def asked(self, call: StepCall) -> Iterator[tuple[str, str]]:
        """(parameter, model) of every model a step asks: those it names, and its rewards'."""
        yield from call.named("model")
        for parameter, reward in call.named("reward"):
            yield from ((parameter, model) for model in self.graders.models(reward))

    def where(self, position: int) -> str:
        """How messages name a step: file, number from 1, name."""
        return f"{self.origin}, step {position + 1} '{self.labels[position]}'"

    def path(self, value: str) -> Path:
        """A file a step names: beside the recipe first, then in the working directory; or at a URL.

        Raises: RecipeError for a URL that cannot be opened.
        """
        if places.is_url(value):
            return places.place(value)
        path = Path(value)
        # A name no file can have, or a folder that may not be entered: the check says so in words.
        with suppress(OSError, RuntimeError):
            path = path.expanduser()
            if (self.folder / path).exists():
                return self.folder / path
        return path.absolute()

    def allow(self, name: str) -> None:
        """Raises: RecipeError for a model that a step's code names, as for one in parameters."""
        with at(self.origin):
            check_model(self, "model", name)
            check_asked(name, self.models, self.rights, limited=self.budget_usd is not None)

    # --- as a file -----------------------------------------------------------------------------

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default spelled out, every path absolute.

        It loads back the same from any folder: `folder` says where it was.
        """
        absolute = {"path": lambda value: str(self.path(value))}
        return {
            "name": self.name,
            "seed": self.seed,
            **({} if self.exactly is None else {"exactly": self.exactly.plain()}),
            **({} if self.budget_usd is None else {"budget_usd": self.budget_usd}),
            **({} if self.rights == "flag" else {"rights": self.rights}),
            "folder": str(self.folder),
            "models": {name: spec.plain() for name, spec in self.models.items()},
            "rewards": self.rewards,
            "steps": [{call.step.path: call.renamed(absolute)} for call in self.steps],
            "export": self.export,
        }

    @classmethod
    def load(
        cls, source: str | Path, overrides: Sequence[str] = (), *, keyless: bool = False
    ) -> Recipe:
        """Reads a recipe file, or one karat ships by its name: `source`.

        `overrides` are `key=value`: `seed=3`, `models.teacher.concurrency=8`, `respond.n=2`. With
        `keyless` it need not be able to run yet, only to be planned. Raises: RecipeError.
        """
        path, tree = overridden(source, overrides)
        tree["folder"] = str(path.absolute().parent / tree.get("folder", "."))
        return cls.of({"name": name_of_file(path), **tree}, called(path), keyless=keyless)

    @classmethod
    def of(cls, tree: dict[str, Any], where: str, *, keyless: bool = False) -> Recipe:
        """The recipe of a checked tree with a name and a folder. Raises: RecipeError."""
        rest = dict(tree)
        folder, steps = Path(rest.pop("folder")), rest.pop("steps")
        calls = [
            parse_step(item, f"{where}, step {number}", folder)
            for number, item in enumerate(steps, 1)
        ]
        return cls(calls, origin=where, folder=folder, keyless=keyless, **rest)

    def portable(self) -> dict[str, Any]:
        """The recipe as another machine reads it with `of`: names of files as they were written,
        so that they are found in a copy of its folder, where they are in it."""
        steps = [{call.step.path: self.travelling(call)} for call in self.steps]
        return {**self.resolved(), "steps": steps}

    def travelling(self, call: StepCall) -> dict[str, Any]:
        """A step's parameters for another machine."""
        return call.renamed({"path": self._at_hand, "dataset": self._at_hand})

    def _at_hand(self, value: str) -> str:
        if "://" in value or (self.folder / value).exists():
            return value
        return str(self.path(value)) if self.path(value).exists() else value


def recipe_hash(resolved: dict[str, Any]) -> str:
    """What tells recipes apart in a report: all of a resolved one but the folder it lay in."""
    return digest(canonical({k: v for k, v in resolved.items() if k != "folder"})).hex()
