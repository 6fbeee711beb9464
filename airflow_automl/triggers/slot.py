"""The wait for a slot: an account runs one to four AutoML jobs at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_automl.exceptions import InvalidTriggerEvent
from airflow_automl.triggers._base import AwsTrigger, start_delay
from airflow_automl.triggers._watcher import watcher_for


def validate_slot_event(event: Any) -> tuple[bool, dict[str, float | None]]:
    """Read the event of a slot trigger.

    :return: whether a slot seems to be free, which only the attempt to submit can prove; and the trigger's ``limits``.
    :raises InvalidTriggerEvent: it is none.
    """
    if not isinstance(event, Mapping) or event.get("status") not in {"free", "timeout"}:
        raise InvalidTriggerEvent(f"expected an event of status free or timeout, received {event!r:.200}")
    limits = event.get("limits")
    if not isinstance(limits, Mapping):
        raise InvalidTriggerEvent(f"a slot trigger's event has no limits: {event!r:.200}")
    return event["status"] == "free", {key: limits.get(key) for key in ("since", "slot_deadline", "task_deadline")}


class SageMakerAutoMLSlotTrigger(AwsTrigger, BaseTrigger):
    """Fires when it is this task's turn to try to submit its job, or when it has waited too long.

    All waiting tasks of a triggerer that reach AWS in the same way stand in one line, in the order in which they first
    asked; as many are let go as the account's running jobs get fewer, and one now and then to see whether the quota
    was raised.

    :param limits: times in seconds since the epoch: ``since`` (when the task first asked), ``slot_deadline`` (until
        when it waits in line) and ``task_deadline`` (carried along for the task).
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :param connection_exists: the connection was there when the task began, and is never replaced by boto3's own
        credentials.
    """

    def __init__(self, limits: dict[str, float | None], **aws: Any) -> None:
        super().__init__(**aws)
        self.limits = limits

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Stand in line, and fire."""
        deadlines = [self.limits.get("slot_deadline"), self.limits.get("task_deadline")]
        deadline = min((each for each in deadlines if each is not None), default=None)
        timeout = None if deadline is None else max(0.0, deadline - time.time())
        status = "free"
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(
                    watcher_for(self._aws).slot(self.limits.get("since") or time.time()), start_delay()
                )
        except TimeoutError:
            status = "timeout"
        yield self._event({"schema_version": 1, "status": status, "limits": self.limits})
