"""`karat reward check`: asks a reward about easy answers and looks for what goes wrong in silence.

A reward model that reads two BOS tokens, or whose score goes through a sigmoid, still answers every
question with a number. Such faults show in no log and no error; they show when one asks what the
answer to is known. It goes through the very desk a run uses, so what it sees is what a run would
get, over journals that are thrown away.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from karat.checking import checks
from karat.checking.findings import Finding, Verdict
from karat.checking.trial import Trial
from karat.errors import RecipeError, RunError, did_you_mean
from karat.graders import Graders
from karat.grading import Desk
from karat.journal import Journal
from karat.models.budget import NANO, Budget, BudgetError
from karat.models.client import Client
from karat.models.services import Service, own_services, parse_service
from karat.models.spec import ModelSpec, parse_model
from karat.recipefile import at, checked, find_recipe, override, parse
from karat.rewards.base import Reward, is_remote
from karat.rewards.head import BUILTIN

OF_MODELS = ("bos", "template", "system")  # of what reads tokens: not of a judge or a panel
ASKED_ABOUT = 100  # scores, roughly


class Place:
    """A reward with all it needs: those it asks, models, services."""

    def __init__(
        self, name: str, rewards: Mapping[str, Any], models: Mapping[str, Any], folder: Path,
        own: Mapping[str, Service],
    ) -> None:  # fmt: skip
        self.name = name
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


def find(name: str, recipe: str | Path | None = None, overrides: Sequence[str] = ()) -> Place:
    """The reward `kind/name`, or one that `recipe` names.

    `overrides` change the reward (`shape=pooling`, `base_url=…`), or with a recipe a value of it
    (`rewards.mine.shape=pooling`). Raises: RecipeError.
    """
    ours = [text for text in overrides if not (recipe and text.startswith(("rewards.", "models.")))]
    tree: dict[str, Any] = {"steps": []}
    folder = Path.cwd()
    if recipe is not None:
        path = find_recipe(recipe)
        where, folder = str(path), path.absolute().parent
        tree = checked(parse(path), where)
        for text in overrides:
            if text not in ours:
                override(tree, text)
        tree = checked(tree, where)
        folder = folder / tree.get("folder", ".")
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
    return Place(name, rewards, tree.get("models") or {}, folder, own)


def check_reward(
    name: str, recipe: str | Path | None = None, overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> Verdict:  # fmt: skip
    """All that can be found out about a reward, for about a hundred scores.

    Raises: RecipeError for one that cannot be asked as written.
    """
    place = find(name, recipe, overrides)
    say(f"asking {place.reward.name} for about {ASKED_ABOUT} scores{_prices(place)}")
    return asyncio.run(_check(place, say))


def _prices(place: Place) -> str:
    specs = [*place.graders.servers(place.name).values()]
    specs += [place.models[model] for model in place.graders.models(place.name)]
    if not specs:
        return ", which cost nothing"
    unknown = sorted({spec.model for spec in specs if spec.rates() is None})
    return f"; no price is known of {', '.join(unknown)}" if unknown else ""


async def _check(place: Place, say: Callable[[str], None]) -> Verdict:
    reward = place.reward
    made = Verdict(reward.name, reward.identity, [], [], {}, {})
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            clients = [await _client(stack, place, Path(folder) / f"{i}.sqlite") for i in (0, 1)]
            desks = tuple(_desk(place, client) for client in clients)
            for desk in desks:
                stack.callback(desk.close)
            trial = Trial(reward, place.name, (desks[0], desks[1]))
            try:
                found = await trial.run(say)
            except RunError as error:
                made.findings = [_unreachable(reward, error)]
                made.unchecked = dict.fromkeys(checks.CHECKS, "nobody answers")
            else:
                made.findings = checks.everything(found, reward)
                made.figures = checks.figures(found, reward)
                made.unchecked = checks.unchecked(found, reward)
                if not (is_remote(reward) or hasattr(reward, "seen")):
                    made.unchecked |= dict.fromkeys(OF_MODELS, "it reads no tokens of its own")
            made.scores = trial.scores
            made.asked = sum(e.tally.calls for c in clients for e in c.endpoints.values())
            made.cost_usd = _cost(place, clients)
    wrong = {finding.check for finding in made.findings}
    made.unchecked = {k: v for k, v in made.unchecked.items() if k not in wrong}
    made.passed = [
        name for name in checks.CHECKS if name not in wrong and name not in made.unchecked
    ]
    return made


async def _client(stack: AsyncExitStack, place: Place, path: Path) -> Client:
    journal = Journal(path)
    stack.push_async_callback(journal.close)
    client = Client(dict(place.models), journal, Budget(None))
    stack.push_async_callback(client.close)
    return client


def _desk(place: Place, client: Client) -> Desk:
    def allowed(model: str) -> Client:
        client.models.setdefault(model, place.spec(model))
        return client

    return Desk(client, place.graders.get, allowed)


def _cost(place: Place, clients: Sequence[Client]) -> float | None:
    specs = [*place.graders.servers(place.name).values()]
    specs += [place.models[model] for model in place.graders.models(place.name)]
    if any(spec.rates() is None for spec in specs):
        return None
    nano = sum(e.tally.cost_nano for client in clients for e in client.endpoints.values())
    return nano / NANO


def _unreachable(reward: Reward, error: RunError) -> Finding:
    change = "mend what it says"
    if is_remote(reward) and not isinstance(error, BudgetError):
        change = "start the server, and check base_url, the model's name and the key"
        if "HTTP 404" in str(error):
            change = reward.unserved
    return Finding("answers", "error", str(error), "nothing can be graded", change)
