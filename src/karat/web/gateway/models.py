"""`/v1/models`: what a key may ask here.

The config's own names come first; then every model of a service that can be reached from this
machine.
"""

from __future__ import annotations

from typing import Any

from starlette.types import Scope

from karat.web.gateway.door import Reply, dumps
from karat.web.gateway.engine import Asked, Caller, Gateway
from karat.web.gateway.grading import reward_entries
from karat.web.gateway.refusals import not_found


class Models:
    """The list and its entries."""

    async def serve(self, asked: Asked, body: bytes, scope: Scope) -> Reply:
        """The list."""
        entries = await self._entries(asked.gateway, asked.caller)
        return Reply(dumps({"object": "list", "data": entries}))

    async def serve_one(self, asked: Asked, body: bytes, scope: Scope) -> Reply:
        """One of it, whose name may hold slashes. Raises: Refused."""
        name = scope["path_params"]["name"]
        for entry in await self._entries(asked.gateway, asked.caller):
            if entry["id"] == name:
                return Reply(dumps(entry))
        raise not_found(name, "it is not among the models of this key")

    async def _entries(self, gateway: Gateway, caller: Caller) -> list[dict[str, Any]]:
        found = {name: spec.provider for name, spec in gateway.config.models.items()}
        for name in await gateway.reached():
            found.setdefault(name, name.partition("/")[0])
        entries = [_entry(name, owner) for name, owner in found.items() if caller.may_use(name)]
        return [*entries, *reward_entries(gateway, caller)]


def _entry(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": owner}
