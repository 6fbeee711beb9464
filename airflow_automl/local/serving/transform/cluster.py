"""Batch transform jobs on a cluster, where each is what the executor calls a trainer and gives objects to tasks."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Sequence
from typing import Any

from airflow_automl.local.background import Background
from airflow_automl.local.jobs.executors.base import Executor, Handle, State
from airflow_automl.local.jobs.specification import TrainerSettings
from airflow_automl.local.serving.model_host_client import Container
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.state.resources import TRANSFORM_JOB, Resource, ResourceStore
from airflow_automl.local.storage.client import parse_uri

_COMMAND = ("python", "-m", "airflow_automl.local.serving.transform.tasks")
#: Seconds between two looks at a job, and until a service that ends gives up waiting for its jobs.
_LOOK, _GRACE = 0.2, 10.0
#: Attempts of a job that may end without a result, while one service runs.
_ATTEMPTS = 5


class OnCluster:
    """Runs transform jobs on a cluster. A job that is lost continues with the objects that are left.

    :param resources: the jobs; they keep the handles.
    :param executor: of the cluster.
    :param settings: what the tasks of a job may use.
    :param background: retries to write the handles.
    """

    def __init__(
        self,
        resources: ResourceStore,
        executor: Executor,
        settings: TrainerSettings,
        folder: DataFolder,
        background: Background,
    ) -> None:
        self._resources = resources
        self._executor = executor
        self._share = settings.shares.get("TransformJob", settings.share)
        self._folder = folder
        self._background = background

    async def run(self, job: Resource, containers: Sequence[Container], again: bool) -> str | None:
        """Run a job, or adopt it from the last service; return its FailureReason, or ``None`` if it has completed.

        :param again: whether some of its objects may be done already.
        """
        attempt, handle = job.document.get("Attempt", 0), job.document.get("Trainer")
        for _ in range(_ATTEMPTS):
            if handle is None:
                attempt += 1
                handle = await self._start(job, attempt, containers, again)
            state, final = await self._ended(handle)
            reason = f"the job {state.ended} without a result, {_ATTEMPTS} times; its log ends: "
            reason += self._executor.last_words(handle)
            await self.withdraw(job.name)
            if final is not None:
                return final.get("reason")
            handle, again = None, True
        return reason

    async def _start(self, job: Resource, attempt: int, containers: Sequence[Container], again: bool) -> Handle:
        specification = {
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
            "containers": containers,
            "again": again,
            "share": self._share,
        }
        # Recorded first: a service that dies here starts nothing twice.
        handle = self._executor.find(specification)
        await self._record(job.name, Trainer=handle, Attempt=attempt)
        return self._executor.start(specification)

    async def _ended(self, handle: Handle) -> tuple[State, dict[str, Any] | None]:
        """Wait for the end of an attempt; return it, and the event that it ended with, if there is one."""
        final, position = None, 0
        while True:
            state = self._executor.state(handle)
            found, after = self._executor.events(handle, position)
            final = next((event for event in found if event["event"] in ("completed", "failed")), final)
            if after == position:
                if not state.running:
                    return state, final
                await asyncio.sleep(_LOOK)
            position = after

    async def withdraw(self, name: str) -> None:
        """End what runs of a job, and delete what it kept."""
        job = self._resources.find(TRANSFORM_JOB, name)
        if job is None or (handle := job.document.get("Trainer")) is None:
            return
        while True:
            if self._executor.stop(handle):
                break
            await asyncio.sleep(_LOOK)
        self._executor.forget(handle)
        await self._record(name, Trainer=None)
        shutil.rmtree(self._folder.job(handle["job"]), ignore_errors=True)

    async def leave(self) -> None:
        """End what runs, as far as the cluster can be reached: the next service continues with it."""
        jobs = self._resources.in_status(TRANSFORM_JOB, "InProgress", "Stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await asyncio.gather(*(self.withdraw(job.name) for job in jobs))

    async def _record(self, name: str, **members: Any) -> None:
        write = lambda: self._resources.update(TRANSFORM_JOB, name, **members)  # noqa: E731
        await self._background.until_done(f"transform job {name}", write)
