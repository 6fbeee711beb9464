"""The embedded Autopilot in a process of its own, as users start it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from airflow_automl.demo.stack import parse_environment

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/service-role/AutoML-Execution"
_COMMAND = (sys.executable, "-m", "airflow_automl.cli")


@dataclass(frozen=True)
class Autopilot:
    """A service that runs.

    :param url: its endpoint.
    :param environment: what ``airflow-automl env`` prints.
    """

    url: str
    process: subprocess.Popen[str]
    environment: dict[str, str]

    def client(self, service: str = "sagemaker", **config: Any) -> Any:
        """An ordinary boto3 client, which does not try again what failed."""
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL_S3"] if service == "s3" else self.url,
            region_name=REGION,
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    @property
    def alive(self) -> bool:
        return self.process.poll() is None


@contextmanager
def run_autopilot(folder: Path, *, max_jobs: int = 0) -> Iterator[Autopilot]:
    """Serve in a folder until the block ends; ``max_jobs=0`` accepts jobs and starts none."""
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "autopilot"
    log = folder / "autopilot.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*_COMMAND, "local", "--port", "0", "--data-dir", str(data), "--max-jobs", str(max_jobs)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:
        line = process.stdout.readline() if process.stdout else ""
        assert line.startswith("ready "), f"the embedded Autopilot did not start: {line}{log.read_text()[-4000:]}"
        printed = subprocess.run(
            [*_COMMAND, "env", "--data-dir", str(data)], check=True, capture_output=True, text=True
        ).stdout
        yield Autopilot(line.split()[1], process, parse_environment(printed))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
