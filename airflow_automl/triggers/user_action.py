"""Why Airflow calls ``on_kill`` of a trigger."""

from __future__ import annotations

from typing import Any


async def is_user_action(task_instance: Any, subject: str, log: Any) -> bool:
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
