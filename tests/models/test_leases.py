"""Budgets of many workers: never crossed, never stopped early, whoever dies on the way."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_limits import run_fast

from karat.errors import RunError
from karat.journal import open_journal
from karat.ledger import NANO, Attempt
from karat.models.budget import Budget, BudgetError
from karat.models.leases import RUN, Leased, Need, Standing
from karat.models.purses import Keeper, Purse, ledger_of

REPORT_S = 1.0
DETECTED_S = 3.0  # after which a dead worker is known to be dead


class Truth:
    """What nobody in a cluster sees at once: all that is spent and reserved, wherever."""

    def __init__(self, limit, spent=0):
        self.limit, self.ledger, self.over = limit, spent, 0
        self.workers = []
        self.raised = []

    @property
    def reserved(self):
        return sum(worker.leased._reserved for worker in self.workers)

    @property
    def spent(self):
        """What was paid, and by the living: what they settle in this moment is in the ledger."""
        return self.ledger

    def check(self):
        assert self.spent + self.reserved <= self.limit + self.over


class Worker:
    """One process: calls one after another, several at once; a report a second; maybe a death."""

    def __init__(self, name, truth, keeper, hub_delay_s=0.0):
        self.name, self.truth, self.keeper, self.delay_s = name, truth, keeper, hub_delay_s
        self.leased = Leased(truth.limit / NANO, self.ask)
        self.errors, self.tasks, self.asks = [], [], 0
        truth.workers.append(self)
        self.reporting = asyncio.ensure_future(self.report())

    async def ask(self, need):
        self.asks += 1
        await asyncio.sleep(self.delay_s)
        before = self.truth.reserved
        grant = self.keeper.ask(self.name, need, len(self.truth.workers))
        for worst in need.wants[: grant.refused]:  # the one moment at which it was decided
            self.truth.raised.append((self.truth.spent, before, worst))
        await asyncio.sleep(self.delay_s)
        return grant

    async def report(self):
        while True:
            await asyncio.sleep(REPORT_S)
            short = self.keeper.hear(self.name, [self.leased.standing()])
            if short and self.leased.give_back():
                self.keeper.hear(self.name, [self.leased.standing()])

    async def call(self, worst, cost, seconds):
        try:
            await self.leased.reserve(worst)
        except BudgetError as error:
            self.errors.append(str(error))
            return
        self.truth.check()
        await asyncio.sleep(seconds)
        self.truth.ledger += cost
        self.truth.over += max(0, cost - worst)
        self.leased.settle(worst, cost)

    def start(self, *calls):
        self.tasks += [asyncio.ensure_future(self.call(*one)) for one in calls]

    async def die(self):
        """As kill -9 does: what was under way is lost; the others learn of it later."""
        self.truth.workers.remove(self)
        for task in [*self.tasks, self.reporting]:
            task.cancel()
        await asyncio.gather(*self.tasks, self.reporting, return_exceptions=True)
        self.leased.close()
        await asyncio.sleep(DETECTED_S)
        self.keeper.lost(self.name)

    async def leave(self):
        await asyncio.gather(*self.tasks)
        self.reporting.cancel()
        await asyncio.gather(self.reporting, return_exceptions=True)
        self.leased.give_back()
        self.keeper.leave(self.name, [self.leased.standing()])
        self.truth.workers.remove(self)


calls_drawn = st.lists(
    st.tuples(
        st.integers(0, 3),  # worker
        st.integers(1, 400),  # worst case
        st.integers(0, 120),  # cost, percent of it
        st.floats(0.01, 3.0),  # seconds
        st.floats(0.0, 2.0),  # pause before the next one
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=40)
@example(  # a worker whose call costs more than its worst case, and that dies before it says so
    [(0, 1, 0, 1.0, 0.0), (0, 1, 0, 1.5, 0.5), (3, 9, 112, 1.0, 1.0), *[(0, 1, 0, 1.0, 0.0)] * 3],
    200, ["live", "live", "live", "die"], True, 0.0,
)  # fmt: skip
@given(
    calls_drawn,
    st.integers(200, 4000),
    st.lists(st.sampled_from(["live", "die", "leave"]), min_size=4, max_size=4),
    st.booleans(),
    st.sampled_from([0.0, 0.02]),
)
def test_whatever_happens_no_limit_is_crossed_and_nobody_stops_early(
    calls, limit, fates, overspend, delay_s
):
    async def main():
        truth = Truth(limit, spent=37)
        keeper = Keeper(lambda route: truth.ledger, limit / NANO)
        workers = [Worker(f"w{i}", truth, keeper, delay_s) for i in range(4)]
        gone, ending = set(), []
        for number, (who, worst, percent, seconds, pause_s) in enumerate(calls):
            if who not in gone:
                cost = worst * (percent if overspend else min(percent, 100)) // 100
                workers[who].start((worst, cost, seconds))
            if number in (len(calls) // 3, len(calls) // 2):
                who = number % 4
                if who not in gone and fates[who] != "live":
                    gone.add(who)
                    end = workers[who].die if fates[who] == "die" else workers[who].leave
                    ending.append(asyncio.ensure_future(end()))
            await asyncio.sleep(pause_s)
            truth.check()
        living = [task for i, w in enumerate(workers) if i not in gone for task in w.tasks]
        await asyncio.wait_for(asyncio.gather(*living, *ending), 60 + 3 * len(calls))  # no deadlock
        for worker in list(truth.workers):
            await worker.leave()
        keeper.reckon()
        purse = keeper.purses[RUN]
        assert purse.spent_nano == truth.ledger
        assert purse.lent_nano == 0
        for spent, reserved, worst in truth.raised:
            assert reserved == 0  # nothing could come back
            assert spent + worst > limit

    run_fast(main())


class Log:
    """What a budget let through and when, for two kinds of budgets."""

    def __init__(self, budget):
        self.budget, self.said = budget, []

    async def call(self, number, start_s, worst, cost, seconds):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(start_s)
        try:
            await self.budget.reserve(worst)
        except BudgetError as error:
            self.said.append((number, round(loop.time() - began, 6), str(error)))
            return
        self.said.append((number, round(loop.time() - began, 6), ""))
        await asyncio.sleep(seconds)
        self.budget.settle(worst, cost)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5000), st.integers(0, 400), st.integers(0, 130), st.integers(100, 4000)
        ),
        min_size=1,
        max_size=30,
        unique_by=lambda call: call[0],
    ),
    st.integers(0, 3000),
)
def test_one_worker_with_the_whole_budget_does_as_a_budget_does(calls, limit):
    def log(leased):
        async def main():
            if leased:
                keeper = Keeper(lambda route: 11, limit / NANO)

                async def ask(need):
                    return keeper.ask("only", need, 1)

                budget = Leased(limit / NANO, ask)
            else:
                budget = Budget(limit / NANO, 11)
            log = Log(budget)
            await asyncio.gather(
                *(
                    log.call(
                        n,
                        start / 1000,
                        worst,
                        worst * percent // 100,
                        (seconds + random.Random(n).random()) / 1000,  # no two end at once
                    )
                    for n, (start, worst, percent, seconds) in enumerate(calls)
                )
            )
            return sorted(log.said)

        return run_fast(main())

    assert log(True) == log(False)


def test_most_calls_ask_nobody_and_the_last_dollar_is_spent():
    async def main():
        truth = Truth(10 * NANO)
        keeper = Keeper(lambda route: truth.ledger, 10)
        workers = [Worker(f"w{i}", truth, keeper) for i in range(8)]
        dice = random.Random(3)

        async def caller(worker):
            while not worker.errors:
                await worker.call(NANO // 1000, dice.randint(1, NANO // 1000), dice.random())

        callers = [caller(worker) for worker in workers for _ in range(16)]
        await asyncio.wait_for(asyncio.gather(*callers), 1000)
        calls = truth.ledger / (NANO // 2000)
        assert truth.ledger > truth.limit - NANO // 1000
        assert sum(worker.asks for worker in workers) < calls / 20
        for worker in workers:
            assert all("$10 would be crossed: $9.99" in error for error in worker.errors)
            await worker.leave()

    run_fast(main())


def test_money_that_lies_idle_with_one_comes_to_another_that_needs_it():
    async def main():
        truth = Truth(1000)
        keeper = Keeper(lambda route: truth.ledger, 1000 / NANO)
        idle, busy = (Worker(name, truth, keeper) for name in ("idle", "busy"))
        await idle.call(1, 1, 0.1)
        assert idle.leased.free_nano > 0
        began = asyncio.get_running_loop().time()
        await busy.call(990, 10, 0.1)  # more than is left beside what the idle one was lent
        assert not busy.errors
        assert asyncio.get_running_loop().time() - began < 3
        await idle.leave()
        await busy.leave()

    run_fast(main())


def test_two_that_hold_half_of_what_each_needs_do_not_wait_for_each_other():
    async def main():
        truth = Truth(100)
        keeper = Keeper(lambda route: truth.ledger, 100 / NANO)
        one, two = (Worker(name, truth, keeper) for name in ("one", "two"))
        for worker in (one, two):
            worker.leased._granted = 50
            keeper.purses[RUN].hear(worker.name, worker.leased.standing())
            keeper.purses[RUN]._accounts[worker.name].granted = 50
        work = asyncio.gather(one.call(80, 10, 1), two.call(80, 10, 1))
        await asyncio.wait_for(work, 20)
        assert truth.ledger == 20
        await one.leave()
        await two.leave()

    run_fast(main())


def test_what_a_dead_worker_had_is_settled_from_the_ledger():
    spent = 100
    purse = Purse(1000, lambda: spent)
    assert purse.spent_nano == 100  # of earlier runs
    said = Standing(RUN, "", 1000)
    grant = purse.ask("dead", Need(said, [300]), 2)
    assert grant.fits == 0
    assert purse.ask("other", Need(said, [700]), 2).fits is None  # as long as it may spend them
    assert purse.short
    spent += 120  # which it never said
    purse.lost("dead")
    assert (purse.spent_nano, purse.lent_nano, purse.left_nano) == (220, 0, 780)
    assert purse.ask("other", Need(said, [700]), 1).fits == 0


def test_what_others_have_not_said_yet_is_not_taken_for_the_deads_for_ever():
    spent = 0
    purse = Purse(1000, lambda: spent)
    said = Standing(RUN, "", 1000)
    for name in ("dead", "other"):
        assert purse.ask(name, Need(said, [400]), 2).fits == 0
    spent = 50 + 300  # the dead one's and the other's, who has not said so
    purse.lost("dead")
    assert purse.spent_nano == 350
    heard = Standing(RUN, "", 1000, spent=300, returned=100)
    purse.hear("other", heard)
    assert purse.spent_nano == 650  # at most
    grant = purse.ask("other", Need(heard, [650, 10]), 1)
    assert (grant.fits, grant.refused, grant.spent) == (0, 0, 350)


def test_a_ledger_that_cannot_be_read_lets_nobody_spend_and_stops_nobody():
    down = False

    def ledger():
        if down:
            raise RunError("PostgreSQL does not answer")
        return 10

    purse = Purse(100, ledger)
    said = Standing(RUN, "", 100)
    assert purse.ask("dead", Need(said, [80]), 1).fits == 0
    down = True
    purse.lost("dead")
    grant = purse.ask("other", Need(said, [50]), 1)
    assert (grant.fits, grant.refused) == (None, 0)
    down = False
    assert purse.ask("other", Need(said, [50]), 1).fits == 0


def test_a_model_with_a_budget_has_a_purse_of_its_own(journal):
    async def main():
        opened = open_journal(journal)
        for cost, route in ((5, "m here"), (7, "m there"), (None, "m here")):
            opened.note(
                Attempt(1 + cost if cost else 1, "chat", "teacher", "m", route, "s", "r", 0.0,
                        cost_nano=cost)
            )  # fmt: skip
        await asyncio.sleep(0.05)
        keeper = Keeper(ledger_of(opened.query), 1)

        async def ask(need):
            return keeper.ask("w", need, 1)

        leased = Leased(30 / NANO, ask, "the budget of model 'm'", purse="m", route="m here")
        await leased.reserve(25)
        assert keeper.purses["m"].spent_nano == 5
        assert keeper.purses[RUN].spent_nano == 12
        leased.settle(25, 25)
        with pytest.raises(BudgetError, match=re.escape("the budget of model 'm' of $3e-08")):
            await leased.reserve(1)
        await opened.close()

    asyncio.run(main())


def test_without_a_limit_nothing_is_asked_and_spending_is_told():
    async def main():
        leased = Leased(None, None)
        await leased.reserve(10**12)
        leased.settle(10**12, 7)
        keeper = Keeper(lambda route: 3)
        assert keeper.hear("w", [leased.standing()]) == []
        assert keeper.purses[RUN].spent_nano == 10
        keeper.lost("w")
        assert keeper.purses[RUN].spent_nano == 10

    asyncio.run(main())


def test_what_costs_nothing_asks_nobody_until_the_limit_is_crossed():
    async def main():
        asks = Counter()
        keeper = Keeper(lambda route: 0, 100 / NANO)

        async def ask(need):
            asks["all"] += 1
            return keeper.ask("w", need, 1)

        leased = Leased(100 / NANO, ask)
        for _ in range(50):
            await leased.reserve(0)
        assert asks["all"] == 1
        await leased.reserve(100)
        leased.settle(100, 130)  # more than its worst case
        with pytest.raises(BudgetError, match=re.escape("$0.0000 spent")):
            await asyncio.wait_for(leased.reserve(0), 5)

    asyncio.run(main())


def test_a_cancelled_call_holds_no_money():
    async def main():
        truth = Truth(100)
        keeper = Keeper(lambda route: truth.ledger, 100 / NANO)
        worker = Worker("w", truth, keeper, hub_delay_s=0.01)
        for moment in range(30):
            tasks = [asyncio.ensure_future(worker.leased.reserve(60)) for _ in range(3)]
            await asyncio.sleep(0.001 * moment)
            granted = [t for t in tasks if t.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert worker.leased._reserved == 60 * len(granted)
            for _ in granted:
                worker.leased.settle(60, 0)
        await asyncio.wait_for(worker.call(100, 0, 0.1), 5)
        await worker.leave()

    run_fast(main())


@pytest.mark.parametrize("fault", [ConnectionError("gone"), RunError("this worker was given up")])
def test_a_keeper_that_does_not_answer_ends_the_run_and_says_so(fault):
    async def main():
        async def ask(need):
            raise fault

        leased = Leased(1, ask)
        with pytest.raises(RunError, match=r"run again to go on|given up"):
            await asyncio.wait_for(leased.reserve(5), 5)

    asyncio.run(main())


def test_who_waits_when_a_worker_stops_is_told():
    async def main():
        async def ask(need):
            await asyncio.sleep(60)

        leased = Leased(1, ask)
        waiting = [asyncio.ensure_future(leased.reserve(5)) for _ in range(3)]
        await asyncio.sleep(0.01)
        leased.close()
        for one in waiting:
            with pytest.raises(RunError, match="stopped"):
                await asyncio.wait_for(one, 5)
        with pytest.raises(RunError, match="stopped"):
            await leased.reserve(5)

    asyncio.run(main())


def test_a_limit_that_is_lowered_is_obeyed_once_heard_of():
    async def main():
        truth = Truth(1000)
        keeper = Keeper(lambda route: truth.ledger, 1000 / NANO)
        worker = Worker("w", truth, keeper)
        await worker.call(100, 60, 0.1)
        keeper.limit(RUN, 60)
        assert keeper.purses[RUN].lent_nano > 0
        await asyncio.sleep(1.5)
        assert keeper.purses[RUN].lent_nano == 0
        await worker.call(1, 1, 0.1)
        assert "would be crossed" in worker.errors[0]
        await worker.leave()

    run_fast(main())
