"""What the operators share that wait: their arguments, their time limits, and how they stop what they waited for."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_automl import settings
from airflow_automl.ends import TransitionLog
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLDeploymentFailed,
    AutoMLJobTimeout,
    AutoMLValidationError,
    InvalidTriggerEvent,
    restored,
)
from airflow_automl.operators._base import UNSET, AutoMLBaseOperator
from airflow_automl.times import seconds
from airflow_automl.waiting import (
    AUTOML_JOB,
    StopResult,
    Target,
    WorkerCalls,
    in_worker,
    resource_event,
    stop,
    wait_until_ended,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_automl.contract.documents import Transition

#: How long to try to stop a job at a bad end of its wait, in seconds; and in ``on_kill``, after which Airflow kills the
#: process soon.
_STOP, _ON_KILL = 60.0, 3.0
#: The resource has a final status; the second is the word of releases before 0.2.
_FINAL = frozenset({"final", "settled"})


class WaitingOperator(AutoMLBaseOperator):
    """An operator that waits: its arguments, which each operator documents, are checked before it does anything.

    :raises AutoMLValidationError: an argument is not valid.
    """

    #: Default timeout, in seconds.
    default_timeout: ClassVar[float | None] = None
    #: Key of :data:`airflow_automl.waiting.RESOURCES`.
    kind: ClassVar[str] = AUTOML_JOB
    stop_on_kill = True
    #: The statuses of the job that this try and its trigger observed.
    timeline: Sequence[Transition] = ()
    #: The resource that this try waits for.
    _running: str | None = None
    _killed = False
    _try_number = 0

    def __init__(
        self,
        *,
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: timedelta | float | None = None,
        timeout: timedelta | float | None = UNSET,
        max_wait: timedelta | float | None = UNSET,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        owner = type(self).__name__
        if max_wait is not UNSET:
            warnings.warn(f"{owner}: max_wait is deprecated; use timeout", DeprecationWarning, stacklevel=2)
            timeout = max_wait if timeout is UNSET else timeout
        self.wait_for_completion = wait_for_completion
        self.deferrable = settings.default_deferrable() if deferrable is None else deferrable
        self.poll_interval = seconds(poll_interval, "poll_interval", owner, minimum=0.01)
        self.timeout = self.default_timeout if timeout is UNSET else seconds(timeout, "timeout", owner)
        try:
            json.dumps(self.aws_settings)
        except TypeError as error:
            raise AutoMLValidationError(
                owner,
                [f"{self.botocore_config!r:.80} is not valid for botocore_config: {error}. Pass plain JSON values"],
            ) from error

    @property
    def interval(self) -> float:
        return self.poll_interval or settings.poll_interval()

    def task_deadline(self, context: Context) -> float | None:
        """Return the epoch seconds at which ``execution_timeout`` ends this task; ``None`` if there is none.

        Airflow applies it in the worker only, and counts again after every deferral.
        """
        if self.execution_timeout is None:
            return None
        started = getattr(context["ti"], "start_date", None)
        return (started.timestamp() if started else time.time()) + self.execution_timeout.total_seconds()

    def deadline(self, task_deadline: float | None) -> float | None:
        """Return the epoch seconds at which a wait that begins now ends; ``None`` if there is no limit.

        :param task_deadline: what :meth:`task_deadline` returned when the task began.
        """
        limits = [task_deadline, None if self.timeout is None else time.time() + self.timeout]
        return min((limit for limit in limits if limit is not None), default=None)

    def wait_for_job(
        self,
        name: str,
        task_deadline: float | None,
        *,
        stop_on_kill: bool,
        api: Any = None,
        describe: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Wait until an AutoML job has ended, and return the last answer; or defer to ``execute_complete``.

        :param task_deadline: what :meth:`task_deadline` returned when the task began.
        :param stop_on_kill: the job ends with the task.
        :param api: the job's API version, if it is known.
        :param describe: a new answer; the first poll then comes an interval later.
        :raises AutoMLJobTimeout: the job had not ended at the deadline.
        """
        deadline = self.deadline(task_deadline)
        if self.deferrable:
            from airflow_automl.triggers.job import SageMakerAutoMLJobTrigger

            self.defer(
                trigger=SageMakerAutoMLJobTrigger(
                    job_name=name,
                    api_version=api,
                    poll_interval=self.interval,
                    deadline=deadline,
                    stop_on_kill=stop_on_kill,
                    timeline=list(self.timeline),
                    **self.trigger_settings,
                ),
                method_name="execute_complete",
            )
        transitions = TransitionLog(self.log, self.timeline)

        def note(answer: Mapping[str, Any]) -> None:
            transitions(answer)
            self.timeline = transitions.timeline

        if describe is not None:
            note(describe)
        try:
            answer = in_worker(
                wait_until_ended(
                    WorkerCalls(self.hook),
                    Target(AUTOML_JOB, name, api),
                    interval=self.interval,
                    deadline=deadline,
                    log=self.log,
                    delay=0.0 if describe is None else self.interval,
                    notice=note,
                )
            )
        except TimeoutError:
            raise AutoMLJobTimeout("the job had not ended within timeout or execution_timeout") from None
        return answer or {}

    def wait_for(self, context: Context, name: str, state: dict[str, Any]) -> dict[str, Any]:
        """Wait until an endpoint or a transform job has a final status, then continue with ``execute_complete``.

        :param state: JSON-serializable notes for ``execute_complete``; ``deadline`` is kept across several waits.
        """
        from airflow_automl.triggers._base import SHORTEST

        if "deadline" not in state:
            state["deadline"] = self.deadline(self.task_deadline(context))
        if self.deferrable:
            from airflow_automl.triggers.resource import SageMakerResourceTrigger

            self.defer(
                trigger=SageMakerResourceTrigger(
                    self.kind,
                    name,
                    state=state,
                    poll_interval=self.interval,
                    deadline=state["deadline"],
                    **self.trigger_settings,
                ),
                method_name="execute_complete",
            )
        event = resource_event(
            WorkerCalls(self.hook),
            Target(self.kind, name),
            state,
            interval=self.interval,
            deadline=state["deadline"],
            log=self.log,
            # Reads lag behind writes: the status may still be that before the change.
            delay=min(self.interval, SHORTEST),
        )
        connected = {"connection_exists": self.hook.connection_exists}
        result: dict[str, Any] = self.execute_complete(context, {**in_worker(event), **connected})
        return result

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Continue after the wait; called by Airflow with the trigger's event."""
        raise NotImplementedError

    def state_of(self, event: Any) -> dict[str, Any]:
        """Return the notes of a wait that ended because the resource has a final status.

        :raises InvalidTriggerEvent: an event that this package did not create.
        :raises AutoMLDeploymentFailed: the resource had no final status in time.
        :raises AutoMLError: AWS refused to describe the resource; the error has the type of the refusal.
        """
        read: Mapping[str, Any] = self.read_event(event, _resource_event)
        if read["status"] not in _FINAL:
            kind = AutoMLDeploymentFailed if read["status"] == "timeout" else AutoMLAccessDenied
            raise restored(
                read.get("error") or kind.__name__,
                f"waiting for {read['kind']} {read['name']} ended with {read['status']}: {read.get('message')}",
            )
        return dict(read.get("state") or {})

    def show_logs(self, name: str) -> None:
        """Log the end of what a transform job or an endpoint logged."""
        from airflow_automl.hooks.sagemaker_logs import resource_log_tail, show

        show(self.log, lambda: resource_log_tail(self.hook, self.kind, name))

    def stop(self, name: str, *, late: bool = False) -> StopResult:
        """Stop what the task waited for, unless a newer try waits on it.

        :param late: the process is about to be killed, and a create call may have been cut off.
        """
        span = _ON_KILL if late else _STOP
        work = stop(WorkerCalls(self.hook), Target(self.kind, name), self._try_number, seconds=span, late=late)
        return in_worker(work)

    def on_kill(self) -> None:
        """Stop what the task waits for when Airflow ends the task, unless a newer try waits on it."""
        self._killed = True
        name, self._running = self._running, None
        if name is not None and self.stop_on_kill:
            result = self.stop(name, late=True)
            (self.log.error if result.runs_on else self.log.info)("%s %s: %s", self.kind, name, self.described(result))

    def described(self, result: StopResult) -> str:
        """Describe an attempt to stop, for the log."""
        return result.said


def _resource_event(event: Any) -> Mapping[str, Any]:
    if not isinstance(event, dict) or event.get("status") not in {*_FINAL, "timeout", "error"}:
        raise InvalidTriggerEvent(f"expected an event with status final, timeout or error, received {event!r}")
    return event
