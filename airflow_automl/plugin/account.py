"""What SageMaker answers about jobs, as the pages ask for it: few calls, remembered, never waited for long."""

from __future__ import annotations

import asyncio
import importlib
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from airflow_automl.contract import documents
from airflow_automl.contract.states import is_terminal, queued
from airflow_automl.ends import watched
from airflow_automl.exceptions import AutoMLError, AutoMLTransientError
from airflow_automl.plugin.answers import Answers, NotAnswered

#: Newest jobs of an account in the list.
MOST_JOBS = 1000

#: Bytes of a report; real ones have less than a million.
MOST_BYTES = 8_000_000

#: Most recently used clients that are kept; each takes about 15 MB.
MOST_HOOKS = 16

T = TypeVar("T")

_HOOK_MODULE = "airflow_automl.hooks.sagemaker_automl"
_CONNECTION = 60.0  # a changed connection shows after so long
_RUNNING = 4.0
_ENDED = 300.0
_TAGS = 3600.0
_LIST = 10.0
_WHOLE_LIST = 900.0
#: Lists and their time filters lag behind.
_OVERLAP = timedelta(minutes=1)
_CALLS = {"connect_timeout": 1.5, "read_timeout": 2, "retries": {"total_max_attempts": 1}, "max_pool_connections": 16}


class NoSuchConnection(AutoMLError):
    """Airflow has no such connection."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where jobs are asked for.

    :param connection: the AWS connection; ``None`` for boto3's own credentials chain.
    :param region: the region; ``None`` for the connection's.
    :param verify: how TLS certificates are verified, if a task sets it.
    """

    connection: str | None = "aws_default"
    region: str | None = None
    verify: bool | str | None = None


