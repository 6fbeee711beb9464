"""The deferred half of a wait for one job."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.contract import documents, is_terminal
from airflow_automl.exceptions import AutoMLError, AutoMLJobNotFound, AutoMLTransientError
from airflow_automl.triggers._watcher import watcher_for
from airflow_automl.triggers._watcher.client import AwsSettings
from airflow_automl.triggers._watcher.watcher import Transition
from airflow_automl.triggers.events import EventStatus, JobEvent, end_event

__all__ = ["SageMakerAutoMLJobTrigger"]

#: Seconds in which a job is to be stopped at its deadline, throttled or not.
STOP_WITHIN = 60.0


class SageMakerAutoMLJobTrigger(BaseTrigger):
    """Fires one event when an AutoML job has ended, or when its deadline passes.

    All triggers that reach AWS in the same way share one client and one watcher
    (:mod:`airflow_automl.triggers._watcher`). The event is described in :mod:`airflow_automl.triggers.events`.

    :param job_name: the job's name.
    :param api_version: ``V1`` or ``V2``; ``None`` if it is not known.
    :param poll_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since the epoch; ``None`` for never. Then the job is stopped if
        ``stop_on_kill`` says so, and the event's status is ``timeout``.
    :param stop_on_kill: stop the job at the deadline, and when a user marks the deferred task failed or success or
        clears it. For tasks that own the job.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    """

    def __init__(
        self,
        job_name: str,
        api_version: Literal["V1", "V2"] | None = None,
        poll_interval: float = 30,
        deadline: float | None = None,
        stop_on_kill: bool = True,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
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

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and plain JSON arguments."""
        return (
            "airflow_automl.triggers.job.SageMakerAutoMLJobTrigger",
            {
                "job_name": self.job_name,
                "api_version": self.api_version,
                "poll_interval": self.poll_interval,
                "deadline": self.deadline,
                "stop_on_kill": self.stop_on_kill,
                "aws_conn_id": self.aws_conn_id,
                "region_name": self.region_name,
                "verify": self.verify,
                "botocore_config": self.botocore_config,
            },
        )

    @property
    def _aws(self) -> AwsSettings:
        return AwsSettings.of(self.aws_conn_id, self.region_name, self.verify, self.botocore_config)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job's end, and fire."""
        yield TriggerEvent((await self._wait()).payload())  # type: ignore[no-untyped-call]

    async def _wait(self) -> JobEvent:
        timeout = None if self.deadline is None else max(0.0, self.deadline - time.time())
        watcher = watcher_for(self._aws)
        try:
            async with (
                asyncio.timeout(timeout),
                watcher.watch(self.job_name, self.api_version, self.poll_interval) as updates,
            ):
                while True:
                    update = await updates.get()
                    if isinstance(update, JobEvent):
                        return update
                    self._log_transition(update)
        except TimeoutError:
            return await self._give_up()

    def _log_transition(self, update: Transition) -> None:
        self.log.info("AutoML job %s: %s/%s", self.job_name, update.status, update.secondary_status)

    async def _give_up(self) -> JobEvent:
        """Stop the job at the deadline; a job that ended just in time has ended, and not timed out."""
        client = watcher_for(self._aws).client
        message = f"AutoML job {self.job_name} had not ended at its deadline"
        describe: dict[str, Any] | None = None
        try:
            async with asyncio.timeout(STOP_WITHIN):
                describe = await self._persist(lambda: client.describe(self.job_name, self.api_version))
                if is_terminal(describe.get("AutoMLJobStatus")):
                    return end_event(describe)
                if self.stop_on_kill:
                    await self._persist(lambda: client.stop(self.job_name))
                    message += " and was stopped"
        except AutoMLJobNotFound as error:
            return JobEvent(EventStatus.NOT_FOUND, self.job_name, str(error))
        except (AutoMLError, TimeoutError) as error:
            self.log.warning("AutoML job %s could not be stopped at its deadline: %s", self.job_name, error)
            message += f"; stopping it failed: {error or 'no answer in time'}"
        job = None if describe is None else documents.json_safe(describe)
        return JobEvent(EventStatus.TIMEOUT, self.job_name, message, job)

    async def _persist(self, call: Any) -> Any:
        """Make a call until it is answered; the caller sets the time limit."""
        while True:
            try:
                return await call()
            except AutoMLTransientError as error:
                self.log.info("Trying again: %s", error)
                await asyncio.sleep(1.0)

    async def on_kill(self) -> None:
        """Stop the job when a user ended the deferred wait, unless it is still, or again, waited for.

        Airflow calls this also on a triggerer that fell silent and lost its triggers to another while the task is
        deferred as before; and a newer try may have gone on with the job.
        """
        if not self.stop_on_kill:
            return
        state = await self._task_state()
        if state == "deferred":
            self.log.info("The task is still deferred: AutoML job %s is not stopped", self.job_name)
            return
        client = watcher_for(self._aws).client
        try:
            describe = await self._persist(lambda: client.describe(self.job_name, self.api_version))
            if is_terminal(describe.get("AutoMLJobStatus")):
                return
            tags = await self._persist(lambda: client.tags(str(describe["AutoMLJobArn"])))
            if self._adopted(tags):
                self.log.info("AutoML job %s is a newer try's: it is not stopped", self.job_name)
                return
            self.log.info("Stopping AutoML job %s: its task is %s", self.job_name, state or "not scheduled")
            await self._persist(lambda: client.stop(self.job_name))
        except AutoMLJobNotFound:
            self.log.info("There is no AutoML job %s to stop", self.job_name)

    def _adopted(self, tags: dict[str, str]) -> bool:
        from airflow_automl.operators._submission import adopted_since

        return adopted_since(tags, getattr(self.task_instance, "try_number", 0) or 0)

    async def _task_state(self) -> str | None:
        """Ask Airflow for the state of the task that this trigger waits for."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from asgiref.sync import sync_to_async

        ti = self.task_instance
        if ti is None:
            return None
        map_index = -1 if ti.map_index is None else ti.map_index
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=map_index
        )
        found = states.get(ti.run_id, {})
        key = ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
        state = found.get(key, found.get(ti.task_id))
        return None if state is None else str(getattr(state, "value", state))
