"""Lists of jobs: hints of which to describe."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_automl.contract import JobStatus
from airflow_automl.exceptions import AutoMLThrottled, AutoMLTransientError
from airflow_automl.triggers._watcher.client import Client
from airflow_automl.triggers._watcher.rate_limiter import RateLimiter

Jobs = dict[str, Mapping[str, Any]]

#: Calls of ListAutoMLJobs per second that the service accepts from all callers of account and region; after a pause,
#: the pages of one list may come at once.
LISTS_PER_SECOND = 2.0
#: Overlap in seconds of a list of changes with the previous one: lists lag, and clocks are coarse.
OVERLAP = timedelta(seconds=10)
#: If a list of changes has more pages, all running jobs are listed instead.
MOST_PAGES = 4
PAGE_SIZE = 100
#: Seconds for which a denial is remembered.
DENIAL = 600.0
_TRIES = 3


class Listing:
    """ListAutoMLJobs, in bounded pages and by the service's own clock. Jobs are keyed by name in lower case.

    :param client: makes the calls.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pace = RateLimiter(LISTS_PER_SECOND, burst=MOST_PAGES)
        self._since: datetime | None = None
        self._overflowed = False
        self._failing_since: float | None = None
        self._denied_until = float("-inf")

    @property
    def begun(self) -> bool:
        """Whether there was a list to count changes from."""
        return self._since is not None

    @property
    def incomplete(self) -> bool:
        """Whether only a list of all that runs can help: none came before, or too much has changed for a few pages."""
        return self._since is None or self._overflowed

    def failing_for(self, now: float) -> float:
        """Seconds since a list failed, if none has succeeded since; endless while lists are denied."""
        if self.denied(now):
            return float("inf")
        return 0.0 if self._failing_since is None else now - self._failing_since

    def denied(self, now: float) -> bool:
        return now < self._denied_until

    def deny(self, now: float) -> None:
        """Note that lists are denied, for a while: permissions change."""
        self._denied_until = now + DENIAL

    async def running(self, most_pages: int) -> Jobs:
        """List all jobs that have not ended, for changes to be counted from then on."""
        self._overflowed = False
        jobs, since = await self.unfinished(most_pages)
        self._since = self._since or since
        return jobs

    async def unfinished(self, most_pages: int) -> tuple[Jobs, datetime | None]:
        """List all jobs that have not ended, and the service's time. The watcher's own state is unchanged."""
        since: datetime | None = None
        jobs: Jobs = {}
        # In this order, a job that stops in between is in one of the two lists.
        for status in (JobStatus.IN_PROGRESS, JobStatus.STOPPING):
            found, first, _ = await self._pages(most_pages, StatusEquals=status.value)
            jobs |= found
            since = since or first
        return jobs, since

    async def changed(self) -> Jobs:
        """List the jobs that changed since the last list."""
        assert self._since is not None  # noqa: S101
        jobs, first, more = await self._pages(MOST_PAGES, urgent=True, LastModifiedTimeAfter=self._since - OVERLAP)
        self._since = first or self._since
        self._overflowed = self._overflowed or more
        return jobs

    async def changed_since(self, since: datetime | None, most_pages: int) -> tuple[Jobs, datetime | None, bool]:
        """List the jobs that changed since a time, or one page of all; the service's time; whether there is more.

        The watcher's own state is unchanged.
        """
        filters: dict[str, Any] = {} if since is None else {"LastModifiedTimeAfter": since}
        return await self._pages(1 if since is None else most_pages, **filters)

    async def _pages(self, most: int, urgent: bool = False, **filters: Any) -> tuple[Jobs, datetime | None, bool]:
        """Return the jobs, the service's time at the first page, and whether there was more."""
        jobs: Jobs = {}
        first: datetime | None = None
        page: dict[str, Any] = {}
        for number in range(most):
            token = {"NextToken": page["NextToken"]} if number else {}
            page = await self._page(urgent, **filters, **token)
            first = first or self.server_time(page)
            jobs |= {str(job["AutoMLJobName"]).lower(): job for job in page.get("AutoMLJobSummaries", ())}
            if not page.get("NextToken"):
                return jobs, first, False
        return jobs, first, True

    async def _page(self, urgent: bool, **arguments: Any) -> dict[str, Any]:
        for attempt in range(1, _TRIES + 1):
            turn = await self._pace.turn(urgent)
            try:
                page = await self._client.call(
                    "list_auto_ml_jobs",
                    **arguments,
                    MaxResults=PAGE_SIZE,
                    SortBy="CreationTime",
                    SortOrder="Descending",
                )
            except AutoMLTransientError as error:
                if self._failing_since is None:
                    self._failing_since = turn
                if isinstance(error, AutoMLThrottled):
                    self._pace.throttled(turn)
                else:
                    self._pace.failed(turn)
                if attempt == _TRIES:
                    raise
            else:
                self._pace.succeeded()
                self._failing_since = None
                return page
        raise AssertionError("unreachable")

    @staticmethod
    def server_time(answer: Mapping[str, Any]) -> datetime | None:
        """When the service says it answered; ``None`` if a proxy has dropped that."""
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        try:
            return parsedate_to_datetime(headers["date"])
        except (KeyError, TypeError, ValueError):
            return None
