"""The gateway's engine: one client, one journal, one till for whoever asks over HTTP.

A route (chat, embeddings, messages …) reads its own wire format and words its own answers. Between
the two it needs only what stands here: who may ask which model (`Gateway.model`), on what terms
(`Asked.asker`), and what it cost (`Asked.figures`). Everything is bought through karat's client,
so that limits, fallbacks, prices, journal and budgets are those of a run. The ledger's `step` is
`key:NAME` and its `row` the request's id: what a key has cost is one group-by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from karat.errors import RecipeError, did_you_mean
from karat.graders import Graders
from karat.grading import Desk
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.prices import Rates
from karat.models.spec import parse_model
from karat.models.terms import Terms
from karat.rundir import Lock
from karat.telemetry import listen
from karat.web.gateway.asked import Asked as Asked
from karat.web.gateway.asked import Caller as Caller
from karat.web.gateway.asked import Figures as Figures
from karat.web.gateway.config import Config
from karat.web.gateway.keys import Key, Keyring
from karat.web.gateway.ledger import Ledger, place_of
from karat.web.gateway.listing import Listing, instead
from karat.web.gateway.refusals import Refused as Refused
from karat.web.gateway.refusals import not_found
from karat.web.gateway.unnamed import MOST_NAME, Unnamed

log = logging.getLogger("karat.gateway")

ROLE = "gateway"
LIMIT_S = 600.0  # of one request, from its first byte to the last of its answer
CACHE = ("use", "refresh")


class Gateway:
    """What all requests share. `close` after the last of them, in the event loop that served them.

    `client` is karat's client, `graders` the rewards by name, `desk` where they are asked,
    `keyring` the virtual keys, `unnamed` the models that no config names, `listing` those that can
    be reached from here, `lock` what keeps a second server away. Who brings no key is
    `local`, and who asks on the server's own page `playground`. `token` is accepted as a key
    without limits; where there is one, or any key, every request must bring one. `log_bodies`:
    prompts and answers are kept. `journal` is the URL of a database for the ledger, by default it
    is where it was: at first, in the folder.
    """

    def __init__(
        self, runs: Path, config: Config | None = None, *, journal: str | None = None,
        budget_usd: float | None = None, token: str | None = None, log_bodies: bool = False,
        limit_s: float = LIMIT_S,
    ) -> None:  # fmt: skip
        """Raises: RecipeError, RunError."""
        self.run = place_of(runs, journal)
        self.config = config or Config()
        self.token, self.log_bodies, self.limit_s = token, log_bodies, limit_s
        self.lock = Lock(self.run, "--runs")
        self.lock.__enter__()
        try:
            self.ledger = Ledger(self.run)
            self.journal = self.ledger.journal
            self.keyring = Keyring(self.run.path, self.config.keys, self.ledger.purse_of)
            self.local = Caller("local")
            self.playground = Caller("playground")
            self._by_token = Caller("token")
            self.purse = self.ledger.purse(budget_usd, "the server")
        except BaseException:
            self.lock.__exit__()
            raise
        self.client = Client(dict(self.config.models), self.journal, self.purse)
        self.telemetry = listen(self.journal)
        self.graders = Graders(self.config.rewards, self.config.folder, self.config.providers)
        self.desk = Desk(self.client, self.graders.get, self._for_reward)
        self.unnamed = Unnamed(self.client, self.config)
        self.listing = Listing()
        self._allowed = set[str]()  # of the models that rewards ask
        self._connecting: dict[str, asyncio.Future[None]] = {}

    async def close(self) -> None:
        """Ends calls under way and commits what is pending. Raises: RunError."""
        try:
            self.desk.close()
            await self.client.close()
            if self.telemetry is not None:
                await asyncio.to_thread(self.telemetry.close)
            await self.ledger.close()
        finally:
            self.lock.__exit__()

    # --- who asks ------------------------------------------------------------------------------

    @property
    def asks_for_key(self) -> bool:
        """Whether a request must say who asks."""
        return self.token is not None or self.keyring.any

    def caller(self, secret: str | None) -> Caller:
        """Who brings this secret; None where the request brings none. Raises: Refused."""
        try:
            self.keyring.refresh()
        except RecipeError as error:  # nobody gets in while it is not known who may
            log.error("%s", error)
            raise Refused(
                503, "api_error", "the gateway's keys cannot be read; its operator finds why in "
                "the log", code="keys_unreadable",
            ) from None  # fmt: skip
        if secret is None:
            if self.asks_for_key:
                raise Refused(
                    401, "authentication_error",
                    "no key: send `Authorization: Bearer sk-karat-…`; `karat key add` makes one",
                    code="missing_api_key",
                )  # fmt: skip
            return self.local
        found = self.keyring.find(secret)
        if found is not None:
            return _caller_of(found)
        if self.token is not None and Keyring.same(secret, self.token):
            return self._by_token
        if not self.asks_for_key:  # clients cannot be made without one: whatever they send
            return self.local
        raise Refused(
            401, "authentication_error", "the key is not known, or has expired",
            code="invalid_api_key",
        )  # fmt: skip

    # --- what may be asked ---------------------------------------------------------------------

    async def model(self, name: str, caller: Caller) -> str:
        """The name under which the client knows a model that may be asked, connected.

        Any `provider/name` that can be reached is one, beside those of the config; where it is
        never is the request's to say. Raises: Refused.
        """
        self._check_ledger()
        _check_use(name, caller)
        self.unnamed.touch(name)
        if not self.client.is_connected(name):
            await self._connect(name, caller)
        self._check_prices(name, [one.rates for one in self.client.route(name)], caller)
        return name

    async def _connect(self, name: str, caller: Caller) -> None:
        """Once, however many ask at the same time: reading an embedded model's file takes long."""
        if "/" not in name and name not in self.client.models:
            short = name[:MOST_NAME]  # to find what is near takes long for a long one
            near = await asyncio.to_thread(instead, short, await self._named(caller))
            raise not_found(short, f"no model '{short}'; {near}")
        under_way = self._connecting.get(name)
        if under_way is None:
            under_way = asyncio.ensure_future(self._connect_one(name))
            self._connecting[name] = under_way
            under_way.add_done_callback(lambda done: self._connected(name, done))
        try:
            await asyncio.shield(under_way)
        except RecipeError as error:
            raise not_found(name, str(error)) from None

    async def _named(self, caller: Caller) -> list[str]:
        """The models that `/v1/models` lists to this caller."""
        named = dict.fromkeys([*self.config.models, *await self.reached()])
        return [one for one in named if caller.may_use(one)]

    async def reached(self) -> list[str]:
        """The models that can be reached from here. A config.toml that cannot be read is its
        operator's to hear of, and nobody's mistake who asks."""
        try:
            return await self.listing.names()
        except RecipeError as error:
            log.error("%s", error)
            return []

    def _connected(self, name: str, done: asyncio.Future[None]) -> None:
        self._connecting.pop(name, None)
        if not done.cancelled():
            done.exception()  # told to whoever still waits for it

    async def _connect_one(self, name: str) -> None:
        known = self.client.models.get(name)
        spec = known or self.unnamed.parse(name)
        if any(one.batch for one in spec.route()):
            raise RecipeError("it is asked in batches, which take hours; serve it without batch")
        await asyncio.to_thread(spec.check)
        if known is None:
            self.unnamed.add(name, spec)
        for endpoint in self.client.route(name):
            endpoint.forgives = True

    def reward(self, name: str, caller: Caller) -> str:
        """The name of a reward of the config that may be asked, itself and the models it asks.

        Raises: Refused.
        """
        known = [one for one in self.config.rewards if caller.may_use(one)]
        self._check_ledger()
        _check_use(name, caller)
        if name not in self.config.rewards:
            short = name[:MOST_NAME]  # to find what is near takes long for a long one
            raise not_found(short, f"no reward '{short}'; {did_you_mean(short, known)}")
        try:
            self.graders.check(name)
            models = [self._for_reward(one).models[one] for one in self.graders.models(name)]
        except RecipeError as error:
            raise not_found(name, str(error)) from None
        servers = self.graders.servers(name).values()
        specs = [*servers, *(one for model in models for one in model.route())]
        self._check_prices(name, (spec.rates() for spec in specs), caller)
        return name

    def _for_reward(self, model: str) -> Client:
        """For the models that rewards ask, which are the config's. Raises: RecipeError."""
        if model not in self._allowed:
            if model not in self.client.models:
                self.client.models[model] = parse_model(model, self.config.providers)
            self.client.models[model].check()
            self._allowed.add(model)
            self.unnamed.keep(model)
        return self.client

    def _check_prices(self, name: str, rates: Iterable[Rates | None], caller: Caller) -> None:
        """A budget holds only where prices are known. Raises: Refused."""
        limited = self.purse.limited or (caller.purse is not None and caller.purse.limited)
        if limited and any(one is None for one in rates):
            raise Refused(
                403, "permission_error", f"no price of '{name}' is known, and a budget is set: the "
                "server's config must give its price", code="model_unpriced",
            )  # fmt: skip

    def _check_ledger(self) -> None:
        """Raises: Refused where what is bought could not be written down."""
        if self.journal.trouble or self.client.till.stopped.is_set():
            raise Refused(
                503, "api_error", "the gateway's ledger cannot be written; its operator must make "
                "room and start it again", code="ledger_unwritable",
            )  # fmt: skip

    # --- on what terms -------------------------------------------------------------------------

    def asked(self, caller: Caller, request_id: str, cache: str | None = None) -> Asked:
        """One request. `cache` is what its header `x-karat-cache` says. Raises: Refused."""
        self.ledger.follow()
        if cache is not None and cache not in CACHE:
            raise Refused(
                400, "invalid_request_error", "x-karat-cache must be use or refresh",
                param="x-karat-cache",
            )  # fmt: skip
        terms = Terms(
            caller.purse,
            look=cache == "use",
            salt="" if cache else f" {request_id}",
            scope=caller.scope,
            keep=cache is not None or self.log_bodies,
            bodies=self.log_bodies,
        )
        asker = Asker(f"key:{caller.name}", request_id, "", ROLE, terms)
        return Asked(self, caller, request_id, terms, asker)


def _check_use(name: str, caller: Caller) -> None:
    """Raises: Refused, in the same words whether there is such a model or not."""
    if not caller.may_use(name):
        raise Refused(
            403, "permission_error", f"this key may not use '{name[:300]}'",
            code="model_not_allowed",
        )  # fmt: skip


def _caller_of(key: Key) -> Caller:
    # By its digest: a key of a name that was another one's finds nothing of that one's.
    return Caller(key.name, key.purse, key.models, f" key:{key.sha256}")
