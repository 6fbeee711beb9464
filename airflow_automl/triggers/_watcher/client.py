"""A watcher's one AWS client: built once, and anew when its credentials have gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLJobNotFound, AutoMLThrottled, AutoMLTransientError
from airflow_automl.hooks.errors import automl_error
from airflow_automl.triggers._watcher import metrics
from airflow_automl.triggers._watcher.pace import Pace

__all__ = ["AwsSettings", "Client", "Page"]

#: Seconds between two clients: denied calls of many jobs lead to one new client.
REBUILD_INTERVAL = 30.0


class AwsSettings(NamedTuple):
    """How to reach AWS; watchers are told apart by it."""

    aws_conn_id: str | None
    region_name: str | None
    verify: bool | str | None
    botocore_config: str | None

    @classmethod
    def of(
        cls,
        aws_conn_id: str | None,
        region_name: str | None,
        verify: bool | str | None,
        botocore_config: Mapping[str, Any] | None,
    ) -> AwsSettings:
        """Make a key of a trigger's parameters."""
        config = json.dumps(botocore_config, sort_keys=True) if botocore_config else None
        return cls(aws_conn_id, region_name, verify, config)


class Page(NamedTuple):
    """One page of ListAutoMLJobs, and the service's own time when it was made."""

    rows: list[dict[str, Any]]
    token: str | None
    date: datetime


class Client:
    """The calls of a watcher."""

    def __init__(self, settings: AwsSettings, pace: Pace) -> None:
        self._settings = settings
        self._pace = pace
        self._stack: contextlib.AsyncExitStack | None = None
        self._client: Any = None
        self._built = float("-inf")
        self._lock = asyncio.Lock()
        #: Raised with each client: tells whether a call was denied with the client of now.
        self.generation = 0

    async def close(self) -> None:
        """Close the connections."""
        stack, self._stack, self._client = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    async def renew(self) -> bool:
        """Build a client anew from the connection as it is now; return whether that was done (not too often)."""
        async with self._lock:
            if time.monotonic() - self._built < REBUILD_INTERVAL:
                return False
            await self.close()
        await self._connected()
        return True

    async def _connected(self) -> Any:
        if self._client is not None:
            return self._client
        async with self._lock:
            if self._client is None:
                from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook

                config = self._settings.botocore_config
                hook = SageMakerAutoMLHook(
                    aws_conn_id=self._settings.aws_conn_id,
                    region_name=self._settings.region_name,
                    verify=self._settings.verify,
                    config=json.loads(config) if config else None,
                )
                self._built = time.monotonic()
                stack = contextlib.AsyncExitStack()
                self._client = await stack.enter_async_context(await hook.async_client())
                self._stack = stack
                self.generation += 1
        return self._client

    async def _call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        try:
            client = await self._connected()
        except BotoCoreError as error:
            raise automl_error(error) from error
        await self._pace.turn()
        began = time.perf_counter()
        try:
            answer: dict[str, Any] = await getattr(client, operation)(**arguments)
        except (BotoCoreError, ClientError, OSError) as error:
            failure = AutoMLTransientError(str(error)) if isinstance(error, OSError) else automl_error(error)
            throttled = isinstance(failure, AutoMLThrottled)
            if throttled:
                self._pace.throttled()
            metrics.call(operation, time.perf_counter() - began, throttled=throttled)
            raise failure from error
        self._pace.succeeded()
        metrics.call(operation, time.perf_counter() - began)
        return answer

    async def list_page(self, token: str | None = None, **filters: Any) -> Page:
        """ListAutoMLJobs, one page of at most 100 jobs, oldest first."""
        arguments = {**filters, "MaxResults": 100, "SortBy": "CreationTime", "SortOrder": "Ascending"}
        if token:
            arguments["NextToken"] = token
        answer = await self._call("list_auto_ml_jobs", **arguments)
        return Page(answer.get("AutoMLJobSummaries", []), answer.get("NextToken"), _date(answer))

    async def pages(self, limit: int, **filters: Any) -> AsyncIterator[Page]:
        """ListAutoMLJobs, page by page; the last page has a token if there are more than ``limit``."""
        token: str | None = None
        for _ in range(limit):
            page = await self.list_page(token, **filters)
            yield page
            token = page.token
            if not token:
                return

    async def describe(self, name: str, api_version: str | None) -> dict[str, Any]:
        """DescribeAutoMLJobV2, which knows jobs of both versions, or DescribeAutoMLJob; each where the other fails."""
        operations = ["describe_auto_ml_job_v2", "describe_auto_ml_job"]
        if api_version == "V1":
            operations.reverse()
        try:
            answer = await self._call(operations[0], AutoMLJobName=name)
        except (AutoMLJobNotFound, AutoMLAccessDenied) as first:
            try:
                answer = await self._call(operations[1], AutoMLJobName=name)
            except (AutoMLJobNotFound, AutoMLAccessDenied):
                raise first from None
        answer.pop("ResponseMetadata", None)
        return answer

    async def stop(self, name: str) -> None:
        """StopAutoMLJob."""
        await self._call("stop_auto_ml_job", AutoMLJobName=name)

    async def tags(self, arn: str) -> dict[str, str]:
        """ListTags of a job; empty where they can't be read."""
        try:
            answer = await self._call("list_tags", ResourceArn=arn, MaxResults=100)
        except AutoMLAccessDenied:
            return {}
        return {tag["Key"]: tag["Value"] for tag in answer.get("Tags", ())}


def _date(answer: Mapping[str, Any]) -> datetime:
    """Return the service's time; ours may be off by minutes."""
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    try:
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return datetime.now(UTC)
