"""How fast one operation may be called."""

from __future__ import annotations

import asyncio
import heapq
import random
from itertools import count

#: Lowest rate after throttling, in calls per second.
SLOWEST = 0.2
#: Seconds: half of the longest pause after a first failure, and the longest pause of all.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 30.0


class RateLimiter:
    """Gives out turns at a rate, urgent ones first.

    Throttling halves the rate, success raises it again step by step. Any failure also makes a pause, random between
    nothing and twice the longest of the failure before: an outage is probed ever more rarely, while single errors
    among successes cost next to nothing, so that they can't starve the events.

    :param rate: turns a second.
    :param burst: how many unused turns may be given at once.
    """

    def __init__(self, rate: float, burst: int = 1) -> None:
        self.rate = self._full_rate = rate
        self._burst = burst
        self._saved = float(burst)
        self._counted = self._resume = 0.0
        self._failures = 0
        self._slowed = 0.0
        self._order = count()
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def turn(self, urgent: bool = False) -> float:
        """Wait for a turn; return its time, for :meth:`throttled` and :meth:`failed`."""
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        heapq.heappush(self._waiting, (not urgent, next(self._order), waiting))
        self._schedule(loop)
        await waiting
        return loop.time()

    def succeeded(self) -> None:
        self._failures = 0
        self.rate = min(self._full_rate, self.rate + self._full_rate / 20)

    def throttled(self, turn: float) -> None:
        if turn > self._slowed:
            self.rate = max(min(SLOWEST, self._full_rate), self.rate / 2)
        self.failed(turn)

    def failed(self, turn: float) -> None:
        """Note that a call failed; those that were under way together count as one failure."""
        if turn <= self._slowed:
            return
        self._failures += 1
        pause = random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**self._failures))  # noqa: S311
        self._slowed = asyncio.get_running_loop().time()
        # Calls that were possible during a pause are not made up for.
        self._counted = self._resume = self._slowed + pause
        self._saved = min(self._saved, 1.0)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is None and self._waiting:
            now = loop.time()
            if now > self._counted:
                self._saved = min(float(self._burst), self._saved + (now - self._counted) * self.rate)
                self._counted = now
            due = max(self._counted, self._resume) + max(0.0, 1.0 - self._saved) / self.rate
            self._timer = loop.call_at(due, self._give, loop)

    def _give(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if loop.time() < self._resume:  # a call failed meanwhile
            self._schedule(loop)
            return
        while self._waiting:
            _, _, waiting = heapq.heappop(self._waiting)
            if not waiting.done():
                waiting.set_result(None)
                self._saved -= 1.0
                break
        self._schedule(loop)
