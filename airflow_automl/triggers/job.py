"""The deferred wait for an AutoML job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.compat import stops_when_cancelled
from airflow_automl.contract import is_terminal
from airflow_automl.contract.documents import json_safe
from airflow_automl.ends import TransitionLog
from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLError, AutoMLJobNotFound
from airflow_automl.naming import adopted_since
from airflow_automl.triggers.events import EventStatus, JobEvent, end_event
from airflow_automl.triggers.killed import is_given_up
from airflow_automl.triggers.settling import settle

if TYPE_CHECKING:
    from airflow_automl.contract.documents import Transition
    from airflow_automl.triggers._watcher import AwsSettings, Client
    from airflow_automl.triggers._watcher.client import ApiVersion

__all__ = ["SageMakerAutoMLJobTrigger"]

#: How long to go on trying to look at and to stop a job, in seconds; Airflow gives ``on_kill`` 30 in all.
_LAST_LOOK, _STOP, _ON_KILL = 10.0, 60.0, 25.0


@stops_when_cancelled
class SageMakerAutoMLJobTrigger(BaseTrigger):
    """Wait until an AutoML job has ended, and say how in one event (:mod:`airflow_automl.triggers.events`).

    All triggers of a triggerer that share connection, region, ``verify`` and botocore config share one client and one
    watcher: a thousand of them make hardly more calls than one. Throttling and lost connections never end the wait;
    only the job's end, the deadline, a job that is not there or a refusal by policy does.

    Operations: DescribeAutoMLJobV2, DescribeAutoMLJob, ListAutoMLJobs (where it is denied, each job is described
    instead); StopAutoMLJob and ListTags where the job is to be stopped.

    Triggers outlive releases: parameters are only ever added, each with a default.

    :param job_name: the job's name.
    :param api_version: ``V1``, ``V2``, or ``None`` if it is not known.
    :param poll_interval: seconds between two looks. The shortest of all triggers that share a watcher counts for all.
    :param deadline: epoch seconds after which the wait ends with ``timeout``; ``None`` waits on.
    :param stop_on_kill: the job belongs to the task: stop it at the deadline, and when a user marks the task failed
        or success, or clears it.
    :param timeline: the statuses that the task has seen the job in before it deferred.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    """

    def __init__(
        self,
        job_name: str,
        api_version: ApiVersion | None = None,
        poll_interval: float = 30,
        deadline: float | None = None,
        stop_on_kill: bool = True,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        timeline: list[Transition] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job_name = job_name
        self.api_version = api_version
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.stop_on_kill = stop_on_kill
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.timeline = timeline or []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that build this trigger anew."""
        names = (
            *("job_name", "api_version", "poll_interval", "deadline", "stop_on_kill"),
            *("aws_conn_id", "region_name", "verify", "botocore_config", "timeline"),
        )
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        await settle(self.poll_interval)
        yield TriggerEvent((await self._wait()).payload())  # type: ignore[no-untyped-call]

    async def _wait(self) -> JobEvent:
        from airflow_automl.triggers._watcher import watcher_for

        watcher, notice = watcher_for(self._aws), TransitionLog(self.log, self.timeline)
        async with watcher.in_use() as client:
            try:
                async with asyncio.timeout(None if self.deadline is None else self.deadline - time.time()):
                    ended = await watcher.end_of(self.job_name, self.api_version, self.poll_interval, notice)
                    return end_event(ended, notice.timeline)
            except TimeoutError:
                return replace(await self._overdue(client), timeline=tuple(notice.timeline))
            except AutoMLJobNotFound as error:
                return JobEvent(EventStatus.NOT_FOUND, self.job_name, str(error))
            except AutoMLAccessDenied as error:
                return JobEvent(EventStatus.ACCESS_DENIED, self.job_name, str(error))

    async def _overdue(self, client: Client) -> JobEvent:
        """Stop the job, unless it has ended just before the deadline: then that is what happened."""
        from airflow_automl.triggers._watcher.client import patiently

        job: dict[str, Any] | None = None
        try:
            job = await patiently(lambda: client.describe(self.job_name, self.api_version), _LAST_LOOK)
            job.pop("ResponseMetadata", None)
        except AutoMLError as error:
            self.log.warning("AutoML job %s can't be described at its deadline: %s", self.job_name, error)
        if job is not None and is_terminal(job.get("AutoMLJobStatus")):
            return end_event(job)
        message = f"AutoML job {self.job_name} had not ended at its deadline"
        if self.stop_on_kill:
            try:
                await patiently(lambda: client.stop(self.job_name), _STOP)
                message += "; it was told to stop"
            except AutoMLError as error:
                message += f"; it could not be stopped: {error}"
                self.log.error("AutoML job %s runs on, because it could not be stopped: %s", self.job_name, error)  # noqa: TRY400
        return JobEvent(EventStatus.TIMEOUT, self.job_name, message, None if job is None else json_safe(job))

    async def on_kill(self) -> None:
        """Stop the job when a user acted on the task.

        A triggerer that fell silent and lost its triggers to another is told the same as if a user had acted. So the
        task is asked first: where it is still deferred, another trigger waits on. A job that a newer try of the task
        has adopted is left to that.
        """
        if not self.stop_on_kill:
            return
        async with asyncio.timeout(_ON_KILL):
            if not await is_given_up(self.task_instance, f"AutoML job {self.job_name}", self.log):
                return
            from airflow_automl.triggers._watcher import watcher_for

            async with watcher_for(self._aws).in_use() as client:
                await self._stop(client)

    async def _stop(self, client: Client) -> None:
        from airflow_automl.triggers._watcher.client import patiently

        try:
            job = await patiently(lambda: client.describe(self.job_name, self.api_version), _ON_KILL)
            if is_terminal(job.get("AutoMLJobStatus")):
                return
            tags = await patiently(lambda: client.tags(job["AutoMLJobArn"]), _ON_KILL)
            if adopted_since(tags, getattr(self.task_instance, "try_number", 0)):
                self.log.info("AutoML job %s is a newer try's: it is not stopped", self.job_name)
                return
            self.log.info("Stopping AutoML job %s", self.job_name)
            await patiently(lambda: client.stop(self.job_name), _ON_KILL)
        except AutoMLJobNotFound:
            self.log.info("There is no AutoML job %s to stop", self.job_name)
        except AutoMLError as error:
            self.log.error("AutoML job %s runs on, because it could not be stopped: %s", self.job_name, error)  # noqa: TRY400

    @property
    def _aws(self) -> AwsSettings:
        from airflow_automl.triggers._watcher import AwsSettings

        return AwsSettings.of(self.aws_conn_id, self.region_name, self.verify, self.botocore_config)
