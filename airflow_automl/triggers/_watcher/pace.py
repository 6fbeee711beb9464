"""How fast a watcher may call."""

from __future__ import annotations

import asyncio

__all__ = ["Pace"]

_SLOWEST = 0.1


class Pace:
    """Spaces calls out: the rate is halved by each throttled call, and recovers with the calls that succeed.

    :param fastest: calls per second at most.
    """

    def __init__(self, fastest: float) -> None:
        self._fastest = fastest
        self._slowest = min(_SLOWEST, fastest)
        self.rate = fastest
        self._next = 0.0
        self._cut = float("-inf")

    async def turn(self) -> None:
        """Wait until the next call may be made; callers get their turns in the order they asked."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Up to a second's calls may come at once: a watcher is idle most of the time.
        start = max(self._next, now - 1.0)
        self._next = start + 1.0 / self.rate
        if start > now:
            await asyncio.sleep(start - now)

    def succeeded(self) -> None:
        """Note that the service answered."""
        self.rate = min(self._fastest, self.rate * 1.02 + 0.02)

    def throttled(self) -> None:
        """Note that the service asked to slow down; calls that were under way at the last cut don't cut again."""
        now = asyncio.get_running_loop().time()
        if now - self._cut < 1.0:
            return
        self._cut = now
        self.rate = max(self._slowest, self.rate / 2)
        self._next = max(self._next, now + 1.0 / self.rate)
