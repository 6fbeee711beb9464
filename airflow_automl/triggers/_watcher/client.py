"""The one client behind all triggers of a connection."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from airflow_automl.exceptions import (
    AutoMLAccessDenied,
    AutoMLError,
    AutoMLJobNotFound,
    AutoMLTerminalError,
    AutoMLThrottled,
    AutoMLTransientError,
)
from airflow_automl.hooks.errors import CALL_ERRORS, automl_error, error_code
from airflow_automl.hooks.sagemaker_automl import SageMakerAutoMLHook
from airflow_automl.triggers._watcher import metrics

__all__ = ["ApiVersion", "AwsSettings", "Client", "patiently"]

log = logging.getLogger(__name__)

ApiVersion = Literal["V1", "V2"]
_T = TypeVar("_T")

_BOTH = ("describe_auto_ml_job_v2", "describe_auto_ml_job")
_DESCRIBE: dict[str | None, tuple[str, ...]] = {"V1": _BOTH[1:], "V2": _BOTH[:1], None: _BOTH}

#: The service does not know who we are, or no longer: new credentials may help, unlike where a policy forbids a call.
_STALE_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
#: For so many seconds a connection that is of no use is read again before that counts: rotations and outages take a
#: while.
CONNECTION_GRACE = 300.0


class AwsSettings(NamedTuple):
    """How to reach AWS; equal settings share a client."""

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
        """Make it of a trigger's parameters."""
        config = json.dumps(botocore_config, sort_keys=True) if botocore_config else None
        return cls(aws_conn_id, region_name or None, verify, config)


class _Built:
    """A client, and how many calls use it."""

    def __init__(self, context: Any, client: Any) -> None:
        self.context = context
        self.client = client
        self.calls = 0
        self.retired = False


class Client:
    """Calls to SageMaker by one client that no trigger owns; built at the first call, anew when credentials expire.

    Calls raise errors of :mod:`airflow_automl.exceptions`. The client itself never tries again: whoever calls it
    knows how often that is wanted.
    """

    def __init__(self, settings: AwsSettings) -> None:
        self._settings = settings
        self._built: _Built | None = None
        self._building = asyncio.Lock()
        self._useless_since: float | None = None

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """Call one operation by its boto3 name, and return the answer as it came.

        :raises AutoMLAccessDenied: a policy forbids it, or credentials stayed stale after they were read anew.
        :raises AutoMLTransientError: it may succeed later.
        :raises AutoMLTerminalError: Airflow has not handed out the connection for minutes.
        """
        built: _Built | None = None
        began = time.perf_counter()
        throttled = False
        try:
            built = await self._client()
            built.calls += 1
            answer: dict[str, Any] = await getattr(built.client, operation)(**arguments)
        except CALL_ERRORS as error:
            if built is not None and error_code(error) in _STALE_CREDENTIALS:
                await self._retire(built)
                raise self._stale(error) from error
            refusal = automl_error(error)
            throttled = isinstance(refusal, AutoMLThrottled)
            raise refusal from error
        except OSError as error:
            raise AutoMLTransientError(f"{type(error).__name__}: {error}") from error
        finally:
            if built is not None:
                built.calls -= 1
                metrics.call(operation, time.perf_counter() - began, throttled=throttled)
                if built.retired and not built.calls:
                    await built.context.__aexit__(None, None, None)
        self._useless_since = None
        return answer

    async def describe(self, name: str, api_version: ApiVersion | None) -> dict[str, Any]:
        """DescribeAutoMLJobV2 or DescribeAutoMLJob; for an unknown version the first, then the other.

        :raises AutoMLJobNotFound: neither knows the job.
        """
        refusal: AutoMLError | None = None
        for operation in _DESCRIBE[api_version]:
            try:
                return await self.call(operation, AutoMLJobName=name)
            except (AutoMLJobNotFound, AutoMLAccessDenied) as error:
                # Where one operation is denied and the other does not know the job, nobody knows whether it is there.
                if refusal is None or isinstance(error, AutoMLAccessDenied):
                    refusal = error
        assert refusal is not None  # noqa: S101
        raise refusal

    async def stop(self, name: str) -> None:
        """StopAutoMLJob; a job that has already ended stays as it is."""
        await self.call("stop_auto_ml_job", AutoMLJobName=name)

    async def tags(self, arn: str) -> dict[str, str]:
        """ListTags; empty where the account does not let them be read."""
        tags: dict[str, str] = {}
        page: dict[str, Any] = {}
        try:
            while not page or page.get("NextToken"):
                token = {"NextToken": page["NextToken"]} if page else {}
                page = await self.call("list_tags", ResourceArn=arn, **token)
                tags.update({tag["Key"]: tag["Value"] for tag in page.get("Tags", ())})
        except AutoMLAccessDenied as error:
            log.info("Tags of %s can't be read: %s", arn, error)
        return tags

    async def close(self) -> None:
        """Close the client's connections; a later call builds another."""
        if self._built is not None:
            await self._retire(self._built)

    async def _client(self) -> _Built:
        async with self._building:
            if self._built is None:
                try:
                    self._built = await self._build()
                except (BotoCoreError, ClientError):
                    raise
                except Exception as error:
                    # Airflow or its secrets backend does not hand out the connection, or not in a form that works.
                    kind = AutoMLTerminalError if self._out_of_patience() else AutoMLTransientError
                    raise kind(f"{type(error).__name__}: {error}") from error
            return self._built

    async def _build(self) -> _Built:
        settings = self._settings
        hook = SageMakerAutoMLHook(
            aws_conn_id=settings.aws_conn_id,
            region_name=settings.region_name,
            verify=settings.verify,
            config=json.loads(settings.botocore_config) if settings.botocore_config else None,
        )
        context = await hook.async_client()
        return _Built(context, await context.__aenter__())

    async def _retire(self, built: _Built) -> None:
        if self._built is built:
            self._built = None
        if not built.retired:
            built.retired = True
            if not built.calls:
                await built.context.__aexit__(None, None, None)

    def _stale(self, error: ClientError) -> AutoMLError:
        refusal = automl_error(error)
        if self._out_of_patience():
            return AutoMLAccessDenied(str(refusal))
        log.warning(
            "The credentials of connection %r are refused, reading them anew: %s", self._settings.aws_conn_id, refusal
        )
        return AutoMLTransientError(str(refusal))

    def _out_of_patience(self) -> bool:
        now = time.monotonic()
        if self._useless_since is None:
            self._useless_since = now
        return now - self._useless_since > CONNECTION_GRACE


async def patiently(call: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    """Make a call, and make it again after errors that may pass.

    :param call: makes the call.
    :param seconds: how long to go on trying; then the last error is raised.
    """
    until = time.monotonic() + seconds
    pause = 0.2
    while True:
        try:
            return await call()
        except AutoMLTransientError:
            wait = random.uniform(pause / 2, pause)  # noqa: S311
            pause = min(pause * 2, 5.0)
            if time.monotonic() + wait > until:
                raise
            await asyncio.sleep(wait)
