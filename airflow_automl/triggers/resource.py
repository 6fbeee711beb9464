"""The deferred wait for what comes after training: endpoints and transform jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.compat import stops_when_cancelled
from airflow_automl.exceptions import AutoMLError, AutoMLTransientError
from airflow_automl.naming import adopted_since
from airflow_automl.triggers.killed import is_given_up
from airflow_automl.triggers.settling import settle

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher import AwsSettings, Client

__all__ = ["SageMakerResourceTrigger"]

#: How long to go on trying to stop a job, in seconds; Airflow gives ``on_kill`` 30 in all.
_ON_KILL = 25.0


@stops_when_cancelled
class SageMakerResourceTrigger(BaseTrigger):
    """Wait until an endpoint or a transform job has come to rest, and say so in one event.

    Being at rest is not success: an endpoint whose update failed is ``InService`` too, with its old config. The task
    that waited decides. Throttling and lost connections never end the wait; only the deadline does, or a refusal by
    policy. All triggers of a triggerer that share connection, region, ``verify`` and botocore config share one client.

    Operations: DescribeEndpoint or DescribeTransformJob, one call per poll; DescribeTransformJob, ListTags and
    StopTransformJob if the task is killed.

    :param kind: ``endpoint`` or ``transform job``.
    :param name: the resource's name.
    :param state: JSON-serializable notes of the waiting task, handed back in the event.
    :param poll_interval: seconds between two looks.
    :param deadline: epoch seconds after which the wait ends with ``timeout``; ``None`` waits on.
    :param stop_on_kill: stop the transform job when the task is marked failed or success, or cleared.
    :param aws_conn_id: Airflow connection.
    :param region_name: AWS region; the connection's by default.
    :param verify: whether, or with which CA bundle, TLS certificates are verified.
    :param botocore_config: settings for the botocore client.
    :return: events ``{"status", "kind", "name", "resource_status", "message", "state"}``; ``status`` is ``settled``
        (``resource_status`` is ``None`` if the resource is gone), ``timeout``, or ``error`` if AWS refuses to tell.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        state: dict[str, Any] | None = None,
        poll_interval: float = 30,
        deadline: float | None = None,
        stop_on_kill: bool = True,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.name = name
        self.state = state or {}
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.stop_on_kill = stop_on_kill
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that build this trigger anew."""
        names = (
            *("kind", "name", "state", "poll_interval", "deadline", "stop_on_kill"),
            *("aws_conn_id", "region_name", "verify", "botocore_config"),
        )
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    def _event(self, status: str, resource_status: str | None, message: str = "") -> TriggerEvent:
        return TriggerEvent(  # type: ignore[no-untyped-call]
            {
                "status": status,
                "kind": self.kind,
                "name": self.name,
                "resource_status": resource_status,
                "message": message,
                "state": self.state,
            }
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the resource has come to rest or the deadline has passed."""
        await settle(self.poll_interval)
        yield await self._wait()

    async def _wait(self) -> TriggerEvent:
        from airflow_automl.hooks.sagemaker_deployment import RESOURCES, is_absent
        from airflow_automl.triggers._watcher import watcher_for

        resource = RESOURCES[self.kind]
        seen: str | None = None
        async with watcher_for(self._aws).in_use() as client:
            while True:
                try:
                    answer = await client.call(resource.operation, **{resource.name_key: self.name})
                except AutoMLError as error:
                    if is_absent(error.__cause__):
                        return self._event("settled", None, str(error))
                    if not isinstance(error, AutoMLTransientError):
                        return self._event("error", seen, str(error))
                    self.log.warning("Could not look at %s %s, trying again: %s", self.kind, self.name, error)
                else:
                    status = answer.get(resource.status_key)
                    if status != seen:
                        self.log.info("%s %s: %s", self.kind, self.name, status)
                        seen = status
                    if status in resource.settled:
                        return self._event("settled", status)
                if self.deadline is not None and time.time() + self.poll_interval > self.deadline:
                    return self._event("timeout", seen, f"{self.kind} {self.name} was still {seen} at the deadline")
                await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        """Stop the transform job when a user acted on the task; an endpoint's deployment can't be interrupted.

        As for AutoML jobs: where the task is still deferred another trigger waits on, and a job that a newer try of the
        task has adopted is left to that.
        """
        if self.kind != "transform job" or not self.stop_on_kill:
            return
        async with asyncio.timeout(_ON_KILL):
            if not await is_given_up(self.task_instance, f"{self.kind} {self.name}", self.log):
                return
            from airflow_automl.triggers._watcher import watcher_for

            async with watcher_for(self._aws).in_use() as client:
                await self._stop(client)

    async def _stop(self, client: Client) -> None:
        from airflow_automl.triggers._watcher.client import patiently

        def call(operation: str) -> Awaitable[dict[str, Any]]:
            return patiently(lambda: client.call(operation, TransformJobName=self.name), _ON_KILL)

        try:
            job = await call("describe_transform_job")
            tags = await patiently(lambda: client.tags(job["TransformJobArn"]), _ON_KILL)
            if adopted_since(tags, getattr(self.task_instance, "try_number", 0)):
                self.log.info("%s %s is a newer try's: it is not stopped", self.kind, self.name)
                return
            self.log.info("Stopping %s %s", self.kind, self.name)
            await call("stop_transform_job")
        except AutoMLError as error:
            self.log.warning("%s %s was not stopped: %s", self.kind, self.name, error)

    @property
    def _aws(self) -> AwsSettings:
        from airflow_automl.triggers._watcher import AwsSettings

        return AwsSettings.of(self.aws_conn_id, self.region_name, self.verify, self.botocore_config)
