"""Assets that change when any AutoML job ends."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_automl.compat import AdvanceItem, SharedStreamProducer, asset_state_stores
from airflow_automl.contract import JobStatus, documents, is_terminal
from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLTransientError,
    AutoMLValidationError,
)
from airflow_automl.times import seconds
from airflow_automl.triggers._base import AwsTrigger

if TYPE_CHECKING:
    from airflow_automl.triggers._watcher import AwsSettings, Watcher
    from airflow_automl.triggers._watcher.asset_progress import Progress, Snapshot

log = logging.getLogger(__name__)

PROGRESS_KEY = "airflow_automl.ended_jobs"
_TERMINAL = (JobStatus.COMPLETED.value, JobStatus.FAILED.value, JobStatus.STOPPED.value)
#: How long to try to describe a job before it is left to the next poll, in seconds.
_DESCRIBE = 10.0
#: How long one poll may take to describe what has ended, in seconds; the rest is left to the next one. Airflow gives up
#: a poll that takes 300 s, and would report its jobs again.
_POLL = 60.0
#: How long a job that may not be described is tried again.
_DENIED = timedelta(hours=1)


class SageMakerAutoMLEventTrigger(AwsTrigger, BaseEventTrigger):
    """Raise one asset event for each AutoML job that ends; for an ``AssetWatcher``.

    ``extra["payload"]`` of the asset event is ``{"schema_version": 1, "job": …, "best_candidate": …}``: the documents
    that the operators push as XComs; the candidate is ``None`` if the job has none.
    :func:`airflow_automl.xcom.documents_of` reads it, and the events of operators' outlets alike.

    A new watcher reports the jobs that end after its start. Its position is saved in the asset's state store when
    Airflow has stored the events, so that a restarted triggerer continues without a gap. If it is killed between the
    two, it reports a job twice. A watcher with another prefix, other statuses or another connection is a new one.

    All such triggers of a triggerer that reach AWS in the same way share one stream of lists.

    Operations: ListAutoMLJobs, DescribeAutoMLJobV2, DescribeAutoMLJob.

    :param name_prefix: only jobs whose names start with this; by default all.
    :param statuses: the final statuses to report: ``Completed`` (the default), ``Failed``, ``Stopped``.
    :param poll_interval: a timedelta, or seconds, between two polls.
    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param botocore_config: keyword arguments of ``botocore.config.Config``, as plain JSON values.
    :raises AutoMLValidationError: a status is not one that a job ends with, or ``poll_interval`` is not a time span.
    """

    def __init__(
        self,
        name_prefix: str = "",
        statuses: Sequence[str] = (JobStatus.COMPLETED.value,),
        poll_interval: timedelta | float = 30,
        **aws: Any,
    ) -> None:
        super().__init__(**aws)
        unknown = [status for status in statuses if status not in _TERMINAL]
        if unknown or isinstance(statuses, str) or not statuses:
            raise AutoMLValidationError(
                "SageMakerAutoMLEventTrigger", [f"statuses: expected some of {list(_TERMINAL)}, received {statuses!r}"]
            )
        self.name_prefix = name_prefix
        self.statuses = [str(status) for status in statuses]
        self.poll_interval = seconds(poll_interval, "poll_interval", type(self).__name__, minimum=0.01) or 30.0
        self._progress: Progress | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path, and the arguments that make an equal trigger, as plain JSON values."""
        path, arguments = super().serialize()
        # Airflow and this package identify a watcher by its arguments, which must not change.
        del arguments["connection_exists"]
        return path, arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch alone, if Airflow does not share the stream."""
        producer = self.create_shared_stream_producer(self.serialize()[1])
        saved: list[Snapshot] = []
        async for snapshot, _ in producer.open_stream():
            if snapshot is None:
                continue
            # Airflow does not report when it has stored the previous poll's events: one interval later, it has.
            for before in saved:
                await _save(before)
            saved = [snapshot]
            async for event in self._tell(snapshot):
                yield event

    def shared_stream_key(self) -> Hashable | None:
        """Return what triggers have in common that share lists."""
        return ("airflow_automl.ended_jobs", self.poll_interval, *self._aws)

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the stream of snapshots; ``kwargs`` are those of any trigger with the same key."""
        trigger = cls(**kwargs)
        return _Producer(trigger._aws, trigger.poll_interval)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """Yield this trigger's events from the stream of snapshots."""
        async for snapshot in shared_stream:
            if snapshot is not None:
                async for event in self._tell(snapshot):
                    yield event

    async def _tell(self, snapshot: Snapshot) -> AsyncIterator[TriggerEvent]:
        from airflow_automl.triggers._watcher import watcher_for
        from airflow_automl.triggers._watcher.asset_progress import OVERLAP, ended_at, ended_since

        watcher = watcher_for(self._aws)
        async with watcher.in_use():
            try:
                progress = self._progress or await self._load(snapshot)
                jobs = snapshot.jobs
                if max(progress.start, progress.after - OVERLAP) < snapshot.since:
                    self.log.info("Catching up with the AutoML jobs that ended since %s", progress.after)
                    jobs, _ = await ended_since(watcher.listing, progress.after - OVERLAP)
            except Exception as error:
                # Any error: Airflow restarts a failed trigger of an asset at once, and it would fail again.
                self.log.warning("Could not find the AutoML jobs that have ended; trying again: %s", error)
                return
            self._progress = progress
            untold = []
            enough = time.monotonic() + _POLL
            for job in progress.news(jobs):
                if not job["AutoMLJobName"].startswith(self.name_prefix):
                    continue
                if time.monotonic() > enough:
                    untold.append(job)
                    continue
                try:
                    payload = await self._payload(watcher, job)
                except AutoMLError as error:
                    if isinstance(error, AutoMLAccessDenied) and snapshot.now - ended_at(job) > _DENIED:
                        self.log.warning("AutoML job %s is left out: %s", job["AutoMLJobName"], error)
                        progress.tell(job)
                        continue
                    self.log.warning(
                        "Could not report the end of AutoML job %s; trying again: %s", job["AutoMLJobName"], error
                    )
                    untold.append(job)
                    continue
                progress.tell(job)
                if payload is not None:
                    yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
            progress.advance(snapshot.now, untold)
            snapshot.receipts.append(self._receipt(progress.document()))

    async def _payload(self, watcher: Watcher, job: Mapping[str, Any]) -> dict[str, Any] | None:
        """Describe a job that a list says has ended; ``None`` if its end does not count."""
        from airflow_automl.waiting import AUTOML_JOB, Target, describe, retrying

        if job["AutoMLJobStatus"] not in self.statuses:
            return None
        client, target = watcher.client, Target(AUTOML_JOB, job["AutoMLJobName"])
        try:
            answer = await retrying(client, lambda: describe(client, target), _DESCRIBE) or {}
        except AutoMLJobNotFound:
            return None
        if not is_terminal(answer.get("AutoMLJobStatus")):
            raise AutoMLTransientError("the list says that it has ended, and its description not yet")
        if answer.get("AutoMLJobStatus") not in self.statuses:
            return None
        return {
            "schema_version": 1,
            "job": documents.job(answer),
            "best_candidate": documents.best_candidate(answer),
        }

    async def _load(self, snapshot: Snapshot) -> Progress:
        from airflow_automl.triggers._watcher.asset_progress import Progress

        found = [document for store in asset_state_stores(self) if (document := await store.aget(self._key))]
        if not found:
            return Progress(snapshot.now, snapshot.now)
        return min((Progress.read(document) for document in found), key=lambda progress: progress.after)

    def _receipt(self, document: dict[str, Any]) -> Callable[[], Awaitable[None]]:
        async def save() -> None:
            for store in asset_state_stores(self):
                await store.aset(self._key, document)

        return save

    @property
    def _key(self) -> str:
        """The state's key: an asset may have several watchers, each of which comes as far as it can."""
        watched = {name: value for name, value in self.serialize()[1].items() if name != "poll_interval"}
        return f"{PROGRESS_KEY}.{hashlib.sha256(json.dumps(watched, sort_keys=True).encode()).hexdigest()[:12]}"


