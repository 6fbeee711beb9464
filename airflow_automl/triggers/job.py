"""The deferred wait for an AutoML job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.compat import stops_when_cancelled
from airflow_automl.ends import TransitionLog
from airflow_automl.exceptions import AutoMLError, AutoMLJobNotFound, AutoMLJobTimeout
from airflow_automl.triggers._base import AwsTrigger, start_delay
from airflow_automl.triggers.payload import JobEvent, end_event, failure_event
from airflow_automl.waiting import AUTOML_JOB, Target

if TYPE_CHECKING:
    from airflow_automl.contract.documents import Transition
    from airflow_automl.contract.model import Api
    from airflow_automl.triggers._watcher import Watcher
    from airflow_automl.waiting import StopResult

#: How long to try to describe a job at the end of a wait, in seconds.
_LAST_POLL = 10.0


@stops_when_cancelled
class SageMakerAutoMLJobTrigger(AwsTrigger, BaseTrigger):
    """Wait until an AutoML job has ended, and say how in one event (:mod:`airflow_automl.triggers.payload`).

    All triggers of a triggerer that share connection, region, ``verify`` and botocore config share one client and one
    watcher: a thousand of them make about as many calls as one. Throttling and lost connections never end the wait;
    only the job's end, the deadline, a job that does not exist or a terminal error does. Unless the job has ended, it
    is stopped then.

    Operations: DescribeAutoMLJobV2, DescribeAutoMLJob, ListAutoMLJobs (if it is denied, each job is described
    instead); StopAutoMLJob and ListTags if the job is to be stopped.

    Triggers are stored across upgrades: parameters are only added, each with a default.

    :param job_name: the job's name.
    :param api_version: ``V1``, ``V2``, or ``None`` if it is not known.
    :param poll_interval: seconds between two polls. The shortest of all triggers that share a watcher counts for all.
    :param deadline: epoch seconds after which the wait ends with ``timeout``; ``None``: no limit.
    :param stop_on_kill: the job belongs to the task: stop it at the deadline, and when a user marks the task failed
        or success, or clears it.
    :param timeline: the statuses that the task has seen the job in before it deferred.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :param connection_exists: the connection was there when the task began, and is never replaced by boto3's own
        credentials.
    :param wait_for_creation: for so many seconds, the trigger waits for a job that does not exist yet; a triggerer that
        restarts starts from the beginning.
    """

    def __init__(
        self,
        job_name: str,
        api_version: Api | None = None,
        poll_interval: float = 30,
        deadline: float | None = None,
        stop_on_kill: bool = True,
        timeline: list[Transition] | None = None,
        wait_for_creation: float = 0,
        **aws: Any,
    ) -> None:
        super().__init__(**aws)
        self.job_name = job_name
        self.api_version = api_version
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.stop_on_kill = stop_on_kill
        self.timeline = timeline or []
        self.wait_for_creation = wait_for_creation

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and yield the one event."""
        await start_delay(self.poll_interval)
        yield self._event((await self._wait()).payload())

    async def _wait(self) -> JobEvent:
        from airflow_automl.triggers._watcher import watcher_for

        watcher, notice = watcher_for(self._aws), TransitionLog(self.log, self.timeline)
        async with watcher.in_use():
            try:
                async with asyncio.timeout(None if self.deadline is None else self.deadline - time.time()):
                    return end_event(await self._end(watcher, notice), notice.timeline)
            except TimeoutError:
                return await self._give_up(AutoMLJobTimeout("the job had not ended at the deadline"), notice)
            except Exception as error:
                # Any error: if a trigger fails, Airflow fails its task without notifying it, and the job continues.
                if not isinstance(error, AutoMLError):
                    self.log.exception("The wait for %s failed", self._target)
                return await self._give_up(error, notice)

    async def _end(self, watcher: Watcher, notice: TransitionLog) -> dict[str, Any]:
        """Return the describe answer of the job that has ended; one that is not there yet is waited for if asked."""
        until = time.monotonic() + self.wait_for_creation
        while True:
            try:
                return await watcher.end_of(self.job_name, self.api_version, self.poll_interval, notice)
            except AutoMLJobNotFound as error:
                # The watcher has polled twice, an interval apart.
                if time.monotonic() >= until:
                    raise
                self.log.info("AutoML job %s does not exist yet: %s", self.job_name, error)

    async def _give_up(self, error: Exception, notice: TransitionLog) -> JobEvent:
        """Stop the job, unless it has ended meanwhile: then that is what happened."""
        result = await self._stop(self._target) if self.stop_on_kill else await self._last_poll()
        if result.answer is not None:
            result.answer.pop("ResponseMetadata", None)
        if result.answer is not None and self._target.is_final(result.answer):
            notice(result.answer)
            return end_event(result.answer, notice.timeline)
        event = failure_event(self.job_name, error, result.answer, notice.timeline)
        return replace(event, message=f"{self._target}: {event.message}; {result.said}", runs_on=result.runs_on)

    async def _last_poll(self) -> StopResult:
        from airflow_automl.triggers._watcher import watcher_for
        from airflow_automl.waiting import StopResult, describe, retrying

        async with watcher_for(self._aws).in_use() as client:
            try:
                answer = await retrying(client, lambda: describe(client, self._target), _LAST_POLL)
            except AutoMLJobNotFound:
                return StopResult("it does not exist")
            except AutoMLError as error:
                self.log.warning("%s can't be described at the end of the wait: %s", self._target, error)
                answer = None
        return StopResult("it is not stopped", runs_on=True, answer=answer)

    async def on_kill(self) -> None:
        """Stop the job if a user ended the task."""
        if self.stop_on_kill:
            await self._stop_on_user_action(self._target)

    @property
    def _target(self) -> Target:
        return Target(AUTOML_JOB, self.job_name, self.api_version)
