"""A budget that many processes spend from: each works on what it was lent, none can cross it.

A call reserves its worst case from the process's own allowance, so that most calls ask nobody.
Where that is short the process asks the keeper of the purse, which lends no more than is left: the
worst case, or a part of what is left where that is more. What is lent and not needed comes back as
soon as anybody waits for it, so no money is idle while a call waits. A call is refused only where
nothing is lent or reserved anywhere, for then nothing can come back.

Every word a worker says is a sum since it began, so that one that comes twice, or late, is no harm.
The keeper's side is karat.models.purses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from karat.errors import KaratError, RunError
from karat.models.budget import Budget, crossed

RUN = ""  # the purse of the whole run; a model's has the name its endpoint has
MOST_WANTS = 64  # calls that wait, told at once
POLL_S = (0.05, 1.0)  # how long to wait before asking again: at first, at most
STOPPED = "stopped before this call was sent"


class Standing(msgspec.Struct, frozen=True):
    """Where one worker stands with one purse, in billionths of a dollar since it began.

    `returned` is what it gave back unused, `over` what calls cost beyond all it was lent. `route`
    is the ledger's name for the model whose purse it is, empty for the run's.
    """

    purse: str
    route: str
    limit_nano: int | None
    spent: int = 0
    returned: int = 0
    over: int = 0


class Need(msgspec.Struct, frozen=True):
    """A worker that is short. `wants` are the worst cases of calls that wait, in order; `term` is
    the worker's at the hub."""

    standing: Standing
    wants: list[int]
    term: int = 0


class Grant(msgspec.Struct, frozen=True):
    """The keeper's answer: `granted` is all it has lent to this worker since that began.

    `fits` is the place of the first want that is covered, None where there is none. `refused`: so
    many of the first wants never can be. With neither, ask again. `spent` is what all have spent.
    """

    granted: int
    fits: int | None
    refused: int
    spent: int
    limit_nano: int


Ask = Callable[[Need], Awaitable[Grant]]


class Leased(Budget):
    """One worker's side of a purse. `spent_nano` is what this process spent."""

    def __init__(
        self, limit_usd: float | None, ask: Ask, name: str = "the budget", *,
        purse: str = RUN, route: str = "",
    ) -> None:  # fmt: skip
        super().__init__(limit_usd, 0, name)
        self._ask, self._purse, self._route = ask, purse, route
        self._given_limit = self.limit_nano
        self._granted = self._returned = self._over = 0
        self._doubt = True  # whether even a call that costs nothing must ask first
        self._waiting: dict[asyncio.Future[None], int] = {}  # worst cases, in order of arrival
        self._asking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def free_nano(self) -> int:
        """What it was lent and has neither reserved nor spent."""
        lent = self._granted - self._returned + self._over
        return lent - self.spent_nano - self._reserved

    async def reserve(self, worst_nano: int) -> None:
        """Waits until the call cannot cross the limit, whatever other workers do.

        Raises: BudgetError when it always could; RunError when the keeper does not answer, or
        after `close`.
        """
        if self.limit_nano is None:
            return
        if self._closed:
            raise RunError(STOPPED)
        if not self._doubt and worst_nano <= self.free_nano:
            self._reserved += worst_nano
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = worst_nano
        self._settled.set()  # it may fit where those before it do not
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._until_served())
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting.pop(turn, None)
            if not turn.cancelled() and turn.exception() is None:
                self._reserved -= worst_nano
                self._settled.set()
            raise

    def settle(self, reserved_nano: int, cost_nano: int) -> None:
        """Gives back a reservation and books what the call really cost."""
        super().settle(reserved_nano, cost_nano)
        if self.limit_nano is not None and self.free_nano < 0:
            self._over -= self.free_nano
            self._doubt = True

    def standing(self) -> Standing:
        return Standing(
            self._purse, self._route, self._given_limit, self.spent_nano, self._returned, self._over
        )

    def give_back(self) -> bool:
        """Keeps nothing but what is reserved, because others are short: the keeper must be told.

        Says whether there was anything to give.
        """
        self._doubt = True
        free = self.free_nano
        self._returned += max(free, 0)
        return free > 0

    def close(self) -> None:
        """Nothing is reserved any more: who waits, or comes later, gets a RunError."""
        self._closed = True
        self._fail(RunError(STOPPED))
        if self._asking is not None:
            self._asking.cancel()

    async def _until_served(self) -> None:
        """Asks for those that wait, one need after another, until none does."""
        pause = POLL_S[0]
        try:
            while self._waiting:
                self._settled.clear()
                if await self._asked():
                    pause = POLL_S[0]
                    continue
                try:
                    await asyncio.wait_for(self._settled.wait(), pause)
                except TimeoutError:
                    pause = min(2 * pause, POLL_S[1])
                self._serve(list(self._waiting))
        except KaratError as error:
            self._fail(error)
        except Exception as error:
            self._fail(
                RunError(
                    f"the process that keeps {self.name} for all workers does not answer "
                    f"({type(error).__name__}: {error}). Everything paid for is kept; run again to "
                    "go on"
                )
            )

    async def _asked(self) -> bool:
        """One need, and whether it moved anything. All that is free goes back with it: two that
        each kept half of what both need would wait for ever."""
        over, asked = self._over, dict(list(self._waiting.items())[:MOST_WANTS])
        self._returned += max(self.free_nano, 0)
        grant = await self._ask(Need(self.standing(), list(asked.values())))
        self._granted = max(self._granted, grant.granted)
        self.limit_nano = grant.limit_nano
        turns = list(asked)
        for turn in turns[: grant.refused]:
            if self._waiting.pop(turn, None) is not None and not turn.done():
                error = crossed(self.name, grant.limit_nano, grant.spent, asked[turn])
                turn.set_exception(error)
        if grant.fits is None:
            return grant.refused > 0
        self._doubt = self._over != over
        self._serve(turns[grant.fits :])
        return True

    def _serve(self, turns: Iterable[asyncio.Future[None]]) -> None:
        """In this order, up to the first that must ask."""
        for turn in turns:
            worst = self._waiting.get(turn)
            if worst is None or turn.done():  # cancelled
                continue
            if self._doubt or worst > self.free_nano:
                return
            self._reserved += worst
            del self._waiting[turn]
            turn.set_result(None)

    def _fail(self, error: KaratError) -> None:
        while self._waiting:
            turn, _ = self._waiting.popitem()
            if not turn.done():
                turn.set_exception(error)
