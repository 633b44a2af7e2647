"""What holds for one asker of a gateway, where all steps of a run live by the same rules.

A run keeps every answer under the key of what was asked, and its one budget is the till's. Those
who ask through a gateway pay from budgets of their own, want two equal requests to be two samples,
and did not ask for their words to be kept. What their calls cost is handed back here, so that it
need not be looked up in the ledger.
"""

from __future__ import annotations

from karat.ledger import Attempt
from karat.models.budget import Budget
from karat.models.chat import Delta


class Terms:
    """Of one request.

    `budget` is the asker's own: reserved before a call waits for its slot, so that who has spent
    it holds up nobody. `look`: an answer the journal holds will do, and one that is being bought
    for somebody else. `salt` goes into the keys of answers, which makes them this request's alone;
    without it `scope` does, which makes them those of its askers. `replaces`: what is bought takes
    the place of what the journal holds. `keep`: answers are written to the journal. `bodies`: what
    was asked, and a service's own words, are. `paid` holds the attempts that brought an answer or
    cost something, `model` who was asked last.
    """

    __slots__ = ("bodies", "budget", "keep", "look", "model", "paid", "replaces", "salt")

    def __init__(
        self, budget: Budget | None = None, *, look: bool = True, salt: str = "",
        scope: str = "", keep: bool = True, bodies: bool = True,
    ) -> None:  # fmt: skip
        self.budget, self.look, self.salt = budget, look, salt or scope
        self.replaces = not look and not salt
        self.keep, self.bodies = keep, bodies
        self.paid: list[Attempt] = []
        self.model = ""

    def paid_for(self, made: Attempt) -> None:
        """Takes an attempt before it is written; what the asker did not offer leaves it."""
        if not self.bodies:
            made.body = None
            if made.status:  # an error that a service words may repeat the prompt
                made.message = f"HTTP {made.status}" if made.message else ""
        if not made.error or made.cost_nano != 0:
            self.paid.append(made)


class Due:
    """What one call owes to the terms it was asked on. `heard` counts characters of a stream."""

    def __init__(self, terms: Terms, model: str) -> None:
        self.terms = terms
        self.heard = 0
        self._aside: int | None = None
        terms.model = model

    async def reserve(self, worst_nano: int) -> None:
        """Of the asker's own budget. Always before a slot, never in one: what is reserved in that
        order cannot wait in a ring. Raises: BudgetError."""
        if self.terms.budget is not None and self._aside is None:
            await self.terms.budget.reserve(worst_nano)
            self._aside = worst_nano

    def settle(self, cost_nano: int) -> None:
        """Books what it cost, once; without it the reservation only ends."""
        if self.terms.budget is not None and self._aside is not None:
            aside, self._aside = self._aside, None
            self.terms.budget.settle(aside, cost_nano)

    def hear(self, delta: Delta) -> None:
        """A piece that was given out."""
        self.heard += len(delta.content) + len(delta.reasoning)
        if delta.tool is not None:
            self.heard += len(delta.tool[3])
