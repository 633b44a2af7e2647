"""The journal: every paid answer, written before it is used. The same record is the ledger row.

Keyed by content (model, request, sample index), so there is no resume mode: a run that starts again
finds what it paid for and buys only what is missing. Cost and provenance cannot disagree, because
answers and attempts are written in one transaction; karat.ledger says what is in them.

address    where a journal lies: a file, or a schema of a PostgreSQL database
base       an open journal: commits that are grouped, and what both kinds promise
sqlite     the default: one file, for the processes of one machine
postgres   one schema a run, for the workers of many machines
look       reading a journal that others write: reports, pages, costs
finding    the journals below a folder; grouping: what their sums are told apart by
"""

from __future__ import annotations

from karat.journal.address import Address as Address
from karat.journal.address import PostgresAddress as PostgresAddress
from karat.journal.address import check_psycopg
from karat.journal.address import journal_of as journal_of
from karat.journal.address import parse_address as parse_address
from karat.journal.base import PATIENCE_S
from karat.journal.base import Held as Held
from karat.journal.base import Journal as Journal
from karat.journal.look import LOOK_S as LOOK_S
from karat.journal.look import LateError as LateError
from karat.journal.look import Look as Look
from karat.journal.look import changed_at as changed_at
from karat.journal.look import floored as floored
from karat.journal.look import is_there as is_there
from karat.journal.look import look_up as look_up
from karat.journal.look import looking as looking
from karat.journal.look import stamp_of as stamp_of
from karat.journal.look import told as told


def open_journal(
    address: Address, *, shared: bool = False, since: int | None = None,
    patience_s: float = PATIENCE_S,
) -> Journal:  # fmt: skip
    """The journal there, made where there is none yet; whoever opens it closes it.

    `shared`: other processes write to the file too (a database is always shared). `since` is what
    `mark` of another open journal said: what was recorded up to then is an earlier run's; without
    it, what is recorded now. `patience_s`: how long a database may be away before what waits for
    it fails. Raises: RunError, before anything is spent.
    """
    if not isinstance(address, PostgresAddress):
        from karat.journal.sqlite import SqliteJournal

        return SqliteJournal(address, shared=shared, since=since)
    check_psycopg()
    from karat.journal.postgres import PostgresJournal

    return PostgresJournal(address, since=since, patience_s=patience_s)
