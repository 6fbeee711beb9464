"""What the triggers of this package share: how they reach AWS, and how they stop what their task waited for."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_automl.triggers.user_action import is_user_action

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher import AwsSettings
    from airflow_automl.waiting import StopResult, Target

#: How long to try to stop a job at a bad end of its wait, in seconds; and in ``on_kill``, to which Airflow gives 30.
STOP, ON_KILL = 60.0, 25.0


class AwsTrigger:
    """Mixed into triggers; each keeps every argument of its ``__init__`` as an attribute of the same name."""

    #: ``log`` and ``task_instance`` of Airflow's trigger.
    log: ClassVar[Any]
    task_instance: Any
    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: dict[str, Any] | None
    connection_exists: bool = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make an equal trigger, as plain JSON values."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    @property
    def _aws(self) -> AwsSettings:
        from airflow_automl.triggers._watcher import AwsSettings

        return AwsSettings.of(
            self.aws_conn_id, self.region_name, self.verify, self.botocore_config, self.connection_exists
        )

    @property
    def _try_number(self) -> int:
        """The try that waits; without a task instance, as in ``airflow dags test``, no try is newer."""
        return getattr(self.task_instance, "try_number", None) or sys.maxsize

    async def _stop(self, target: Target, seconds: float = STOP) -> StopResult:
        """Stop what the task waited for, unless a newer try waits on it."""
        from airflow_automl.triggers._watcher import watcher_for
        from airflow_automl.waiting import stop

        async with watcher_for(self._aws).in_use() as client:
            result = await stop(client, target, self._try_number, seconds=seconds)
        (self.log.error if result.runs_on else self.log.info)("%s: %s", target, result.said)
        return result

    async def _stop_on_user_action(self, target: Target) -> None:
        """Stop what the task waited for if a user ended the task."""
        async with asyncio.timeout(ON_KILL):
            if await is_user_action(self.task_instance, str(target), self.log):
                await self._stop(target, ON_KILL)
