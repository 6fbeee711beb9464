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
#: Seconds after which somebody is let go although no job has ended: the quota may have been raised.
PROBE_INTERVAL = 60.0
#: Seconds that a task has to submit its job, before its slot is taken for free again.
CLAIM = 45.0
#: Pages of 100 running jobs to count; no account runs so many.
PAGES = 10


class SlotLine:
    """First come, first served; the front of the line goes when a job has ended.

    AWS tells nobody how many jobs an account may run. But every task in this line was refused, so that the account was
    full when it came: the number of running jobs that was seen then is taken for the quota, until more are seen.

    :param listing: the watcher's lists.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._line: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._quota: int | None = None
        self._claims: deque[float] = deque()
        self._last_let_go = float("-inf")

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
        self._last_let_go = loop.time()
        while True:
            running: int | None = None
            try:
                running = await self._listing.count_running(PAGES)
            except AutoMLError as error:
                log.warning("The account's running AutoML jobs can't be counted: %s", error)
            self._let_go(running, loop.time())
            if not len(self):
                return
            await asyncio.sleep(LOOK_INTERVAL)

    def _let_go(self, running: int | None, now: float) -> None:
        while self._claims and self._claims[0] < now - CLAIM:
            self._claims.popleft()
        free = 0
        if running is not None:
            if self._quota is None or running > self._quota:
                self._quota = running
            free = self._quota - running - len(self._claims)
        if free <= 0 and not self._claims and now - self._last_let_go >= PROBE_INTERVAL:
            free = 1
        while free > 0 and self._line:
            _, _, future = heapq.heappop(self._line)
            if future.done():
                continue
            future.set_result(None)
            self._claims.append(now)
            self._last_let_go = now
            free -= 1
