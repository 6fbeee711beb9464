"""The watcher itself: a lister and a describer, two loops over one table of jobs; the line for slots beside them."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from airflow_automl.contract import is_terminal
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLThrottled,
    AutoMLValidationError,
)
from airflow_automl.triggers._watcher import metrics
from airflow_automl.triggers._watcher.client import AwsSettings, Client
from airflow_automl.triggers._watcher.pace import Pace
from airflow_automl.triggers._watcher.slots import SlotLine
from airflow_automl.triggers.events import EventStatus, JobEvent, end_event

__all__ = ["Transition", "Update", "Watcher"]

log = logging.getLogger(__name__)
_JITTER = random.Random()  # noqa: S311 - it spreads calls, and guards nothing

#: Seconds after which a job is described although no list calls it ended.
SWEEP = 900.0
#: The same for a job that no list has shown yet.
UNLISTED_SWEEP = 60.0
#: How far each list looks back before the last one: a list may lag behind.
OVERLAP = timedelta(seconds=120)
#: Seconds in which triggers that register together are gathered.
GATHER = 0.3
#: Pages per look at what changed; what is left waits for the next look.
PAGES_PER_LOOK = 5
#: Looks that one list may take.
LOOKS = 5
#: After so many failed looks in a row, lists are not relied on until one succeeds.
FAILED_LOOKS = 3
#: Seconds until a list that was denied is tried again.
DENIED_PAUSE = 900.0
#: A job is looked for so often before it is said not to be there.
SEARCHES = 3
#: Describes under way at once.
CONCURRENCY = 10
#: Seconds that a watcher lives on without triggers.
LINGER = 30.0


@dataclass(frozen=True, slots=True)
class Transition:
    """A job's status has changed; nothing to act on."""

    status: str
    secondary_status: str


Update = Transition | JobEvent


@dataclass(eq=False, slots=True)
class _Job:
    name: str
    api_version: str | None
    interval: float
    subscribers: list[asyncio.Queue[Update]] = field(default_factory=list)
    seen: tuple[str, str] | None = None
    modified: datetime | None = None
    listed: bool = False
    #: It is queued to be described, or being described.
    busy: bool = False
    due: float = 0.0
    failures: int = 0
    searches: int = 0
    denied_by: int | None = None


