"""Budgets and what is spent of them: of runs, of single models, of the gateway and its keys.

A budget stops what it limits. Whoever looks here wants to know before it does, so that what is near
its limit comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from karat.costs import Line
from karat.errors import KaratError
from karat.ledger import NANO
from karat.recipefile import parse
from karat.rundir import Run
from karat.web.accounts.ledgers import Ledger, Ledgers
from karat.web.addresses import calls_page
from karat.web.desk import Desk
from karat.web.gateway.keys import FOLDER, listed

NEAR = 0.8  # of a budget, from which on a warning is shown


class Budget(NamedTuple):
    """`of` is run, model, key or gateway, `within` the run a model's budget is in; `unpriced` calls
    of unknown price are not counted. `href` leads to the calls behind it."""

    of: str
    name: str
    within: str
    spent_usd: float
    budget_usd: float
    unpriced: bool
    href: str

    @property
    def share(self) -> float:
        return self.spent_usd / self.budget_usd

    @property
    def state(self) -> str:
        """good, near or over."""
        return "over" if self.share >= 1 else "near" if self.share >= NEAR else "good"

    def tree(self) -> dict[str, Any]:
        """As columns of a file."""
        found = {name: value for name, value in self._asdict().items() if name != "href"}
        return {**found, "share": self.share, "state": self.state}


def budgets(books: Ledgers, desk: Desk) -> list[Budget]:
    """All that are set, the most used up first. What cannot be read has none."""
    found: list[Budget] = []
    for one in books.all():
        if one.place is not None:
            with suppress(KaratError, OSError, ValueError, TypeError, AttributeError):
                found += _of_run(books, one)
    with suppress(KaratError):
        found += _of_gateway(books, desk)
    return sorted(found, key=lambda one: (-one.share, one.of, one.name))


def _of_run(books: Ledgers, one: Ledger) -> Iterator[Budget]:
    assert one.place is not None
    recipe = one.place.run.recipe
    limit, models = books.kept(recipe, ("budgets",), partial(_written, one.place.run))
    if limit is None and not models:
        return
    lines = books.lines(one, "model")
    if limit is not None:
        nano = sum(line.cost_nano for line in lines.values())
        unknown = any(line.unpriced for line in lines.values())
        yield Budget("run", one.name, "", nano / NANO, limit, unknown, calls_page(run=one.slug))
    for model, budget in models.items():
        yield _of_model(model, budget, one, lines)


def _of_model(model: str, budget: float, one: Ledger, lines: Mapping[str, Line]) -> Budget:
    line = lines.get(model)
    spent = line.cost_nano / NANO if line else 0.0
    href = calls_page(run=one.slug, model=model)
    return Budget("model", model, one.name, spent, budget, bool(line and line.unpriced), href)


def _written(run: Run) -> tuple[float | None, dict[str, float]]:
    """The budgets of a run and of its models, as its recipe says. Raises: RecipeError, OSError."""
    if b"budget_usd" not in run.recipe.read_bytes():  # most have none, and YAML takes long
        return None, {}
    tree = parse(run.recipe)
    models: dict[str, float] = {}
    for value in (tree.get("models") or {}).values():
        for spec in value if isinstance(value, list) else [value]:
            if isinstance(spec, dict) and _is_amount(spec.get("budget_usd")):
                models[str(spec.get("model"))] = float(spec["budget_usd"])
    limit = tree.get("budget_usd")
    return float(limit) if _is_amount(limit) else None, models  # type: ignore[arg-type]


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _of_gateway(books: Ledgers, desk: Desk) -> Iterator[Budget]:
    folder = desk.settings.root / FOLDER
    mine = [one for one in books.all() if one.folder == folder]
    for key in listed(folder):
        if key["budget_usd"] is not None:
            href = calls_page(key=key["name"])
            yield Budget("key", key["name"], "", key["spent_usd"], key["budget_usd"], False, href)
    if desk.gateway is None:
        return
    purse = desk.gateway.purse
    if purse.limited and purse.limit_nano is not None:
        spent, limit = purse.spent_nano / NANO, purse.limit_nano / NANO
        href = calls_page(run=mine[0].slug if mine else "")
        yield Budget("gateway", "all keys", "", spent, limit, False, href)
    lines = {by: books.lines(mine[0], by) if mine else {} for by in ("key", "model")}
    for name, terms in desk.gateway.config.keys.items():
        if terms.budget_usd is not None:
            line = lines["key"].get(name)
            spent = line.cost_nano / NANO if line else 0.0
            href = calls_page(key=name)
            yield Budget("key", name, "", spent, terms.budget_usd, False, href)
    for one in mine:
        for spec in desk.gateway.config.models.values():
            if spec.budget_usd is not None:
                yield _of_model(spec.model, spec.budget_usd, one, lines["model"])
