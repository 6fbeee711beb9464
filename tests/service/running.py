"""Start, kill and ask services in tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config

from airflow_automl.local.processes import holder, identify, members
from airflow_automl.local.state.folder import ServiceInfo, running_service

ROLE = "arn:aws:iam::123456789012:role/AutoMLExecutionRole"
_SCRIPTED = Path(__file__).with_name("scripted_service.py")


class RunningService:
    """A service in a process of its own."""

    def __init__(self, data_dir: Path, command: list[str]) -> None:
        self.data_dir = data_dir
        self._command = command
        self.start()

    def start(self) -> None:
        """Start it, also again."""
        self.log = self.data_dir.with_suffix(".log")
        with self.log.open("ab") as errors:
            self.process = subprocess.Popen(
                self._command, stdout=subprocess.PIPE, stderr=errors, text=True, env=clean_environment()
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("ready "), self.log.read_text()[-3000:]
        self.url = line.split()[1]
        # A server that remains on the same port would answer instead of this one.
        assert self.info.pid == self.process.pid
        assert urlsplit(self.url).port not in (None, 4566)

    @property
    def info(self) -> ServiceInfo:
        """What the service published."""
        return running_service(self.data_dir)

    def client(self, name: str = "sagemaker", **config: Any) -> Any:
        """An unmodified boto3 client, which does not try again what failed."""
        info = self.info
        return boto3.session.Session().client(
            name,
            endpoint_url=info.s3_endpoint_url if name == "s3" else info.endpoint_url,
            region_name=info.region,
            aws_access_key_id=info.access_key_id,
            aws_secret_access_key=info.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    def evaluate(self, **arguments: Any) -> dict[str, Any]:
        """The evaluate operator's result for one of the service's endpoints."""
        from airflow_automl.local.commands.env import connection
        from airflow_automl.operators import SageMakerAutoMLEvaluateOperator

        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW_CONN_EMBEDDED", json.dumps(connection(self.info)))
            task = SageMakerAutoMLEvaluateOperator(task_id="evaluate", aws_conn_id="embedded", **arguments)
            found: dict[str, Any] = json.loads(json.dumps(task.execute({})))
        return found

    def kill(self) -> None:
        """Kill only this process, as a crash does."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop the service as a user does.

        :return: its exit code.
        """
        self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def scripted_service(data_dir: Path, **options: Any) -> Iterator[RunningService]:
    """A service whose jobs follow the script in their S3 prefix; see ``scripted_trainer.py``.

    :param options: of the service; ``trainer`` is another script of this folder.
    """
    with _ended(RunningService(data_dir, [sys.executable, str(_SCRIPTED), str(data_dir), json.dumps(options)])) as it:
        yield it


@contextmanager
def real_service(data_dir: Path, *arguments: str) -> Iterator[RunningService]:
    """The service as users start it."""
    command = [sys.executable, "-m", "airflow_automl.cli", "local", "--port", "0", "--data-dir", str(data_dir)]
    with _ended(RunningService(data_dir, [*command, *arguments])) as it:
        yield it


@contextmanager
def _ended(service: RunningService) -> Iterator[RunningService]:
    try:
        yield service
    finally:
        if service.process.poll() is not None:
            # The next service on the folder ends the processes that a killed one left.
            service.start()
        assert service.stop() == 0


def clean_environment() -> dict[str, str]:
    """This process's environment without AWS settings."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    return {**environment, "OMP_NUM_THREADS": "1"}


def request(name: str, script: str, **more: Any) -> dict[str, Any]:
    """A CreateAutoMLJobV2 request for the scripted trainer."""
    criteria = {"CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": more.pop("limit")}} if "limit" in more else {}
    return {
        "AutoMLJobName": name,
        "AutoMLJobInputDataConfig": [
            {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://automl/script/{script}"}}}
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://automl/out/"},
        "RoleArn": ROLE,
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": "y", **criteria}},
        **more,
    }


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Poll until the answer is truthy."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return answer


def ended(client: Any, name: str, seconds: float = 60.0) -> dict[str, Any]:
    """Describe a job once it has ended."""

    def answer() -> dict[str, Any] | None:
        described: dict[str, Any] = client.describe_auto_ml_job_v2(AutoMLJobName=name)
        return described if described["AutoMLJobStatus"] in ("Completed", "Failed", "Stopped") else None

    found: dict[str, Any] = until(answer, seconds)
    return found


def trainer_pid(service: RunningService, name: str) -> int:
    """The pid of a job's trainer, once it runs its script."""
    log = service.data_dir / "jobs" / name / "trainer.log"
    until(lambda: log.exists() and "runs" in log.read_text())
    folder = str(service.data_dir.resolve())
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and identify(int(entry.name)):
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if any(folder in part for part in line) and any(part.endswith(f"/jobs/{name}") for part in line):
                return int(entry.name)
    raise AssertionError(f"the job {name} has no trainer")


def gone(pid: int) -> bool:
    """Whether a process and all of its session have ended."""
    return not members(holder(pid)) and identify(pid) is None
