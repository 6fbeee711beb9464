"""The line in which tasks wait for one of the account's AutoML jobs to end."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from itertools import count
from typing import TYPE_CHECKING

from airflow_automl.exceptions import AutoMLError

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher.listing import Listing

__all__ = ["SlotLine"]

log = logging.getLogger(__name__)

#: Seconds between two counts of the account's running jobs.
LOOK_INTERVAL = 10.0
#: Seconds after which somebody is let go although no job has ended: more may be allowed than was seen. Doubled by each
#: probe that finds the account as full as it was.
PROBE_AFTER, PROBE_AFTER_AT_MOST = 20.0, 600.0
#: Seconds in which a task that was let go is expected to submit its job.
CLAIM = 20.0
#: Pages of 100 running jobs to count; no account runs so many.
PAGES = 10


class SlotLine:
    """First come, first served; the front of the line goes when a job has ended.

    AWS tells nobody how many jobs an account may run. But every task in this line was refused, so that the account was
    full when it came: the number of running jobs that was seen then is taken for the quota, until more are seen, or
    until a task was let go and no job came of it.

    :param listing: the watcher's lists.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._line: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._quota = 1
        self._running: set[str] | None = None
        self._claims: deque[float] = deque()
        self._probed = float("-inf")
        self._probe_after = PROBE_AFTER

    def __len__(self) -> int:
        return sum(not future.done() for _, _, future in self._line)

    async def turn(self, since: float) -> None:
        """Wait for one's turn.

        :param since: when the task first asked, in seconds since the epoch: one that was refused again keeps its place.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (since, next(self._order), future))
        await future

    async def serve(self) -> None:
        """Let tasks go, for as long as any wait; begun with the first of them."""
        loop = asyncio.get_running_loop()
        self._probed, self._probe_after, self._running = loop.time(), PROBE_AFTER, None
        while True:
            running: set[str] | None = None
            try:
                running = await self._listing.unfinished(PAGES)
            except AutoMLError as error:
                log.warning("The account's running AutoML jobs can't be counted: %s", error)
            self._let_go(running, loop.time())
            if not len(self):
                return
            await asyncio.sleep(LOOK_INTERVAL)

    def _let_go(self, running: set[str] | None, now: float) -> None:
        free = 0
        if running is not None:
            self._take_in(running, now)
            free = self._quota - len(running) - len(self._claims)
        if free <= 0 and not self._claims and now - self._probed >= self._probe_after:
            free = 1
            self._probed = now
            self._probe_after = min(2 * self._probe_after, PROBE_AFTER_AT_MOST)
        while free > 0 and self._line:
            _, _, future = heapq.heappop(self._line)
            if not future.done():
                future.set_result(None)
                self._claims.append(now)
                free -= 1

    def _take_in(self, running: set[str], now: float) -> None:
        """Settle the claims of tasks that have submitted, and learn from those that have not."""
        before = running if self._running is None else self._running
        for _ in range(min(len(running - before), len(self._claims))):
            self._claims.popleft()
        while self._claims and self._claims[0] < now - CLAIM:
            self._claims.popleft()
            self._quota = max(1, len(running))
        if running != before:
            self._probed, self._probe_after = now, PROBE_AFTER
        self._quota = max(self._quota, len(running))
        self._running = running
