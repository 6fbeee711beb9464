"""What the benchmarks of text and image classification share: jobs as the service runs them, and their candidates."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BUCKET = "benchmark"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    :param data: name of the data set.
    :param model: what was trained.
    :param accuracy: on samples that nobody has seen.
    :param chosen: accuracy on the validation data, for candidates of a job.
    :param wall: seconds of training.
    :param cpu: CPU seconds of training.
    :param memory: bytes at most.
    :param size: bytes of the artefact.
    """

    data: str
    model: str
    accuracy: float
    chosen: float | None = None
    wall: float | None = None
    cpu: float | None = None
    memory: int | None = None
    size: int | None = None


HEAD = (
    "| data | model | accuracy | on validation | wall s | CPU s | memory MB | artefact MB |\n"
    + "|---|---|"
    + "---:|" * 6
)


def line(row: Row) -> str:
    """A row as Markdown."""

    def shown(value: float | None, digits: int, unit: float = 1) -> str:
        return "" if value is None else f"{value / unit:.{digits}f}"

    cells = [row.data, row.model, shown(row.accuracy, 3), shown(row.chosen, 3), shown(row.wall, 1), shown(row.cpu, 1)]
    cells += [shown(row.memory, 0, 1e6), shown(row.size, 1, 1e6)]
    return "| " + " | ".join(cells) + " |"


def measured(data: str, model: str, work: Callable[[], Callable[[], float]]) -> Row:
    """Train something in a process of its own.

    :param work: trains, and returns what tells the accuracy.
    """
    read, write = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        accuracy = work()
        took = time.monotonic() - began
        used = os.times()
        answer = {"wall": took, "cpu": used.user + used.system, "accuracy": accuracy()}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = json.loads(pipe.read())
    _, _, usage = os.wait4(pid, 0)
    return Row(data, model, answer["accuracy"], None, answer["wall"], answer["cpu"], usage.ru_maxrss * 1024)


def job(
    data: str,
    files: Mapping[str, bytes],
    problem: Mapping[str, Any],
    threads: int,
    accuracy: Callable[[Any], float],
) -> list[Row]:
    """Run a job and judge all its candidates.

    :param data: name of the data set.
    :param files: key → content, all below ``train/``.
    :param problem: the AutoMLProblemTypeConfig.
    :param threads: that the job may use.
    :param accuracy: of a loaded candidate, on samples that it has not seen.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    from airflow_automl.local.models import artifacts

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    access = {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "benchmark",
        "AWS_SECRET_ACCESS_KEY": "benchmark",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    s3 = boto3.client(
        "s3",
        endpoint_url=access["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id="benchmark",
        aws_secret_access_key="benchmark",
        region_name="us-east-1",
    )
    s3.create_bucket(Bucket=BUCKET)
    for key, content in files.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=content)
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/train/"}}
    request = {"AutoMLJobInputDataConfig": [{"DataSource": source}], "AutoMLProblemTypeConfig": problem}
    rows = []
    with tempfile.TemporaryDirectory(prefix="automl-benchmark-") as name:
        folder = Path(name)
        _write(folder, request, threads)
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow_automl.local.training.main", str(folder)],
            env=os.environ | access | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"},
            stderr=(folder / "trainer.log").open("wb"),
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - began
        if process.returncode:
            raise SystemExit((folder / "trainer.log").read_text()[-2000:])
        events = [json.loads(text) for text in (folder / "events.jsonl").read_text().splitlines()]
        for candidate in _completed(events):
            (container,) = candidate["InferenceContainerDefinitions"]["CPU"]
            archive = folder / "model.tar.gz"
            s3.download_file(BUCKET, container["ModelDataUrl"].removeprefix(f"s3://{BUCKET}/"), str(archive))
            rows.append(
                Row(
                    data,
                    f"candidate {artifacts.describe(archive)['approach']}",
                    accuracy(artifacts.load(archive)),
                    candidate["FinalAutoMLJobObjectiveMetric"]["Value"],
                    candidate["EndTime"] - candidate["CreationTime"],
                    size=archive.stat().st_size,
                )
            )
    server.stop()
    best = max(rows, key=lambda row: row.chosen or 0.0)
    cpu, memory = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
    return [*rows, Row(data, f"**job** ({best.model})", best.accuracy, best.chosen, wall, cpu, memory, best.size)]


def _completed(events: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    last = {
        event["candidate"]["CandidateName"]: event["candidate"] for event in events if event["event"] == "candidate"
    }
    return [candidate for candidate in last.values() if candidate["CandidateStatus"] == "Completed"]


def _write(folder: Path, request: Mapping[str, Any], threads: int) -> None:
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
        "max_runtime": None,
        "attempt": 1,
        "output": f"s3://{BUCKET}/output/",
    }
    (folder / "spec.json").write_text(json.dumps(spec))
