"""Models that no config names and requests do, as `provider/name`.

Each holds a limiter and connections, so only so many are remembered: for a new one the one that has
been idle longest goes, and comes back when it is asked again. So nobody who asks for many names
takes them from others. A name may end up in a service's address and in the ledger's lines; what
would lead elsewhere there is no name of a model.
"""

from __future__ import annotations

import asyncio
import re

from karat.errors import RecipeError, did_you_mean
from karat.models.client import Client
from karat.models.embedded import MODELS as EMBEDDED_MODELS
from karat.models.embedded_table import NAME as TABLE
from karat.models.endpoint import ModelDownError
from karat.models.spec import EMBEDDED, ModelSpec, parse_model
from karat.web.gateway.config import Config
from karat.web.gateway.refusals import Refused

MOST_NAME = 300  # characters of a name that no config holds
MOST_MODELS = 1000
_ODD = re.compile(r"[\s?#%\\]|//")  # in an address these end a path, or begin another


class Unnamed:
    """Those of one gateway. What `client` knows and was not asked for here is not touched."""

    def __init__(self, client: Client, config: Config) -> None:
        self._client, self._config = client, config
        self._asked: dict[str, None] = {}  # the one asked last at the end
        self._closing = set[asyncio.Future[None]]()

    def parse(self, name: str) -> ModelSpec:
        """The model of this name. Raises: RecipeError."""
        if not is_name(name):
            raise RecipeError("no model is called so")
        spec = parse_model(name, self._config.providers)
        shipped = (*EMBEDDED_MODELS, TABLE)
        if spec.provider == EMBEDDED and spec.name not in shipped:  # never a path from a request
            raise RecipeError(f"no embedded model '{name}'; {did_you_mean(spec.name, shipped)}")
        return spec

    def add(self, name: str, spec: ModelSpec) -> None:
        """Makes room, and makes it known to the client. Raises: Refused where each is busy."""
        if name in self._client.models:  # a reward's, by now
            return
        while len(self._asked) >= MOST_MODELS:
            idle = next((one for one in self._asked if not self._is_busy(one)), None)
            if idle is None:
                raise Refused(
                    503, "api_error", f"{MOST_MODELS:,} models are being asked just now, beside "
                    "those of the server's config; try again later", code="too_many_models",
                )  # fmt: skip
            self._forget(idle)
        self._client.models[name] = spec
        self._asked[name] = None

    def touch(self, name: str) -> None:
        """It was asked for just now."""
        if name in self._asked:
            del self._asked[name]
            self._asked[name] = None

    def keep(self, name: str) -> None:
        """It is the config's after all: a reward asks it."""
        self._asked.pop(name, None)

    def note_down(self, name: str, error: ModelDownError) -> None:
        """Forgets a model which its service does not know."""
        unknown = getattr(error.__cause__, "status", None) == 404
        if name not in self._asked or not unknown or self._is_busy(name):
            return
        if not self._client.is_connected(name) or not self._client.endpoint(name).delivered_at:
            self._forget(name)

    def _is_busy(self, name: str) -> bool:
        return self._client.is_connected(name) and self._client.endpoint(name).tally.errands > 0

    def _forget(self, name: str) -> None:
        del self._asked[name]
        if not self._client.is_connected(name):
            del self._client.models[name]
            return
        for one in self._client.forget(name):
            closing = asyncio.ensure_future(one.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


def is_name(name: str) -> bool:
    """Whether a request may name a model so."""
    plain = len(name) <= MOST_NAME and name.isprintable() and not _ODD.search(name)
    return plain and not {".", ".."} & set(name.split("/"))
