"""The embedded Autopilot as a whole: makes its parts, starts them in order and ends them in reverse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from airflow_automl.local import one_click, processes
from airflow_automl.local.background import Background
from airflow_automl.local.errors import StartupError
from airflow_automl.local.http.moto import OtherServices
from airflow_automl.local.http.signatures import Signatures
from airflow_automl.local.jobs.executors.base import Executor
from airflow_automl.local.jobs.executors.local import COMMAND, LocalExecutor
from airflow_automl.local.jobs.executors.ray import RayExecutor
from airflow_automl.local.jobs.executors.ray_check import Finding, examine
from airflow_automl.local.jobs.specification import Share, TrainerSettings, read_shares
from airflow_automl.local.jobs.supervisor import Supervisor
from airflow_automl.local.models import weights
from airflow_automl.local.serving.endpoints import Deployments
from airflow_automl.local.serving.invocations import Runtime
from airflow_automl.local.serving.metrics import Metrics
from airflow_automl.local.serving.model_host_client import ModelHost
from airflow_automl.local.serving.transform.jobs import Transforms
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.folder import DataFolder, ServiceInfo
from airflow_automl.local.state.jobs import JobStore
from airflow_automl.local.state.resources import ResourceStore
from airflow_automl.local.storage import client as s3
from airflow_automl.local.storage.client import Credentials
from airflow_automl.local.storage.s3 import BUCKET, ExternalStore, SeaweedFS, running_url

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How a service runs.

    :param data_dir: where everything is kept.
    :param s3_endpoint: address of a store to use instead of one of its own.
    :param max_jobs: jobs that train at once; 0 accepts jobs and starts none.
    :param quota: jobs that may be unfinished at once before ResourceLimitExceeded (R2), ``None`` for no limit.
    :param job_memory: bytes that one job may use; by default its share of nine tenths of the machine's memory.
    :param serving_memory: bytes that all models may use while they serve; by default half of the machine's memory.
    :param credentials: demanded of every request; by default any signature, or none, is accepted.
    :param region: the AWS region of all ARNs.
    :param account: the AWS account of all ARNs.
    :param model_dir: folder of weights and base models; by default ``AUTOML_MODEL_DIR``, if set.
    :param trainer_command: starts a trainer; the job's folder is added.
    :param ray: address of the Jobs API of a Ray cluster that runs the trainers; by default this machine runs them.
    :param executor_file: says what jobs may use; see :func:`.read_shares`.
    :param trials_per_job: trials of one HYPERPARAMETER_TUNING job that may run at once.
    :param store_host: address on which the S3 store listens for trainers, if it is one of its own.
    """

    data_dir: Path
    s3_endpoint: str | None = None
    max_jobs: int = field(default_factory=lambda: max(1, processes.available_cores() // 2))
    quota: int | None = None
    job_memory: int | None = None
    serving_memory: int | None = None
    credentials: Credentials | None = None
    region: str = "us-east-1"
    account: str = "123456789012"
    model_dir: Path | None = None
    trainer_command: Sequence[str] = COMMAND
    ray: str | None = None
    executor_file: Path | None = None
    trials_per_job: int = 1
    store_host: str = "127.0.0.1"


class Service:
    """All parts of a service on one data folder, which the caller has locked.

    :param settings: how it runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._trainers = _trainer_settings(settings)
        self.region, self.account, self.quota = settings.region, settings.account, settings.quota
        self.folder = DataFolder(settings.data_dir)
        self.database = Database(self.folder.database)
        self.jobs = JobStore(self.database)
        self._check_executor()
        self.resources = ResourceStore(self.database)
        self.signatures = None if settings.credentials is None else Signatures(settings.credentials)
        self.credentials = _store_credentials(settings, self.folder)
        self.background = Background()
        self.store: SeaweedFS | ExternalStore
        if settings.s3_endpoint is None:
            self.store = SeaweedFS(
                self.folder.s3,
                self.credentials,
                settings.region,
                self.background,
                settings.account,
                settings.store_host,
            )
        else:
            self.store = ExternalStore(settings.s3_endpoint, self.credentials, settings.region)
        self.metrics = Metrics(self.folder.metrics)
        self.host = ModelHost(
            self.folder,
            self.s3_client,
            processes.available_cores(),
            environment=self._weights_environment(),
            memory_limit=settings.serving_memory or processes.available_memory() // 2,
            background=self.background,
            batched=self.metrics.batched,
        )
        self.deployments = Deployments(self.resources, self.jobs, self.host, self.background)
        self.others = OtherServices(
            lambda: self.store.endpoint_url,
            self.credentials,
            settings.account,
            settings.region,
            self.metrics.take,
            self.deployments.scale,
        )
        self._ray, self._executor = self._executors()
        self.transforms = Transforms(
            self.resources,
            self.deployments,
            self.host,
            self.folder,
            self.s3_client,
            self.background,
            processes.available_cores(),
            self._ray,
            self._trainers.shares.get("TransformJob", self._trainers.share),
        )
        self.runtime = Runtime(self.resources, self.host, self.metrics)
        self.supervisor: Supervisor
        self._talking: list[asyncio.Task[None]] = []
        self._counting: asyncio.Task[None] | None = None
        self._client_of_thread = threading.local()

    async def start(self) -> None:
        """Start everything but the listener.

        :raises StartupError: if a part does not start.
        """
        await self.store.start()
        await self.host.start()
        self._counting = self.metrics.start(self.background)
        await self.deployments.start()
        if self._ray is not None:
            self._talking = [
                self.background.repeat("ray", partial(asyncio.to_thread, self._ray.ask)),
                self.background.repeat("ray-reports", partial(asyncio.to_thread, self._ray.exchange)),
            ]
        await self.transforms.start()
        self.supervisor = Supervisor(
            self.jobs,
            self._executor,
            self._trainers,
            self.settings.max_jobs,
            lambda job: one_click.deploy(self, job),
            lambda job: one_click.abandon(self, job),
            self.background,
        )
        await self.supervisor.start()

    async def stop(self) -> None:
        """End everything that was started, children too."""
        if hasattr(self, "supervisor"):
            await self.supervisor.stop()
        await self.transforms.stop()
        for talking in self._talking:
            talking.cancel()
        await self.deployments.stop()
        await self.host.stop()
        if self._counting is not None:
            self._counting.cancel()
            with contextlib.suppress(OSError):
                await self.metrics.write()
        self.others.close()
        await self.store.stop()
        self.database.close()

    def info(self, endpoint_url: str) -> ServiceInfo:
        """What clients need to know."""
        process = processes.holder(os.getpid())
        return ServiceInfo(
            pid=process.pid,
            started=process.started,
            endpoint_url=endpoint_url,
            s3_endpoint_url=self.store.endpoint_url,
            region=self.settings.region,
            account=self.settings.account,
            access_key_id=self.credentials.access_key_id,
            secret_access_key=self.credentials.secret_access_key,
            bucket=BUCKET,
        )

    def arn(self, kind: str, name: str) -> str:
        """The ARN of something of SageMaker's (R3)."""
        return f"arn:aws:sagemaker:{self.region}:{self.account}:{kind}/{name}"

    def jobs_changed(self) -> None:
        """Notify the supervisor that a job was created or is to be stopped."""
        self.supervisor.wake()

    def s3_client(self) -> Any:
        """An S3 client for the calling thread."""
        known = self._client_of_thread
        # The store's port may have changed.
        if getattr(known, "endpoint_url", None) != self.store.direct_url:
            known.client = s3.client(
                self.store.direct_url, self.credentials, self.settings.region, isinstance(self.store, SeaweedFS)
            )
            known.endpoint_url = self.store.direct_url
        return known.client

    def _weights_environment(self) -> dict[str, str]:
        cache = Path(os.environ.get(weights.CACHE_DIR, "").strip() or self.folder.weights)
        environment = {weights.CACHE_DIR: str(cache.expanduser().resolve())}
        models = self.settings.model_dir or weights.model_folder()
        if models is not None:
            # On another machine, a relative path is another folder.
            environment[weights.MODEL_DIR] = str(models.expanduser().resolve())
        return environment

    def _check_executor(self) -> None:
        """Refuse to run beside trainers that only the other executor can stop."""
        for job in self.jobs.in_stage("training"):
            local = "pid" in (job.handle or {})
            if job.handle is not None and local == (self.settings.ray is not None):
                raise StartupError(
                    f"the job {job.name} trains {'on this machine' if local else 'on Ray'}, where an earlier service "
                    f"left it. Start with --executor {'local' if local else 'ray'} until it has ended, or end that "
                    "service with SIGTERM, which stops its trainers"
                )

    def _executors(self) -> tuple[RayExecutor | None, Executor]:
        command = self.settings.trainer_command
        if self.settings.ray is None:
            return None, LocalExecutor(
                self.folder, command, lambda: {**self._store_environment(), **self._weights_environment()}
            )
        # A node's own environment says where its weights are.
        executor = RayExecutor(
            self.folder,
            self.settings.ray,
            self.s3_client,
            self._store_environment,
            None if command == COMMAND else command,
        )
        return executor, executor

    def _store_environment(self) -> dict[str, str]:
        return _store_environment(self.settings, self.store.direct_url, self.credentials)


def check_cluster(settings: Settings) -> Iterator[Finding]:
    """Check the Ray cluster for a service with these settings, which may run or not.

    :raises StartupError: the file of what jobs may use is not valid.
    """
    trainers = _trainer_settings(settings)
    folder, environment = DataFolder(settings.data_dir), None
    if url := settings.s3_endpoint or running_url(folder.s3):
        environment = _store_environment(settings, url, _store_credentials(settings, folder))
    return examine(settings.ray or "", trainers, environment)


def _trainer_settings(settings: Settings) -> TrainerSettings:
    at_once = max(1, settings.max_jobs)
    memory = settings.job_memory or int(processes.available_memory() * 0.9 / at_once)
    share = Share(max(1, processes.available_cores() // at_once), memory)
    if settings.ray is not None:
        share = Share(2, settings.job_memory or 8 << 30)
    file = settings.executor_file
    share, shares = (share, {}) if file is None else read_shares(file, share)
    return TrainerSettings(settings.account, settings.region, share, shares, settings.trials_per_job)


def _store_credentials(settings: Settings, folder: DataFolder) -> Credentials:
    if settings.credentials is not None:
        return settings.credentials
    environment = os.environ
    if settings.s3_endpoint is not None and "AWS_ACCESS_KEY_ID" in environment:
        return Credentials(
            environment["AWS_ACCESS_KEY_ID"],
            environment.get("AWS_SECRET_ACCESS_KEY", ""),
            environment.get("AWS_SESSION_TOKEN"),
        )
    return Credentials(*folder.own_credentials())


def _store_environment(settings: Settings, url: str, credentials: Credentials) -> dict[str, str]:
    environment = {
        "AWS_ENDPOINT_URL_S3": url,
        s3.PLAIN_KEYS: "1" if settings.s3_endpoint is None else "",
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_DEFAULT_REGION": settings.region,
    }
    if credentials.session_token:
        environment["AWS_SESSION_TOKEN"] = credentials.session_token
    return environment
