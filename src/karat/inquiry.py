"""A reward found by its name, with all it needs to be asked outside a run, and the desk to ask at.

Commands that examine a reward (check, eval, calibrate) name it as a recipe would, with or without
a recipe. What they ask goes through the very desk a run uses, so that what they see is what a run
would get.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from karat.errors import RecipeError, did_you_mean
from karat.graders import Graders
from karat.grading import Desk
from karat.journal import Address, open_journal
from karat.ledger import NANO
from karat.modelchecks import check_prices
from karat.models.budget import Budget
from karat.models.client import Client
from karat.models.services import Service, own_services, parse_service
from karat.models.spec import ModelSpec, parse_model
from karat.overrides import overridden, override
from karat.recipefile import at
from karat.rewards.base import Reward, is_asking
from karat.rewards.head import BUILTIN
from karat.training._items import prompt_marks

MAIN = ("reward", "wins", "score", "helpfulness")  # what the figure that ranks is called


class Written(NamedTuple):
    """A recipe as it is written, with overrides, its steps not looked at; its file and the folder
    that its paths are of."""

    tree: dict[str, Any]
    path: Path
    folder: Path


def written(recipe: str | Path, overrides: Sequence[str] = ()) -> Written:
    """Raises: RecipeError."""
    path, tree = overridden(recipe, overrides)
    return Written(tree, path, path.absolute().parent / tree.get("folder", "."))


class Place:
    """A reward with all it needs: those it asks, models, services."""

    def __init__(
        self, name: str, rewards: Mapping[str, Any], models: Mapping[str, Any], folder: Path,
        own: Mapping[str, Service], budget_usd: float | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.budget_usd = budget_usd
        self.services = {**own_services(), **own}
        self.graders = Graders(rewards, folder, self.services)
        self.models: dict[str, ModelSpec] = {}
        for key, value in models.items():
            with at(f"model '{key}'"):
                self.models[str(key)] = parse_model(value, self.services)
        self.reward: Reward = self.graders.get(name)
        with at(f"reward '{name}'"):
            self.graders.check(name)
            for model in self.graders.models(name):
                self.spec(model).check()
            check_prices(dict(self._asked()), limited=budget_usd is not None)

    def spec(self, model: str) -> ModelSpec:
        """The model a reward asks. Raises: RecipeError."""
        if model not in self.models:
            if "/" not in model:
                known = did_you_mean(model, self.models)
                raise RecipeError(
                    f"no model '{model}'; {known}. Say --recipe FILE, or name it provider/name"
                )
            self.models[model] = parse_model(model, self.services)
        return self.models[model]

    def _asked(self) -> Iterator[tuple[str, ModelSpec]]:
        yield from self.graders.servers(self.name).items()
        yield from ((model, self.spec(model)) for model in self.graders.models(self.name))

    @property
    def unpriced(self) -> list[str]:
        """Models it asks of which no price is known."""
        return sorted({spec.model for _, spec in self._asked() if spec.rates() is None})

    @property
    def is_free(self) -> bool:
        """Whether nobody outside this process is asked."""
        return not list(self._asked())

    def cost_usd(self, clients: Sequence[Client]) -> float | None:
        """What these clients spent; None where a price is not known."""
        nano = sum(e.tally.cost_nano for client in clients for e in client.endpoints.values())
        return None if self.unpriced else nano / NANO


def find(name: str, recipe: str | Path | None = None, overrides: Sequence[str] = ()) -> Place:
    """The reward `kind/name`, or one that `recipe` names.

    `overrides` change the reward (`shape=pooling`, `base_url=…`), or with a recipe a value of it
    (`rewards.mine.shape=pooling`). Raises: RecipeError.
    """
    of_recipe = ("rewards.", "models.", "budget_usd=")
    ours = [text for text in overrides if not (recipe and text.startswith(of_recipe))]
    tree: dict[str, Any] = {"steps": []}
    folder = Path.cwd()
    if recipe is not None:
        tree, _, folder = written(recipe, [text for text in overrides if text not in ours])
    rewards = dict(tree.get("rewards") or {})
    if name not in rewards and "/" not in name:
        if recipe is None:
            hint = (
                f"did you mean 'embedded/{name}'?" if name in BUILTIN
                else "a recipe's own names need --recipe FILE"
            )  # fmt: skip
            raise RecipeError(f"'{name}' is no kind/name; {hint}")
        raise RecipeError(f"{recipe} has no reward '{name}'; {did_you_mean(name, rewards)}")
    if ours:
        value = rewards.get(name, name)
        mine: dict[str, Any] = {"it": {"reward": value} if isinstance(value, str) else {**value}}
        for text in ours:
            override({"rewards": mine, "steps": []}, f"rewards.it.{text}")
        rewards[name] = mine["it"]
    own = {key: parse_service(key, value) for key, value in (tree.get("providers") or {}).items()}
    return Place(name, rewards, tree.get("models") or {}, folder, own, tree.get("budget_usd"))


def main_attribute(reward: Reward) -> str:
    """The one that ranks: of `MAIN` the first there is, else the reward's first."""
    known = [name for name in MAIN if name in reward.attributes]
    return known[0] if known else next(iter(reward.attributes))


def seen_share(place: Place, groups: Iterable[str]) -> float | None:
    """How much of a set's different prompts the reward, or one that it asks, was trained on: 0 to
    1; None where that is not known, as no record of its prompts was kept.

    `groups` are first user turns as `training._items.group_of` folds them. A record is `prompts` in
    a head's meta: whatever a file is called, its prompts are the same. Of a panel of which one
    member has none, what the others have seen is told, and that they saw nothing is not.
    """
    marks = prompt_marks(sorted(set(groups)))
    seen, known = np.zeros(len(marks), np.bool_), len(marks) > 0
    for one in place.graders.behind(place.name).values():
        record = getattr(getattr(one, "head", None), "meta", {}).get("prompts")
        try:
            theirs = np.frombuffer(base64.b64decode(record or "?", validate=True), "<u8")
        except (TypeError, ValueError):  # none, or no marks
            known &= is_asking(one) and bool(one.rewards)
        else:
            seen |= np.isin(marks, theirs)
    return float(seen.mean()) if known or seen.any() else None


class Bench(NamedTuple):
    """A desk and the client it asks through."""

    desk: Desk
    client: Client


@asynccontextmanager
async def bench(
    place: Place, path: Address, warn: Callable[[str], None] | None = None
) -> AsyncIterator[Bench]:
    """A desk over the journal at `path`, closed whatever happens; what the journal says was spent
    counts towards the budget."""
    async with AsyncExitStack() as stack:
        journal = open_journal(path)
        stack.push_async_callback(journal.close)
        ((spent,),) = journal.query("SELECT sum(cost_nano) FROM minutes")
        client = Client(dict(place.models), journal, Budget(place.budget_usd, spent or 0))
        if warn is not None:
            client.till.warn = warn
        stack.push_async_callback(client.close)

        def allowed(model: str) -> Client:
            client.models.setdefault(model, place.spec(model))
            return client

        desk = Desk(client, place.graders.get, allowed)
        stack.callback(desk.close)
        yield Bench(desk, client)
