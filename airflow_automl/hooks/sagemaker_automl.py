"""Calls to SageMaker's AutoML operations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
from botocore.config import Config
from botocore.loaders import Loader

from airflow_automl import settings
from airflow_automl.contract import documents, is_terminal
from airflow_automl.contract.wording import closest, unknown
from airflow_automl.cost import price_problems
from airflow_automl.exceptions import AutoMLAccessDenied, AutoMLError, AutoMLValidationError
from airflow_automl.hooks.errors import CALL_ERRORS, ConnectionHealth
from airflow_automl.naming import TRY_TAG, tag_list
from airflow_automl.waiting import AUTOML_JOB, Target, WorkerCalls, describe, in_worker, read_tags

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.utils.connection_wrapper import AwsConnectionWrapper

    from airflow_automl.contract.documents import BestCandidate

#: Key of the connection's extra ``automl`` → the type of its value.
DEFAULTS: Mapping[str, type] = {
    "role_arn": str,
    "output_path": str,
    "kms_key_id": str,
    "volume_kms_key_id": str,
    "security_group_ids": list,
    "subnets": list,
    "tags": dict,
    "instance_type": str,
    "prices": dict,
}


def automl_defaults(extra: Mapping[str, Any], connection: str | None) -> dict[str, Any]:
    """Read and check the ``automl`` part of an AWS connection's extra.

    :param extra: the connection's whole extra.
    :param connection: the connection's id, for the message.
    :raises AutoMLValidationError: an unknown key, or a value of another type.
    """
    defaults = extra.get("automl") or {}
    subject = f'extra "automl" of the AWS connection {connection!r}'
    if not isinstance(defaults, Mapping):
        raise AutoMLValidationError(subject, [f"automl: expected an object, received {type(defaults).__name__}"])
    # The amazon provider uses the other keys of the extra, and ignores unknown ones.
    misspelt = [key for key in extra if key != "automl" and closest(key, ["automl"])]
    problems = [f"{key} is unknown; did you mean automl?" for key in misspelt] + [
        f"automl.{key} {unknown(key, DEFAULTS)}"
        if key not in DEFAULTS
        else f"automl.{key}: expected {DEFAULTS[key].__name__}, received {type(value).__name__}"
        for key, value in defaults.items()
        if key not in DEFAULTS or not isinstance(value, DEFAULTS[key])
    ]
    if isinstance(prices := defaults.get("prices"), dict):
        problems += [f"automl.{each}" for each in price_problems(prices)]
    if problems:
        raise AutoMLValidationError(subject, problems)
    return dict(defaults)


@cache
def _aws_domains() -> tuple[str, ...]:
    """Return what the names of AWS's own hosts end with, in all partitions."""
    partitions = Loader().load_data("partitions")["partitions"]
    return tuple(f".{each['outputs'][key]}" for each in partitions for key in ("dnsSuffix", "dualStackDnsSuffix"))


