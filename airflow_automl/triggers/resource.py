"""The deferred wait for what comes after training: endpoints and transform jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.compat import stops_when_cancelled
from airflow_automl.triggers._base import AwsTrigger, start_delay
from airflow_automl.waiting import Target, resource_event


@stops_when_cancelled
class SageMakerResourceTrigger(AwsTrigger, BaseTrigger):
    """Wait until an endpoint or a transform job has a final status, and fire one event.

    A final status is not success: an endpoint whose update failed is ``InService`` too, with its old config. The task
    that waited decides. Throttling and lost connections never end the wait; only the deadline does, or a refusal by
    policy. All triggers of a triggerer that share connection, region, ``verify`` and botocore config share one client.

    Operations: DescribeEndpoint or DescribeTransformJob, one call per poll; DescribeTransformJob, ListTags and
    StopTransformJob if the task is killed.

    :param kind: ``endpoint`` or ``transform job``.
    :param name: the resource's name.
    :param state: JSON-serializable notes of the waiting task, handed back in the event.
    :param poll_interval: seconds between two polls.
    :param deadline: epoch seconds after which the wait ends with ``timeout``; ``None``: no limit.
    :param stop_on_kill: stop the transform job when the task is marked failed or success, or cleared.
    :param aws_conn_id: Airflow connection.
    :param region_name: AWS region; the connection's by default.
    :param verify: whether, or with which CA bundle, TLS certificates are verified.
    :param botocore_config: settings for the botocore client.
    :param connection_exists: the connection was there when the task began, and is never replaced by boto3's own
        credentials.
    :return: events ``{"status", "kind", "name", "resource_status", "message", "error", "state"}``; ``status`` is
        ``final`` (``resource_status`` is ``None`` if it does not exist), ``timeout``, or ``error`` if AWS refuses
        to describe it.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        state: dict[str, Any] | None = None,
        poll_interval: float = 30,
        deadline: float | None = None,
        stop_on_kill: bool = True,
        **aws: Any,
    ) -> None:
        super().__init__(**aws)
        self.kind = kind
        self.name = name
        self.state = state or {}
        self.poll_interval = poll_interval
        self.deadline = deadline
        self.stop_on_kill = stop_on_kill

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll until the resource has a final status or the deadline has passed."""
        from airflow_automl.triggers._watcher import watcher_for

        await start_delay(self.poll_interval)
        async with watcher_for(self._aws).in_use() as client:
            event = await resource_event(
                client, self._target, self.state, interval=self.poll_interval, deadline=self.deadline, log=self.log
            )
        yield self._event(event)

    @property
    def _target(self) -> Target:
        return Target(self.kind, self.name)

    async def on_kill(self) -> None:
        """Stop the transform job if a user ended the task; an endpoint's deployment can't be interrupted."""
        if self.kind == "transform job" and self.stop_on_kill:
            await self._stop_on_user_action(self._target)
