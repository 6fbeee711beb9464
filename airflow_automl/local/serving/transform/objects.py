"""Objects of batch transform: each is read from S3, sent through the model, and its answers are stored.

Objects are worked on side by side, and the payloads of each too; what is in memory at once is bounded by their number
and size, whatever the objects have. Each output names the job that wrote it: a job that continues after a restart
leaves out the objects that have theirs.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from airflow_automl.contract.wording import counted
from airflow_automl.local.errors import JobFailure, ServiceError
from airflow_automl.local.jobs.executors.base import EXCHANGE
from airflow_automl.local.models.wire import Payload
from airflow_automl.local.retry import Retries
from airflow_automl.local.serving.model_host_client import Columns, Container, ModelHost
from airflow_automl.local.serving.model_pool import HostingError
from airflow_automl.local.serving.transform.records import Processing, RecordError, answers, batches, begin, blocks
from airflow_automl.local.storage.client import Location, parse_uri
from airflow_automl.local.training.data import csv_text, sniff
from airflow_automl.local.training.data.store import Store

log = logging.getLogger(__name__)

_T = TypeVar("_T")
SCRATCH = ".transform-"
"""What the names of folders begin with that hold one object each."""

_MEBI = 1024 * 1024
#: Bytes that a compressed object may unpack to.
_UNPACKED = 100 << 30
#: Bytes of a payload of a table's rows at first, at least and at most, where MaxPayloadInMB allows more.
_FIRST, _LEAST, _TABLE = 1 << 17, 1 << 13, 2 * _MEBI
#: Seconds for an answer, with the wait for a free process, up to which payloads grow, and from which they shrink.
_SOON, _LATE = 2.0, 20.0
#: Payloads of one record each that are in memory at once: the model gets those that wait for it together.
_SINGLE = 64
#: Metadata of an output: the job that wrote it.
_WRITER = "transform-job"


class Object(NamedTuple):
    """An object of a job.

    :param source: where it is.
    :param target: where its answers go.
    :param again: whether they may be there already.
    """

    source: Location
    target: Location
    again: bool


Take = Callable[[int, str | None], Awaitable[Object | None]]
"""Returns the next object for one of those who work side by side, by number; ``None`` if there is none. It takes the
reason why the object before could not be transformed, ``None`` if it was."""


class Worker:
    """Sends objects through a model.

    :param host: runs the model.
    :param folder: for objects that are worked on.
    :param s3_client: makes a client of the S3 store.
    :param cores: processes that the model may have.
    """

    def __init__(self, host: ModelHost, folder: Path, s3_client: Callable[[], Any], cores: int) -> None:
        self._host = host
        self._folder = folder
        self._s3_client = s3_client
        self._cores = cores

    async def run(
        self, name: str, request: dict[str, Any], containers: Sequence[Container], take: Take, at_once: int
    ) -> None:
        """Work on a job's objects until there are none; one that can't be transformed does not keep the others from it.

        :param name: of the job.
        :param request: CreateTransformJob's.
        :param containers: of the model.
        :param take: says which object is next.
        :param at_once: objects side by side: while one is read or stored, the model works on another.
        :raises Exception: the model or the store fails; see :func:`reason_of`.
        """
        single = request.get("BatchStrategy") == "SingleRecord"
        payloads = max(2, ((_SINGLE if single else self._cores) + 1) // at_once)
        job = _Job(name, request, containers, payloads, single, _Pace())

        async def work(number: int) -> None:
            bad = None
            while each := await take(number, bad):
                bad = None
                # An earlier attempt may have written the output, or the object itself: outputs may be below the input.
                if not (each.again and await self.with_store(partial(_written_by, each, name))):
                    try:
                        await self._one_object(job, each.source, each.target)
                    except (RecordError, JobFailure) as error:
                        log.warning("transform job %s: %s", name, error)
                        bad = str(error)

        tasks = [asyncio.create_task(work(number)) for number in range(at_once)]
        try:
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)
            self._host.release(_owner(name))

    async def with_store(self, work: Callable[[Any], _T]) -> _T:
        """Do something with the S3 store, in a thread; a cancelled job does not wait for it."""
        retries = Retries()
        while True:
            try:
                return await asyncio.to_thread(lambda: work(self._s3_client()))
            except Exception as error:
                if not retries.left(error):
                    raise
                await asyncio.sleep(1)

    async def _one_object(self, job: _Job, source: Location, target: Location) -> None:
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=SCRATCH) as temporary:
            given, made = Path(temporary) / "in", Path(temporary) / "out"
            await self.with_store(lambda store: store.download_file(source.bucket, source.key, str(given)))
            try:
                if job.request["TransformInput"].get("CompressionType") == "Gzip":
                    given = await asyncio.to_thread(sniff.decompress, given, source.uri, _UNPACKED)
                await self._records(job, given, made)
            except (HostingError, RecordError) as error:
                packed = " (the object is gzip-compressed: set CompressionType Gzip)" if sniff.is_gzip(given) else ""
                raise type(error)(f"{source.uri}: {error}{packed}") from error
            more = {"Metadata": {_WRITER: job.name}}
            await self.with_store(lambda store: store.upload_file(str(made), target.bucket, target.key, ExtraArgs=more))

    async def _records(self, job: _Job, given: Path, made: Path) -> None:
        processing = Processing.of(job.request)
        columns = await self._host.columns(job.containers)
        if processing.csv:
            await asyncio.to_thread(csv_text.make_plain, given, columns.escaped)
        with given.open("rb") as handle, made.open("wb") as out:
            if job.request["TransformInput"].get("SplitType", "None") == "None":
                await self._whole(job, processing, handle, out)
            else:
                await self._split(job, processing, columns, handle, out)

    async def _whole(self, job: _Job, processing: Processing, handle: IO[bytes], out: IO[bytes]) -> None:
        # One byte more than is allowed: an object of any size is refused without reading all of it.
        limit = job.limit
        record = await asyncio.to_thread(handle.read, limit + 1 if limit else -1)
        if limit and len(record) > limit:
            raise RecordError(f"the object has more than {limit} bytes: raise MaxPayloadInMB, or use SplitType Line")
        answer = await self._ask(job, processing.payload(record), processing.headers())
        out.write(processing.finish(record, answer))

    async def _split(
        self, job: _Job, processing: Processing, columns: Columns, handle: IO[bytes], out: IO[bytes]
    ) -> None:
        lines = job.request["TransformOutput"].get("AssembleWith", "None") == "Line"
        if columns.names and not columns.apart and job.single:
            raise RecordError(
                "a series must not be cut into its rows: use SplitType None, or BatchStrategy MultiRecord"
            )
        # Where rows don't depend on each other, small payloads keep all processes busy. A series must not be cut.
        fill = (lambda: job.pace.size) if columns.names and columns.apart else None
        found = blocks(handle, processing, job.limit, fill or (lambda: _MEBI))
        top, found = await asyncio.to_thread(begin, found, columns.names, processing)
        headers = processing.headers(top is not None)
        cut = batches(found, job.limit, single=job.single, top=top, processing=processing, fill=fill)

        async def answered(given: list[bytes], payload: bytes) -> bytes:
            began = time.monotonic()
            answer = await self._ask(job, payload, headers)
            job.pace.took(time.monotonic() - began)
            if processing.per_record:
                # Joins of many records take up to a second: in a thread, so that other requests don't wait.
                answer = await asyncio.to_thread(_finished, processing, given, answer)
            return answer.rstrip(b"\n") + b"\n" if lines else answer

        pending: deque[asyncio.Task[bytes]] = deque()
        size = job.at_once if job.single else 1
        try:
            while batch := await asyncio.to_thread(lambda: list(itertools.islice(cut, size))):
                for given, payload in batch:
                    pending.append(asyncio.create_task(answered(given, payload)))
                while len(pending) >= job.at_once:
                    out.write(await pending.popleft())
            while pending:
                out.write(await pending.popleft())
        finally:
            await _cancel(pending)

    async def _ask(self, job: _Job, body: bytes, headers: Mapping[str, str]) -> bytes:
        payload = Payload(body, headers["content-type"], headers["accept"])
        seconds = job.request.get("ModelClientConfig", {}).get("InvocationsTimeoutInSeconds", 600)
        answer = await self._host.invoke(_owner(job.name), job.containers, payload, seconds, self._cores)
        if answer.status != 200:
            # 400 is about the payload; with 500, the model gives no better answer to others.
            failure = RecordError if answer.status == 400 else HostingError
            raise failure(f"the model answered {answer.status}: {answer.body.decode()}")
        return answer.body


class _Pace:
    """Bytes of a payload of rows: few if the model is slow, so that each is answered in time."""

    def __init__(self) -> None:
        self.size = min(_FIRST, _TABLE)

    def took(self, seconds: float) -> None:
        if seconds < _SOON:
            self.size = min(2 * self.size, _TABLE)
        elif seconds > _LATE:
            self.size = max(self.size // 2, _LEAST)


class _Job(NamedTuple):
    """What a job's objects have in common.

    :param at_once: payloads of an object that are in memory at once.
    :param single: whether each payload is one record.
    """

    name: str
    request: dict[str, Any]
    containers: Sequence[Container]
    at_once: int
    single: bool
    pace: _Pace

    @property
    def limit(self) -> int:
        """Bytes that a payload may have; 0 for no limit."""
        return int(self.request.get("MaxPayloadInMB", 6)) * _MEBI


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _written_by(each: Object, job: str, store: Any) -> bool:
    from botocore.exceptions import ClientError

    for place in (each.target, each.source):
        try:
            found = store.head_object(Bucket=place.bucket, Key=place.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
        else:
            if found["Metadata"].get(_WRITER) == job:
                return True
    return False


def _owner(name: str) -> str:
    """Whose the processes of a job's model are; no endpoint is called so."""
    return f"transform-job:{name}"


