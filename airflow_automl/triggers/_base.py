"""What the triggers of this package share: how they reach AWS, and how they stop what their task waited for."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.triggers.base import TriggerEvent

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher import AwsSettings
    from airflow_automl.waiting import StopResult, Target

#: How long to try to stop a job at a bad end of its wait, in seconds.
STOP = 60.0
#: Timeout for Airflow's answer whether a user ended the task: a busy triggerer took a minute.
ANSWER = 300.0
#: Seconds of delay of a scheduler on a busy machine: six were observed.
SHORTEST, LONGEST = 5.0, 10.0
#: The event loop keeps no reference to a task.
_stopping: set[asyncio.Task[None]] = set()


async def start_delay(poll_interval: float = LONGEST) -> None:
    """Wait before the first poll of a trigger.

    If a trigger fires before the scheduler has recorded the deferral, Airflow fails the resumed task. The pause costs
    nothing: the operator has described the resource just before it deferred.

    :param poll_interval: of the trigger, in seconds. The pause lasts so long, but at least :data:`SHORTEST` and at most
        :data:`LONGEST`.
    """
    await asyncio.sleep(min(max(poll_interval, SHORTEST), LONGEST))


class AwsTrigger:
    """Mixed into triggers; each keeps every argument of its ``__init__`` as an attribute of the same name."""

    #: ``log`` and ``task_instance`` of Airflow's trigger.
    log: ClassVar[Any]
    task_instance: Any

    def __init__(
        self,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        connection_exists: bool = False,
    ) -> None:
        super().__init__()
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.connection_exists = connection_exists

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make an equal trigger, as plain JSON values."""
        parameters = (
            inspect.signature(type(self).__init__).parameters | inspect.signature(AwsTrigger.__init__).parameters
        )
        names = [name for name in parameters if name not in ("self", "aws")]
        return f"{type(self).__module__}.{type(self).__qualname__}", {name: getattr(self, name) for name in names}

    @property
    def _aws(self) -> AwsSettings:
        from airflow_automl.triggers._watcher import AwsSettings

        return AwsSettings.of(
            self.aws_conn_id, self.region_name, self.verify, self.botocore_config, self.connection_exists
        )

    def _event(self, payload: dict[str, Any]) -> TriggerEvent:
        """Return an event that also says whether the connection was there, for the task that continues with it."""
        from airflow_automl.triggers._watcher import watcher_for

        existed = self.connection_exists or watcher_for(self._aws).client.connection_exists
        return TriggerEvent({**payload, "connection_exists": existed})  # type: ignore[no-untyped-call]

    @property
    def _try_number(self) -> int:
        """The try that waits; without a task instance, as in ``airflow dags test``, no try is newer."""
        return getattr(self.task_instance, "try_number", None) or sys.maxsize

    async def _stop(self, target: Target) -> StopResult:
        from airflow_automl.triggers._watcher import watcher_for
        from airflow_automl.waiting import stop

        async with watcher_for(self._aws).in_use() as client:
            result = await stop(client, target, self._try_number, seconds=STOP)
        (self.log.error if result.runs_on else self.log.info)("%s: %s", target, result.said)
        return result

    async def _stop_on_user_action(self, target: Target) -> None:
        async def stop() -> None:
            if await _is_user_action(self.task_instance, str(target), self.log):
                await self._stop(target)

        stopping = asyncio.create_task(stop())
        _stopping.add(stopping)
        stopping.add_done_callback(_stopping.discard)
        await asyncio.shield(stopping)


async def _is_user_action(task_instance: Any, subject: str, log: Any) -> bool:
    """Return whether a user action (kill, clear, mark) caused this ``on_kill``.

    A triggerer that lost its triggers to another, because it did not answer, cancels them in the same way. If the task
    is still deferred another trigger waits, and nothing may be stopped. If Airflow does not answer, nothing is stopped
    either.

    :param task_instance: the trigger's own.
    :param subject: what would be stopped, such as ``transform job x``, for the log.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult

    if task_instance is None:
        return False
    map_index = -1 if task_instance.map_index is None else task_instance.map_index
    request = GetTaskStates(
        dag_id=task_instance.dag_id,
        task_ids=[task_instance.task_id],
        run_ids=[task_instance.run_id],
        map_index=map_index,
    )
    answer: Any
    try:
        async with asyncio.timeout(ANSWER):
            answer = await task_runner.SUPERVISOR_COMMS.asend(request)
    except Exception as error:
        answer = error
    if not isinstance(answer, TaskStatesResult):
        log.error("Not stopping %s: Airflow did not say whether its task is still deferred (%s)", subject, answer)
        return False
    label = task_instance.task_id if map_index < 0 else f"{task_instance.task_id}_{map_index}"
    if answer.task_states.get(task_instance.run_id, {}).get(label) == "deferred":
        log.info("Not stopping %s: its task is still deferred, in another triggerer", subject)
        return False
    return True
