"""An open journal, of either kind: what is put into it is committed in groups.

A group gathers for a few milliseconds, and for as long as the one before it is being written; a
thread of its own writes it in one transaction. So a thousand coroutines that each wait for their
answer to be safe cost a hundred commits.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from karat.errors import RunError
from karat.journal.address import Address
from karat.ledger import Attempt, Batch, BatchRow, Record

GROUP_COMMIT_S = 0.004
PATIENCE_S = 300.0
Held = tuple[int, Any, str, str | None]  # sample, content, finish_reason, more


def held_of(record: Record) -> Held:
    """What `get` gives of it, once it is recorded."""
    return record.sample, record.content, record.finish_reason, record.more


class Group(Batch):
    """What will be committed together, and the event its writers wait for. `before` is what stood
    under keys that were to be written: others were first."""

    def __init__(self) -> None:
        super().__init__()
        self.done = asyncio.Event()
        self.awaited = self.due = False
        self.error: BaseException | None = None
        self.before: dict[bytes, Held] = {}


class Journal(ABC):
    """`heard` is told of each attempt, `say` what a person should know while a run waits; both are
    called in the thread of the event loop. `since`: what was recorded up to this mark is an earlier
    run's. Whatever fails raises RunError."""

    since: int

    def __init__(self, address: Address) -> None:
        self.address = address
        self.heard: Callable[[Attempt], None] | None = None
        self.say: Callable[[str], None] = lambda text: None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="karat-journal")
        self._group: Group | None = None
        self._writing: Group | None = None
        self._committing: asyncio.Future[None] | None = None
        self._untold: BaseException | None = None  # of a group that nobody waited for

    # --- what each kind does in its own way ----------------------------------------------------

    @abstractmethod
    async def get(self, keys: Iterable[bytes]) -> dict[bytes, Held]:
        """(sample, content, finish_reason, more) of every key that is recorded."""

    @abstractmethod
    def mark(self) -> int:
        """What is recorded by now, for `since` of another process's open_journal."""

    @abstractmethod
    def earlier(self, key: bytes) -> bool:
        """Whether an answer was recorded before this journal was opened: by an earlier run."""

    @abstractmethod
    def query(self, sql: str, *values: object) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT over the tables of karat.ledger, for reports; `?` stands for a value.

        Blocks: for a query now and then, not for one a row.
        """

    @abstractmethod
    def claim(self) -> None:
        """Keeps a second run from using it until it is closed. Raises: RunError where there is one
        already. May be called again, to see that it still holds."""

    @abstractmethod
    def _commit(self, group: Group) -> None:
        """Writes a group, in the thread."""

    @abstractmethod
    def _commit_batch(self, row: BatchRow) -> None:
        """Writes a batch's row so that it survives a power cut, in the thread."""

    @abstractmethod
    def _explain(self, error: BaseException) -> RunError:
        """What to do about an error of `_commit`."""

    @abstractmethod
    def _shut(self) -> None:
        """Closes what is open, once nothing is written any more."""

    def _hurry(self) -> None:  # noqa: B027  one kind has nothing to hurry
        """Nobody waits for what is still tried again."""

    # --- what is common ------------------------------------------------------------------------

    async def put(
        self, records: list[Record], attempt: Attempt, *, replace: bool = False
    ) -> dict[bytes, Held]:
        """Returns once answers and attempt are committed; with `replace` in the place of answers
        that are held under the same keys.

        Otherwise what was recorded first stays, and what differs from these records is returned:
        whoever put them goes on with that, as the next run will. Raises: RunError (disk full,
        damage, a database that stays away).
        """
        group = self._open_group()
        if replace:
            group.replacing += records
        else:
            group.records += records
        self._expect(records)
        group.attempts.append(attempt)
        if self.heard is not None:
            self.heard(attempt)
        group.awaited = True
        await group.done.wait()
        if group.error is not None:
            raise self._explain(group.error)
        if replace or not group.before:
            return {}
        before = group.before
        return {
            one.key: before[one.key]
            for one in records
            if one.key in before and before[one.key] != held_of(one)
        }

    def _expect(self, records: list[Record]) -> None:  # noqa: B027  nor anything to expect
        """Hears what will be written."""

    def note(self, attempt: Attempt) -> None:
        """Records an attempt that brought no answer; written with the next commit."""
        self._open_group().attempts.append(attempt)
        if self.heard is not None:
            self.heard(attempt)

    @property
    def trouble(self) -> RunError | None:
        """Why attempts that were only noted could not be written, if so."""
        return None if self._untold is None else self._explain(self._untold)

    @property
    def waiting(self) -> int:
        """Answers that are not committed yet."""
        groups = [one for one in (self._writing, self._group) if one is not None]
        return sum(len(one.records) + len(one.replacing) for one in groups)

    def note_replays(self, model: str, step: str, role: str, kind: str, count: int) -> None:
        """Counts answers that were found here instead of bought."""
        self._open_group().replays[(int(time.time() // 60), model, step, role, kind)] += count

    def _open_group(self) -> Group:
        if self._group is None:
            self._group = Group()
            asyncio.get_running_loop().call_later(GROUP_COMMIT_S, self._due, self._group)
        return self._group

    def _due(self, group: Group) -> None:
        group.due = True
        if group is self._group and self._committing is None:
            self._flush()

    def _flush(self) -> None:
        group, self._group = self._group, None
        if group is None:
            return
        self._writing = group
        loop = asyncio.get_running_loop()
        self._committing = loop.run_in_executor(self._thread, self._commit, group)
        self._committing.add_done_callback(partial(self._settle, group))

    def _settle(self, group: Group, future: asyncio.Future[None]) -> None:
        if future is self._committing:
            self._committing = self._writing = None
        group.error = future.exception()
        if group.error is not None and not group.awaited:
            self._untold = group.error
        group.done.set()
        if self._committing is None and self._group is not None and self._group.due:
            self._flush()

    async def put_batch(self, row: BatchRow) -> None:
        """Returns once the row is on the disk itself: a batch is worth more than an answer.

        Raises: RunError.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._thread, self._commit_batch, row)
        except Exception as error:
            raise self._explain(error) from error

    def batches(self) -> list[BatchRow]:
        """All that were ever handed in. Raises: RunError."""
        fields = ", ".join(BatchRow.__struct_fields__)
        return [BatchRow(*row) for row in self.query(f"SELECT {fields} FROM batches")]

    async def close(self) -> None:
        """Commits what is pending. Raises: RunError."""
        try:
            while self._group is not None or self._committing is not None:
                if self._committing is None:
                    self._flush()
                if self._committing is not None:  # not awaited itself, which could cancel it
                    await asyncio.wait([self._committing])
        except asyncio.CancelledError:
            self._hurry()
            raise
        finally:
            self._flush()
            self._thread.shutdown()
            self._shut()
        if self._untold is not None:
            raise self._explain(self._untold)