class _Producer(SharedStreamProducer):
    """Yields snapshots, and saves each subscriber's progress once its events are stored.

    Each snapshot is followed by ``None``: Airflow takes an event for done with when the next one is asked for.
    """

    def __init__(self, aws: AwsSettings, poll_interval: float) -> None:
        self._aws = aws
        self._poll_interval = poll_interval

    async def open_stream(self) -> AsyncIterator[tuple[Any, Any]]:
        from airflow_automl.triggers._watcher import watcher_for
        from airflow_automl.triggers._watcher.asset_progress import EndedJobs

        ended: EndedJobs | None = None
        while True:
            watcher = watcher_for(self._aws)
            async with watcher.in_use():
                ended = ended or EndedJobs(watcher.listing)
                while not watcher.closed:
                    try:
                        snapshot = await ended.snapshot()
                    except AutoMLError as error:
                        log.warning("Ended AutoML jobs can't be listed at the moment: %s", error)
                    else:
                        yield snapshot, snapshot
                        yield None, None
                    await asyncio.sleep(self._poll_interval)
            ended = None

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        for item in batch:
            # A subscriber failed, and it is not known which: its events may not be stored.
            if item.broker_payload is not None and not item.outcome.failed:
                await _save(item.broker_payload)


async def _save(snapshot: Snapshot) -> None:
    for save in snapshot.receipts:
        try:
            await save()
        except Exception as error:
            # The next snapshot's progress includes this one's.
            log.warning("Progress can't be saved at the moment: %s", error)
