"""How fast one operation may be called."""

from __future__ import annotations

import asyncio
import heapq
import random
from itertools import count

__all__ = ["Pace"]

_SLOWEST = 0.2
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 30.0


class Pace:
    """Gives out turns at a rate, urgent ones first.

    Throttling halves the rate, success raises it again step by step. Any failure also makes a pause, random between
    nothing and twice the longest of the failure before: an outage is probed ever more rarely, while single errors
    among successes cost next to nothing, so that they can't starve the events.

    :param rate: turns a second.
    :param burst: how many turns that nobody took may be given at once.
    """

    def __init__(self, rate: float, burst: int = 1) -> None:
        self.rate = self._full_rate = rate
        self._burst = burst
        self._due = 0.0
        self._failures = 0
        self._slowed = 0.0
        self._order = count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, urgent: bool = False) -> float:
        """Wait for a turn; return when it was, to say so to :meth:`throttled` or :meth:`failed`."""
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        heapq.heappush(self._waiting, (not urgent, next(self._order), waiting))
        self._schedule(loop)
        await waiting
        return loop.time()

    def succeeded(self) -> None:
        """Note that a call was answered."""
        self._failures = 0
        self.rate = min(self._full_rate, self.rate + self._full_rate / 20)

    def throttled(self, turn: float) -> None:
        """Note that the service asked to slow down."""
        if turn > self._slowed:
            self.rate = max(min(_SLOWEST, self._full_rate), self.rate / 2)
        self.failed(turn)

    def failed(self, turn: float) -> None:
        """Note that a call failed; those that were under way together count as one failure."""
        if turn <= self._slowed:
            return
        self._failures += 1
        now = asyncio.get_running_loop().time()
        pause = random.uniform(0, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures))  # noqa: S311
        self._slowed = now
        # Past its due time by a whole burst: after a pause, turns come one by one.
        self._due = max(self._due, now + pause + (self._burst - 1) / self.rate)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._waiting:
            self._timer = loop.call_at(self._due - (self._burst - 1) / self.rate, self._give, loop)

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        while self._waiting and now >= self._due - (self._burst - 1) / self.rate:
            _, _, waiting = heapq.heappop(self._waiting)
            if not waiting.done():
                waiting.set_result(None)
                self._due = max(self._due, now) + 1 / self.rate
        self._schedule(loop)
