"""What a watcher tells Airflow's metrics. All names start with ``automl.``."""

from __future__ import annotations

from airflow_automl.compat import stats


def call(operation: str, seconds: float, *, throttled: bool = False) -> None:
    """Count a call (``automl.calls``), time it (``automl.call_duration``), count throttling (``automl.throttles``)."""
    tags = {"operation": operation}
    stats.incr("automl.calls", tags=tags)
    stats.timing("automl.call_duration", seconds * 1000.0, tags=tags)
    if throttled:
        stats.incr("automl.throttles", tags=tags)


def poll(kind: str, seconds: float) -> None:
    """Time one look at jobs, waits for the rate included (``automl.poll_duration``).

    :param kind: ``follow`` (a list of what changed), ``sweep`` (of all that runs) or ``describe`` (one job).
    """
    stats.timing("automl.poll_duration", seconds * 1000.0, tags={"kind": kind})


def watched(jobs: int) -> None:
    """Set how many jobs are watched (``automl.jobs_watched``)."""
    stats.gauge("automl.jobs_watched", jobs)


def event_latency(seconds: float) -> None:
    """Time between the end of a job and its event, by the service's clock (``automl.event_latency``)."""
    stats.timing("automl.event_latency", max(0.0, seconds) * 1000.0)
