"""The model host: one process that serves all models, started at first need, and the artefacts that it loads."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_automl.local import processes
from airflow_automl.local.background import Background
from airflow_automl.local.processes import Process
from airflow_automl.local.retry import retrying
from airflow_automl.local.state.folder import DataFolder
from airflow_automl.local.storage.client import parse_uri

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "airflow_automl.local.models.host")

_START_TIMEOUT = 60.0
_LOAD_TIMEOUT = 300.0
#: SageMaker gives a model 60 seconds for an answer.
_ANSWER_TIMEOUT = 60.0
_MAX_SOCKET_PATH = 100
_SCRATCH = ".fetch-"
#: Header of an invocation that says for how many seconds the caller waits.
_LIMIT = "x-limit-seconds"
#: Seconds between two looks at the host, and after which one that answers nothing is killed.
_LOOK, _SILENCE = 1.0, 60.0


class HostingError(Exception):
    """A model can't be loaded; the message says why."""


class Container(NamedTuple):
    """A container of a model, with the digest that its artefact must have."""

    image: str
    model_data: str
    sha256: str
    environment: dict[str, str]


class Answer(NamedTuple):
    """What the model host answered."""

    status: int
    content_type: str
    body: bytes


class ModelHost:
    """Starts the model host and talks to it.

    :param folder: the data folder.
    :param s3_client: makes a client of the S3 store.
    :param threads: cores that the host may use.
    :param command: starts the host.
    :param environment: variables to add to the service's own, such as where weights are.
    :param memory_limit: bytes that the host may use; ``None`` for no limit.
    :param background: watches the host.
    """

    def __init__(
        self,
        folder: DataFolder,
        s3_client: Callable[[], Any],
        threads: int,
        command: Sequence[str] = COMMAND,
        environment: Mapping[str, str] | None = None,
        memory_limit: int | None = None,
        background: Background | None = None,
    ) -> None:
        self._memory_limit = memory_limit
        self._background = background or Background()
        self._watch: asyncio.Task[None] | None = None
        self._overrun: str | None = None
        self._answered = 0.0
        self._folder = folder
        self._s3_client = s3_client
        self._threads = threads
        self._socket = _socket_path(folder)
        self._command = [*command, "--socket", str(self._socket)]
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._starting = asyncio.Lock()
        self._loading: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self) -> None:
        """End a host that outlived the last service: it holds models that this one can't know of."""
        for leftover in self._folder.models.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        orphan = processes.find(self._command)
        if orphan is not None:
            await asyncio.to_thread(_kill, orphan)
        self._watch = self._background.repeat("model-host-watch", self._look)

    async def stop(self) -> None:
        """Kill the host."""
        if self._watch is not None:
            self._watch.cancel()
        if self._session is not None:
            await self._session.close()
        if self._child is not None and self._process is not None:
            await asyncio.to_thread(_kill, self._process)
            await asyncio.to_thread(self._child.wait)
        self._socket.unlink(missing_ok=True)

    async def load(self, containers: Sequence[Container]) -> None:
        """Fetch a model's artefacts and load them.

        :raises HostingError: if that is not possible.
        """
        async with self._loading[key_of(containers)]:
            paths = [await asyncio.to_thread(self._fetch, container) for container in containers]
            document = {
                "containers": [
                    {"path": str(path), "image": container.image, "environment": container.environment}
                    for path, container in zip(paths, containers, strict=True)
                ],
                "threads": self._threads,
            }
            body = json.dumps(document).encode()
            headers = {"content-type": "application/json"}
            answer = await self._request("PUT", f"/models/{key_of(containers)}", body, headers, _LOAD_TIMEOUT)
        if answer.status != 200:
            raise HostingError(reason_in(answer))

    async def invoke(
        self, containers: Sequence[Container], body: bytes, headers: dict[str, str], limit: float = _ANSWER_TIMEOUT
    ) -> Answer:
        """Ask a model, loading it first if the host does not have it.

        :param headers: ``content-type`` and ``accept``.
        :param limit: seconds that the model has for its answer.
        :raises HostingError: if it can't be loaded, or gives no answer in time.
        """
        path = f"/models/{key_of(containers)}/invocations"
        headers = {**headers, _LIMIT: str(limit)}
        answer = await self._request("POST", path, body, headers, limit)
        if answer.status == 404:
            await self.load(containers)
            answer = await self._request("POST", path, body, headers, limit)
        return answer

    async def columns(self, containers: Sequence[Container]) -> tuple[list[str], bool]:
        """The columns that a model takes, in their order, and whether backslashes escape quotes in its CSV.

        There are no columns if its requests are not rows of a table.

        :raises HostingError: its artefact can't be fetched.
        """
        path = await asyncio.to_thread(self._fetch, containers[0])
        document = json.loads((path / "metadata.json").read_text())
        return [str(feature["name"]) for feature in document.get("features", ())], bool(document.get("escaped"))

    # The process

    async def _request(self, method: str, path: str, body: bytes, headers: dict[str, str], limit: float) -> Answer:
        import aiohttp

        for last in (False, True):
            session = await self._ready()
            try:
                async with session.request(
                    method,
                    f"http://model-host{path}",
                    data=body,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=limit),
                ) as answer:
                    kind = answer.headers.get("content-type", "application/octet-stream")
                    return Answer(answer.status, kind, await answer.read())
            except TimeoutError:
                raise HostingError(f"the model host gave no answer within {limit:.0f} seconds") from None
            except aiohttp.ClientError as error:
                # The host died: the next one gets one more chance with this request.
                if self._overrun is not None:
                    raise HostingError(self._overrun) from error
                if last:
                    raise HostingError(f"the model host ended while it worked on the request ({error})") from error
        raise AssertionError("unreachable")

    def _running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    async def _ready(self) -> aiohttp.ClientSession:
        import aiohttp

        async with self._starting:
            if not self._running():
                self._spawn()
                await self._listening()
                self._answered = time.monotonic()
            if self._session is None:
                # Without a limit: requests that wait for a slow model must not keep those of others waiting.
                self._session = aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(self._socket), limit=0), auto_decompress=False
                )
            return self._session

    async def _look(self) -> None:
        """Kill a host that takes too much memory, or whose models keep it from answering anything."""
        await asyncio.sleep(_LOOK)
        process, session, child = self._process, self._session, self._child
        if process is None or session is None or child is None or self._starting.locked() or not self._running():
            return
        used = await asyncio.to_thread(processes.memory, process)
        silent = not await self._pings(session) and time.monotonic() - self._answered > _SILENCE
        if self._memory_limit is not None and used > self._memory_limit:
            self._overrun = (
                f"the models used {used / 2**30:.1f} GiB of memory, "
                f"their limit is {self._memory_limit / 2**30:.1f} GiB; "
                "serve fewer or smaller models, or start the service with a higher --model-memory"
            )
        if silent or self._overrun is not None:
            log.error("killing the model host: %s", self._overrun or f"it answered nothing for {_SILENCE:.0f} s")
            # Requests that it answers no more wait here for the next one.
            async with self._starting:
                await asyncio.to_thread(_kill, process)
                await asyncio.to_thread(child.wait)

    async def _pings(self, session: aiohttp.ClientSession) -> bool:
        import aiohttp

        try:
            async with session.get("http://model-host/ping", timeout=aiohttp.ClientTimeout(total=_LOOK)):
                self._answered = time.monotonic()
        except (TimeoutError, aiohttp.ClientError):
            return False
        return True

    async def _listening(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while self._running() and time.monotonic() < deadline:
            try:
                _, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
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
            "OMP_NUM_THREADS": str(self._threads),
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
        self._process = processes.holder(self._child.pid)
        self._overrun = None
        log.info("started the model host, pid %d", self._child.pid)

    # Artefacts

    def _fetch(self, container: Container) -> Path:
        from botocore.exceptions import BotoCoreError, ClientError

        target = self._folder.models / container.sha256
        if target.is_dir():
            return target
        location = parse_uri(container.model_data)
        with tempfile.TemporaryDirectory(dir=self._folder.models, prefix=_SCRATCH) as temporary:
            archive = Path(temporary) / "model.tar.gz"
            try:
                retrying(lambda: self._s3_client().download_file(location.bucket, location.key, str(archive)))
            except (BotoCoreError, ClientError) as error:
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
                with tarfile.open(archive, "r:gz") as tar:
                    tar.extractall(extracted, filter="data")
            except (tarfile.TarError, OSError, EOFError) as error:
                raise HostingError(f"{container.model_data} can't be unpacked: {error}") from error
            try:
                extracted.rename(target)
            except OSError:
                # Another model with this artefact may have been faster.
                if not target.is_dir():
                    raise
        return target


def key_of(containers: Sequence[Container]) -> str:
    """A model's name in the host: the same for the same artefacts and settings."""
    identity = [(container.sha256, container.image, sorted(container.environment.items())) for container in containers]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:40]


def reason_in(answer: Answer) -> str:
    """Why the host refused."""
    with contextlib.suppress(ValueError, AttributeError):
        reason = json.loads(answer.body).get("error")
        if isinstance(reason, str):
            return reason
    return f"the model host answered {answer.status}: {answer.body[:500].decode(errors='replace')}"


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
