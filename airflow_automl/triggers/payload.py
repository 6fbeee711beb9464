"""The events of the job trigger: one schema for every outcome, made and validated here.

An event is ``{"schema_version": 1, "status": …, "job_name": …, "message": …, "job": …, "timeline": […], "error": …,
"runs_on": …}``. ``job`` is the describe answer, JSON-safe, or ``None``; ``timeline`` holds the statuses that the job
was seen in; ``error`` is the type of what ended a wait badly, and ``runs_on`` says that the job was not stopped then. A
later release may add keys; it never takes one away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from airflow_automl.contract import documents, states
from airflow_automl.contract.documents import Transition
from airflow_automl.contract.states import JobStatus
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLJobTimeout,
    InvalidTriggerEvent,
    described,
    restored,
)

SCHEMA_VERSION = 1


class EventStatus(StrEnum):
    """How a wait ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"
    ERROR = "error"


#: The errors of events without a type, which releases before 0.2 wrote.
_FAILURES = {
    EventStatus.TIMEOUT: AutoMLJobTimeout.__name__,
    EventStatus.NOT_FOUND: AutoMLJobNotFound.__name__,
    EventStatus.ACCESS_DENIED: AutoMLAccessDenied.__name__,
    EventStatus.ERROR: AutoMLError.__name__,
}
_ENDS = {each: EventStatus(each.lower()) for each in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED)}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """The end of a wait.

    :param status: how it ended; the first three are ends of the job, the others ends of the waiting alone.
    :param job_name: the job that was waited on.
    :param message: one sentence for the log.
    :param job: the last describe answer, JSON-safe; always there when the job has ended.
    :param timeline: the statuses that the job was seen in, oldest first.
    :param error: the name of the type of the error that ended the wait.
    :param runs_on: the job was not stopped, although the wait has ended.
    """

    status: EventStatus
    job_name: str
    message: str
    job: dict[str, Any] | None = None
    timeline: tuple[Transition, ...] = ()
    error: str = ""
    runs_on: bool = True

    @property
    def failure(self) -> AutoMLError | None:
        """What ended the wait badly; ``None`` if the job has ended."""
        if self.status not in _FAILURES:
            return None
        return restored(self.error or _FAILURES[self.status], self.message)

    def payload(self) -> dict[str, Any]:
        """Return the event as plain JSON."""
        plain = {"status": self.status.value, "timeline": list(self.timeline)}
        return {"schema_version": SCHEMA_VERSION, **asdict(self), **plain}


def end_event(describe: Mapping[str, Any], timeline: Iterable[Transition] = ()) -> JobEvent:
    """Make the event of a job that has ended.

    :param describe: the answer of DescribeAutoMLJob or DescribeAutoMLJobV2, in a terminal status.
    :param timeline: the statuses that the job was seen in, oldest first.
    """
    status = JobStatus(describe["AutoMLJobStatus"])
    name = str(describe.get("AutoMLJobName", ""))
    message = f"AutoML job {name}: {states.status_text(describe)}"
    return JobEvent(_ENDS[status], name, message, documents.json_safe(describe), tuple(timeline))


def failure_event(
    job_name: str, error: Exception, job: Mapping[str, Any] | None, timeline: Iterable[Transition]
) -> JobEvent:
    """Make the event of a wait that ends although the job has not.

    :param error: why. An error that is none of this package's becomes an ``AutoMLError`` in the task.
    :param job: the last describe answer, if there is one.
    :param timeline: the statuses that the job was seen in, oldest first.
    """
    kind, message = described(error)
    status = next((status for status, name in _FAILURES.items() if name == kind), EventStatus.ERROR)
    return JobEvent(status, job_name, message, None if job is None else documents.json_safe(job), tuple(timeline), kind)


def validate_event(event: Any) -> JobEvent:
    """Read an event that a trigger of this or an older release fired.

    :raises InvalidTriggerEvent: it is none, its status is unknown, or a job that has ended is not described.
    """
    if not isinstance(event, Mapping):
        raise InvalidTriggerEvent(f"expected a trigger's event, received {event!r}")
    try:
        status = EventStatus(str(event.get("status")))
    except ValueError:
        valid = ", ".join(EventStatus)
        raise InvalidTriggerEvent(
            f"unknown status {event.get('status')!r} of a trigger's event; known: {valid}"
        ) from None
    job = event.get("job")
    if job is not None and not isinstance(job, Mapping):
        raise InvalidTriggerEvent(f"job of a trigger's event: expected a describe answer, received {job!r:.80}")
    if job is None and status in _ENDS.values():
        raise InvalidTriggerEvent(f"a trigger's event of status {status} has no describe answer")
    name = event.get("job_name") or (job or {}).get("AutoMLJobName")
    if not isinstance(name, str):
        raise InvalidTriggerEvent(f"a trigger's event names no job: {dict(event)!r:.200}")
    timeline = event.get("timeline")
    return JobEvent(
        status,
        name,
        str(event.get("message") or ""),
        None if job is None else dict(job),
        tuple(timeline) if isinstance(timeline, list) else (),
        str(event.get("error") or ""),
        bool(event.get("runs_on", True)),
    )
