"""Batch transform jobs: begun, continued after a restart, stopped and ended, in the background."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow_automl.local.background import Background, Tasks
from airflow_automl.local.errors import MAX_REASON
from airflow_automl.local.serving.endpoints import MODEL, Deployments
from airflow_automl.local.serving.model_host_client import Container, ModelHost
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.serving.transform.cluster import OnCluster
from airflow_automl.local.serving.transform.objects import SCRATCH, Object, Worker, objects_of, reason_of
from airflow_automl.local.state.resources import TRANSFORM_JOB, Resource, ResourceStore

if TYPE_CHECKING:
    from airflow_automl.local.state.folder import DataFolder

log = logging.getLogger(__name__)


class Transforms:
    """Runs transform jobs, one task each; after a restart, those that were unfinished continue with what is left.

    :param resources: the jobs and their models.
    :param deployments: knows the containers of models.
    :param host: runs the models.
    :param s3_client: makes a client of the S3 store.
    :param background: retries to write how a job began and ended.
    :param cores: processes of a job's model; twice as many objects are worked on at once.
    :param cluster: runs the jobs instead of this machine.
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
        cluster: OnCluster | None = None,
    ) -> None:
        self._resources = resources
        self._deployments = deployments
        self._worker = Worker(host, folder.root, s3_client, cores)
        self._folder = folder
        self._background = background
        self._cores = cores
        self._cluster = cluster
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
        if self._cluster is not None:
            await self._cluster.leave()

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
        if self._cluster is not None:
            await self._cluster.withdraw(name)
        await self._end(name, "Stopped")

    async def _end(self, name: str, status: str, reason: str | None = None) -> None:
        def write() -> None:
            found = self._resources.find(TRANSFORM_JOB, name)
            if found is not None and found.status in ("InProgress", "Stopping"):
                ended, why = self._resources.database.now(), None if reason is None else reason[:MAX_REASON]
                self._resources.update(TRANSFORM_JOB, name, status=status, TransformEndTime=ended, FailureReason=why)

        # The disk may be full: without this, the job would stay as it is until the next restart.
        await self._background.until_done(f"transform job {name}", write)

    async def _run(self, name: str) -> None:
        found = self._resources.find(TRANSFORM_JOB, name)
        # A job that began before continues with the objects that are left.
        again = found is not None and "TransformStartTime" in found.document
        job: Resource = await self._background.until_done(
            f"transform job {name}",
            lambda: (
                found
                if again
                else self._resources.update(TRANSFORM_JOB, name, TransformStartTime=self._resources.database.now())
            ),
        )
        try:
            containers = self._containers(job.document)
            if self._cluster is not None:
                reason = await self._cluster.run(job, containers, again)
            else:
                reason = await self._here(job, containers, again)
        except Exception as error:
            reason = reason_of(error)
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

    async def _here(self, job: Resource, containers: Sequence[Container], again: bool) -> None:
        objects = await self._worker.with_store(lambda store: objects_of(store, job.document, again))
        left = iter(objects)

        async def take(_: int) -> Object | None:
            return next(left, None)

        await self._worker.run(job.name, job.document, containers, take, min(2 * self._cores, len(objects)))
