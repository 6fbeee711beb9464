"""Jobs as the embedded service runs them, without the service, for benchmarks."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUCKET = "benchmark"


@contextlib.contextmanager
def store() -> Iterator[dict[str, str]]:
    """Run an S3 store in this process; yields the environment variables that lead to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield {
            "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "benchmark",
            "AWS_SECRET_ACCESS_KEY": "benchmark",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()


def run(
    folder: Path,
    rows: bytes,
    problem: Mapping[str, Any],
    threads: int,
    objective: str | None = None,
    seconds: int | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Train a job on a CSV; the environment leads to a store.

    :param folder: for the job's files; is made.
    :param rows: the CSV.
    :param problem: the AutoMLProblemTypeConfig.
    :param seconds: after which the job is ended, as the service does it; what was completed by then counts.
    :return: the predictor of the best candidate, and that candidate.
    """
    import boto3

    from airflow_automl.contract.metrics import best
    from airflow_automl.local.models import artifacts

    s3 = boto3.client("s3")
    with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
        s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=f"{folder.name}/in/data.csv", Body=rows)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{folder.name}/in/"}}
    request: dict[str, Any] = {
        "AutoMLJobInputDataConfig": [{"DataSource": source}],
        "AutoMLProblemTypeConfig": problem,
    }
    if objective:
        request["AutoMLJobObjective"] = {"MetricName": objective}
    candidates = candidates_of(train(folder, request, threads, seconds))
    chosen = best(candidates, objective)
    if chosen is None:
        raise SystemExit("no candidate was completed in time")
    return artifacts.load(chosen["InferenceContainers"]), dict(chosen)


def train(folder: Path, request: Mapping[str, Any], threads: int, seconds: int | None = None) -> list[dict[str, Any]]:
    """Train a job whose data are in the store; return its events."""
    spec = {
        "schema_version": 2,
        "name": "benchmark",
        "arn": "arn:aws:sagemaker:us-east-1:123456789012:automl-job/benchmark",
        "account": "123456789012",
        "region": "us-east-1",
        "api_version": "V2",
        "request": request,
        "threads": threads,
        "memory_limit_bytes": None,
        "max_runtime": seconds,
        "attempt": 1,
        "output": f"s3://{BUCKET}/{folder.name}/out/",
    }
    folder.mkdir()
    (folder / "spec.json").write_text(json.dumps(spec))
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "airflow_automl.local.training.main", str(folder)]
        trainer = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        began = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            trainer.wait(None if seconds is None else max(began + seconds + 1 - time.monotonic(), 0))
        if trainer.poll() is None:
            os.killpg(trainer.pid, signal.SIGKILL)
            trainer.wait()
    if keep := os.environ.get("KEEP_LOG"):
        Path(keep).write_bytes((folder / "log").read_bytes())
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    if events[-1]["event"] == "failed":
        raise SystemExit(events[-1]["reason"])
    return events


def candidates_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the completed candidates."""
    last = {event["candidate"]["CandidateName"]: event["candidate"] for event in events if "candidate" in event}
    return [candidate for candidate in last.values() if candidate["CandidateStatus"] == "Completed"]
