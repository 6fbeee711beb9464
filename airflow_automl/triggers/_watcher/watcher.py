"""One watcher for all jobs of a connection; the package's docstring says how it works."""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

from airflow_automl import settings
from airflow_automl.contract import is_terminal
from airflow_automl.contract.model import Api
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLThrottled,
    AutoMLTransientError,
)
from airflow_automl.triggers._watcher.client import AwsSettings, Client
from airflow_automl.triggers._watcher.listing import Listing
from airflow_automl.triggers._watcher.rate_limiter import RateLimiter
from airflow_automl.triggers._watcher.slots import SlotLine
from airflow_automl.waiting import AUTOML_JOB, Target, describe

log = logging.getLogger(__name__)

Describe = dict[str, Any]
Notice = Callable[[Mapping[str, Any]], None]

#: Up to this number, jobs are described at every interval: a list would cost as much.
FEW = 3
#: Seconds between two polls at least: a sensor's ``poke_interval`` may be 0.
SHORTEST = 0.01
#: From this number of jobs on, an interval has two polls, which halves the delay at little cost per job.
MANY = 500
#: Share of jobs described at every poll (one in …), those not described for longest first.
RECHECK_SHARE = 1000
#: Intervals, and least seconds, between two lists of running jobs.
SWEEP_INTERVALS, SWEEP_SECONDS = 12, 60.0
#: After lists have failed for this number of intervals, every job is described.
LISTLESS_INTERVALS = 3
#: Seconds for which a client without jobs is kept.
LINGER = 60.0


