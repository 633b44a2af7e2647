"""Services for steps that ask no model: where a source is read and where a table is decided on."""

from __future__ import annotations

from typing import NoReturn, cast

from karat.errors import RunError
from karat.journal import Journal
from karat.models.budget import Budget
from karat.models.client import Client
from karat.recipe import Recipe


class _NoJournal:
    """Stands where no call may be recorded, hence none made."""

    def __getattr__(self, name: str) -> NoReturn:
        raise RunError("a source or table step on a cluster cannot ask a model; use a row step")


def quiet_client(recipe: Recipe) -> Client:
    return Client(recipe.models, cast(Journal, _NoJournal()), Budget(None))
