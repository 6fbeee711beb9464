"""The line in which tasks wait for one of the account's AutoML jobs to end."""

from __future__ import annotations

import asyncio
import heapq
import logging
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING

from airflow_automl.triggers._watcher.listing import OVERLAP

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher.listing import Listing

log = logging.getLogger(__name__)

#: Seconds between two polls of the account's jobs.
POLL_INTERVAL = 10.0
#: Seconds after which one task more than the known quota may submit, to find a higher quota. Each probe doubles it,
#: until more jobs run at once.
PROBE_AFTER, PROBE_AFTER_AT_MOST = 20.0, 600.0
#: Seconds within which a released task is expected to submit its job: Airflow has to start it on a worker.
CLAIM = 60.0
#: Pages of 100 jobs to list: more than any account runs at once.
PAGES = 10


class SlotLine:
    """First come, first served; the front of the line goes when a job has ended.

    SageMaker does not return the quota of jobs. But every task in this line was refused, so that the account was
    full when it came: the most jobs that were seen at once, running or submitted between two polls, are taken for the
    quota. A task that was let go holds a claim to its slot, until a job comes of it. If the task is refused again it
    comes back, and what is seen then is the quota.

    :param listing: the watcher's lists.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._line: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._quota = 1
        self._claims: dict[float, float] = {}
        """When the task first asked → when it was let go."""
        self._refused = False
        self._polled: datetime | None = None
        self._known: set[str] = set()
        self._ran = 0
        """How many jobs ran at the last poll."""
        self._probed = float("-inf")
        self._probe_after = PROBE_AFTER

    def __len__(self) -> int:
        return sum(not future.done() for _, _, future in self._line)

    async def turn(self, since: float) -> None:
        """Wait for one's turn.

        :param since: when the task first asked, in seconds since the epoch: one that was refused again keeps its place.
        """
        if self._claims.pop(since, None) is not None:
            self._refused = True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._line, (since, next(self._order), future))
        await future

    async def serve(self) -> None:
        """Release tasks while any wait; started by the first one."""
        loop = asyncio.get_running_loop()
        if not self._refused and not self._claims:
            # Otherwise the queue is unchanged: the last released task is back, or has not submitted yet.
            self._probed, self._probe_after, self._polled = loop.time(), PROBE_AFTER, None
        while True:
            running: set[str] | None = None
            try:
                since: datetime | None = None if self._polled is None else self._polled - OVERLAP
                changed, now, _ = await self._listing.changed_since(since, PAGES)
                running = set((await self._listing.unfinished(PAGES))[0])
            except Exception as error:
                # Any error: nothing else serves those who wait already.
                log.warning("The account's AutoML jobs can't be counted: %s: %s", type(error).__name__, error)
            else:
                self._take_in(running, set(changed), first=since is None)
                self._polled = now
            self._let_go(running, loop.time())
            if not len(self):
                return
            await asyncio.sleep(POLL_INTERVAL)

    def _take_in(self, running: set[str], changed: set[str], *, first: bool = False) -> None:
        """Drop the claims of tasks that have submitted, and learn the quota.

        A short job may start and end between two polls: only its change is seen.

        :param running: jobs that have not ended.
        :param changed: jobs that were submitted or have changed since the last poll.
        :param first: whether no poll came before, so that nothing is new.
        """
        seen = running | changed
        submitted = 0 if first else min(len(seen - self._known), len(self._claims))
        before = 0 if first else self._ran
        self._known, self._ran = seen, len(running)
        for since in list(self._claims)[:submitted]:
            del self._claims[since]
        if self._refused:
            # A job may have ended since the refusal: as many ran as before, or more.
            self._quota = max(1, before, len(running), submitted + len(self._claims))
        elif max(len(running), submitted) > self._quota:
            self._quota, self._probe_after = max(len(running), submitted), PROBE_AFTER
        self._refused = False

    def _let_go(self, running: set[str] | None, now: float) -> None:
        """Release as many tasks as there seems to be room for, and sometimes one more."""
        # A task that neither is back nor has submitted was cleared, or its time is over.
        claims = {since: gone for since, gone in self._claims.items() if gone > now - CLAIM}
        if running is None and len(claims) < len(self._claims):
            # If its job can't be seen, it was not refused, and the next task may try.
            self._probe_after = PROBE_AFTER
        self._claims = claims
        free = 0 if running is None else max(0, self._quota - len(running) - len(self._claims))
        if not self._claims and now - self._probed >= self._probe_after:
            free += 1
            self._probed = now
            self._probe_after = min(2 * self._probe_after, PROBE_AFTER_AT_MOST)
        while free > 0 and self._line:
            since, _, future = heapq.heappop(self._line)
            if not future.done():
                future.set_result(None)
                self._claims[since] = now
                free -= 1
