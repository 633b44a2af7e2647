"""Buying through a service's batch API: half the price, up to a day of waiting.

Chat requests gather until no new one comes, go out as one batch, and each gets the reply it would
have had alone. What the batch API refuses, loses or lets expire is bought the usual way, so nothing
waits forever; a request that failed in a batch has had its turn there too.

Nothing is paid twice, whenever the process is killed. A request is known by the key of its first
answer in the journal and by its body, not by the body alone: where a service takes no seed, several
samples of one prompt have the same body. A batch is written down before anything is sent and again
when the service named it; one that was being sent is looked for at the service first. Its row is
done only when all it answered is in the journal: until then results are picked up again, which
costs nothing, and a batch nobody asks about any more is not touched.
"""

from __future__ import annotations

import asyncio
import importlib
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing, suppress

from karat.errors import ProviderError, RunError
from karat.journal import Journal
from karat.ledger import BatchRow
from karat.models.batch_clerk import Clerk
from karat.models.batch_desk import Look
from karat.models.billing import CHARACTERS_PER_TOKEN, REDUCED
from karat.models.gathering import Batch, Gathering, Waiter, key_in, name_of, names_in
from karat.models.limits import Limiter
from karat.models.rate_headers import retry_after
from karat.models.transport import HttpReply
from karat.models.wire import Post, Provider

Say = Callable[[str], None]
KEPT_S = 28 * 86_400.0  # services delete results after 29 or 30 days
SAY_EVERY_S = 60.0
SUBMIT_GRACE_S = 10.0
STOPPED = "stopped; a batch under way goes on at the service, and the next run picks it up"


