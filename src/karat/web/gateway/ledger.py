"""Where the gateway's ledger is, and the purses that are kept by it.

By default it is a file in the gateway's folder, and nobody else writes there. In a database several
gateways may share one; then a purse is told what the others spend.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from karat.errors import RunError
from karat.journal import PostgresAddress, open_journal
from karat.rundir import Run
from karat.web.gateway.keys import FOLDER, Stored
from karat.web.gateway.purse import Purse

if TYPE_CHECKING:
    from karat.web.gateway.books import Books

log = logging.getLogger("karat.gateway")

OPTION = "--runs"  # names the folder


def place_of(runs: Path, journal: str | None = None) -> Run:
    """The gateway's folder, with its ledger at `journal`: a URL, by default where it was before.

    Raises: RecipeError where the folder has its ledger elsewhere.
    """
    return Run.at(runs / FOLDER, FOLDER, journal=journal, option=OPTION)


class Ledger:
    """The ledger of a folder, which is locked by now; where it is stands in the folder from then
    on."""

    def __init__(self, run: Run) -> None:
        """Raises: RecipeError, RunError."""
        _close_to_others(run)
        self.journal = open_journal(run.journal)
        self.journal.say = lambda text: log.warning("%s", text)
        self.books: Books | None = None
        if isinstance(run.journal, PostgresAddress):
            run.settle(FOLDER, OPTION)
            from karat.journal.postgres import PostgresJournal
            from karat.web.gateway.books import Books

            assert isinstance(self.journal, PostgresJournal)
            self.books = Books(self.journal)

    def purse(
        self, limit_usd: float | None, owner: str, step: str | None = None, since_s: float = 0.0
    ) -> Purse:
        """A purse with what was spent since a moment, in Unix seconds: by one `step` of the ledger,
        with None by all. Raises: RunError."""
        if self.books is None:
            return Purse(limit_usd, self._spent(step, since_s), owner)
        made = Purse(limit_usd, 0, owner)
        self.books.open(made, step, since_s)
        return made

    def purse_of(self, key: Stored) -> Purse:
        return self.purse(key.budget_usd, f"key '{key.name}'", f"key:{key.name}", key.created)

    def _spent(self, step: str | None, since_s: float) -> int:
        sql = "SELECT sum(cost_nano) FROM minutes WHERE minute >= ?"
        values: list[object] = [int(since_s // 60)]
        if step is not None:
            sql += " AND step = ?"
            values.append(step)
        return next(self.journal.query(sql, *values))[0] or 0

    def follow(self) -> None:
        """What others spend is followed from now on, in the event loop that serves."""
        if self.books is not None:
            self.books.follow()

    async def close(self) -> None:
        """Commits what is pending. Raises: RunError."""
        if self.books is not None:
            await self.books.end()
        await self.journal.close()


def _close_to_others(run: Run) -> None:
    """Who asked what, and with --log-bodies every word of it, is its operator's to read.

    Raises: RunError.
    """
    try:
        run.path.chmod(0o700)
        if not isinstance(run.journal, Path):
            return  # who reads a database is its own to say
        # SQLite gives the files beside a journal the mode of the journal.
        os.close(os.open(run.journal, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        for path in run.path.glob(f"{run.journal.name}*"):
            path.chmod(0o600)
    except PermissionError:
        log.warning("%s is another user's, who says who may read it", run.path)
    except OSError as error:
        raise RunError(f"cannot use {run.path}: {error.strerror}; name another --runs") from None
