"""The rewards of a recipe: what their names stand for, loaded once, and what is behind them.

A panel asks other rewards, a judge asks models of the recipe. What a check, an address or a licence
needs to know of a reward is therefore known of all that it asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from karat.errors import RecipeError, did_you_mean
from karat.forecast import CallForecast
from karat.models.services import Service
from karat.models.spec import ModelSpec
from karat.recipefile import at
from karat.rewards.base import Reward, Scale, is_asking, is_remote
from karat.rewards.load import load_reward
from karat.row import canonical
from karat.signature import verifier_names

# What the keys of scores begin with that no reward gives.
RESERVED = ("verifier", "route", "weighted")


class Graders:
    """Rewards by the names a recipe gives them; `kind/name` stands for itself."""

    def __init__(
        self, written: Mapping[str, Any], folder: Path, services: Mapping[str, Service]
    ) -> None:
        self._written, self._folder, self._services = written, folder, services
        self._loaded: dict[str, Reward] = {}
        self._within: dict[str, bool] = {}  # of scores that steps make of others
        self._parts: dict[str, list[str]] = {}

    def get(self, name: str) -> Reward:
        """The loaded reward. Raises: RecipeError."""
        if name not in self._loaded:
            if "/" not in name and name not in self._written:
                raise RecipeError(f"no reward '{name}' in rewards; {self._near(name)}")
            with at(f"reward '{name}'") if name in self._written else nullcontext():
                value = self._written.get(name, name)
                self._loaded[name] = load_reward(value, self._folder, self._services)
        return self._loaded[name]

    def _near(self, name: str) -> str:
        """What somebody may have meant who wrote a reward that is not there."""
        checks = verifier_names()
        if name in checks:
            return f"it is a verifier: verify: {{checks: [{name}]}}, or first in a route"
        near = did_you_mean(name, self._written)
        like = "" if near.startswith("did") else did_you_mean(name, checks)
        return f"{near}; of verifiers, {like}" if like.startswith("did") else near

    def behind(self, name: str) -> dict[str, Reward]:
        """The reward and, once each and in order, those it asks, by name. Raises: RecipeError."""
        found: dict[str, Reward] = {}
        self._gather(name, (), found)
        return found

    def _gather(self, name: str, within: tuple[str, ...], found: dict[str, Reward]) -> None:
        if name in within:
            raise RecipeError(f"reward '{name}' asks itself: {' → '.join((*within, name))}")
        if name in found:
            return
        found[name] = reward = self.get(name)
        for other in reward.rewards if is_asking(reward) else ():
            self._gather(other, (*within, name), found)

    def models(self, name: str) -> list[str]:
        """The models of the recipe that a reward asks, itself or through others."""
        found = (m for r in self.behind(name).values() if not is_remote(r) for m in r.models)
        return list(dict.fromkeys(found))

    def servers(self, name: str) -> dict[str, ModelSpec]:
        """The servers of scores that a reward asks, itself or through others."""
        return {f"reward {key}": r.spec for key, r in self.behind(name).items() if is_remote(r)}

    def identity(self, name: str, meaning: Callable[[str], str]) -> str:
        """What tells a reward from any that could score otherwise, with all it asks: a judge is
        another judge once its model is. `meaning` says what stands behind a model's name."""
        behind = [(r.identity, [meaning(m) for m in r.models]) for r in self.behind(name).values()]
        return canonical(behind).decode()

    def calls(
        self, name: str, models: Mapping[str, ModelSpec], n: int
    ) -> Iterator[tuple[ModelSpec, CallForecast]]:
        """Whom it asks what for a row of n responses, at the most: a plan's figure. Of a server's
        scores one is counted for each response; what is the same as another's is bought once."""
        seen = set[str]()
        for reward in self.behind(name).values():
            if reward.identity in seen:
                continue
            seen.add(reward.identity)
            if is_remote(reward):
                calls = 1 if reward.together is None else -(-n // reward.together)
                each = -(-n // calls)
                yield reward.spec, CallForecast(name, calls, each, writes=False, shown=each)
            elif is_asking(reward):
                shown, own = reward.shows
                for model in reward.models:
                    asked = CallForecast(name, reward.calls(n), shown=shown, own_words=own)
                    yield models[model], asked

    def sampling(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(model, what is asked of it) of every model a reward asks, itself or through others."""
        for reward in self.behind(name).values():
            if is_asking(reward):
                yield from ((model, reward.sampling) for model in reward.models)

    def licence(self, name: str, models: Mapping[str, ModelSpec]) -> str:
        """Of the reward and of all it asks: a judge's is that of its model."""
        found = [reward.licence for reward in self.behind(name).values()]
        routes = (models[m].route() for m in self.models(name) if m in models)
        found += [spec.rights().licence for route in routes for spec in route]
        return "; ".join(dict.fromkeys(one for one in found if one)) or "unknown"

    def lineage(self, name: str, models: Mapping[str, ModelSpec]) -> list[str]:
        """The weights behind a reward, as `provider/name`: its own, and those of what it asks."""
        behind = self.behind(name).values()
        found = [r.spec.model if is_remote(r) else r.name for r in behind if not is_asking(r)]
        routes = (models[m].route() for m in self.models(name) if m in models)
        return list(dict.fromkeys([*found, *(spec.model for route in routes for spec in route)]))

    def check(self, name: str, lacking: list[str] | None = None) -> None:
        """Raises: RecipeError for what could not be asked: a server without an address or key (that
        is added to `lacking`, where there is such a list)."""
        self.check_written(name)
        for spec in self.servers(name).values():
            spec.check(lacking)

    def check_written(self, name: str) -> None:
        """Raises: RecipeError for what is wrong wherever it runs, whatever keys are set."""
        for spec in self.servers(name).values():
            spec.check_written()
        for key, reward in self.behind(name).items():
            with at(f"reward '{key}'") if key != name else nullcontext():
                self._check_members(getattr(reward, "members", ()))

    def _check_members(self, members: Sequence[tuple[str, str]]) -> None:
        """Raises: RecipeError for a panel's members that give no such score, or that are one grader
        under two names: it would speak twice, and agree with itself."""
        seen: dict[tuple[str, str], str] = {}
        for name, attribute in members:
            known = self.get(name)
            if attribute not in known.attributes:
                near = did_you_mean(attribute, known.attributes)
                raise RecipeError(f"reward '{name}' gives no '{attribute}'; {near}")
            other = seen.setdefault((known.identity, attribute), name)
            if other != name:
                raise RecipeError(f"of: '{other}' and '{name}' are the same reward")

    def check_together(self) -> None:
        """Of all that is loaded. Raises: RecipeError for names that later steps could not tell from
        a verifier's scores, and for one server under two names on other terms: whose price and
        budget would hold?"""
        for name in self._written:
            if name in (*RESERVED, *verifier_names()):
                raise RecipeError(
                    f"reward '{name}' is called as karat's own scores are; give it another name"
                )
        seen: dict[str, tuple[str, ModelSpec]] = {}
        for name, reward in self._loaded.items():
            if is_remote(reward):
                other, spec = seen.setdefault(reward.identity, (name, reward.spec))
                if reward.spec != spec:
                    raise RecipeError(
                        f"rewards '{other}' and '{name}' are one model on one server on two sets "
                        "of terms (price, budget_usd, concurrency …); write the same in both"
                    )

    def scale(self, key: str) -> Scale | None:
        """(low, high) of a score `reward.attribute`; None where it is of no reward here."""
        name, _, attribute = key.rpartition(".")
        known = "/" in name or name in self._written
        return self.get(name).attributes.get(attribute) if known else None

    def derive(self, made: Mapping[str, Iterable[str]]) -> None:
        """Scores that a step makes of others: a sum, a score without its lean to length. Each
        compares within one prompt only where a part of it does, in whichever step makes it."""
        for key, parts in made.items():
            within = any(self.within_prompt(part) for part in parts)
            self._within[key] = within or self._within.get(key, False)
            found = [name for part in parts for name in self.sources(part)]
            self._parts[key] = list(dict.fromkeys([*self._parts.get(key, []), *found]))

    def sources(self, key: str) -> list[str]:
        """Names of the rewards that a score is of: what a sum is made of, whom a panel asks."""
        if key in self._parts:
            return self._parts[key]
        name = key.rpartition(".")[0]
        known = "/" in name or name in self._written
        reward = self.get(name) if known else None
        asked = reward.rewards if reward is not None and is_asking(reward) else ()
        found = [one for other in asked for one in self.sources(f"{other}.")]
        return list(dict.fromkeys([name, *found]))

    def within_prompt(self, key: str) -> bool:
        """Whether a score compares with others of the same prompt only."""
        if key in self._within:
            return self._within[key]
        name, _, attribute = key.rpartition(".")
        known = "/" in name or name in self._written
        return known and attribute in self.get(name).within_prompt
