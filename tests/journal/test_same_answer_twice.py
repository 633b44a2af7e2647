"""Two processes that buy the same answer go on with one of the two: the one that is replayed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import orjson
from server import Server

from karat.grading import Desk
from karat.journal import look_up, open_journal
from karat.models.budget import Budget
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.spec import parse_model
from karat.rewards.base import Candidates
from karat.row import Message

ASKED = (Message("user", "What is a tide?"),)


def test_rows_are_made_of_what_was_recorded_first(address):
    def different(number, body):
        choice = {"index": 0, "finish_reason": "stop",
                  "message": {"role": "assistant", "content": f"answer {number}"}}  # fmt: skip
        usage = {"prompt_tokens": 5, "completion_tokens": 7}
        return 200, orjson.dumps({"choices": [choice], "usage": usage}), {}

    async def main(server):
        spec = parse_model(server.model(price={"input": 1, "output": 1}))
        journals = [open_journal(address, shared=True) for _ in range(3)]
        clients = [Client({"m": spec}, one, Budget(None)) for one in journals]

        async def ask(client):
            (answer,) = await client.chat("m", ChatRequest(ASKED, 1, seed=5), Asker("s", "r"))
            return answer.content

        bought = await asyncio.gather(*map(ask, clients[:2]))
        replayed = await ask(clients[2])
        for one in (*clients, *journals):
            await one.close()
        return bought, replayed

    with Server(0.1, script=different) as server:
        bought, replayed = asyncio.run(main(server))
        assert len(server.requests) == 2
    assert bought == [replayed, replayed]
    assert look_up(address, "SELECT sum(attempts), sum(cost_nano) FROM minutes") == [(2, 24_000)]


class Counting:
    """A reward that never says the same twice."""

    name = identity = "counting"
    models = ()
    batch = 8
    within_prompt = frozenset()

    def __init__(self, first):
        self.attributes, self._next = {"reward": (0.0, 100.0)}, first

    def score_many(self, jobs):
        import numpy as np

        self._next += 1
        return [np.full((len(job.responses), 1), float(self._next)) for job in jobs]

    def score(self, prompt, responses):
        return self.score_many([Candidates(tuple(prompt), tuple(responses))])[0]


def test_scores_are_those_that_were_recorded_first(address):
    async def main():
        journals = [open_journal(address, shared=True) for _ in range(2)]
        desks = [
            Desk(SimpleNamespace(journal=one), {"r": Counting(10 * n)}.get, lambda name: None)
            for n, one in enumerate(journals)
        ]
        job = Candidates(ASKED, ("a", "b"))
        scores = await asyncio.gather(*(d.score("r", job, Asker("s", "r")) for d in desks))
        again = await desks[0].score("r", job, Asker("s", "r"))
        for one in desks:
            one.close()
        for one in journals:
            await one.close()
        return scores, again

    (mine, theirs), again = asyncio.run(main())
    assert mine == theirs == again