class _Watch:
    def __init__(self, name: str, api_version: Api | None, now: float) -> None:
        self.name = name
        self.api_version = api_version
        self.since = now
        self.polled_at = now
        self.known = False
        self.polling = False
        self.refused_at: float | None = None
        self.modified: datetime | None = None
        self.waiting: dict[asyncio.Future[Describe], float] = {}
        self.notices: dict[asyncio.Future[Describe], tuple[Notice, contextvars.Context]] = {}

    def notice(self, answer: Mapping[str, Any]) -> None:
        """Notify all waiting triggers of the job's status, each in its own context, so that it logs to its own task."""
        for tell, context in self.notices.values():
            context.run(tell, answer)

    def end(self, outcome: Describe | BaseException) -> None:
        for future in self.waiting:
            if future.done():
                continue
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class Watcher:
    """Waits for jobs to end, on one event loop, through one client.

    :param aws: how to reach AWS.
    :param calls_per_second: the rate of describes while nothing is throttled.
    """

    def __init__(self, aws: AwsSettings, calls_per_second: float) -> None:
        #: The watcher has ended: it was unused for a while, or it failed.
        self.closed = False
        self.client = Client(aws)
        self._watches: dict[tuple[str, str | None], _Watch] = {}
        self._users = 0
        self._wake = asyncio.Event()
        self._work: set[asyncio.Task[None]] = set()
        self._main: asyncio.Task[None] | None = None
        self._rate = RateLimiter(calls_per_second, burst=max(1, round(2 * calls_per_second)))
        self.listing = Listing(self.client)
        self._following: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._swept = float("-inf")
        self._slots = SlotLine(self.listing)
        self._slots_task: asyncio.Task[None] | None = None

    async def end_of(
        self, name: str, api_version: Api | None, poll_interval: float, notice: Notice = lambda answer: None
    ) -> Describe:
        """Wait until a job has ended, and return what describing it answers.

        Operations: DescribeAutoMLJobV2, DescribeAutoMLJob, ListAutoMLJobs.

        :param name: the job's name.
        :param api_version: ``V1``, ``V2``, or ``None`` if it is not known.
        :param poll_interval: seconds between two polls. The shortest of all who wait counts for all.
        :param notice: called with an answer or summary whenever the job has changed.
        :raises AutoMLJobNotFound: there is no such job, at the second poll.
        :raises AutoMLAccessDenied: it may not be described, at the second poll.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Describe] = loop.create_future()
        async with self.in_use():
            key = (name, api_version)
            watch = self._watches.get(key)
            if watch is None:
                watch = self._watches[key] = _Watch(name, api_version, loop.time())
                self.client.metrics.watched(len(self._watches))
                if len(self._watches) <= FEW:
                    self._wake.set()
            watch.waiting[future] = poll_interval
            watch.notices[future] = (notice, contextvars.copy_context())
            try:
                return await future
            finally:
                del watch.waiting[future], watch.notices[future]
                if not watch.waiting and self._watches.get(key) is watch:
                    del self._watches[key]
                    self.client.metrics.watched(len(self._watches))

    async def slot(self, since: float) -> None:
        """Wait in line until the account may have room for one more job.

        :param since: when the task first asked, in seconds since the epoch.
        """
        async with self.in_use():
            if _idle(self._slots_task):
                self._slots_task = self._start(self._slots.serve())
            await self._slots.turn(since)

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[Client]:
        """Keep the client for as long as the block lasts."""
        self._users += 1
        if self._main is None:
            # Without the first trigger's context: the watcher must not log into that task's log.
            self._main = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())
        try:
            yield self.client
        finally:
            self._users -= 1
            if not self._users:
                self._wake.set()

    async def _run(self) -> None:
        try:
            while True:
                self._wake.clear()
                if self._watches:
                    self._tick()
                try:
                    # Not wait_for: on Python 3.11 it swallows a cancellation that comes right after the wake-up.
                    async with asyncio.timeout(self._interval()):
                        await self._wake.wait()
                except TimeoutError:
                    if not self._users:
                        return
        except Exception as error:
            log.exception("The watcher failed; all waits that use it fail")
            for watch in list(self._watches.values()):
                watch.end(error)
        finally:
            self.closed = True
            for task in self._work:
                task.cancel()
            await self.client.close()

    def _interval(self) -> float:
        """Seconds between two polls; without jobs, until the watcher is given up."""
        shortest = min(
            (seconds for watch in self._watches.values() for seconds in watch.waiting.values()), default=LINGER
        )
        return max(SHORTEST, shortest if len(self._watches) < MANY else shortest / 2)

    def _tick(self) -> None:
        watches = list(self._watches.values())
        if len(watches) <= FEW:
            self._poll(watches)
            return
        now = asyncio.get_running_loop().time()
        share = -(-len(watches) // RECHECK_SHARE)
        # Jobs that have just ended are described anyway: they must not use the share of jobs that lists omit.
        idle = (watch for watch in watches if watch.known and not watch.polling)
        self._poll(heapq.nsmallest(share, idle, key=lambda watch: watch.polled_at), urgent=True)
        self._poll(watch for watch in watches if watch.refused_at is not None)
        if self.listing.failing_for(now) > LISTLESS_INTERVALS * self._interval():
            self._poll(watches)
        if self.listing.denied(now):
            return
        new = [watch for watch in watches if not watch.known]
        pages = -(-len(watches) // 100)
        sweep_due = now - self._swept >= max(SWEEP_SECONDS, SWEEP_INTERVALS * self._interval())
        if _idle(self._sweeping) and (sweep_due or len(new) > pages or self.listing.incomplete):
            self._sweeping = self._start(self._list("sweep", self._sweep, watches))
        if _idle(self._following) and self.listing.begun:
            # New jobs are few if no sweep is under way: they are described at once.
            self._poll(new if _idle(self._sweeping) else ())
            self._following = self._start(self._list("follow", self._follow, watches))

    async def _list(self, kind: str, work: Callable[[list[_Watch]], Awaitable[None]], watches: list[_Watch]) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await work(watches)
            self.client.metrics.poll(kind, asyncio.get_running_loop().time() - began)
        except AutoMLTransientError as error:
            log.info("AutoML jobs can't be listed at the moment; their ends are noticed later: %s", error)
        except AutoMLError as error:
            self.listing.deny(asyncio.get_running_loop().time())
            log.warning("AutoML jobs can't be listed; they are described one by one instead: %s", error)
            self._poll(watches)

    async def _sweep(self, watches: list[_Watch]) -> None:
        now = asyncio.get_running_loop().time()
        running = await self.listing.running(most_pages=3 * -(-len(watches) // 100) + 7)
        self._swept = now
        for watch in watches:
            watch.known = True
            self._note_transition(watch, running)
        self._poll(watch for watch in watches if watch.name.lower() not in running)

    async def _follow(self, watches: list[_Watch]) -> None:
        changed = await self.listing.changed()
        for watch in watches:
            self._note_transition(watch, changed)
        ended = {name for name, job in changed.items() if is_terminal(job.get("AutoMLJobStatus"))}
        self._poll(watch for watch in watches if watch.name.lower() in ended)

    def _note_transition(self, watch: _Watch, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        """Take note of a transition. A list may lag: only what is newer than what is known counts."""
        job = jobs.get(watch.name.lower())
        if job is None or is_terminal(job.get("AutoMLJobStatus")):
            return
        modified = job.get("LastModifiedTime")
        if modified is not None and (watch.modified is None or modified > watch.modified):
            watch.modified = modified
            watch.notice(job)

    def _poll(self, watches: Iterable[_Watch], urgent: bool = False) -> None:
        for watch in watches:
            if not watch.polling:
                watch.polling = True
                self._start(self._describe(watch, urgent))

    async def _describe(self, watch: _Watch, urgent: bool) -> None:
        began = asyncio.get_running_loop().time()
        try:
            while watch.waiting:
                turn = await self._rate.turn(urgent)
                try:
                    answer = await describe(self.client, Target(AUTOML_JOB, watch.name, watch.api_version)) or {}
                except AutoMLThrottled as error:
                    self._rate.throttled(turn)
                    log.info("Describing slows down: %s", error)
                except AutoMLTransientError as error:
                    self._rate.failed(turn)
                    log.info("AutoML job %s can't be described at the moment: %s", watch.name, error)
                except AutoMLError as error:
                    self._rate.succeeded()
                    self._refuse(watch, error)
                    return
                else:
                    self._rate.succeeded()
                    self.client.metrics.poll("describe", asyncio.get_running_loop().time() - began)
                    self._answer(watch, answer)
                    return
        except Exception as error:
            log.exception("Polling AutoML job %s failed", watch.name)
            watch.end(error)
        finally:
            watch.polling = False

    def _answer(self, watch: _Watch, answer: Describe) -> None:
        now = asyncio.get_running_loop().time()
        watch.refused_at, watch.known, watch.polled_at = None, True, now
        watch.modified = answer.get("LastModifiedTime", watch.modified)
        server_time = self.listing.server_time(answer)
        answer.pop("ResponseMetadata", None)
        watch.notice(answer)
        if is_terminal(answer.get("AutoMLJobStatus")):
            ended = answer.get("EndTime")
            if ended and server_time and ended > server_time - timedelta(seconds=now - watch.since):
                self.client.metrics.event_latency(max(0.0, (server_time - ended).total_seconds()))
            watch.end(answer)

    def _refuse(self, watch: _Watch, error: AutoMLError) -> None:
        """End a wait whose job can't be seen at the second poll: reads lag behind writes, permissions too."""
        now = asyncio.get_running_loop().time()
        watch.known = True
        if watch.refused_at is None:
            watch.refused_at = now
        # Other triggers that start may wake the watcher at once: that poll is not the second.
        if (
            not isinstance(error, AutoMLJobNotFound | AutoMLAccessDenied)
            or now - watch.refused_at > self._interval() / 2
        ):
            watch.end(error)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("A background task of the watcher failed; the next poll starts another", exc_info=error)


def _idle(task: asyncio.Task[None] | None) -> bool:
    return task is None or task.done()


_WATCHERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[AwsSettings, Watcher]] = WeakKeyDictionary()


def watcher_for(aws: AwsSettings) -> Watcher:
    """Return the running event loop's watcher for these settings; it is made when it is first asked for."""
    watchers = _WATCHERS.setdefault(asyncio.get_running_loop(), {})
    watcher = watchers.get(aws)
    if watcher is None or watcher.closed:
        watcher = watchers[aws] = Watcher(aws, settings.max_calls_per_second())
    return watcher
