"""What the tests of journals write, and opening one for a while."""

from __future__ import annotations

import asyncio

from karat.journal import open_journal
from karat.ledger import Attempt, Record, new_id
from karat.row import digest


def record(number, **more):
    fields = {
        "key": digest(str(number)), "attempt": 1, "kind": "chat", "model": "m", "step": "s",
        "row": "r", "sample": 0, "content": f"text {number}", **more,
    }  # fmt: skip
    return Record(**fields)


def attempt(**more):
    fields = {
        "id": new_id(), "kind": "chat", "role": "teacher", "model": "m", "route": "m", "step": "s",
        "row": "r", "started": 61.0, **more,
    }  # fmt: skip
    return Attempt(**fields)


def with_journal(address, work, **options):
    async def main():
        journal = open_journal(address, **options)
        try:
            return await work(journal)
        finally:
            await journal.close()

    return asyncio.run(main())
