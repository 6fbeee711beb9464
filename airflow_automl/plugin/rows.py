"""The lists of jobs: which rows, in which order, on which page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_automl.contract.states import QUEUED, End, end, is_terminal
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import JobRecord, Owner
from airflow_automl.times import moment

PAGE = 50
STATUSES = ("InProgress", "Stopping", "Completed", "Failed", "Stopped")
UNKNOWN = "unknown"

#: Orders of a list; a hyphen means newest or best first.
NEWEST = "-created"


@dataclass(frozen=True, slots=True)
class Row:
    """One job in a list.

    :param end: how the job stands, in the words of all pages.
    :param job: its document, as far as a task or a page saw it.
    """

    name: str
    source: Source
    owner: Owner | None
    status: str
    secondary: str
    created: datetime | None
    ended: datetime | None
    end: End
    job: Mapping[str, Any]
    reason: str = ""

    @property
    def problem_type(self) -> str | None:
        """The problem type, ``None`` if neither a task nor a page saw it."""
        return self.job.get("problem_type")

    @property
    def running(self) -> bool:
        return not is_terminal(self.status)

    @property
    def seconds(self) -> float | None:
        """How long the job ran, or has been running."""
        if self.created is None or self.end == QUEUED:
            return None
        return max(0.0, ((self.ended or datetime.now(UTC)) - self.created).total_seconds())

    def key(self, by: str) -> Any:
        """Return what sorts the row, ``None`` if that is not known.

        :param by: ``job``, ``status``, ``score``, ``type``, ``owner``, ``created`` or ``time``.
        """
        return {
            "job": self.name.lower(),
            "status": self.end.title,
            "score": (self.job.get("objective") or "", score) if (score := self.job.get("score")) is not None else None,
            "type": self.problem_type,
            "owner": self.owner and self.owner.dag_id,
            "created": self.created,
            "time": self.seconds,
        }.get(by)


def ordered(found: Sequence[Row], sort: str) -> list[Row]:
    """Sort rows by a key of :meth:`Row.key`, downwards after a hyphen; what is not known comes last."""
    by = sort.removeprefix("-")
    known = [row for row in found if row.key(by) is not None]
    return sorted(known, key=lambda row: row.key(by), reverse=sort.startswith("-")) + [
        row for row in found if row.key(by) is None
    ]


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; empty for everything."""

    search: str = ""
    status: str = ""
    problem_type: str = ""

    def takes(self, row: Row) -> bool:
        return (
            self.search.lower() in row.name.lower()
            and self.status in ("", row.status)
            and self.problem_type in ("", row.problem_type or UNKNOWN)
        )


@dataclass(frozen=True, slots=True)
class Page:
    rows: Sequence[Row]
    number: int
    pages: int
    total: int

    @classmethod
    def of(cls, rows: Sequence[Row], number: int) -> Page:
        """Cut a page out of all rows; a number past the end is the last page."""
        pages = max(1, -(-len(rows) // PAGE))
        number = min(max(1, number), pages)
        return cls(rows[(number - 1) * PAGE : number * PAGE], number, pages, len(rows))


def from_summary(
    summary: Mapping[str, Any],
    source: Source,
    known: JobRecord | None,
    seen: Mapping[str, Any] | None = None,
    queued: bool = False,
) -> Row:
    """Make a row of what ListAutoMLJobs says, what Airflow knows of the job, and what a page saw of it.

    It has an owner only if the job's name proves that: rows show each user the jobs of their DAGs.
    """
    reasons = (each for each in summary.get("PartialFailureReasons") or () if isinstance(each, Mapping))
    partial = [str(each.get("PartialFailureMessage", "")) for each in reasons]
    noted = known.job if known else {}
    job = seen if seen and not is_terminal(noted.get("status")) else noted
    status = str(summary.get("AutoMLJobStatus") or "")
    # Lists lack the best candidate; the job's document has it, if it is as new.
    ended = job.get("end") if job.get("status") == status else None
    return Row(
        str(summary["AutoMLJobName"]),
        source,
        known.task if known and known.submitted else None,
        status,
        "" if queued else str(summary.get("AutoMLJobSecondaryStatus") or ""),
        summary.get("CreationTime"),
        summary.get("EndTime"),
        QUEUED if queued else End(**ended) if ended else end({**summary, "BestCandidate": summary}),
        job,
        str(summary.get("FailureReason") or "") or " ".join(filter(None, partial)),
    )


def from_record(record: JobRecord, source: Source, live: Mapping[str, Any] | None, queued: bool = False) -> Row:
    """Make a row of what Airflow knows of a job.

    :param live: what ListAutoMLJobs says of it now, if that is known and the user may see it.
    """
    job = record.job
    noted = {
        "AutoMLJobName": record.name,
        "AutoMLJobStatus": job.get("status"),
        "AutoMLJobSecondaryStatus": job.get("secondary_status"),
        "CreationTime": moment(job.get("created")),
        "EndTime": moment(job.get("ended")),
        "PartialFailureReasons": [{"PartialFailureMessage": each} for each in job.get("partial_failures") or ()],
    }
    return replace(from_summary(live or noted, source, record, queued=queued), owner=record.owner)
