"""The data folder of an embedded service, and who may use it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TextIO

from airflow_automl.local.errors import StartupError
from airflow_automl.local.files import write_private
from airflow_automl.local.processes import Process, alive

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ServiceInfo:
    """What clients of a running service need to know (``service.json``, readable by its owner alone).

    :param pid: the service's process.
    :param started: its start time in clock ticks since boot.
    :param endpoint_url: where the API answers.
    :param s3_endpoint_url: the address of the S3 store.
    :param region: the AWS region of all ARNs.
    :param account: the AWS account of all ARNs.
    :param access_key_id: access key of the S3 store, and of the API where signatures are checked.
    :param secret_access_key: its secret.
    :param bucket: the bucket that is made at the first start.
    """

    pid: int
    started: int
    endpoint_url: str
    s3_endpoint_url: str
    region: str
    account: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    schema_version: int = SCHEMA_VERSION

    @property
    def running(self) -> bool:
        """Return whether the service that wrote this still runs."""
        return alive(Process(self.pid, self.started))

    @property
    def role_arn(self) -> str:
        """A role to name in requests; the embedded service checks no permissions."""
        return f"arn:aws:iam::{self.account}:role/AutoMLExecutionRole"


class DataFolder:
    """Paths of a data folder.

    :param root: the folder; it is made when the service starts.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).expanduser().resolve()
        self.database = self.root / "state.db"
        self.s3 = self.root / "s3"
        self.models = self.root / "models"
        self.jobs = self.root / "jobs"
        self.weights = self.root / "weights"
        self.metrics = self.root / "endpoints.json"
        self._info = self.root / "service.json"
        self._secrets = self.root / "credentials.json"

    def job(self, name: str) -> Path:
        """The folder of one job. Job names hold letters, digits and hyphens only, so that no name leaves the folder."""
        return self.jobs / name

    def prepare(self) -> None:
        """Make the folder.

        :raises StartupError: if that isn't allowed.
        """
        with self._using():
            for path in (self.root, self.models, self.jobs, self.s3):
                path.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / f".probe-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StartupError(
                f"the data folder {self.root} can't be used ({error.strerror}); see to its disk and permissions, "
                "or name another one with --data-dir"
            ) from error

    def lock(self) -> TextIO:
        """Take the folder for this process; the lock goes with the process, however that ends.

        :raises StartupError: if another service has it, or the folder can't be written.
        """
        with self._using():
            handle = (self.root / "lock").open("a+")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip()
                handle.close()
                raise StartupError(
                    f"another service (pid {owner or 'unknown'}) runs on the data folder {self.root}; "
                    f"use that one, stop it, or name another folder with --data-dir"
                ) from None
            handle.seek(0)
            handle.truncate()
            handle.write(f"{os.getpid()}\n")
            handle.flush()
            return handle

    def write_info(self, info: ServiceInfo) -> None:
        """Publish how to reach the running service.

        :raises StartupError: if the folder can't be written.
        """
        with self._using():
            write_private(self._info, asdict(info))

    def read_info(self) -> ServiceInfo | None:
        """What the last service on this folder published, or ``None``."""
        names = {field.name for field in fields(ServiceInfo)}
        try:
            document = json.loads(self._info.read_text())
            return ServiceInfo(**{key: value for key, value in document.items() if key in names})
        except (OSError, ValueError, TypeError, AttributeError):
            return None  # not there, or damaged

    def forget_info(self) -> None:
        """Withdraw what :meth:`write_info` published."""
        self._info.unlink(missing_ok=True)

    def own_credentials(self) -> tuple[str, str]:
        """Access key and secret of this folder's S3 store, made at random once.

        :raises StartupError: the file can't be read or written. One that is damaged is replaced.
        """
        with self._using():
            text = self._secrets.read_text() if self._secrets.exists() else ""
        try:
            document = json.loads(text)
            return document["access_key_id"], document["secret_access_key"]
        except (ValueError, KeyError, TypeError):
            pair = ("AUTOML" + secrets.token_hex(7).upper(), secrets.token_hex(20))
        with self._using():
            write_private(self._secrets, {"access_key_id": pair[0], "secret_access_key": pair[1]})
        return pair


def running_service(root: str | os.PathLike[str]) -> ServiceInfo:
    """The service that runs on a data folder.

    :raises StartupError: if none does.
    """
    folder = DataFolder(root)
    info = folder.read_info()
    if info is None or not info.running:
        raise StartupError(
            f"no service runs on the data folder {folder.root}; start one: airflow-automl local --data-dir {root}"
        )
    return info
