"""The metrics of a watcher. All names start with ``automl.``, and all have the tag ``connection``."""

from __future__ import annotations

from airflow_automl.compat import stats


class Metrics:
    """The metrics of one watcher.

    :param connection: the Airflow connection's id; ``None`` is shown as ``none``.
    :param region: the region that its triggers name; ``None``, the connection's own, is shown as ``default``.
    """

    def __init__(self, connection: str | None, region: str | None) -> None:
        self._tags = {"connection": connection or "none", "region": region or "default"}

    def call(self, operation: str, seconds: float, *, throttled: bool = False) -> None:
        """Count a call (``automl.calls``) and throttling (``automl.throttles``); time it (``automl.call_duration``)."""
        tags = {**self._tags, "operation": operation}
        stats.incr("automl.calls", tags=tags)
        stats.timing("automl.call_duration", seconds * 1000.0, tags=tags)
        if throttled:
            stats.incr("automl.throttles", tags=tags)

    def poll(self, kind: str, seconds: float) -> None:
        """Time one poll, waits for the rate included (``automl.poll_duration``).

        :param kind: ``follow`` (a list of what changed), ``sweep`` (of all that runs) or ``describe`` (one job).
        """
        stats.timing("automl.poll_duration", seconds * 1000.0, tags={**self._tags, "kind": kind})

    def watched(self, jobs: int) -> None:
        """Set how many jobs are watched (``automl.jobs_watched``)."""
        stats.gauge("automl.jobs_watched", jobs, tags=self._tags)

    def event_latency(self, seconds: float) -> None:
        """Time between the end of a job and its event, by the service's clock (``automl.event_latency``)."""
        stats.timing("automl.event_latency", max(0.0, seconds) * 1000.0, tags=self._tags)