def _finished(processing: Processing, records: Sequence[bytes], answer: bytes) -> bytes:
    found = answers(answer, records, processing.accept)
    return b"".join(b"%b\n" % processing.finish(record, each) for record, each in zip(records, found, strict=True))


def objects_of(store: Any, request: Mapping[str, Any], again: bool) -> list[Object]:
    """Return the objects that a request names.

    :param store: a client of the S3 store.
    :param again: whether some may be done already.
    :raises HostingError: there are none.
    """
    source = request["TransformInput"]["DataSource"]["S3DataSource"]
    target = parse_uri(request["TransformOutput"]["S3OutputPath"])
    found = []
    for location, relative in _listed(store, source["S3DataType"], parse_uri(source["S3Uri"])):
        # What nodes of a cluster exchange with the service may lie there, too.
        if f"/{EXCHANGE}" not in f"/{location.key}":
            key = "/".join(part for part in (target.key.strip("/"), f"{relative}.out") if part)
            found.append(Object(location, Location(target.bucket, key), again))
    if not found:
        raise HostingError(f"there is no object under {source['S3Uri']}")
    return found


def _listed(store: Any, kind: str, source: Location) -> Iterator[tuple[Location, str]]:
    if kind == "ManifestFile":
        prefix, keys = Store(store).manifest(source.uri)
        folder = parse_uri(prefix)
        for relative in keys:
            yield Location(folder.bucket, folder.key + relative), relative
        return
    parent = source.key[: source.key.rfind("/") + 1]
    for listed in store.get_paginator("list_objects_v2").paginate(Bucket=source.bucket, Prefix=source.key):
        for entry in listed.get("Contents", []):
            if not entry["Key"].endswith("/"):
                yield Location(source.bucket, entry["Key"]), entry["Key"].removeprefix(parent)


def together(bad: Sequence[str]) -> str | None:
    """Return the FailureReason of a job from those of its objects."""
    if not bad:
        return None
    first, *others = sorted(bad)
    return f"{first} (and {counted(len(others), 'more object')})" if others else first


def reason_of(error: Exception) -> str:
    """Return the FailureReason of a job from what failed it."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(error, HostingError | RecordError | JobFailure):
        return str(error)
    if isinstance(error, ServiceError):
        return error.message
    if isinstance(error, BotoCoreError | ClientError | Boto3Error | OSError):
        return f"reading or storing objects failed: {error}"
    log.error("the transform failed", exc_info=error)
    return f"the transform failed: {error!r}"
