"""The lists of jobs: which rows, in which order, on which page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from airflow_automl.contract.states import is_terminal
from airflow_automl.plugin.account import Source
from airflow_automl.plugin.known_jobs import JobRecord, Owner
from airflow_automl.times import duration_text

#: Rows on a page.
PAGE = 50
STATUSES = ("InProgress", "Stopping", "Completed", "Failed", "Stopped")
UNKNOWN = "unknown"

_TONES = {"InProgress": "running", "Stopping": "running", "Completed": "good", "Failed": "bad", "Stopped": "warning"}


@dataclass(frozen=True, slots=True)
class Row:
    """One job in a list."""

    name: str
    source: Source
    owner: Owner | None
    status: str
    secondary: str
    problem_type: str | None
    created: datetime | None
    ended: datetime | None
    reason: str = ""

    @property
    def tone(self) -> str:
        """How the status is coloured."""
        # All that a completed job gives as a reason is what went wrong on its way.
        return "warning" if self.status == "Completed" and self.reason else _TONES.get(self.status, "running")

    @property
    def running(self) -> bool:
        """Whether the job may still change."""
        return not is_terminal(self.status)

    @property
    def took(self) -> str:
        """How long the job ran, or has been running."""
        if self.created is None:
            return duration_text(None)
        return duration_text(max(0.0, ((self.ended or datetime.now(UTC)) - self.created).total_seconds()))


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; empty for everything."""

    search: str = ""
    status: str = ""
    problem_type: str = ""

    def takes(self, row: Row) -> bool:
        """Tell whether a row is wanted."""
        return (
            self.search.lower() in row.name.lower()
            and self.status in ("", row.status)
            and self.problem_type in ("", row.problem_type or UNKNOWN)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list."""

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


def from_summary(summary: Mapping[str, Any], source: Source, known: JobRecord | None) -> Row:
    """Make a row of what ListAutoMLJobs says and what Airflow knows of the job.

    It has an owner only if the job's name proves that: rows show each user the jobs of their DAGs.
    """
    partial = [
        str(each.get("PartialFailureMessage", ""))
        for each in summary.get("PartialFailureReasons") or ()
        if isinstance(each, Mapping)
    ]
    return Row(
        str(summary["AutoMLJobName"]),
        source,
        known.task if known and known.submitted else None,
        str(summary.get("AutoMLJobStatus") or ""),
        str(summary.get("AutoMLJobSecondaryStatus") or ""),
        known.job.get("problem_type") if known else None,
        summary.get("CreationTime"),
        summary.get("EndTime"),
        str(summary.get("FailureReason") or "") or " ".join(filter(None, partial)),
    )


def from_record(record: JobRecord, source: Source, live: Mapping[str, Any] | None) -> Row:
    """Make a row of what Airflow knows of a job.

    :param live: what ListAutoMLJobs says of it now, if that is known and the user may see it.
    """
    if live is not None:
        return replace(from_summary(live, source, record), owner=record.owner)
    job = record.job
    return Row(
        record.name,
        source,
        record.owner,
        str(job.get("status") or ""),
        str(job.get("secondary_status") or ""),
        job.get("problem_type"),
        _moment(job.get("created")),
        _moment(job.get("ended")),
        " ".join(str(each) for each in job.get("partial_failures") or ()),
    )


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
