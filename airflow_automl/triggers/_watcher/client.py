"""The one client behind all triggers of a connection."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiohttp import ClientError

from airflow_automl.compat import stats
from airflow_automl.exceptions import AutoMLError, AutoMLThrottled, AutoMLTransientError
from airflow_automl.hooks.errors import CALL_ERRORS, ConnectionHealth
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

log = logging.getLogger(__name__)


class AwsSettings(NamedTuple):
    """How to reach AWS; equal settings share a client."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: str | None
    connection_exists: bool = False

    @classmethod
    def of(
        cls,
        aws_conn_id: str | None,
        region_name: str | None,
        verify: bool | str | None,
        botocore_config: Mapping[str, Any] | None,
        connection_exists: bool = False,
    ) -> AwsSettings:
        """Make it of a trigger's parameters."""
        config = json.dumps(botocore_config, sort_keys=True) if botocore_config else None
        return cls(aws_conn_id, region_name or None, verify, config, connection_exists)


class Metrics:
    """The metrics of one watcher. All names start with ``automl.``, and all have the tag ``connection``.

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


class _Built:
    def __init__(self, context: Any, client: Any) -> None:
        self.context = context
        self.client = client
        self.calls = 0
        self.retired = False


class Client:
    """Calls to SageMaker by one client that no trigger owns; built at the first call and when credentials expire.

    Calls raise errors of :mod:`airflow_automl.exceptions`. The client itself never tries again: its caller
    knows how often that is wanted.
    """

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self.metrics = Metrics(settings.aws_conn_id, settings.region_name)
        self._built: _Built | None = None
        self._building = asyncio.Lock()
        self._health = ConnectionHealth(settings.aws_conn_id)
        #: Whether the connection was read successfully.
        self.connection_exists = settings.connection_exists

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call one operation by its boto3 name, and return the answer.

        :raises AutoMLAccessDenied: a policy forbids it, or credentials stayed stale after they were read again.
        :raises AutoMLTransientError: it may succeed later.
        :raises AutoMLConnectionError: Airflow has not handed out the connection for minutes.
        """
        built: _Built | None = None
        began = time.perf_counter()
        throttled = False
        try:
            built = await self._client()
            built.calls += 1
            answer: dict[str, Any] = await getattr(built.client, operation)(**arguments)
        except CALL_ERRORS as error:
            if built is not None and self._health.is_stale(error):
                await self._retire(built)
            refusal = self._health.refused(error, built and built.client)
            throttled = isinstance(refusal, AutoMLThrottled)
            raise refusal from error
        except (OSError, ClientError) as error:
            raise AutoMLTransientError(f"{type(error).__name__}: {error}") from error
        finally:
            if built is not None:
                built.calls -= 1
                self.metrics.call(operation, time.perf_counter() - began, throttled=throttled)
                if built.retired and not built.calls:
                    await built.context.__aexit__(None, None, None)
        self._health.succeeded()
        return answer

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the client's connections; a later call builds another."""
        if self._built is not None:
            await self._retire(self._built)

    async def _client(self) -> _Built:
        async with self._building:
            if self._built is None:
                try:
                    self._built = await self._build()
                except AutoMLError:
                    raise
                except Exception as error:
                    # Airflow or its secrets backend does not return the connection, or it is not usable.
                    raise self._health.unreadable(error) from error
            return self._built

    async def _build(self) -> _Built:
        settings = self._settings
        hook = SageMakerAutoMLHook(
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region_name,
            verify=settings.verify,
            config=json.loads(settings.botocore_config) if settings.botocore_config else None,
            connection_exists=self.connection_exists,
        )
        context = await hook.async_client()
        built = _Built(context, await context.__aenter__())
        self.connection_exists = hook.connection_exists
        return built

    async def _retire(self, built: _Built) -> None:
        if self._built is built:
            self._built = None
        if not built.retired:
            built.retired = True
            if not built.calls:
                await built.context.__aexit__(None, None, None)
