"""A machine whose proxy does not know its loopback addresses."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.running import clean_environment, real_service

CLIENT = """
import boto3
print(boto3.client("sagemaker").list_auto_ml_jobs()["AutoMLJobSummaries"])
print([bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]])
"""


def test_service_and_clients_work_beside_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    # Nothing listens there.
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    python = shlex.quote(sys.executable)
    with real_service(tmp_path / "data", "--max-jobs", "0"):
        variables = f"{python} -m airflow_automl.cli env --data-dir {shlex.quote(str(tmp_path / 'data'))}"
        script = f'set -a; eval "$({variables})"; {python} -c {shlex.quote(CLIENT)}'
        answered = subprocess.run(
            ["bash", "-c", script], capture_output=True, text=True, env=clean_environment(), timeout=60
        )
    assert answered.stdout == "[]\n['automl']\n", answered.stderr
