"""What has changed among the runs, told to every page that listens.

One look at the files a second for all listeners together, and none where nobody listens. A listener
that is slow gets the latest state of what has changed, not each of the states between.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress

from karat.web.runs.summary import Line, Summaries
from karat.web.shelf import Shelf

EVERY_S = 1.0
STILL_S = 15.0  # after which an empty change is sent: a listener that has gone is noticed by it


class Pulse:
    """The runs of one server. Lines are by slug; a run that has gone is None."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self.summaries = shelf, Summaries()
        self.looks = 0
        self._one = threading.Lock()  # pages and the poller look on threads of their own
        self._waiting: dict[asyncio.Event, dict[str, Line | None]] = {}
        self._poller: asyncio.Task[None] | None = None

    def lines(self) -> list[Line]:
        """Every run, as it stands now."""
        with self._one:
            places = self.shelf.places()
            self.summaries.forget(places)
            return [self.summaries.of(place) for place in places]

    async def changes(self) -> AsyncGenerator[dict[str, Line | None], None]:
        """What has changed since the last time, until the listener goes."""
        news: dict[str, Line | None] = {}
        woken = asyncio.Event()
        self._waiting[woken] = news
        if self._poller is None or self._poller.done():
            self._poller = asyncio.ensure_future(self._poll())
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), STILL_S)
                woken.clear()
                told = dict(news)
                news.clear()
                yield told
        finally:
            del self._waiting[woken]
            if not self._waiting and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    async def _poll(self) -> None:
        before = {line.slug: line for line in await asyncio.to_thread(self.lines)}
        while True:
            await asyncio.sleep(EVERY_S)
            self.looks += 1
            now = {line.slug: line for line in await asyncio.to_thread(self.lines)}
            changed: dict[str, Line | None] = {
                slug: line for slug, line in now.items() if before.get(slug) != line
            }
            changed |= {slug: None for slug in before if slug not in now}
            before = now
            for woken, news in self._waiting.items() if changed else ():
                news.update(changed)
                woken.set()
