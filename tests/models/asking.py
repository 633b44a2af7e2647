"""A client over a journal, for the tests beside this file."""

from __future__ import annotations

import asyncio
import sqlite3

from karat.journal import open_journal
from karat.models.budget import Budget
from karat.models.chat import ChatRequest
from karat.models.client import Client
from karat.models.endpoint import Asker
from karat.models.spec import parse_model
from karat.row import Message


def request(text="What is a tide?", n=1, **more):
    return ChatRequest((Message("user", text),), n, **{"seed": 5, **more})


def with_client(journal, model, work, budget=None):
    """What `work(client)` returns; the model is called `m`."""

    async def main():
        opened = open_journal(journal)
        client = Client({"m": parse_model(model)}, opened, Budget(budget))
        try:
            return await work(client)
        finally:
            await client.close()
            await opened.close()

    return asyncio.run(main())


def ask(journal, model, *requests, budget=None):
    async def work(client):
        calls = (client.chat("m", r, Asker("respond", "row")) for r in requests)
        done = await asyncio.gather(*calls, return_exceptions=True)
        for error in (d for d in done if isinstance(d, BaseException)):
            raise error
        return done

    return with_client(journal, model, work, budget)


def ledger(journal, columns="*", table="calls"):
    base = sqlite3.connect(journal)
    base.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in base.execute(f"SELECT {columns} FROM {table}")]
    finally:
        base.close()
