"""Batch transform jobs: begun, continued after a restart, stopped and ended, in the background."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_automl.local.background import Background, Tasks
from airflow_automl.local.errors import MAX_REASON
from airflow_automl.local.jobs.executors.base import Executor, Handle
from airflow_automl.local.jobs.specification import Share
from airflow_automl.local.serving.endpoints import MODEL, Deployments
from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.serving.transform.objects import SCRATCH, Object, Worker, objects_of, reason_of, together
from airflow_automl.local.state.resources import TRANSFORM_JOB, Resource, ResourceStore
from airflow_automl.local.storage.client import parse_uri

if TYPE_CHECKING:
    from airflow_automl.local.state.folder import DataFolder

#: Gives the objects of a job to tasks of a cluster; the job's folder is its argument.
_COMMAND = ("python", "-m", "airflow_automl.local.serving.transform.tasks")
#: Seconds between two looks at a job on a cluster, and until a service that ends no longer waits for its jobs there.
_LOOK, _GRACE = 0.2, 10.0
#: Attempts of a job that may end without a result, while one service runs.
_ATTEMPTS = 5


class Transforms:
    """Runs transform jobs, one task each; after a restart, those that were unfinished continue with what is left.

    :param resources: the jobs and their models.
    :param deployments: knows the containers of models.
    :param host: runs the models.
    :param s3_client: makes a client of the S3 store.
    :param background: retries to write how a job began and ended.
    :param cores: processes of a job's model; twice as many objects are worked on at once.
    :param cluster: runs the jobs instead of this machine: each is what it calls a trainer, and gives objects to tasks.
    :param share: what a task may use there.
    """

    def __init__(
        self,
        resources: ResourceStore,
        deployments: Deployments,
        host: ModelHost,
        folder: DataFolder,
        s3_client: Callable[[], Any],
        background: Background,
        cores: int = 1,
        cluster: Executor | None = None,
        share: Share | None = None,
    ) -> None:
        self._resources = resources
        self._deployments = deployments
        self._worker = Worker(host, folder.root, s3_client, cores)
        self._folder = folder
        self._background = background
        self._cores = cores
        self._cluster, self._share = cluster, share
        self._tasks = Tasks()

    async def start(self) -> None:
        """Go on with the unfinished jobs of the last service."""
        for leftover in self._folder.root.glob(f"{SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for job in self._resources.in_status(TRANSFORM_JOB, "InProgress"):
            self.begin(job.name)
        for job in self._resources.in_status(TRANSFORM_JOB, "Stopping"):
            self.cancel(job)

    async def stop(self) -> None:
        """Cancel what is unfinished; the next service continues with it."""
        await self._tasks.stop()
        unfinished = self._resources.in_status(TRANSFORM_JOB, "InProgress", "Stopping")
        # The cluster may be out of reach.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await asyncio.gather(*(self._withdraw(job.name) for job in unfinished))

    def begin(self, name: str) -> None:
        """Run a job that is InProgress."""
        self._tasks.start(name, self._run(name))

    def cancel(self, job: Resource) -> None:
        """Stop a job; it is Stopped once its task has ended."""
        self._resources.update(TRANSFORM_JOB, job.name, status="Stopping")
        self._tasks.start(job.name, self._cancelled(job.name, self._tasks.get(job.name)))

    async def _cancelled(self, name: str, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._withdraw(name)
        await self._end(name, "Stopped")

    async def _end(self, name: str, status: str, reason: str | None = None) -> None:
        def write() -> None:
            found = self._resources.find(TRANSFORM_JOB, name)
            if found is not None and found.status in ("InProgress", "Stopping"):
                ended, why = self._resources.database.now(), None if reason is None else reason[:MAX_REASON]
                self._resources.update(TRANSFORM_JOB, name, status=status, TransformEndTime=ended, FailureReason=why)

        await self._recorded(name, write)

    async def _recorded(self, name: str, write: Callable[[], Any]) -> Any:
        # The disk may be full: without this, the job would stay as it is until the next restart.
        return await self._background.until_done(f"transform job {name}", write)

    async def _run(self, name: str) -> None:
        found = self._resources.find(TRANSFORM_JOB, name)
        # A job that began before continues with the objects that are left.
        again = found is not None and "TransformStartTime" in found.document
        job: Resource = await self._recorded(
            name,
            lambda: (
                found
                if again
                else self._resources.update(TRANSFORM_JOB, name, TransformStartTime=self._resources.database.now())
            ),
        )
        try:
            containers = self._containers(job.document)
            run = self._here if self._cluster is None else partial(self._there, self._cluster)
            reason = await run(job, containers, again)
        except Exception as error:
            reason = reason_of(error)
            await self._withdraw(name)
        await self._end(name, "Completed" if reason is None else "Failed", reason)

    def _containers(self, request: dict[str, Any]) -> list[Container]:
        model = self._resources.find(MODEL, request["ModelName"])
        if model is None:
            raise HostingError(f"the model {request['ModelName']!r} was deleted")
        overrides = request.get("Environment", {})
        return [
            container._replace(environment={**container.environment, **overrides})
            for container in self._deployments.containers(model)
        ]

    async def _here(self, job: Resource, containers: Sequence[Container], again: bool) -> str | None:
        objects = await self._worker.with_store(lambda store: objects_of(store, job.document, again))
        left, bad = iter(objects), list[str]()

        async def take(_: int, reason: str | None) -> Object | None:
            if reason:
                bad.append(reason)
            return next(left, None)

        await self._worker.run(job.name, job.document, containers, take, min(2 * self._cores, len(objects)))
        return together(bad)

    async def _there(
        self, cluster: Executor, job: Resource, containers: Sequence[Container], again: bool
    ) -> str | None:
        """Run a job on the cluster, or adopt it from the last service; return its FailureReason."""
        attempt, handle = job.document.get("Attempt", 0), job.document.get("Trainer")
        reason = ""
        for _ in range(_ATTEMPTS):
            if handle is None:
                attempt += 1
                specification = self._specification(job, attempt) | {"containers": containers, "again": again}
                # Recorded first: a service that dies here starts nothing twice.
                handle = cluster.find(specification)
                write = partial(self._resources.update, TRANSFORM_JOB, job.name, Trainer=handle, Attempt=attempt)
                await self._recorded(job.name, write)
                handle = cluster.start(specification)
            how, final = await self._ended(cluster, handle)
            reason = f"the job {how} without a result, {_ATTEMPTS} times; its log ends: {cluster.last_words(handle)}"
            await self._withdraw(job.name)
            if final is not None:
                return final.get("reason")
            handle, again = None, True
        return reason

    def _specification(self, job: Resource, attempt: int) -> dict[str, Any]:
        return {
            # Names of AutoML jobs have no dot.
            "name": f"{job.name}.transform",
            "arn": job.arn,
            "created": job.created,
            "attempt": attempt,
            "output": f"{parse_uri(job.document['TransformOutput']['S3OutputPath']).uri.rstrip('/')}/",
            # It only waits for its tasks, which have a share each.
            "threads": 0,
            "gpus": 0,
            "memory_limit_bytes": None,
            "command": _COMMAND,
            "job": job.name,
            "request": job.document,
            "share": self._share,
        }

    async def _ended(self, cluster: Executor, handle: Handle) -> tuple[str, dict[str, Any] | None]:
        """Wait for the end of an attempt; return how it ended, and its last event, if that says so."""
        final, position = None, 0
        while True:
            state = cluster.state(handle)
            found, after = cluster.events(handle, position)
            final = next((event for event in found if event["event"] in ("completed", "failed")), final)
            if after == position:
                if not state.running:
                    return state.ended, final
                await asyncio.sleep(_LOOK)
            position = after

    async def _withdraw(self, name: str) -> None:
        """End what the cluster runs of a job, and delete what it kept."""
        job = self._resources.find(TRANSFORM_JOB, name)
        if self._cluster is None or job is None or (handle := job.document.get("Trainer")) is None:
            return
        while True:
            if self._cluster.stop(handle):
                break
            await asyncio.sleep(_LOOK)
        self._cluster.forget(handle)
        await self._recorded(name, lambda: self._resources.update(TRANSFORM_JOB, name, Trainer=None))
        shutil.rmtree(self._folder.job(handle["job"]), ignore_errors=True)
