"""The deferred wait for what comes after training: endpoints and transform jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.triggers.settling import settle

__all__ = ["SageMakerResourceTrigger"]


class SageMakerResourceTrigger(BaseTrigger):
    """Wait until an endpoint or a transform job has come to rest, and say so in one event.

    Being at rest is not success: an endpoint whose update failed is ``InService`` too, with its old config. The task
    that waited decides. Throttling and lost connections never end the wait; only the deadline does.

    Operations: DescribeEndpoint or DescribeTransformJob, one call per poll; StopTransformJob if the task is killed.

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
        (``resource_status`` is ``None`` if the resource is gone), ``timeout`` or ``error``.
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

    def _hook(self) -> Any:
        from airflow_automl.hooks.sagemaker_deployment import SageMakerAutoMLDeploymentHook

        return SageMakerAutoMLDeploymentHook(
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            config=self.botocore_config,
        )

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
        from botocore.exceptions import BotoCoreError, ClientError

        from airflow_automl.exceptions import AutoMLTransientError
        from airflow_automl.hooks.errors import automl_error
        from airflow_automl.hooks.sagemaker_deployment import RESOURCES, is_absent

        resource = RESOURCES[self.kind]
        seen: str | None = None
        await settle(self.poll_interval)
        async with await self._hook().async_client() as client:
            describe = getattr(client, resource.operation)
            while True:
                try:
                    status = (await describe(**{resource.name_key: self.name}))[resource.status_key]
                except ClientError as error:
                    if is_absent(error):
                        yield self._event("settled", None, str(error))
                        return
                    if not isinstance(automl_error(error), AutoMLTransientError):
                        yield self._event("error", seen, str(error))
                        return
                    self.log.warning("Could not look at %s %s, trying again: %s", self.kind, self.name, error)
                except BotoCoreError as error:
                    self.log.warning("Could not look at %s %s, trying again: %s", self.kind, self.name, error)
                else:
                    if status != seen:
                        self.log.info("%s %s: %s", self.kind, self.name, status)
                        seen = status
                    if status in resource.settled:
                        yield self._event("settled", status)
                        return
                if self.deadline is not None and time.time() + self.poll_interval > self.deadline:
                    yield self._event("timeout", seen, f"{self.kind} {self.name} was still {seen} at the deadline")
                    return
                await asyncio.sleep(self.poll_interval)

    async def on_kill(self) -> None:
        """Stop the transform job when a user acted on the task; an endpoint's deployment can't be interrupted."""
        if self.kind != "transform job" or not self.stop_on_kill:
            return
        from airflow_automl.triggers.killed import is_given_up

        if not await is_given_up(self.task_instance, f"{self.kind} {self.name}", self.log):
            return
        self.log.info("Stopping %s %s", self.kind, self.name)
        async with await self._hook().async_client() as client:
            try:
                await client.stop_transform_job(TransformJobName=self.name)
            except Exception as error:
                self.log.warning("%s %s was not stopped: %s", self.kind, self.name, error)
