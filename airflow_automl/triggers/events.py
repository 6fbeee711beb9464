"""What the job trigger tells its task: one schema for every outcome, made and validated here.

An event is ``{"schema_version": 1, "status": …, "job_name": …, "message": …, "job": …, "timeline": […]}``. ``job`` is
the describe answer, JSON-safe, or ``None`` where there is none; ``timeline`` holds the statuses that the job was seen
in. A later release may add keys; it never takes one away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from airflow_automl.contract import documents
from airflow_automl.contract.documents import Transition
from airflow_automl.contract.states import JobStatus
from airflow_automl.exceptions import InvalidTriggerEvent

__all__ = ["EventStatus", "JobEvent", "end_event", "validate_event"]

SCHEMA_VERSION = 1


class EventStatus(StrEnum):
    """How a wait ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    NOT_FOUND = "not_found"
    ACCESS_DENIED = "access_denied"


_ENDS = {
    JobStatus.COMPLETED: EventStatus.COMPLETED,
    JobStatus.FAILED: EventStatus.FAILED,
    JobStatus.STOPPED: EventStatus.STOPPED,
}


@dataclass(frozen=True, slots=True)
class JobEvent:
    """The end of a wait.

    :param status: how it ended; the first three are ends of the job, the others ends of the waiting alone.
    :param job_name: the job that was waited on.
    :param message: one sentence for the log.
    :param job: the last describe answer, JSON-safe; always there when the job has ended.
    :param timeline: the statuses that the job was seen in, oldest first.
    """

    status: EventStatus
    job_name: str
    message: str
    job: dict[str, Any] | None = None
    timeline: tuple[Transition, ...] = ()

    def payload(self) -> dict[str, Any]:
        """Return the event as plain JSON."""
        return {
            "schema_version": SCHEMA_VERSION,
            "status": self.status.value,
            "job_name": self.job_name,
            "message": self.message,
            "job": self.job,
            "timeline": list(self.timeline),
        }


def end_event(describe: Mapping[str, Any], timeline: Iterable[Transition] = ()) -> JobEvent:
    """Make the event of a job that has ended.

    :param describe: the answer of DescribeAutoMLJob or DescribeAutoMLJobV2, in a terminal status.
    :param timeline: the statuses that the job was seen in, oldest first.
    """
    status = JobStatus(describe["AutoMLJobStatus"])
    name = str(describe.get("AutoMLJobName", ""))
    message = f"AutoML job {name} is {status}/{describe.get('AutoMLJobSecondaryStatus')}"
    return JobEvent(_ENDS[status], name, message, documents.json_safe(describe), tuple(timeline))


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
    )