class Batches:
    """The batches of one endpoint. `direct` limits what is bought the usual way."""

    def __init__(
        self, provider: Provider, kind: str, route: str, journal: Journal, direct: Limiter,
        *, name: str, warn: Say, say: Say,
    ) -> None:  # fmt: skip
        """`kind` names a module _batch_KIND. `warn` is for the report, `say` for progress."""
        self._provider, self._route, self._journal, self._direct = provider, route, journal, direct
        desk = importlib.import_module(f"karat.models._batch_{kind}").connect(provider)
        self._clerk = Clerk(desk, self._taken, self._tell)
        self._name, self._warn, self._say = name, warn, say
        self._said_at = -SAY_EVERY_S
        self._url = f"{provider.address}{desk.path}"
        self._gathering = Gathering(desk.most_requests, desk.most_bytes, self._send_together)
        self._batches: list[Batch] = []
        self._turned: set[bytes] = set()  # requests that had their turn in a batch, in vain
        self._loaded = self._stopped = False

    async def post(self, key: bytes, post: Post, timeout_s: float) -> HttpReply:
        """The reply to a request whose first answer has this key in the journal.

        One bought in a batch has the header billing.REDUCED. Raises: ProviderError, RunError.
        """
        if post.url != self._url:
            self._warn(f"{self._name}: only chat is bought in batches; the rest at the full price")
            return await self._directly(post, timeout_s)
        if not self._loaded:
            self._load()
        name = name_of(key, post.body)
        batch = next((b for b in self._batches if name in b.names), None)
        if name in self._turned or (batch is not None and name in batch.given):
            self._warn(
                f"{self._name}: requests that failed in a batch are tried again at the full price"
            )
            return await self._directly(post, timeout_s)
        if self._stopped:
            raise RunError(STOPPED)
        waiter = Waiter(post.body, asyncio.get_running_loop().create_future())
        if batch is None:
            self._gathering.add(name, waiter)
        else:
            batch.join(name, waiter)
            self._see_through(batch)
        reply = await waiter.reply
        if reply is None or reply.status != 200:
            self._turned.add(name)
        return await self._directly(post, timeout_s) if reply is None else reply

    async def _directly(self, post: Post, timeout_s: float) -> HttpReply:
        limiter, provider = self._direct, self._provider
        began = await limiter.acquire(1, len(post.body) // CHARACTERS_PER_TOKEN)
        try:
            reply = await provider.transport.post(*post, provider.headers, timeout_s)
            if reply.status == 200:
                limiter.delivered(began)
            elif reply.status == 429:
                limiter.refused(began, retry_after(reply.headers, reply.body, time.time()))
            return reply
        finally:
            limiter.release()

    # --- one batch -----------------------------------------------------------------------------

    def _load(self) -> None:
        """Batches that earlier runs left at the service."""
        self._loaded = True
        for row in self._journal.batches():
            ours = row.route == self._route and row.state != "done"
            if ours and row.created > time.time() - KEPT_S:
                self._batches.append(Batch(row.id, row.created, names_in(row.requests), row.remote))

    def _send_together(self, waiting: dict[bytes, Waiter]) -> None:
        batch = Batch(uuid.uuid4().hex, time.time(), frozenset(waiting), None, waiting)
        self._batches.append(batch)
        self._see_through(batch)

    def _see_through(self, batch: Batch) -> None:
        if batch.task is None:
            batch.task = asyncio.ensure_future(self._work(batch))

    async def _work(self, batch: Batch) -> None:
        """Submits, waits and hands over, for as long as somebody waits for it."""
        try:
            placed = batch.remote is not None or await self._place(batch)
            while placed and batch.waiting:
                await batch.all_here()
                look = await self._clerk.ended(batch.remote or "", batch)
                if look.full:
                    await self._smaller(batch)
                    return
                await self._hand_over(batch, look)
        except ProviderError as error:
            batch.fail(
                RunError(f"a batch at {self._name} cannot be reached: {error}. Run again to go on")
            )
        except asyncio.CancelledError:
            batch.fail(RunError(STOPPED))
            raise
        except Exception as error:
            batch.fail(error)
        finally:
            batch.task = None

    async def _place(self, batch: Batch) -> bool:
        """Sees to it that the service has it; says whether it does."""
        if batch.fresh:
            await self._write(batch, "submitting")
            found = await self._clerk.submit(batch)
            if isinstance(found, str):
                batch.remote = found or None
            elif found.kind == "wait" and self._others():
                await self._smaller(batch)
                return False
            else:
                self._warn(
                    f"{self._name} takes no batch ({found}); what is asked is bought directly, at "
                    "the full price"
                )
        else:
            await batch.all_here()
            batch.remote = await self._clerk.locate(batch)
        if batch.remote is not None:
            await self._write(batch, "submitted")
            self._tell(batch, "submitted")
            return True
        await self._dissolve(batch)
        if batch.fresh:
            batch.give_up()
        else:  # it was never created: whoever waits is gathered anew
            self._gathering.take_back(batch)
        return False

    async def _hand_over(self, batch: Batch, look: Look) -> None:
        """Gives every result to who waits for it; who waits in vain buys directly."""
        awaited = list(batch.waiting)
        batch.handing = True
        why = look.why
        try:
            await self._clerk.persist(lambda: self._read(batch, look))
        except ProviderError as error:
            if error.status not in (404, 410):
                raise
            why = "its results are gone"
        finally:
            batch.handing = False
        lost = sum(batch.give(name, None) for name in awaited)
        if lost:
            self._warn(
                f"a batch at {self._name} left {lost:,} of {len(batch.names):,} requests "
                f"unanswered ({why or 'lost'}); they are bought directly, at the full price"
            )
        batch.read = True
        if look.spare:
            with suppress(ProviderError):
                await self._clerk.desk.forget(look)
        self._tell(batch, "picked up")
        await self._sweep()

    async def _read(self, batch: Batch, look: Look) -> None:
        async with aclosing(self._clerk.desk.results(look)) as results:
            async for custom_id, reply in results:
                name = _name(custom_id)
                if reply is None or name not in batch.names:
                    continue
                if reply.status == 200:
                    reply.headers[REDUCED] = batch.id
                    batch.good.add(name)
                if batch.give(name, reply):
                    await asyncio.sleep(0)  # so that it is recorded while the rest is read

    async def _smaller(self, batch: Batch) -> None:
        """Refused because too much waits there: tried again after another of ours, or in halves."""
        batch.refused = True
        others = self._others()
        if others:
            await asyncio.wait(others, return_when=asyncio.FIRST_COMPLETED)
        else:
            self._gathering.most_requests = max(1, len(batch.names) // 2)
        await self._dissolve(batch)
        if len(batch.names) == 1:
            batch.give_up()
        self._gathering.take_back(batch)

    def _others(self) -> list[asyncio.Task[None]]:
        """What is under way of batches that were not refused."""
        return [b.task for b in self._batches if b.remote and b.task and not b.refused]

    # --- what they share -----------------------------------------------------------------------

    async def _write(self, batch: Batch, state: str) -> None:
        requests = b"" if state == "done" else b"".join(sorted(batch.names))
        await self._journal.put_batch(
            BatchRow(batch.id, self._route, state, batch.created, batch.remote, requests)
        )

    async def _dissolve(self, batch: Batch) -> None:
        await self._write(batch, "done")
        self._batches.remove(batch)

    async def _sweep(self) -> None:
        """Marks as done what is wholly in the journal. Answers just given may not be yet."""
        for batch in list(self._batches):
            if batch.task is not None or batch.waiting:
                continue
            keys = {key_in(name) for name in (batch.good if batch.read else batch.names)}
            if len(await self._journal.get(keys)) == len(keys):
                await self._dissolve(batch)

    def _tell(self, batch: Batch, what: str) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_S:
            self._said_at = now
            self._say(f"batch of {len(batch.names):,} requests at {self._name}: {what}")

    def _taken(self) -> set[str | None]:
        return {row.remote for row in self._journal.batches()}

    def stop(self) -> None:
        """Nobody waits any longer; what is being handed over is, and a submission ends."""
        self._stopped = True
        self._direct.close()
        self._gathering.fail(RunError(STOPPED))
        for batch in self._batches:
            if not batch.handing:
                batch.fail(RunError(STOPPED))

    async def close(self) -> None:
        """Leaves at the service what is there. Raises: RunError when the journal cannot be
        written."""
        self.stop()
        tasks = {b.task: b.fresh and b.remote is None for b in self._batches if b.task is not None}
        submitting = [task for task, sends in tasks.items() if sends]
        if submitting:
            await asyncio.wait(submitting, timeout=SUBMIT_GRACE_S)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sweep()


def _name(custom_id: str) -> bytes:
    try:
        return bytes.fromhex(custom_id)
    except ValueError:
        return b""
