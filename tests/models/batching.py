"""What the tests of batches share: impatience, questions, and what became of them."""

from __future__ import annotations

import asyncio

from asking import ledger, request, with_client
from batch_server import USAGE

from karat.models import batch_clerk, gathering
from karat.models.endpoint import Asker

KINDS = ["openai", "anthropic"]
FULL_NANO = USAGE[0] * 3_000 + USAGE[1] * 15_000
# The same for a process of its own.
PRELUDE = """
from karat.models import batch_clerk, gathering
gathering.QUIET_S, batch_clerk.POLL_S, batch_clerk.SETTLE_S = 0.05, (0.02, 0.1), 0.2
"""


def hurry(monkeypatch):
    """Batches gather and are looked at in hundredths of a second."""
    monkeypatch.setattr(gathering, "QUIET_S", 0.05)
    monkeypatch.setattr(batch_clerk, "POLL_S", (0.02, 0.1))
    monkeypatch.setattr(batch_clerk, "SETTLE_S", 0.2)


def warned(journal, model, *requests):
    """The answers, errors among them, and the warnings."""
    texts = []

    async def work(client):
        client.till.warn = texts.append
        calls = (client.chat("m", r, Asker("respond", "row")) for r in requests)
        return await asyncio.gather(*calls, return_exceptions=True)

    return with_client(journal, model, work), list(dict.fromkeys(texts))


def states(journal):
    return [row["state"] for row in ledger(journal, table="batches")]


def numbered(count, **more):
    return [request(f"q{i}", **more) for i in range(count)]
