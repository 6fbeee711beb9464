"""Batch transform: sends objects of S3 through a model and stores its answers, in the background."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from airflow_automl.local.background import Background, Tasks
from airflow_automl.local.errors import MAX_REASON, JobFailure, ServiceError
from airflow_automl.local.retry import TIMEOUT, unreachable
from airflow_automl.local.serving.endpoints import MODEL, Deployments
from airflow_automl.local.serving.model_host_client import Container, HostingError, ModelHost, reason_in
from airflow_automl.local.serving.transform.records import Processing, RecordError, answers, batches, header_of, split
from airflow_automl.local.state.resources import Resource, ResourceStore
from airflow_automl.local.storage.client import Location, parse_uri
from airflow_automl.local.training.data import csv_text, sniff

if TYPE_CHECKING:
    from airflow_automl.local.state.folder import DataFolder

log = logging.getLogger(__name__)

_T = TypeVar("_T")
TRANSFORM_JOB = "transform-job"
_SCRATCH = ".transform-"
_MEBI = 1024 * 1024
#: Bytes that a compressed object may unpack to.
_UNPACKED = 100 << 30


class Transforms:
    """Runs transform jobs, one task each; after a restart, those that were unfinished start over.

    :param resources: the jobs and their models.
    :param deployments: knows the containers of models.
    :param host: runs the models.
    :param s3_client: makes a client of the S3 store.
    :param background: retries to write how a job began and ended.
    """

    def __init__(
        self,
        resources: ResourceStore,
        deployments: Deployments,
        host: ModelHost,
        folder: DataFolder,
        s3_client: Callable[[], Any],
        background: Background,
    ) -> None:
        self._resources = resources
        self._deployments = deployments
        self._host = host
        self._folder = folder
        self._s3_client = s3_client
        self._background = background
        self._tasks = Tasks()

    async def start(self) -> None:
        """Start the unfinished jobs of the last service over."""
        for leftover in self._folder.root.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for job in self._resources.in_status(TRANSFORM_JOB, "InProgress"):
            self.begin(job.name)
        for job in self._resources.in_status(TRANSFORM_JOB, "Stopping"):
            self.cancel(job)

    async def stop(self) -> None:
        """Cancel what is unfinished; the next service starts it over."""
        await self._tasks.stop()

    def begin(self, name: str) -> None:
        """Run a job that is InProgress."""
        self._tasks.start(name, self._run(name))

    def cancel(self, job: Resource) -> None:
        """Stop a job; it is Stopped once its task has ended."""
        self._resources.update(TRANSFORM_JOB, job.name, status="Stopping")
        self._tasks.start(job.name, self._cancelled(job.name, self._tasks.get(job.name)))

    async def _cancelled(self, name: str, task: asyncio.Task[None] | None) -> None:
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        await self._end(name, "Stopped")

    async def _end(self, name: str, status: str, reason: str | None = None) -> None:
        def write() -> None:
            found = self._resources.find(TRANSFORM_JOB, name)
            if found is not None and found.status in ("InProgress", "Stopping"):
                ended, why = self._resources.database.now(), None if reason is None else reason[:MAX_REASON]
                self._resources.update(TRANSFORM_JOB, name, status=status, TransformEndTime=ended, FailureReason=why)

        # The disk may be full: without this, the job would stay as it is until the next restart.
        await self._background.until_done(f"transform job {name}", write)

    async def _run(self, name: str) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        job: Resource = await self._background.until_done(
            f"transform job {name}",
            lambda: self._resources.update(TRANSFORM_JOB, name, TransformStartTime=self._resources.database.now()),
        )
        reason: str | None = None
        try:
            await self._transform(job.document)
        except (HostingError, RecordError, JobFailure) as error:
            reason = str(error)
        except ServiceError as error:
            reason = error.message
        except (BotoCoreError, ClientError, Boto3Error, OSError) as error:
            reason = f"reading or storing objects failed: {error}"
        except Exception as error:
            log.exception("transform job %s", name)
            reason = f"the transform failed: {error!r}"
        await self._end(name, "Completed" if reason is None else "Failed", reason)

    async def _transform(self, request: dict[str, Any]) -> None:
        model = self._resources.find(MODEL, request["ModelName"])
        if model is None:
            raise HostingError(f"the model {request['ModelName']!r} was deleted")
        overrides = request.get("Environment", {})
        containers = [
            container._replace(environment={**container.environment, **overrides})
            for container in self._deployments.containers(model)
        ]
        source = request["TransformInput"]["DataSource"]["S3DataSource"]
        target = parse_uri(request["TransformOutput"]["S3OutputPath"])
        objects = await self._with_store(
            lambda store: list(_objects(store, source["S3DataType"], parse_uri(source["S3Uri"])))
        )
        if not objects:
            raise HostingError(f"no object lies under {source['S3Uri']}")
        for location, relative in objects:
            key = "/".join(part for part in (target.key.strip("/"), f"{relative}.out") if part)
            await self._one_object(request, containers, location, Location(target.bucket, key))

    async def _with_store(self, work: Callable[[Any], _T]) -> _T:
        """Do something with the S3 store, in a thread; a cancelled job does not wait for it."""
        ends = time.monotonic() + TIMEOUT
        while True:
            try:
                return await asyncio.to_thread(lambda: work(self._s3_client()))
            except Exception as error:
                if not unreachable(error) or time.monotonic() >= ends:
                    raise
                await asyncio.sleep(1)

    async def _one_object(
        self, request: dict[str, Any], containers: list[Container], source: Location, target: Location
    ) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder.root, prefix=_SCRATCH) as temporary:
            given, made = Path(temporary) / "in", Path(temporary) / "out"
            await self._with_store(lambda store: store.download_file(source.bucket, source.key, str(given)))
            try:
                if request["TransformInput"].get("CompressionType") == "Gzip":
                    uri = f"s3://{source.bucket}/{source.key}"
                    given = await asyncio.to_thread(sniff.decompress, given, uri, _UNPACKED)
                await self._records(request, containers, given, made)
            except (HostingError, RecordError) as error:
                raise RecordError(f"s3://{source.bucket}/{source.key}: {error}") from error
            await self._with_store(lambda store: store.upload_file(str(made), target.bucket, target.key))

    async def _records(self, request: dict[str, Any], containers: list[Container], given: Path, made: Path) -> None:
        processing = Processing.of(request)
        names, escaped = await self._host.columns(containers)
        if processing.csv:
            await asyncio.to_thread(csv_text.make_plain, given, escaped)
        limit = request.get("MaxPayloadInMB", 6) * _MEBI
        with given.open("rb") as handle, made.open("wb") as out:
            if request["TransformInput"].get("SplitType", "None") == "None":
                await self._whole(request, containers, processing, limit, handle, out)
            else:
                await self._split(request, containers, processing, limit, names, handle, out)

    async def _whole(
        self,
        request: dict[str, Any],
        containers: list[Container],
        processing: Processing,
        limit: int,
        handle: IO[bytes],
        out: IO[bytes],
    ) -> None:
        # One byte more than is allowed: an object of any size is refused without reading all of it.
        record = await asyncio.to_thread(handle.read, limit + 1 if limit else -1)
        if limit and len(record) > limit:
            raise RecordError(f"the object has more than {limit} bytes: raise MaxPayloadInMB, or use SplitType Line")
        answer = await self._ask(request, containers, processing.payload(record), processing.headers())
        out.write(processing.finish(record, answer))

    async def _split(
        self,
        request: dict[str, Any],
        containers: list[Container],
        processing: Processing,
        limit: int,
        names: Sequence[str],
        handle: IO[bytes],
        out: IO[bytes],
    ) -> None:
        lines = request["TransformOutput"].get("AssembleWith", "None") == "Line"
        single = request.get("BatchStrategy") == "SingleRecord"
        records = split(handle, processing, limit)
        top: bytes | None = await asyncio.to_thread(next, records, b"")
        if not header_of(top or b"", names, processing):
            records, top = itertools.chain((top or b"",), records), None
        headers = processing.headers(top is not None)
        cut = batches(records, limit, single=single, top=top, processing=processing)
        # Filters of many records take up to a second: they run in a thread, so that other requests don't wait.
        while (batch := await asyncio.to_thread(next, cut, None)) is not None:
            given, payload = batch
            answer = await self._ask(request, containers, payload, headers)
            if processing.per_record:
                answer = await asyncio.to_thread(_finished, processing, given, answer)
            out.write(answer.rstrip(b"\n") + b"\n" if lines else answer)

    async def _ask(
        self, request: dict[str, Any], containers: list[Container], payload: bytes, headers: dict[str, str]
    ) -> bytes:
        seconds = request.get("ModelClientConfig", {}).get("InvocationsTimeoutInSeconds", 600)
        answer = await self._host.invoke(containers, payload, headers, seconds)
        if answer.status != 200:
            raise HostingError(f"the model answered {answer.status}: {reason_in(answer)}")
        return answer.body


def _finished(processing: Processing, records: Sequence[bytes], answer: bytes) -> bytes:
    found = answers(answer, records, processing.accept)
    return b"\n".join(processing.finish(record, each) for record, each in zip(records, found, strict=True))


def _objects(store: Any, kind: str, source: Location) -> Iterator[tuple[Location, str]]:
    if kind == "ManifestFile":
        manifest = json.loads(store.get_object(Bucket=source.bucket, Key=source.key)["Body"].read())
        prefix = parse_uri(manifest[0]["prefix"])
        for relative in manifest[1:]:
            yield Location(prefix.bucket, prefix.key + relative), relative
        return
    folder = source.key[: source.key.rfind("/") + 1]
    for listed in store.get_paginator("list_objects_v2").paginate(Bucket=source.bucket, Prefix=source.key):
        for entry in listed.get("Contents", []):
            if not entry["Key"].endswith("/"):
                yield Location(source.bucket, entry["Key"]), entry["Key"].removeprefix(folder)
