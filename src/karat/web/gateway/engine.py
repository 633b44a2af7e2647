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
from karat.journal import Journal
from karat.models.client import Client
from karat.models.embedded import MODELS as EMBEDDED_MODELS
from karat.models.embedded_table import NAME as TABLE
from karat.models.endpoint import Asker, ModelDownError
from karat.models.prices import Rates
from karat.models.spec import EMBEDDED, ModelSpec, parse_model
from karat.models.terms import Terms
from karat.rundir import Lock, Run
from karat.telemetry import listen
from karat.web.gateway.asked import Asked as Asked
from karat.web.gateway.asked import Caller as Caller
from karat.web.gateway.asked import Figures as Figures
from karat.web.gateway.config import Config
from karat.web.gateway.keys import FOLDER, Key, Keyring
from karat.web.gateway.purse import Purse
from karat.web.gateway.refusals import Refused as Refused
from karat.web.gateway.refusals import not_found

log = logging.getLogger("karat.gateway")

ROLE = "gateway"
LIMIT_S = 600.0  # of one request, from its first byte to the last of its answer
MOST_NAME = 300  # characters of a name that no config holds
MOST_MODELS = 1000  # that were asked by provider/name: each holds a limiter and connections
CACHE = ("use", "refresh")


class Gateway:
    """What all requests share. `close` after the last of them, in the event loop that served them.

    `client` is karat's client, `graders` the rewards by name, `desk` where they are asked,
    `keyring` the virtual keys. `token` is accepted as a key without limits; where there is one, or
    any key, every request must bring one. `log_bodies`: prompts and answers are kept.
    """

    def __init__(
        self, runs: Path, config: Config | None = None, *, budget_usd: float | None = None,
        token: str | None = None, log_bodies: bool = False, limit_s: float = LIMIT_S,
    ) -> None:  # fmt: skip
        """Raises: RecipeError, RunError."""
        self.run = Run(runs / FOLDER)
        self.config = config or Config()
        self.token, self.log_bodies, self.limit_s = token, log_bodies, limit_s
        self._lock = Lock(self.run)
        self._lock.__enter__()
        try:
            self.journal = Journal(self.run.journal)
            self.keyring = Keyring(self.run.path, self.config.keys, self._spent)
            self.local = Caller("local")
            self._by_token = Caller("token")
            self.purse = Purse(budget_usd, self._spent_by_all(), "the server")
        except BaseException:
            self._lock.__exit__()
            raise
        self.client = Client(dict(self.config.models), self.journal, self.purse)
        self.telemetry = listen(self.journal)
        self.graders = Graders(self.config.rewards, self.config.folder, self.config.providers)
        self.desk = Desk(self.client, self.graders.get, self._for_reward)
        self._named = frozenset(self.config.models)
        self._allowed = set[str]()  # of the models that rewards ask
        self._connecting: dict[str, asyncio.Future[None]] = {}
        self._closing = set[asyncio.Future[None]]()

    async def close(self) -> None:
        """Ends calls under way and commits what is pending. Raises: RunError."""
        try:
            self.desk.close()
            await self.client.close()
            if self.telemetry is not None:
                await asyncio.to_thread(self.telemetry.close)
            await self.journal.close()
        finally:
            self._lock.__exit__()

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

    def names(self, caller: Caller) -> list[str]:
        """The models and rewards of the config that this caller may use."""
        every = [*self.config.models, *self.config.rewards]
        return [name for name in dict.fromkeys(every) if caller.may_use(name)]

    async def model(self, name: str, caller: Caller) -> str:
        """The name under which the client knows a model that may be asked, connected.

        Any `provider/name` that can be reached is one, beside those of the config; where it is
        never is the request's to say. Raises: Refused.
        """
        self._check_ledger()
        _check_use(name, caller)
        if not self.client.is_connected(name):
            await self._connect(name, caller)
        self._check_prices(name, [one.rates for one in self.client.route(name)], caller)
        return name

    async def _connect(self, name: str, caller: Caller) -> None:
        """Once, however many ask at the same time: reading an embedded model's file takes long."""
        under_way = self._connecting.get(name)
        if under_way is None:
            under_way = asyncio.ensure_future(self._connect_one(name, caller))
            self._connecting[name] = under_way
            under_way.add_done_callback(lambda done: self._connected(name, done))
        try:
            await asyncio.shield(under_way)
        except RecipeError as error:
            raise not_found(name, str(error)) from None

    def _connected(self, name: str, done: asyncio.Future[None]) -> None:
        self._connecting.pop(name, None)
        if not done.cancelled():
            done.exception()  # told to whoever still waits for it

    async def _connect_one(self, name: str, caller: Caller) -> None:
        spec = self.client.models.get(name)
        if spec is None:
            spec = self._parse(name, caller)
        if any(one.batch for one in spec.route()):
            raise RecipeError("it is asked in batches, which take hours; serve it without batch")
        await asyncio.to_thread(spec.check)
        self.client.models[name] = spec
        for endpoint in self.client.route(name):
            endpoint.forgives = True

    def _parse(self, name: str, caller: Caller) -> ModelSpec:
        """Raises: RecipeError."""
        if len(name) > MOST_NAME or not name.isprintable():
            raise RecipeError("no model is called so")
        if "/" not in name:
            raise RecipeError(f"no model '{name}'; {did_you_mean(name, self.names(caller))}")
        if len(self.client.models) - len(self._named) >= MOST_MODELS:
            raise RecipeError(
                "too many models were asked for; name this one in the server's config"
            )
        spec = parse_model(name, self.config.providers)
        shipped = (*EMBEDDED_MODELS, TABLE)
        if spec.provider == EMBEDDED and spec.name not in shipped:  # never a path from a request
            raise RecipeError(f"no embedded model '{name}'; {did_you_mean(spec.name, shipped)}")
        return spec

    def note_down(self, name: str, error: ModelDownError) -> None:
        """Forgets a model nobody has named in the config, and which its service does not know:
        requests must not fill the memory with names."""
        unknown = getattr(error.__cause__, "status", None) == 404
        if name in self._named or not unknown or not self.client.is_connected(name):
            return
        endpoint = self.client.endpoint(name)
        if endpoint.delivered_at or endpoint.tally.in_flight:
            return
        for one in self.client.forget(name):
            closing = asyncio.ensure_future(one.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

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
        if cache is not None and cache not in CACHE:
            raise Refused(
                400, "invalid_request_error", "x-karat-cache must be use or refresh",
                param="x-karat-cache",
            )  # fmt: skip
        terms = Terms(
            caller.purse,
            look=cache == "use",
            salt="" if cache else f" {request_id}",
            keep=cache is not None or self.log_bodies,
            bodies=self.log_bodies,
        )
        asker = Asker(f"key:{caller.name}", request_id, "", ROLE, terms)
        return Asked(self, caller, request_id, terms, asker)

    def _spent(self, name: str, since: float) -> int:
        """What a key has cost since it was made, in billionths of a dollar."""
        sql = "SELECT sum(cost_nano) FROM minutes WHERE step = ? AND minute >= ?"
        return next(self.journal.query(sql, f"key:{name}", int(since // 60)))[0] or 0

    def _spent_by_all(self) -> int:
        return next(self.journal.query("SELECT sum(cost_nano) FROM minutes"))[0] or 0


def _check_use(name: str, caller: Caller) -> None:
    """Raises: Refused, in the same words whether there is such a model or not."""
    if not caller.may_use(name):
        raise Refused(
            403, "permission_error", f"this key may not use '{name[:300]}'",
            code="model_not_allowed",
        )  # fmt: skip


def _caller_of(key: Key) -> Caller:
    return Caller(key.name, key.purse, key.models)
