"""Recipe: models, rewards and a list of steps, from YAML or Python, checked before anything is spent.

Every mistake is reported with its file, step number and nearest right spelling. YAML is read as
version 1.2 reads booleans (`on` is a word, not true), and a key written twice is an error: the
second one would silently win.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from karat.errors import RecipeError, did_you_mean
from karat.models.spec import ModelSpec, parse_model
from karat.rewards.base import Reward
from karat.rewards.load import load_reward
from karat.step import StepCall, find

KEYS = ("name", "seed", "budget_usd", "models", "rewards", "steps", "export")
EXPORTS = Path(__file__).with_name("exporters")
SHIPPED = Path(__file__).with_name("recipes")


class Recipe:
    """What to make. Steps are called with their parameters: `Recipe(steps=[respond(n=4)], …)`.

    Raises: RecipeError for anything that could not run.
    """

    def __init__(
        self,
        steps: Sequence[StepCall],
        *,
        name: str = "run",
        seed: int = 0,
        budget_usd: float | None = None,
        models: dict[str, Any] | None = None,
        rewards: dict[str, Any] | None = None,
        export: Sequence[str] = ("jsonl",),
        origin: str | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.origin = origin or f"recipe '{name}'"
        self.seed = _typed(seed, int, "seed", "a whole number", self.origin)
        self.budget_usd = budget_usd
        self.folder = folder or Path.cwd()
        self.steps = list(steps)
        self.export = list(export)
        self.models: dict[str, ModelSpec] = {}
        for key, value in (models or {}).items():
            with _at(f"{self.origin}, model '{key}'"):
                self.models[key] = parse_model(value)
        self.rewards = dict(rewards or {})
        self.labels = _labels(self.steps)
        self._loaded: dict[str, Reward] = {}
        self._check()

    def __repr__(self) -> str:
        return f"<recipe {self.name}: {' → '.join(self.labels)}>"

    # --- what the steps name -------------------------------------------------------------------

    def reward(self, name: str) -> Reward:
        """The loaded reward behind a name of this recipe."""
        if name not in self._loaded:
            self._loaded[name] = load_reward(str(self.rewards.get(name, name)), self.folder)
        return self._loaded[name]

    def where(self, position: int) -> str:
        """How messages name a step: file, number from 1, name."""
        return f"{self.origin}, step {position + 1} '{self.labels[position]}'"

    def path(self, value: str) -> Path:
        """A file a step names: beside the recipe first, then in the working directory."""
        beside = self.folder / os.path.expanduser(value)
        return beside if beside.exists() else Path(value).expanduser().absolute()

    # --- checks --------------------------------------------------------------------------------

    def _check(self) -> None:
        if not self.steps:
            raise RecipeError(f"{self.origin}: steps is empty; list at least one")
        budget = self.budget_usd
        if budget is not None and (not isinstance(budget, int | float) or budget <= 0):
            raise RecipeError(f"{self.origin}: budget_usd must be a number above 0, got {budget!r}")
        known = sorted(p.stem.replace("_", "-") for p in EXPORTS.glob("[a-z]*.py") if p.stem != "base")
        for name in self.export:
            if name not in known:
                raise RecipeError(f"{self.origin}: no export '{name}'; {did_you_mean(name, known)}")
        graded: set[str] = set()
        for position, call in enumerate(self.steps):
            with _at(self.where(position)):
                self._check_step(position, call, graded)
        if budget is not None:
            self._check_prices()

    def _check_step(self, position: int, call: StepCall, graded: set[str]) -> None:
        if call.step.kind == "source" and position > 0:
            raise RecipeError("reads rows in and must be the first step; 'mix' joins a second source")
        for parameter, name in call.named("model"):
            self._check_model(parameter, name)
        for parameter, name in call.named("reward"):
            if "/" not in name and name not in self.rewards:
                known = did_you_mean(name, self.rewards)
                raise RecipeError(f"{parameter}: no reward '{name}' in rewards; {known}")
            graded.update(f"{name}.{attribute}" for attribute in self.reward(name).attributes)
        for parameter, key in call.named("score"):
            given = self.steps[0].step.kind == "source" and key.startswith("human.")
            if key not in graded and not given:
                hint = did_you_mean(key, graded) if graded else "no earlier step grades anything"
                raise RecipeError(f"{parameter}: no score '{key}' at this point; {hint}")
        for parameter, value in call.named("path"):
            if not any(value.startswith(s) for s in ("s3://", "gs://", "hf://")):
                path = self.path(value)
                if not path.exists():
                    raise RecipeError(f"{parameter}: no file {path}")
                if not os.access(path, os.R_OK):
                    raise RecipeError(f"{parameter}: cannot read {path}; check its permissions")

    def _check_model(self, parameter: str, name: str) -> None:
        if name not in self.models:
            if "/" not in name:
                known = did_you_mean(name, self.models)
                raise RecipeError(f"{parameter}: no model '{name}' in models; {known}")
            self.models[name] = ModelSpec(model=name)
        with _at(f"model '{name}'"):
            self.models[name].check()

    def _check_prices(self) -> None:
        for position, call in enumerate(self.steps):
            for _, name in call.named("model"):
                if self.models[name].rate() is None:
                    raise RecipeError(
                        f"{self.where(position)}: budget_usd needs the price of model '{name}'; add "
                        "price: {input: …, output: …} in dollars per million tokens"
                    )

    # --- as a file -----------------------------------------------------------------------------

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default spelled out and every path absolute; loads back the same."""
        return {
            "name": self.name,
            "seed": self.seed,
            **({} if self.budget_usd is None else {"budget_usd": self.budget_usd}),
            "models": {name: _plain(spec) for name, spec in self.models.items()},
            "rewards": self.rewards,
            "steps": [{call.step.path: self._absolute(call)} for call in self.steps],
            "export": self.export,
        }

    def _absolute(self, call: StepCall) -> dict[str, Any]:
        paths = {value: str(self.path(value)) for _, value in call.named("path")}
        return {
            key: paths.get(value, value) if isinstance(value, str) else value
            for key, value in call.params.items()
        }

    @classmethod
    def load(cls, source: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Reads a recipe file, or one karat ships by its name.

        `overrides` are `key=value`: `seed=3`, `models.teacher.concurrency=8`, `respond.n=2`.
        Raises: RecipeError.
        """
        path = find_recipe(source)
        tree = _parse(path)
        for override in overrides:
            _override(tree, override)
        for key in tree:
            if key not in KEYS:
                raise RecipeError(f"{path}: no key '{key}'; {did_you_mean(str(key), KEYS)}")
        for key, kind in (("models", dict), ("rewards", dict), ("steps", list), ("export", list)):
            tree[key] = _typed(tree.get(key) or kind(), kind, key, f"a {_WORDS[kind]}", str(path))
        name = str(tree.pop("name", path.stem))
        if "export" in tree and not tree["export"]:
            del tree["export"]
        steps = [
            _parse_step(item, f"{path}, step {number}", path.parent)
            for number, item in enumerate(tree.pop("steps"), 1)
        ]
        return cls(steps, name=name, origin=str(path), folder=path.absolute().parent, **tree)


_WORDS = {dict: "mapping", list: "list", int: "whole number"}


def find_recipe(source: str | Path) -> Path:
    """The file of a recipe given by path, or by the name of one karat ships."""
    path = Path(source).expanduser()
    if path.is_file():
        return path
    shipped = SHIPPED / f"{source}.yaml"
    if shipped.is_file():
        return shipped
    names = [p.stem for p in SHIPPED.glob("*.yaml")]
    near = did_you_mean(str(source), names)
    raise RecipeError(f"no recipe file {path}, and karat ships none of that name; {near}")


class _at:  # noqa: N801  reads as a word in `with _at("step 3"):`
    """Puts a place in front of the message of a RecipeError raised inside."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RecipeError):
            raise RecipeError(f"{self._where}: {error}") from None


def _labels(steps: Sequence[StepCall]) -> list[str]:
    """Step names, a repeated one numbered: respond, respond_2."""
    seen: dict[str, int] = {}
    labels = []
    for call in steps:
        name = call.step.name
        seen[name] = seen.get(name, 0) + 1
        labels.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return labels


def _typed(value: Any, kind: type, key: str, words: str, where: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecipeError(f"{where}: {key} must be {words}, got {value!r}")
    return value


def _plain(spec: ModelSpec) -> Any:
    import msgspec

    tree = msgspec.to_builtins(spec)
    return tree["model"] if list(tree) == ["model"] else tree


def _parse_step(item: Any, where: str, folder: Path) -> StepCall:
    if isinstance(item, str):
        item = {item: {}}
    if not isinstance(item, dict) or len(item) != 1:
        raise RecipeError(f"{where}: write a step as `name: {{parameter: value}}`, got {item!r}")
    ((name, params),) = item.items()
    params = {} if params is None else params
    if not isinstance(params, dict):
        raise RecipeError(f"{where} '{name}': parameters are a mapping, got {params!r}")
    with _at(where):
        found = find(str(name), folder)
    with _at(f"{where} '{name}'"):
        return found(**{str(key): value for key, value in params.items()})


class _Loader(yaml.SafeLoader):
    """Safe YAML with 1.2's booleans and floats, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                line = key_node.start_mark.line + 1
                raise RecipeError(f"line {line}: the key '{key}' is written twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def _resolvers() -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    import re

    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items():
        yield first, [r for r in rules if r[0] not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")]
    yield from ((c, [("tag:yaml.org,2002:bool", re.compile(r"true|false", re.I))]) for c in "tTfF")


def _make_loader() -> None:
    import re

    table: dict[str, list[tuple[str, Any]]] = {}
    for first, rules in _resolvers():
        table.setdefault(first, []).extend(rules)
    number = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")  # 1e-3: YAML 1.1 asks for 1.0e-3
    for first in "-+.0123456789":
        table.setdefault(first, []).insert(0, ("tag:yaml.org,2002:float", number))
    _Loader.yaml_implicit_resolvers = table


_make_loader()


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open(encoding="utf-8") as stream, _at(str(path)):
            tree = yaml.load(stream, _Loader)  # noqa: S506  _Loader is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    return dict(_typed(tree, dict, "the file", "a mapping of name, models, steps, …", str(path)))


def _override(tree: dict[str, Any], text: str) -> None:
    """Applies one `key=value`. A step's name stands for its parameters: `respond.n=2`."""
    key, equals, raw = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: write key=value, for example --set respond.n=2")
    *parents, last = key.strip().split(".")
    value = yaml.load(raw, _Loader)  # noqa: S506
    place: Any = tree
    steps = {next(iter(s)) if isinstance(s, dict) else s: i for i, s in enumerate(tree.get("steps") or [])}
    if parents and parents[0] in steps and parents[0] not in tree:
        position, name = steps[parents[0]], parents.pop(0)
        item = tree["steps"][position]
        params = (item.get(name) if isinstance(item, dict) else None) or {}
        tree["steps"][position] = {name: params}
        place = params
    elif not parents and last not in KEYS:
        raise RecipeError(f"--set {text}: no key '{last}'; {did_you_mean(last, [*KEYS, *steps])}")
    for parent in parents:
        known = place if isinstance(place, dict) else {}
        if parent not in known and place is tree and parent not in KEYS:
            raise RecipeError(f"--set {text}: no '{parent}'; {did_you_mean(parent, [*KEYS, *steps])}")
        if not isinstance(known.get(parent), dict):
            place[parent] = {"model": known[parent]} if parents[0] == "models" and parent in known else {}
        place = place[parent]
    place[last] = value
