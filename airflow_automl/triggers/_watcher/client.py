"""The one client behind all triggers of a connection."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from aiohttp import ClientError

from airflow_automl.exceptions import AutoMLError, AutoMLThrottled, AutoMLTransientError
from airflow_automl.hooks.errors import CALL_ERRORS, ConnectionHealth
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
from airflow_automl.triggers._watcher.metrics import Metrics
from airflow_automl.waiting import AUTOML_JOB, Target, describe

log = logging.getLogger(__name__)

ApiVersion = Literal["V1", "V2"]


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

    async def describe(self, name: str, api_version: ApiVersion | None) -> dict[str, Any]:
        """DescribeAutoMLJobV2 or DescribeAutoMLJob; for an unknown version the first, then the other.

        :raises AutoMLJobNotFound: neither knows the job.
        """
        return await describe(self, Target(AUTOML_JOB, name, api_version)) or {}

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
