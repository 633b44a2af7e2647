"""How fast something goes, from what is done of it at a few moments."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

RATE_WINDOW_S = 20.0


class Pace:
    """How fast the steps at work go; needs the points before, so one is kept a watcher."""

    def __init__(self) -> None:
        self._points: dict[str, deque[tuple[float, int]]] = {}

    def begin(self, labels: Iterable[str]) -> None:
        """A first point at nothing done, so that the next one knows a rate."""
        for label in labels:
            self._points.setdefault(label, deque([(time.monotonic(), 0)]))

    def rate(self, label: str, done: int) -> float:
        """Rows per second over the last 20 s."""
        now = time.monotonic()
        points = self._points.setdefault(label, deque())
        if points and done < points[-1][1]:
            points.clear()  # a further round counts from nothing
        points.append((now, done))
        while len(points) > 2 and now - points[0][0] > RATE_WINDOW_S:
            points.popleft()
        span = now - points[0][0]
        return (done - points[0][1]) / span if span > 0 else 0.0
