"""The rewards of a recipe: what their names stand for, loaded once, and what is behind them.

A panel asks other rewards, a judge asks models of the recipe. What a check, an address or a licence
needs to know of a reward is therefore known of all that it asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, did_you_mean
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.recipefile import at
from karat.rewards.base import Reward, Scale, is_asking, is_remote
from karat.rewards.load import load_reward

DEBIASED = "_debiased"  # ends the key of a score without its lean to length; see steps/debias


class Graders:
    """Rewards by the names a recipe gives them; `kind/name` stands for itself."""

    def __init__(
        self, written: Mapping[str, Any], folder: Path, services: Mapping[str, Service]
    ) -> None:
        self._written, self._folder, self._services = written, folder, services
        self._loaded: dict[str, Reward] = {}

    def get(self, name: str) -> Reward:
        """The loaded reward. Raises: RecipeError."""
        if name not in self._loaded:
            if "/" not in name and name not in self._written:
                near = did_you_mean(name, self._written)
                raise RecipeError(f"no reward '{name}' in rewards; {near}")
            with at(f"reward '{name}'") if name in self._written else nullcontext():
                value = self._written.get(name, name)
                self._loaded[name] = load_reward(value, self._folder, self._services)
        return self._loaded[name]

    def behind(self, name: str, within: tuple[str, ...] = ()) -> Iterator[Reward]:
        """The reward and, once each and in order, those it asks. Raises: RecipeError."""
        if name in within:
            raise RecipeError(f"reward '{name}' asks itself: {' → '.join((*within, name))}")
        reward = self.get(name)
        yield reward
        for other in reward.rewards if is_asking(reward) else ():
            yield from self.behind(other, (*within, name))

    def models(self, name: str) -> list[str]:
        """The models of the recipe that a reward asks, itself or through others."""
        found = (m for r in self.behind(name) if not is_remote(r) for m in r.models)
        return list(dict.fromkeys(found))

    def servers(self, name: str) -> dict[str, ModelSpec]:
        """The servers of scores that a reward asks, itself or through others."""
        return {f"reward {r.name}": r.spec for r in self.behind(name) if is_remote(r)}

    def calls(
        self, name: str, models: Mapping[str, ModelSpec], n: int
    ) -> Iterator[tuple[ModelSpec, int]]:
        """(whom it asks, how often) for a row of n responses, at the most: a plan's figure."""
        for reward in self.behind(name):
            if is_remote(reward):
                yield reward.spec, 1 if reward.together is None else -(-n // reward.together)
            elif is_asking(reward):
                yield from ((models[model], reward.calls(n)) for model in reward.models)

    def sampling(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(model, what is asked of it) of every model a reward asks, itself or through others."""
        for reward in self.behind(name):
            if is_asking(reward):
                yield from ((model, reward.sampling) for model in reward.models)

    def licence(self, name: str, models: Mapping[str, ModelSpec]) -> str:
        """Of the reward and of all it asks: a judge's is that of its model."""
        found = [reward.licence for reward in self.behind(name)]
        routes = (models[m].route() for m in self.models(name) if m in models)
        found += [spec.rights().licence for route in routes for spec in route]
        return "; ".join(dict.fromkeys(one for one in found if one)) or "unknown"

    def lineage(self, name: str, models: Mapping[str, ModelSpec]) -> list[str]:
        """The weights behind a reward, as `provider/name`: its own, and those of what it asks."""
        found = [
            r.spec.model if is_remote(r) else r.name for r in self.behind(name) if not is_asking(r)
        ]
        routes = (models[m].route() for m in self.models(name) if m in models)
        return list(dict.fromkeys([*found, *(spec.model for route in routes for spec in route)]))

    def check(self, name: str) -> None:
        """Raises: RecipeError for what could not be asked: a server without an address or key."""
        for spec in self.servers(name).values():
            spec.check()

    def scale(self, key: str) -> Scale | None:
        """(low, high) of a score `reward.attribute`; None where it is of no reward here."""
        name, _, attribute = key.rpartition(".")
        known = "/" in name or name in self._written
        return self.get(name).attributes.get(attribute) if known else None

    def within_prompt(self, key: str) -> bool:
        """Whether a score compares with others of the same prompt only."""
        name, _, attribute = key.removesuffix(DEBIASED).rpartition(".")
        known = "/" in name or name in self._written
        return known and attribute in self.get(name).within_prompt
