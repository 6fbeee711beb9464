"""The supervisor: queues jobs, starts and stops their trainers, and brings what they report into the store.

It alone ends a job, and never before the job's processes have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from airflow_automl.contract.states import SecondaryStatus
from airflow_automl.local.background import Background
from airflow_automl.local.jobs import events
from airflow_automl.local.jobs.executors.base import Executor, Handle
from airflow_automl.local.jobs.specification import TrainerSettings, max_runtime, specification
from airflow_automl.local.state.jobs import Job, JobStore

log = logging.getLogger(__name__)

#: Seconds between two checks of running jobs.
_INTERVAL = 0.2
#: Seconds in which a trainer must end after its last event, and after its job's limit.
_GRACE = 1.0
_MEMORY_INTERVAL = 1.0
#: A job whose trainer died this often probably crashes the machine.
_MAX_CRASHES = 5
#: What the machine may have too little of for a while: disk, memory, processes, open files.
_SHORTAGES = {errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE}

#: Makes an endpoint of the job's best candidate and returns its name, or raises DeploymentFailed.
Deploy = Callable[[Job], Coroutine[Any, Any, str]]
Abandon = Callable[[Job], Coroutine[Any, Any, None]]


class DeploymentFailed(Exception):
    """The job's best candidate could not be deployed; the message says why."""


