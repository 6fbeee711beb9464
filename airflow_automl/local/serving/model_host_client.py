"""All models that are served: the host that forks their processes, started at first need, and their artefacts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from airflow_automl.local import processes
from airflow_automl.local.background import Background
from airflow_automl.local.models.archive import ArtifactError, unpack
from airflow_automl.local.models.wire import Answer, Payload
from airflow_automl.local.processes import Process
from airflow_automl.local.retry import retrying
from airflow_automl.local.serving.model_pool import HostingError, ModelPool, ModelProcess
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.storage.client import parse_uri

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "airflow_automl.local.models.host")

_START_TIMEOUT = 60.0
_LOAD_TIMEOUT = 300.0
#: SageMaker gives a model 60 seconds for an answer.
LIMIT = 60.0
_MAX_SOCKET_PATH = 100
_SCRATCH = ".fetch-"
#: Seconds between two looks at the models, and after which an unused one is ended.
_LOOK, _IDLE = 0.5, 600.0


class Container(NamedTuple):
    """A container of a model, with the digest that its artefact must have."""

    image: str
    model_data: str
    sha256: str
    environment: dict[str, str]


class Columns(NamedTuple):
    """What a model says about its requests.

    :param names: the columns that it takes, in their order; empty if its requests are not rows of a table.
    :param escaped: whether backslashes escape quotes in its CSV.
    :param apart: whether each row gets an answer of its own. A forecast needs all rows of a series.
    """

    names: list[str]
    escaped: bool
    apart: bool = True


class ModelHost:
    """Starts the model host and, through it, a process for each model; all requests for models come here.

    :param folder: the data folder.
    :param s3_client: makes a client of the S3 store.
    :param cores: that all models may use.
    :param command: starts the host.
    :param environment: variables to add to the service's own, such as where weights are.
    :param memory_limit: bytes that all models may use; ``None`` for no limit.
    :param background: watches the models.
    :param batched: told an owner and the size of each of its batches.
    """

    def __init__(
        self,
        folder: DataFolder,
        s3_client: Callable[[], Any],
        cores: int,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        background: Background | None = None,
        batched: Callable[[str, int], None] = lambda owner, size: None,
    ) -> None:
        self._memory_limit = memory_limit
        self._background = background or Background()
        self._batched = batched
        self._watch: asyncio.Task[None] | None = None
        self._folder = folder
        self._s3_client = s3_client
        self._cores = cores
        self._socket = _socket_path(folder)
        self._command = [*command, "--socket", str(self._socket)]
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()
        self._stopping = False
        self._pools: dict[tuple[str, str], ModelPool] = {}

    async def start(self) -> None:
        """End a host that outlived the last service: it holds models that this one can't know of."""
        for leftover in self._folder.models.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        orphan = processes.find(self._command)
        if orphan is not None:
            await asyncio.to_thread(_kill, orphan)
        self._watch = self._background.repeat("model-host-watch", self._look)

    async def stop(self) -> None:
        """Kill the host and all models; no request that still waits starts another host."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
        for process in self._processes():
            process.kill()
        if self._child is not None:
            await asyncio.to_thread(_kill, processes.holder(self._child.pid))
            await asyncio.to_thread(self._child.wait)
        self._socket.unlink(missing_ok=True)

    async def load(self, owner: str, containers: Sequence[Container], count: int = 1) -> None:
        """Fetch a model's artefacts and load them.

        :param owner: whose requests the model will answer: an endpoint's variant, or a transform job.
        :param count: processes that it may have, as far as there are cores.
        :raises HostingError: if that is not possible.
        """
        await self._pool(owner, containers, count).load()

    async def invoke(
        self, owner: str, containers: Sequence[Container], payload: Payload, limit: float = LIMIT, count: int = 1
    ) -> Answer:
        """Ask a model, loading it first if it is not there.

        :param owner: as for :meth:`load`.
        :param limit: seconds that the model has for its answer.
        :param count: as for :meth:`load`.
        :raises HostingError: if it can't be loaded, or gives no answer in time.
        """
        return await self._pool(owner, containers, count).invoke(payload, limit)

    def release(self, owner: str, keep: Sequence[Container] | None = None) -> None:
        """End the processes of an owner, when they have answered what waits for them.

        :param keep: the model that stays.
        """
        for key in [key for key in self._pools if key[0] == owner and (keep is None or key[1] != key_of(keep))]:
            self._pools.pop(key).close()

    async def columns(self, containers: Sequence[Container]) -> Columns:
        """Return what a model says about its requests.

        :raises HostingError: its artefact can't be fetched.
        """
        path = await asyncio.to_thread(self._fetch, containers[0])
        document = json.loads((path / "metadata.json").read_text())
        names = [str(feature["name"]) for feature in document.get("features", ())]
        return Columns(names, bool(document.get("escaped")), document.get("engine") != "timeseries")

    # The processes

    def _pool(self, owner: str, containers: Sequence[Container], count: int) -> ModelPool:
        key = owner, key_of(containers)
        most = max(1, min(count, self._cores))
        if key not in self._pools:
            start = partial(self._open, tuple(containers), max(1, self._cores // most))
            self._pools[key] = ModelPool(start, partial(self._batched, owner))
        self._pools[key].most = most
        return self._pools[key]

    def _processes(self) -> list[ModelProcess]:
        return [process for pool in self._pools.values() for process in pool.processes]

    async def _open(self, containers: Sequence[Container], threads: int) -> ModelProcess:
        paths = [await asyncio.to_thread(self._fetch, container) for container in containers]
        document = {
            "containers": [
                {"path": str(path), "environment": container.environment}
                for path, container in zip(paths, containers, strict=True)
            ],
            "threads": threads,
        }
        try:
            return await self._loaded(document)
        except (OSError, EOFError) as error:
            # If the host has died, the process ended with it: a new host is tried once.
            if not await asyncio.to_thread(self._died):
                raise HostingError("the model's process ended while it loaded the model") from error
        try:
            return await self._loaded(document)
        except (OSError, EOFError) as error:
            raise HostingError(f"the model host ended while it loaded the model; its log is {self._log}") from error

    async def _loaded(self, document: Mapping[str, Any]) -> ModelProcess:
        await self._ready()
        process = ModelProcess(*await asyncio.open_unix_connection(str(self._socket)))
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT):
                await process.load(document)
        except TimeoutError:
            process.kill()
            raise HostingError(f"the model was not loaded within {_LOAD_TIMEOUT:.0f} seconds") from None
        except (OSError, EOFError):
            process.kill()
            if process.ended is not None:
                raise HostingError(process.ended) from None
            raise
        except BaseException:
            process.kill()
            raise
        return process

    def _died(self) -> bool:
        """Whether the host has ended; a process that was killed a moment ago may not have been collected yet."""
        try:
            return self._child is None or self._child.wait(timeout=1) is not None
        except subprocess.TimeoutExpired:
            return False

    def _running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    async def _ready(self) -> None:
        async with self._starting:
            if self._stopping:
                raise HostingError("the service ends")
            if not self._running():
                self._spawn()
                await self._listening()

    async def _look(self) -> None:
        """End unused models, and those that use too much memory."""
        await asyncio.sleep(_LOOK)
        idle = [process for process in self._processes() if not process.busy]
        for process in idle:
            if process.asked < time.monotonic() - _IDLE:
                process.kill()
        if self._memory_limit is None or not self._running():
            return
        found = self._processes()
        used = await asyncio.to_thread(lambda: {process: process.memory() for process in found})
        found = [process for process in found if not process.gone]
        if sum(used[process] for process in found) <= self._memory_limit:
            return
        idle = [process for process in found if not process.busy]
        if idle and sum(process.loaded for process in found) > self._memory_limit:
            # The models themselves are too many: the one that was asked longest ago goes.
            min(idle, key=lambda process: process.asked).kill()
            return
        largest = max(found, key=lambda process: used[process] - process.loaded)
        largest.kill(
            f"the model used {used[largest] / 2**30:.1f} GiB of memory, the limit of all models is "
            f"{self._memory_limit / 2**30:.1f} GiB; serve fewer or smaller models, or start the service with a higher "
            "--serving-memory"
        )

    async def _listening(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while self._running() and time.monotonic() < deadline:
            if self._socket.exists():
                return
            await asyncio.sleep(0.02)
        raise HostingError(f"the model host did not start; its log is {self._log}")

    @property
    def _log(self) -> Path:
        return self._folder.root / "model_host.log"

    def _spawn(self) -> None:
        self._socket.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder = self._socket.parent.lstat()
        shared = self._socket.parent != self._folder.root
        if shared and (not stat.S_ISDIR(folder.st_mode) or folder.st_uid != os.getuid() or folder.st_mode & 0o077):
            raise HostingError(
                f"the folder {self._socket.parent} of the model host's socket is open to others; remove it, or "
                "start the service with a shorter --data-dir"
            )
        self._socket.unlink(missing_ok=True)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self._cores),
            # A process without threads can be forked; each model asks for its own.
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            "PYTHONUNBUFFERED": "1",
            **self._environment,
        }
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                cwd=self._folder.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
        log.info("started the model host, pid %d", self._child.pid)

    # Artefacts

    def _fetch(self, container: Container) -> Path:
        target = self._folder.models / container.sha256
        if not target.is_dir():
            try:
                self._download(container, target)
            except OSError as error:
                # Such as a full disk.
                raise HostingError(f"{container.model_data} can't be kept in {target}: {error}") from error
        return target

    def _download(self, container: Container, target: Path) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        location = parse_uri(container.model_data)
        with tempfile.TemporaryDirectory(dir=self._folder.models, prefix=_SCRATCH) as temporary:
            archive = Path(temporary) / "model.tar.gz"
            try:
                retrying(lambda: self._s3_client().download_file(location.bucket, location.key, str(archive)))
            except (Boto3Error, BotoCoreError, ClientError) as error:
                raise HostingError(f"{container.model_data} can't be read: {error}") from error
            with archive.open("rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()
            if found != container.sha256:
                raise HostingError(
                    f"{container.model_data} is not what its training job wrote: its SHA-256 is {found}, "
                    f"recorded is {container.sha256}"
                )
            extracted = Path(temporary) / "model"
            try:
                unpack(archive, extracted)
            except ArtifactError as error:
                raise HostingError(f"{container.model_data} can't be unpacked: {error}") from error
            try:
                extracted.rename(target)
            except OSError:
                # Another model with this artefact may have been faster.
                if not target.is_dir():
                    raise


def key_of(containers: Sequence[Container]) -> str:
    """A model's name in the host: the same for the same artefacts and settings."""
    identity = [(container.sha256, container.image, sorted(container.environment.items())) for container in containers]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:40]


def _kill(process: Process) -> None:
    deadline = time.monotonic() + 5
    while processes.members(process) and time.monotonic() < deadline:
        processes.kill_session(process)
        time.sleep(0.02)


def _socket_path(folder: DataFolder) -> Path:
    path = folder.root / "model_host.sock"
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    # The kernel takes no longer path for a socket.
    name = hashlib.sha256(os.fsencode(folder.root)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"airflow-automl-{os.getuid()}-{name}" / "model_host.sock"
