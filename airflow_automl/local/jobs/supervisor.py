"""The supervisor: queues jobs, starts and ends their trainers, and brings what they report into the store.

It alone says that a job has ended, and never before the job's processes have.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from airflow_automl.contract.states import SecondaryStatus
from airflow_automl.local import processes
from airflow_automl.local.jobs import events
from airflow_automl.local.jobs.executors import local as trainers
from airflow_automl.local.jobs.executors.local import Trainer, TrainerSettings
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.jobs import Job, JobStore

log = logging.getLogger(__name__)

#: Seconds between two looks at running jobs.
_INTERVAL = 0.2
#: Seconds that a trainer has to leave by itself after its last event, and after its job's time is over.
_GRACE = 1.0
_MEMORY_INTERVAL = 1.0
#: A job whose trainer was found dead this often takes the machine down with it, or something like it.
_MAX_CRASHES = 5

#: Makes an endpoint of the job's best candidate and returns its name, or raises DeploymentFailed.
Deploy = Callable[[Job], Coroutine[Any, Any, str]]
Abandon = Callable[[Job], Coroutine[Any, Any, None]]


class DeploymentFailed(Exception):
    """The job's best candidate could not be deployed; the message says why."""


class Supervisor:
    """Runs jobs.

    :param store: the jobs.
    :param folder: where their files lie.
    :param settings: what trainers get.
    :param max_jobs: how many run at once; 0 accepts jobs and starts none.
    :param deploy: the last phase of jobs with a ModelDeployConfig.
    :param abandon: takes back what an unfinished ``deploy`` made.
    """

    def __init__(
        self,
        store: JobStore,
        folder: DataFolder,
        settings: TrainerSettings,
        max_jobs: int,
        deploy: Deploy,
        abandon: Abandon,
    ) -> None:
        self._store = store
        self._folder = folder
        self._settings = settings
        self._max_jobs = max_jobs
        self._deploy = deploy
        self._abandon = abandon
        self._trainers: dict[str, Trainer] = {}
        self._deployments: dict[str, asyncio.Task[str]] = {}
        self._overruns: dict[str, str] = {}
        self._troubles: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Adopt trainers that outlived the last service, let the jobs of the others start over, and go on."""
        for job in self._store.in_stage("training"):
            self._adopt(job)
        self._tasks = [
            asyncio.create_task(self._run(), name="supervisor"),
            asyncio.create_task(self._watch_memory(), name="memory-watch"),
        ]

    async def stop(self) -> None:
        """End all trainers; their jobs start over with the next service.

        Leaving them to be adopted would leave processes behind after Ctrl-C, which nobody expects.
        """
        for task in [*self._tasks, *self._deployments.values()]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        for name, trainer in list(self._trainers.items()):
            if await asyncio.to_thread(_wait_gone, trainer):
                job = self._store.get(name)
                final = events.apply(self._store, job, self._events(name)) or _recorded(job)
                if job.stopping:
                    self._store.stopped(name)
                elif final is None:
                    self._store.requeue(name, crashed=False)
                else:
                    self._finish(name, final)

    def wake(self) -> None:
        """Look at the jobs now: one came, or is to stop."""
        self._changed.set()

    # Adoption

    def _adopt(self, job: Job) -> None:
        process = job.process
        if process is None:
            # The last service died between starting the trainer and writing that down.
            process = processes.find(trainers.command(self._settings, self._folder.job(job.name)))
            if process is not None:
                self._store.set_process(job.name, process)
        if process is not None and (processes.alive(process) or processes.members(process)):
            log.info("job %s: adopted its trainer, pid %d", job.name, process.pid)
            self._trainers[job.name] = Trainer(process)
            return
        final = events.apply(self._store, job, self._events(job.name)) or _recorded(job)
        if job.stopping:
            self._store.stopped(job.name)
            self._close(job.name)
        elif final is not None:
            self._finish(job.name, final)
        elif job.crashes >= _MAX_CRASHES:
            self._store.failed(job.name, f"the trainer died {job.crashes + 1} times; its log may say why")
        else:
            log.info("job %s: its trainer is gone; it starts over", job.name)
            self._store.requeue(job.name, crashed=process is not None)

    # The loop

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                busy = self._step()
            except Exception:
                log.exception("the supervisor stumbled; it goes on")
                busy = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _INTERVAL if busy else None)

    def _step(self) -> bool:
        for job in self._store.in_stage("training"):
            self._undisturbed(job, self._attend)
        for job in self._store.in_stage("deploying"):
            self._undisturbed(job, self._attend_deployment)
        for job in self._store.queued("Stopping"):
            self._store.stopped(job.name)
        free = self._max_jobs - len(self._store.in_stage("training"))
        for job in self._store.queued("InProgress", max(free, 0)):
            self._undisturbed(job, self._start)
        return bool(self._store.in_stage("training", "deploying"))

    def _undisturbed(self, job: Job, attend: Callable[[Job], None]) -> None:
        """Look after a job; whatever goes wrong with it must not keep the others waiting."""
        try:
            attend(job)
        except Exception as error:
            # Said once: with a full disk it goes wrong five times a second.
            if self._troubles.get(job.name) != repr(error):
                self._troubles[job.name] = repr(error)
                log.exception("job %s: something went wrong while looking after it; it is tried again", job.name)
        else:
            self._troubles.pop(job.name, None)

    def _start(self, job: Job) -> None:
        self._store.begin_attempt(job.name, self._store.database.now())
        job = self._store.get(job.name)
        try:
            trainer = trainers.start(self._settings, self._folder, job)
        except Exception as error:
            # There is no process yet; if the job were left as it is, it would start over for ever.
            log.exception("job %s: its trainer could not be started", job.name)
            self._store.failed(job.name, f"the trainer could not be started: {error}")
            return
        self._trainers[job.name] = trainer
        self._store.set_process(job.name, trainer.process)
        log.info("job %s: attempt %d runs, pid %d", job.name, job.attempt, trainer.process.pid)

    def _attend(self, job: Job) -> None:
        trainer = self._trainers.get(job.name)
        if trainer is None:
            self._adopt(job)
            return
        running = trainer.running
        final = events.apply(self._store, job, self._events(job.name)) or _recorded(job)
        deadline = trainers.deadline(job)
        if job.stopping:
            if trainer.gone():
                self._close(job.name)
                self._store.stopped(job.name)
        elif final is not None:
            trainer.ended_at = trainer.ended_at or time.monotonic()
            patient = running and time.monotonic() < trainer.ended_at + _GRACE
            if not patient and trainer.gone():
                self._finish(job.name, final)
        elif job.name in self._overruns:
            if trainer.gone():
                self._store.failed(job.name, self._overruns[job.name])
                self._close(job.name)
        elif deadline is not None and time.time() > deadline + _GRACE:
            if trainer.gone():
                log.info("job %s: its time is over", job.name)
                self._finish(job.name, events.Final(None, SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED))
        elif not running and trainer.gone():
            # It may have written its last event between the look at the file and the look at the process.
            final = events.apply(self._store, self._store.get(job.name), self._events(job.name))
            if final is not None:
                self._finish(job.name, final)
                return
            line = trainers.last_line(self._folder.job(job.name) / "trainer.log")
            self._store.failed(job.name, f"the trainer {trainer.how_it_ended()} without a result; its log ends: {line}")
            self._close(job.name)

    def _finish(self, name: str, final: events.Final) -> None:
        if final.failure is not None:
            self._store.failed(name, final.failure)
        elif final.secondary is not None:
            self._complete(name, final.secondary)
        self._close(name)

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
        deadline = trainers.deadline(job)
        if task is None:
            task = asyncio.create_task(self._deploy(job), name=f"deploy-{job.name}")
            task.add_done_callback(lambda _: self.wake())
            self._deployments[job.name] = task
            return
        late = deadline is not None and time.time() > deadline
        if not task.done():
            if job.stopping or late:
                task.cancel()
            return
        del self._deployments[job.name]
        outcome = job.outcome or SecondaryStatus.COMPLETED
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or job.stopping:
            self._tasks.append(asyncio.create_task(self._abandon(job)))
            if job.stopping:
                self._store.stopped(job.name)
            else:
                self._store.completed(job.name, SecondaryStatus.MAX_AUTO_ML_JOB_RUNTIME_REACHED)
        elif failure is not None:
            if not isinstance(failure, DeploymentFailed):
                log.error("job %s: its deployment failed", job.name, exc_info=failure)
            with self._store.database.transaction():
                self._store.add_partial_failure(job.name, "ModelDeploymentError", str(failure))
                self._store.completed(job.name, outcome)
        else:
            with self._store.database.transaction():
                self._store.set_endpoint(job.name, task.result())
                self._store.completed(job.name, outcome)

    def _close(self, name: str) -> None:
        self._trainers.pop(name, None)
        self._overruns.pop(name, None)
        self._folder.remove_work(name)

    def _events(self, name: str) -> Path:
        return self._folder.job(name) / "events.jsonl"

    # Memory

    async def _watch_memory(self) -> None:
        limit = self._settings.memory_limit
        while limit is not None:
            await asyncio.sleep(_MEMORY_INTERVAL)
            for name, trainer in list(self._trainers.items()):
                used = await asyncio.to_thread(processes.memory, trainer.process)
                if used > limit and name in self._trainers:
                    self._overruns[name] = (
                        f"the job used {used / 2**30:.1f} GiB of memory, its limit is {limit / 2**30:.1f} GiB; "
                        "use less data or fewer algorithms, or start the service with a higher --job-memory"
                    )
                    self.wake()


def _recorded(job: Job) -> events.Final | None:
    if job.failure is None and job.outcome is None:
        return None
    return events.Final(job.failure, job.outcome)


def _wait_gone(trainer: Trainer) -> bool:
    deadline = time.monotonic() + 10
    while not trainer.gone():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