class SageMakerAutoMLHook(AwsBaseHook):
    """SageMaker's AutoML jobs, of both API versions.

    Every method raises errors of :mod:`airflow_automl.exceptions`, never botocore's.

    :param aws_conn_id: the Airflow connection to use; ``None`` takes boto3's own credentials chain.
    :param region_name: the AWS region; by default that of the connection.
    :param verify: whether to verify TLS certificates, or the path to a CA bundle; by default that of the connection.
    :param config: a ``botocore.config.Config``, or its keyword arguments.
    :param connection_exists: the connection was there when the task began. If it is missing or empty then, calls fail
        with a transient error for five minutes, then with ``AutoMLConnectionError``; boto3's own credentials are never
        used instead.
    """

    def __init__(
        self,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        config: Any = None,
        connection_exists: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            aws_conn_id=aws_conn_id,
            region_name=region_name,
            verify=verify,
            config=config,
            **{"client_type": "sagemaker", **kwargs},
        )
        self._clients: dict[str, Any] = {}
        self._health = ConnectionHealth(aws_conn_id)
        #: Whether the connection was read successfully.
        self.connection_exists = connection_exists

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The defaults in the connection's extra ``automl``."""
        with self.reaching_aws():
            return automl_defaults(self.conn_config.extra_config, self.aws_conn_id)

    @property
    def prices(self) -> dict[str, Any] | None:
        """Prices per hour, from the connection's extra or ``[automl] prices``; ``None`` if there are none."""
        return self.defaults.get("prices") or settings.prices()

    def client_of(self, service: str) -> Any:
        """Return a boto3 client of another AWS service, reached through the same connection.

        :param service: boto3's name for it, such as ``logs`` or ``sagemaker-runtime``.
        """
        if service not in self._clients:
            reach = (self.aws_conn_id, self._region_name, self._verify, self._config, self.connection_exists)
            self._clients[service] = SageMakerAutoMLHook(*reach, client_type=service).conn
        return self._clients[service]

    @cached_property
    def conn_config(self) -> AwsConnectionWrapper:
        """The Airflow connection.

        The provider treats a missing connection as an empty one, so that boto3 would use other credentials. A
        connection that existed when the task began must exist.
        """
        found = super().conn_config
        if found.login or found.extra_config:
            self.connection_exists = True
        elif self.connection_exists:
            self.forget_client()
            raise LookupError("it is missing or empty, although it existed when the task began")
        return found

    def forget_client(self) -> None:
        """Read the connection again at the next call, for new credentials."""
        for name in ("conn", "conn_config", "_client"):
            self.__dict__.pop(name, None)
        self._clients.clear()

    @contextmanager
    def reaching_aws(self, service: str = "sagemaker") -> Iterator[Any]:
        """Enter with a service's client, built if need be; errors become those of :mod:`airflow_automl.exceptions`.

        :param service: boto3's name for it, such as ``logs`` or ``sagemaker-runtime``.
        """
        try:
            client = self.conn if service == "sagemaker" else self.client_of(service)
        except AutoMLError:
            raise
        except Exception as error:
            # Airflow or its secrets backend does not return the connection, or it is not usable.
            self.forget_client()
            raise self._health.unreadable(error) from error
        try:
            yield client
        except CALL_ERRORS as error:
            if self._health.is_stale(error):
                self.forget_client()
            raise self._health.refused(error, client) from error
        self._health.succeeded()

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        """Call one operation of SageMaker by its boto3 name.

        :return: the answer, without its metadata.
        """
        with self.reaching_aws() as client:
            answer = dict(getattr(client, operation)(**request))
        answer.pop("ResponseMetadata", None)
        return answer

    def pages(self, operation: str, items: str, **arguments: Any) -> Iterator[dict[str, Any]]:
        """Call a list operation by its boto3 name, page by page.

        :param items: the key of the entries in the answer.
        """
        with self.reaching_aws() as client:
            for page in client.get_paginator(operation).paginate(**arguments):
                yield from page.get(items, ())

    def create_job(self, api: Literal["V1", "V2"], request: Mapping[str, Any]) -> str:
        """CreateAutoMLJob or CreateAutoMLJobV2.

        :param api: ``V1`` or ``V2``.
        :param request: the request in AWS's own keys.
        :return: the job's ARN.
        :raises AutoMLNameTaken: a job of this name exists (``ResourceInUse``).
        :raises AutoMLQuotaExceeded: the account's quota is used up (``ResourceLimitExceeded``).
        :raises AutoMLAccessDenied: the caller may not create the job, pass its role or tag it.
        """
        operation = "create_auto_ml_job" if api == "V1" else "create_auto_ml_job_v2"
        return str(self.call(operation, **request)["AutoMLJobArn"])

    def describe_job(self, name: str, api_version: Literal["V1", "V2"] | None = None) -> dict[str, Any]:
        """DescribeAutoMLJobV2, which returns jobs of both versions, or DescribeAutoMLJob.

        :param name: the job's name.
        :param api_version: ``V1`` calls DescribeAutoMLJob, ``V2`` DescribeAutoMLJobV2. ``None`` calls the latter first,
            and the former if the job is not found or the call is denied.
        :return: the answer, without its metadata.
        :raises AutoMLJobNotFound: no job has this name in the account and region.
        """
        return in_worker(describe(WorkerCalls(self), Target(AUTOML_JOB, name, api_version))) or {}

    def list_jobs(
        self,
        *,
        name_contains: str | None = None,
        status: str | None = None,
        modified_after: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """ListAutoMLJobs, newest first.

        :param name_contains: only jobs whose names contain this text.
        :param status: only jobs with this ``AutoMLJobStatus``.
        :param modified_after: only jobs that changed after this time.
        :param limit: end after so many jobs. Jobs can't be deleted: without a filter and a limit, this reads all jobs
            of the account.
        """
        filters = {
            "NameContains": name_contains,
            "StatusEquals": status,
            "LastModifiedTimeAfter": modified_after,
        }
        arguments = {key: value for key, value in filters.items() if value is not None}
        yield from self.pages(
            "list_auto_ml_jobs",
            "AutoMLJobSummaries",
            **arguments,
            SortBy="CreationTime",
            SortOrder="Descending",
            PaginationConfig={"MaxItems": limit, "PageSize": 100},
        )

    def list_candidates(self, name: str) -> list[dict[str, Any]]:
        """ListCandidatesForAutoMLJob: all candidates of a job, best objective first.

        :raises AutoMLJobNotFound: no job has this name in the account and region.
        """
        order = {"SortBy": "FinalObjectiveMetricValue", "SortOrder": "Descending"}
        return list(self.pages("list_candidates_for_auto_ml_job", "Candidates", AutoMLJobName=name, **order))

    def stop_job(self, name: str) -> None:
        """StopAutoMLJob; a job that has already ended does not change.

        :raises AutoMLJobNotFound: no job has this name in the account and region.
        """
        try:
            self.call("stop_auto_ml_job", AutoMLJobName=name)
        except AutoMLValidationError:
            # AWS does not document its answer for a job that has ended: the job's status decides.
            if not is_terminal(self.describe_job(name).get("AutoMLJobStatus")):
                raise

    def best_candidate(self, name: str) -> BestCandidate | None:
        """Return the best candidate's document of a job (DescribeAutoMLJobV2), or ``None`` if it has none."""
        return documents.best_candidate(self.describe_job(name))

    def read_tags(self, arn: str) -> dict[str, str] | None:
        """ListTags of a resource; ``None`` if the account does not allow it."""
        try:
            return in_worker(read_tags(WorkerCalls(self), arn))
        except AutoMLAccessDenied as error:
            self.log.info("Tags of %s can't be read: %s", arn, error)
            return None

    def known_tags(self, arn: str) -> dict[str, str]:
        """ListTags of a resource; empty if they can't be read, for whatever reason."""
        try:
            return self.read_tags(arn) or {}
        except AutoMLError as error:
            self.log.warning("Tags of %s can't be read: %s", arn, error)
            return {}

    def write_tags(self, arn: str, tags: Mapping[str, str]) -> None:
        """AddTags to a resource; if the account forbids it, log a warning."""
        try:
            self.call("add_tags", ResourceArn=arn, Tags=tag_list(tags))
        except AutoMLAccessDenied as error:
            self.log.warning("This account does not allow tags, continuing without them: %s", error)

    def mark_adopted(self, arn: str, try_number: int) -> None:
        """AddTags to a job: this try waits on it, and an older try must not stop it.

        If that fails, as for a job with the largest number of tags, it logs a warning.
        """
        try:
            self.write_tags(arn, {TRY_TAG: str(try_number)})
        except AutoMLError as error:
            self.log.warning("%s can't be marked as this try's; an older one may stop it: %s", arn, error)

    @property
    def is_aws(self) -> bool:
        """Whether the calls go to AWS itself, rather than to a stand-in such as the embedded Autopilot."""
        with self.reaching_aws() as client:
            host = urlsplit(client.meta.endpoint_url).hostname or ""
        return host.endswith(_aws_domains())

    def with_config(self, **settings: Any) -> SageMakerAutoMLHook:
        """Return a hook that reaches AWS in the same way, such as through the same proxy, but for these settings.

        :param settings: keyword arguments of ``botocore.config.Config``.
        """
        config = self.config.merge(Config(**settings))
        return type(self)(self.aws_conn_id, self._region_name, self._verify, config, self.connection_exists)

    async def async_client(self) -> Any:
        """Return an aiobotocore client, to be entered with ``async with``.

        The connection is fetched and the service's model is read in a thread: both would block the event loop. The
        client does not retry by itself, unless the connection or ``config`` sets it: the watcher has to notice each
        throttled call.
        """
        from asgiref.sync import sync_to_async

        def prepare() -> Any:
            config = self.config
            if not config.retries:
                config = config.merge(Config(retries={"total_max_attempts": 1, "mode": "standard"}))
            # The provider's sessions share a loader: files read here are not read again on the event loop.
            loader: Any = self.get_session(region_name=self.region_name, deferrable=True).get_component("data_loader")
            loader.load_service_model("sagemaker", "service-2", api_version=None)
            loader.load_data_with_path("endpoints")
            return self.get_client_type(region_name=self.region_name, config=config, deferrable=True)

        return await sync_to_async(prepare)()