class _Known(NamedTuple):
    hook: Any
    content: int
    checked: float


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of an account.

    :param rows: summaries of ListAutoMLJobs, newest first.
    :param whole: whether all that were asked for are there already.
    :param more: whether the account has more than :data:`MOST_JOBS`.
    :param on_aws: whether AWS itself lists them, which queues no jobs.
    """

    rows: tuple[Mapping[str, Any], ...] = ()
    whole: bool = True
    more: bool = False
    on_aws: bool = True

    def waits(self, row: Mapping[str, Any]) -> bool:
        """Return whether a job of the list waits for a slot of the embedded Autopilot."""
        return not self.on_aws and queued(row)


class _Listing:
    """The jobs that one source lists: read once, then kept up with what changed."""

    def __init__(self) -> None:
        self.jobs = Jobs(whole=False)
        self._read_at = 0.0

    def refresh(self, hook: Any, contains: str | None) -> Jobs:
        rows: dict[str, Mapping[str, Any]] = {}
        if self.jobs.whole and time.monotonic() < self._read_at + _WHOLE_LIST:
            newest = max((row["LastModifiedTime"] for row in self.jobs.rows), default=None)
            changed = self._list(hook, contains, newest - _OVERLAP if isinstance(newest, datetime) else None)
            rows = {row["AutoMLJobArn"]: row for row in (*self.jobs.rows, *changed)}
            self.jobs = replace(self.jobs, rows=_newest_first(rows.values()))
            return self.jobs
        began = time.monotonic()
        for row in self._list(hook, contains, None):
            rows[row["AutoMLJobArn"]] = row
            if len(rows) % 100 == 0 and not self.jobs.whole:
                # Shown by a page that can't wait for the rest.
                self.jobs = Jobs(tuple(rows.values()), whole=False, on_aws=hook.is_aws)
        self.jobs = Jobs(_newest_first(rows.values()), more=len(rows) >= MOST_JOBS, on_aws=hook.is_aws)
        self._read_at = began
        return self.jobs

    @staticmethod
    def _list(hook: Any, contains: str | None, modified_after: datetime | None) -> Iterable[Mapping[str, Any]]:
        rows: Iterable[Mapping[str, Any]] = hook.list_jobs(
            name_contains=contains, modified_after=modified_after, limit=MOST_JOBS
        )
        return rows


def _newest_first(rows: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(sorted(rows, key=lambda row: row["CreationTime"], reverse=True)[:MOST_JOBS])


class Account:
    def __init__(self, answers: Answers | None = None) -> None:
        self.answers = answers or Answers()
        self._hooks: OrderedDict[Source, _Known] = OrderedDict()
        self._seen: OrderedDict[str, documents.JobDocument] = OrderedDict()
        self._listings: dict[tuple[Source, str | None], _Listing] = {}
        self._making = [threading.Lock() for _ in range(8)]
        self._lock = threading.Lock()

    async def describe(self, source: Source, name: str) -> dict[str, Any]:
        def lifetime(answer: Mapping[str, Any]) -> float:
            return _ENDED if is_terminal(answer.get("AutoMLJobStatus")) else _RUNNING

        answer = await self._ask(source, "describe", name, lambda hook: dict(hook.describe_job(name)), lifetime)
        with self._lock:
            arn = answer["AutoMLJobArn"]
            before = self._seen.pop(arn, None)
            self._seen[arn] = documents.job(answer, timeline=watched(before["timeline"] if before else (), answer))
            while len(self._seen) > MOST_JOBS:
                self._seen.popitem(last=False)
        return answer

    def seen(self) -> Mapping[str, documents.JobDocument]:
        with self._lock:
            return dict(self._seen)

    async def candidates(self, source: Source, name: str, ended: bool) -> list[dict[str, Any]]:
        """ListCandidatesForAutoMLJob.

        :param ended: whether the job has ended: then nothing comes that is not there now.
        """
        lifetime = _ENDED if ended else _RUNNING
        about = (name, ended)
        return await self._ask(source, "candidates", about, lambda hook: hook.list_candidates(name), lambda _: lifetime)

    async def tags(self, source: Source, arn: str) -> dict[str, str] | None:
        """ListTags; ``None`` if the account does not allow it."""
        return await self._ask(source, "tags", arn, lambda hook: hook.read_tags(arn), lambda _: _TAGS)

    async def call(self, source: Source, operation: str, **request: str) -> dict[str, Any]:
        about = (operation, *request.items())
        return await self._ask(source, "call", about, lambda hook: hook.call(operation, **request), lambda _: _LIST)

    async def read(self, source: Source, address: str) -> bytes:
        """Return the beginning of a file, which is not remembered."""
        from airflow_automl.hooks.storage import Storage

        found = await self._ask(
            source, "read", address, lambda hook: Storage(hook).read(address, MOST_BYTES), lambda _: 0.0
        )
        self.answers.forget(lambda key: key == (source, "read", address))
        return found

    async def insights(self, source: Source, describe: Mapping[str, Any]) -> dict[str, Any]:
        """Read the reports of a job's best candidate (:func:`airflow_automl.report.insights.read`)."""
        from airflow_automl.hooks.storage import Storage
        from airflow_automl.report.insights import read

        def ask(hook: Any) -> dict[str, Any]:
            storage, best = Storage(hook), documents.best_candidate(describe)
            return read(best, storage.find, storage.read, documents.problem_type(describe))

        return await self._ask(source, "insights", describe.get("AutoMLJobArn"), ask, lambda _: _ENDED)

    async def is_aws(self, source: Source) -> bool:
        """Return whether the calls go to AWS itself, which has a console to link to."""
        return await self._ask(source, "is_aws", "", lambda hook: bool(hook.is_aws), lambda _: _CONNECTION)

    async def prices(self, source: Source) -> dict[str, Any] | None:
        """Return what an hour of a job costs; ``None`` if nothing says."""
        return await self._ask(source, "prices", "", lambda hook: hook.prices, lambda _: _CONNECTION)

    async def jobs(self, source: Source, contains: str | None = None) -> Jobs:
        """ListAutoMLJobs: the newest jobs. Ten calls for a thousand jobs at first, then one at a time.

        :param contains: only jobs whose names contain this text. It is asked for only if the account has more jobs
            than are known.
        """
        with self._lock:
            if len(self._listings) > 32:
                self._listings.clear()
            listing = self._listings.setdefault((source, contains), _Listing())
        try:
            return await self._ask(
                source, "jobs", contains, lambda hook: listing.refresh(hook, contains), lambda _: _LIST
            )
        except NotAnswered:
            if listing.jobs.rows:
                return replace(listing.jobs, whole=False)
            raise

    async def stop(self, source: Source, name: str) -> None:
        await self._ask(source, "stop", (name, time.monotonic()), lambda hook: hook.stop_job(name), lambda _: 0.0)
        self.answers.forget(lambda key: key[0] == source and (key[2] == name or key[1] == "jobs"))

    async def _ask(
        self, source: Source, question: str, about: Any, ask: Callable[[Any], T], lifetime: Callable[[T], float]
    ) -> T:
        if _HOOK_MODULE not in sys.modules:
            # Imports of the first page in a process do not count as AWS's time.
            await asyncio.to_thread(importlib.import_module, _HOOK_MODULE)
        return await self.answers.get((source, question, about), lambda: ask(self._hook(source)), lifetime)

    def _hook(self, source: Source) -> Any:
        # Creating a client takes long: one thread creates it, and threads that need another client do not wait.
        with self._making[hash(source) % len(self._making)]:
            with self._lock:
                known = self._hooks.pop(source, None)
            if known is None or known.checked + _CONNECTION <= time.monotonic():
                known = self._renewed(source, known)
            with self._lock:
                self._hooks[source] = known
                while len(self._hooks) > MOST_HOOKS:
                    self._hooks.popitem(last=False)
            return known.hook

    @staticmethod
    def _renewed(source: Source, known: _Known | None) -> _Known:
        """Look whether the connection is still the same; a new client takes half a second of a processor."""
        from airflow_automl.compat import AirflowNotFoundException
        from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

        try:
            content = _content(source.connection)
            if known is not None and known.content == content:
                return _Known(known.hook, content, time.monotonic())
            hook = SageMakerAutoMLHook(source.connection, source.region, source.verify).with_config(**_CALLS)
            _ = hook.conn
        except AutoMLError:
            raise
        except AirflowNotFoundException as error:
            raise NoSuchConnection(f"Airflow has no connection {source.connection!r}.") from error
        except Exception as error:
            # Its text may contain parts of the connection.
            raise AutoMLTransientError(
                f"The connection {source.connection!r} can't be used ({type(error).__name__})"
            ) from error
        return _Known(hook, content, time.monotonic())


def _content(connection: str | None) -> int:
    if connection is None:
        return 0
    from airflow_automl.compat import BaseHook

    return hash(BaseHook.get_connection(connection).get_uri())