class Supervisor:
    """Runs jobs.

    :param store: the jobs.
    :param executor: runs their trainers.
    :param settings: what all trainers have in common.
    :param max_jobs: how many run at once; 0 accepts jobs and starts none.
    :param deploy: the last phase of jobs with a ModelDeployConfig.
    :param abandon: deletes what an unfinished ``deploy`` made.
    :param background: runs the background tasks.
    """

    def __init__(
        self,
        store: JobStore,
        executor: Executor,
        settings: TrainerSettings,
        max_jobs: int,
        deploy: Deploy,
        abandon: Abandon,
        background: Background | None = None,
    ) -> None:
        self._store = store
        self._executor = executor
        self._settings = settings
        self._max_jobs = max_jobs
        self._deploy = deploy
        self._abandon = abandon
        self._trainers: dict[str, Handle] = {}
        self._ended_at: dict[str, float] = {}
        self._deployments: dict[str, asyncio.Task[str]] = {}
        self._overruns: dict[str, str] = {}
        self._troubles: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._background = background or Background()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Adopt trainers that survived the last service, start the jobs of the others over, and begin to run jobs."""
        for job in self._store.in_stage("training"):
            self._guarded(job, self._adopt)
        self._tasks = [
            self._background.repeat("supervisor", self._look),
            self._background.repeat("memory-watch", self._watch_memory),
        ]

    async def stop(self) -> None:
        """Kill all trainers; their jobs start over with the next service.

        Trainers left for adoption would survive Ctrl-C, which is not expected.
        """
        for task in [*self._tasks, *self._deployments.values()]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        for handle in self._trainers.values():
            self._executor.stop(handle)
        for name, handle in list(self._trainers.items()):
            if await asyncio.to_thread(self._wait_stopped, handle):
                job = self._store.get(name)
                final = self._final(job, handle)
                if job.stopping:
                    self._store.stopped(name)
                elif final is None:
                    self._store.requeue(name, crashed=False)
                else:
                    self._finish(name, final)

    def wake(self) -> None:
        """Look at the jobs now: one was created, or is to stop."""
        self._changed.set()

    def _adopt(self, job: Job) -> None:
        """Go on with a trainer of an earlier service, or with its job if the trainer has ended."""
        handle = job.handle
        if handle is None:
            # The last service died after it had started the trainer and before it had recorded it.
            handle = self._executor.find(specification(self._settings, job))
            if handle is not None:
                self._store.set_handle(job.name, handle)
        if handle is not None and self._executor.state(handle).running:
            log.info("adopted the trainer of job %s: %s", job.name, handle)
            self._trainers[job.name] = handle
            return
        if handle is not None and not self._executor.stop(handle):
            # A child of the trainer is alive; the next check kills it again.
            return
        final = None if handle is None else self._final(job, handle)
        if job.stopping:
            self._store.stopped(job.name)
            self._forget(job.name)
        elif final is not None:
            self._finish(job.name, final)
        else:
            self._start_over(job, "the trainer ended with the last service", crashed=handle is not None)

    def _start_over(self, job: Job, why: str, *, crashed: bool) -> None:
        if job.crashes >= _MAX_CRASHES:
            self._store.failed(job.name, f"the trainer died {job.crashes + 1} times; its log may say why")
        else:
            log.info("%s; starting over job %s", why, job.name)
            self._store.requeue(job.name, crashed=crashed)
        self._forget(job.name)

    def _final(self, job: Job, handle: Handle) -> events.Final | None:
        """Apply the trainer's new events, and return the one that ended the training, now or earlier."""
        return events.apply(self._store, job, partial(self._executor.events, handle)) or _recorded(job)

    async def _look(self) -> None:
        self._changed.clear()
        busy = self._step()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _INTERVAL if busy else None)

    def _step(self) -> bool:
        for job in self._store.in_stage("training"):
            self._guarded(job, self._attend)
        for job in self._store.in_stage("deploying"):
            self._guarded(job, self._attend_deployment)
        for job in self._store.queued("Stopping"):
            self._store.stopped(job.name)
            self._troubles.pop(job.name, None)
        free = self._max_jobs - len(self._store.in_stage("training"))
        for job in self._store.queued("InProgress", max(free, 0)):
            self._guarded(job, self._start)
        return bool(self._troubles or self._store.in_stage("training", "deploying"))

    def _guarded(self, job: Job, attend: Callable[[Job], None]) -> None:
        """Do something for a job; an error must not delay the other jobs, and is retried at the next look."""
        try:
            attend(job)
        except Exception as error:
            # Logged once: with a full disk, it fails five times a second.
            if self._troubles.get(job.name) != repr(error):
                self._troubles[job.name] = repr(error)
                log.exception("supervision failed; retrying in %s s: job %s", _INTERVAL, job.name)
        else:
            self._troubles.pop(job.name, None)

    def _start(self, job: Job) -> None:
        self._store.begin_attempt(job.name, self._store.database.now())
        job = self._store.get(job.name)
        try:
            handle = self._executor.start(specification(self._settings, job))
        except Exception as error:
            # Nothing runs yet.
            if isinstance(error, OSError) and error.errno in _SHORTAGES:
                self._store.requeue(job.name, crashed=False)
                raise
            # An unchanged job would start over for ever.
            log.exception("the trainer could not be started for job %s", job.name)
            self._store.failed(job.name, f"the trainer could not be started: {error}")
            return
        self._trainers[job.name] = handle
        self._store.set_handle(job.name, handle)
        log.info("started attempt %d of job %s: %s", job.attempt, job.name, handle)

    def _attend(self, job: Job) -> None:
        handle = self._trainers.get(job.name)
        if handle is None:
            self._adopt(job)
            return
        state = self._executor.state(handle)
        final = self._final(job, handle)
        limit = max_runtime(job)
        if job.stopping:
            if self._executor.stop(handle):
                self._forget(job.name)
                self._store.stopped(job.name)
        elif final is not None:
            ended_at = self._ended_at.setdefault(job.name, time.monotonic())
            waiting = state.running and time.monotonic() < ended_at + _GRACE
            if not waiting and self._executor.stop(handle):
                self._finish(job.name, final)
        elif job.name in self._overruns:
            if self._executor.stop(handle):
                self._store.failed(job.name, self._overruns[job.name])
                self._forget(job.name)
        elif limit is not None and state.seconds > limit + _GRACE:
            if self._executor.stop(handle):
                log.info("stopped the trainer at MaxAutoMLJobRuntimeInSeconds of job %s", job.name)
                self._finish(job.name, events.Final(None, SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED))
        elif not state.running and self._executor.stop(handle):
            # It may have written its last event after the events were read.
            final = self._final(self._store.get(job.name), handle)
            if final is not None:
                self._finish(job.name, final)
            elif state.lost:
                self._start_over(job, f"the trainer {state.ended}", crashed=state.seconds > 0)
            else:
                line = self._executor.last_words(handle)
                self._store.failed(job.name, f"the trainer {state.ended} without a result; its log ends: {line}")
                self._forget(job.name)

    def _finish(self, name: str, final: events.Final) -> None:
        if final.failure is not None:
            self._store.failed(name, final.failure)
        elif final.secondary is not None:
            self._complete(name, final.secondary)
        self._forget(name)

    def _complete(self, name: str, secondary: str) -> None:
        limit_reached = secondary == SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED
        without_candidate = limit_reached or secondary == SecondaryStatus.CANDIDATE_DEFINITIONS_GENERATED
        with self._store.database.transaction():
            self._store.drop_earlier_attempts(name)
            job = self._store.get(name)
            if job.best is None and not without_candidate:
                self._store.failed(name, "the trainer ended without any candidate that has the objective metric")
            elif job.best is not None and "ModelDeployConfig" in job.request and not limit_reached:
                self._store.set_outcome(name, secondary)
                self._store.set_deploying(name)
            else:
                self._store.completed(name, secondary)

    def _attend_deployment(self, job: Job) -> None:
        task = self._deployments.get(job.name)
        if task is None:
            task = asyncio.create_task(self._deploy(job), name=f"deploy-{job.name}")
            task.add_done_callback(lambda _: self.wake())
            self._deployments[job.name] = task
            return
        limit = max_runtime(job)
        late = limit is not None and job.handle is not None and self._executor.state(job.handle).seconds > limit
        if not task.done():
            if job.stopping or late:
                task.cancel()
            return
        del self._deployments[job.name]
        outcome = job.outcome or SecondaryStatus.COMPLETED
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or job.stopping:
            abandoned = self._background.until_done(f"abandon-{job.name}", lambda: self._abandon(job))
            self._tasks.append(asyncio.create_task(abandoned))
            if job.stopping:
                self._store.stopped(job.name)
            else:
                self._store.completed(job.name, SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED)
        elif failure is not None:
            if not isinstance(failure, DeploymentFailed):
                log.error("deployment failed: job %s", job.name, exc_info=failure)
            with self._store.database.transaction():
                self._store.add_partial_failure(job.name, "ModelDeploymentError", str(failure))
                self._store.completed(job.name, outcome)
        else:
            with self._store.database.transaction():
                self._store.set_endpoint(job.name, task.result())
                self._store.completed(job.name, outcome)

    def _forget(self, name: str) -> None:
        handle = self._trainers.pop(name, None)
        if handle is not None:
            self._executor.forget(handle)
        self._ended_at.pop(name, None)
        self._overruns.pop(name, None)

    def _wait_stopped(self, handle: Handle) -> bool:
        deadline = time.monotonic() + 10
        while not self._executor.stop(handle):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    async def _watch_memory(self) -> None:
        await asyncio.sleep(_MEMORY_INTERVAL)
        for name, handle in list(self._trainers.items()):
            limit = self._settings.share_of(self._store.get(name)).memory
            used = await asyncio.to_thread(self._executor.usage, handle) if limit else 0
            if limit and used > limit and name in self._trainers:
                self._overruns[name] = (
                    f"the job used {used / 2**30:.1f} GiB of memory, its limit is {limit / 2**30:.1f} GiB; "
                    "use less data or fewer algorithms, or start the service with a higher --job-memory"
                )
                self.wake()


def _recorded(job: Job) -> events.Final | None:
    if job.failure is None and job.outcome is None:
        return None
    return events.Final(job.failure, job.outcome)