class Watcher:
    """Watches the jobs of one account and region for all triggers of one event loop.

    :param aws: how to reach AWS.
    :param calls_per_second: the pace while nothing is throttled.
    """

    def __init__(self, aws: AwsSettings, calls_per_second: float) -> None:
        self._client = Client(aws, Pace(calls_per_second))
        self._slots = SlotLine(self._client)
        self.closed = False
        self._jobs: dict[str, _Job] = {}
        self._intervals: Counter[float] = Counter()
        self._new: set[str] = set()
        self._hints: deque[_Job] = deque()
        self._due: list[tuple[float, int, _Job]] = []
        self._order = count()
        self._turns = 0
        self._since: datetime | None = None
        self._cursor: tuple[str | None, datetime | None] = (None, None)
        self._looks = 0
        self._failed_looks = 0
        self._no_lists_before = 0.0
        self._registered = asyncio.Event()
        self._work = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The client, for single calls; it is closed some time after its last use by a trigger."""
        self._start()
        return self._client

    @property
    def slots(self) -> SlotLine:
        """The line of tasks that wait for the account's quota."""
        self._start()
        return self._slots

    @asynccontextmanager
    async def watch(self, name: str, api_version: str | None, interval: float) -> AsyncIterator[asyncio.Queue[Update]]:
        """Yield a queue of what happens to a job: transitions, and one event at the end.

        :param name: the job's name.
        :param api_version: ``V1``, ``V2``, or ``None`` if it is not known.
        :param interval: seconds between two looks.
        """
        job = self._jobs.get(name)
        if job is None:
            job = self._jobs[name] = _Job(name, api_version, interval)
            self._new.add(name)
            self._registered.set()
            metrics.watched(len(self._jobs))
        elif interval < job.interval:
            job.interval = interval
        queue: asyncio.Queue[Update] = asyncio.Queue()
        if job.seen:
            queue.put_nowait(Transition(*job.seen))
        job.subscribers.append(queue)
        self._intervals[interval] += 1
        self._start()
        try:
            yield queue
        finally:
            self._intervals[interval] -= 1
            self._intervals += Counter()  # drops intervals that nobody asks for
            if queue in job.subscribers:
                job.subscribers.remove(queue)
                if not job.subscribers:
                    self._drop(job)

    def _start(self) -> None:
        if self._running is None or self._running.done():
            # A context of its own: this task outlives the trigger that happens to start it, and its logs.
            self._running = asyncio.create_task(
                self._run(), name="airflow-automl watcher", context=contextvars.Context()
            )

    async def _run(self) -> None:
        loops: list[asyncio.Task[None]] = []
        try:
            loops = [asyncio.create_task(work) for work in (self._list(), self._describe(), self._slots.serve())]
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        except Exception:
            log.exception("The watcher of AutoML jobs failed; it starts again")
            await asyncio.sleep(1.0)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._client.close()
            if not self._jobs and not len(self._slots):
                self.closed = True
            elif not _closing():
                for job in self._jobs.values():
                    job.busy = False
                self._new.update(self._jobs)
                self._registered.set()
                self._running = None
                self._start()

    # The lister

    async def _list(self) -> None:
        """Look at what changed, once per interval; end when nobody has waited for anything for a while."""
        loop = asyncio.get_running_loop()
        next_look = loop.time()
        while True:
            idle = not self._jobs
            if not await _within(self._registered, LINGER if idle else next_look - loop.time()) and idle:
                if len(self._slots):
                    continue
                return
            if self._registered.is_set():
                await asyncio.sleep(GATHER)
                self._registered.clear()
                await self._sort_new()
            if self._jobs and loop.time() >= next_look:
                await self._look()
                next_look = loop.time() + self._interval

    @property
    def _interval(self) -> float:
        return min(self._intervals, default=30.0)

    @property
    def _lists_work(self) -> bool:
        return self._failed_looks < FAILED_LOOKS and asyncio.get_running_loop().time() >= self._no_lists_before

    async def _sort_new(self) -> None:
        """Tell which of the jobs that were just registered are running; the others are described at once."""
        new = {name for name in self._new if name in self._jobs}
        self._new.clear()
        unseen = set(new)
        if self._lists_work:
            try:
                async for page in self._client.pages(2 * (len(new) // 100 + 1) + 3, StatusEquals="InProgress"):
                    self._since = self._since or page.date
                    unseen -= self._notice(page.rows)
                    if not unseen:
                        break
            except AutoMLError as error:
                self._list_failed(error)
        for name in new:
            if (job := self._jobs.get(name)) is not None:
                if name in unseen:
                    self._hint(job)
                else:
                    self._schedule(job)

    async def _look(self) -> None:
        """List what changed since the last look; go on next time where it is too much for one look."""
        if asyncio.get_running_loop().time() < self._no_lists_before:
            return
        if self._since is None:
            self._since = datetime.now(UTC) - timedelta(hours=1)  # a client's clock may well be wrong by minutes
        token, began = self._cursor
        try:
            for _ in range(PAGES_PER_LOOK):
                page = await self._client.list_page(token, LastModifiedTimeAfter=self._since - OVERLAP)
                began = began or page.date
                self._notice(page.rows)
                token = page.token
                if not token:
                    break
            self._looks += 1
            if token is None or self._looks == LOOKS:
                # What is left of a list that does not end is the sweeps' business.
                self._since, self._looks, token, began = began, 0, None, None
            self._cursor = (token, began)
        except AutoMLError as error:
            self._cursor, self._looks = (None, None), 0
            self._list_failed(error)
        else:
            if not self._lists_work:
                log.info("AutoML jobs can be listed again")
            self._failed_looks = 0

    def _list_failed(self, error: AutoMLError) -> None:
        worked = self._lists_work
        if isinstance(error, AutoMLAccessDenied):
            self._no_lists_before = asyncio.get_running_loop().time() + DENIED_PAUSE
        elif not isinstance(error, AutoMLThrottled):
            self._failed_looks += 1
        if worked and not self._lists_work:
            log.warning("AutoML jobs can't be listed, so each is described at its own interval: %s", error)
            for job in self._jobs.values():
                self._schedule(job)

    def _notice(self, rows: list[dict[str, Any]]) -> set[str]:
        """Take in rows of a list; return which of the watched jobs they show."""
        shown = set()
        for row in rows:
            job = self._jobs.get(row.get("AutoMLJobName", ""))
            if job is None:
                continue
            shown.add(job.name)
            job.listed = True
            modified = row.get("LastModifiedTime")
            if job.modified and modified and modified < job.modified:
                continue  # the list lags behind what is known already
            if is_terminal(row.get("AutoMLJobStatus")):
                self._hint(job)
            else:
                self._changed(job, row)
        return shown

    # The describer

    def _hint(self, job: _Job) -> None:
        if not job.busy:
            job.busy = True
            self._hints.append(job)
            self._work.set()

    def _schedule(self, job: _Job, delay: float | None = None) -> None:
        """Have a job described after a delay; by default when its next sweep is due."""
        if delay is None:
            if not self._lists_work:
                delay = job.interval * _JITTER.uniform(0.9, 1.1)
            else:
                sweep = SWEEP if job.listed else max(UNLISTED_SWEEP, job.interval)
                delay = sweep * _JITTER.uniform(0.75, 1.25)
        job.due = asyncio.get_running_loop().time() + delay
        heapq.heappush(self._due, (job.due, next(self._order), job))
        self._work.set()

    async def _describe(self) -> None:
        free = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as under_way:
            while True:
                job = await self._next()
                await free.acquire()
                under_way.create_task(self._describe_one(job)).add_done_callback(lambda _: free.release())

    async def _next(self) -> _Job:
        """Return the job to describe next: those that are said to have ended first, every fifth one that is due."""
        loop = asyncio.get_running_loop()
        while True:
            self._work.clear()
            self._turns += 1
            due = self._pop_due(loop.time()) if self._turns % 5 == 0 or not self._hints else None
            if due is not None:
                return due
            while self._hints:
                job = self._hints.popleft()
                if self._watched(job):
                    return job
            await _within(self._work, self._due[0][0] - loop.time() if self._due else None)

    def _pop_due(self, now: float) -> _Job | None:
        while self._due and self._due[0][0] <= now:
            due, _, job = heapq.heappop(self._due)
            if self._watched(job) and job.due == due and not job.busy:
                job.busy = True
                return job
        return None

    def _watched(self, job: _Job) -> bool:
        return self._jobs.get(job.name) is job

    async def _describe_one(self, job: _Job) -> None:
        generation = self._client.generation
        try:
            answer = await self._client.describe(job.name, job.api_version)
        except (AutoMLJobNotFound, AutoMLValidationError) as error:
            job.busy = False
            job.searches += 1
            if job.searches >= SEARCHES:
                self._finish(
                    job, JobEvent(EventStatus.NOT_FOUND, job.name, f"there is no AutoML job {job.name}: {error}")
                )
            else:
                self._schedule(job, min(job.interval, 10.0))
        except AutoMLAccessDenied as error:
            job.busy = False
            if job.denied_by is not None and generation > job.denied_by:
                self._finish(job, JobEvent(EventStatus.ACCESS_DENIED, job.name, str(error)))
            else:
                job.denied_by = generation if job.denied_by is None else job.denied_by
                await self._renew()
                self._schedule(job, min(job.interval, 5.0))
        except AutoMLThrottled:
            job.busy = False
            self._hint(job)  # the pace has been cut already
        except Exception as error:
            job.busy = False
            job.failures += 1
            if job.failures in {1, 10, 100}:
                log.warning("AutoML job %s can't be described just now: %s", job.name, error)
            self._schedule(job, min(job.interval, 0.5 * 2 ** min(job.failures, 10)) * _JITTER.uniform(0.5, 1.0))
        else:
            job.busy = False
            job.failures = job.searches = 0
            job.denied_by = None
            self._described(job, answer)

    async def _renew(self) -> None:
        try:
            await self._client.renew()
        except Exception as error:
            log.warning("The AWS client can't be built anew: %s", error)

    def _described(self, job: _Job, answer: dict[str, Any]) -> None:
        modified = answer.get("LastModifiedTime")
        if isinstance(modified, datetime):
            job.modified = modified
        if is_terminal(answer.get("AutoMLJobStatus")):
            self._finish(job, end_event(answer))
            ended = answer.get("EndTime")
            if isinstance(ended, datetime):
                metrics.event_latency((datetime.now(UTC) - ended).total_seconds())
            return
        self._changed(job, answer)
        self._schedule(job)

    def _changed(self, job: _Job, answer: Mapping[str, Any]) -> None:
        pair = (str(answer.get("AutoMLJobStatus")), str(answer.get("AutoMLJobSecondaryStatus")))
        if pair == job.seen:
            return
        job.seen = pair
        for queue in job.subscribers:
            queue.put_nowait(Transition(*pair))

    def _finish(self, job: _Job, event: JobEvent) -> None:
        for queue in job.subscribers:
            queue.put_nowait(event)
        job.subscribers.clear()
        self._drop(job)

    def _drop(self, job: _Job) -> None:
        if self._watched(job):
            del self._jobs[job.name]
            metrics.watched(len(self._jobs))


async def _within(event: asyncio.Event, seconds: float | None) -> bool:
    """Wait for an event at most so long; return whether it is set."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    return event.is_set()


def _closing() -> bool:
    """Tell whether this task is being cancelled, because its event loop closes."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
