"""Which jobs of an account have ended, and which of them were reported to a subscriber."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_automl.contract import is_terminal
from airflow_automl.exceptions import AutoMLTransientError

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher.listing import Listing

log = logging.getLogger(__name__)

#: Overlap of a list with the previous one: lists lag.
OVERLAP = timedelta(minutes=10)
_MOST_PAGES = 500


@dataclass(eq=False)
class Snapshot:
    """All jobs that ended lately.

    :param jobs: their summaries.
    :param since: no job that ended after this time is missing, as far as the list knew.
    :param now: the service's time when they were listed.
    :param receipts: what to save when all events made of this are safe: one function for each subscriber.
    """

    jobs: list[Mapping[str, Any]]
    since: datetime
    now: datetime
    receipts: list[Any] = field(default_factory=list)


@dataclass
class Progress:
    """How far a subscriber has come, by the service's clock.

    :param start: jobs that ended before are not news.
    :param after: all jobs that ended before and were in lists have been reported.
    :param told: ARNs of reported jobs that ended within :data:`OVERLAP` before ``after``.
    """

    start: datetime
    after: datetime
    told: dict[str, datetime] = field(default_factory=dict)

    def news(self, jobs: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the jobs that have not been reported, in the order of their ends."""
        earliest = max(self.start, self.after - OVERLAP)
        new = [job for job in jobs if ended_at(job) > earliest and job["AutoMLJobArn"] not in self.told]
        return sorted(new, key=ended_at)

    def tell(self, job: Mapping[str, Any]) -> None:
        """Note that a job was reported, or does not concern the subscriber."""
        self.told[job["AutoMLJobArn"]] = ended_at(job)

    def advance(self, now: datetime, untold: list[Mapping[str, Any]]) -> None:
        """Advance, but not past a job that could not be reported yet."""
        self.after = min([now, *map(ended_at, untold)])
        self.told = {arn: end for arn, end in self.told.items() if end > self.after - OVERLAP}

    def document(self) -> dict[str, Any]:
        told = {arn: end.isoformat() for arn, end in self.told.items()}
        return {"schema_version": 1, "start": self.start.isoformat(), "after": self.after.isoformat(), "told": told}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        return cls(
            datetime.fromisoformat(document["start"]),
            datetime.fromisoformat(document["after"]),
            {arn: datetime.fromisoformat(end) for arn, end in document["told"].items()},
        )


class EndedJobs:
    """Takes snapshots, each of which reaches back before the one before.

    :param listing: makes the calls.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing
        self._last: datetime | None = None

    async def snapshot(self) -> Snapshot:
        """ListAutoMLJobs: what has ended since a while before the last snapshot."""
        if self._last is None:
            _, self._last, _ = await self._listing.changed_since(None, 1)
            if self._last is None:
                raise AutoMLTransientError("the service's answer has no Date header")
        since = self._last - OVERLAP
        jobs, now = await ended_since(self._listing, since)
        self._last = now
        return Snapshot(jobs, since, now)


async def ended_since(listing: Listing, since: datetime) -> tuple[list[Mapping[str, Any]], datetime]:
    """ListAutoMLJobs: the jobs that have ended since a time, and the service's time."""
    jobs, now, more = await listing.changed_since(since, _MOST_PAGES)
    if now is None:
        raise AutoMLTransientError("the service's answer has no Date header")
    if more:
        log.warning("More than %d AutoML jobs changed since %s; the oldest are left out", _MOST_PAGES * 100, since)
    return [job for job in jobs.values() if is_terminal(job.get("AutoMLJobStatus"))], now


def ended_at(job: Mapping[str, Any]) -> datetime:
    end: datetime = job.get("EndTime") or job["LastModifiedTime"]
    return end
