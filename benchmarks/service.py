"""The embedded service against moto's server in the same run: requests per second, start, memory.

``python benchmarks/service.py`` makes the same AutoML job in both, then asks each for it over kept-alive connections
from one client process, in turns. The job that is described has ended, with a best candidate of 16 metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from airflow_automl.local.server import listen
from airflow_automl.local.state.database import Database
from airflow_automl.local.state.jobs import JobStore

TARGET = 5.0
JOB = {
    "AutoMLJobName": "measured",
    "AutoMLJobInputDataConfig": [
        {"DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://automl/churn/"}}}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://automl/output/"},
    "RoleArn": "arn:aws:iam::123456789012:role/AutoMLExecutionRole",
    "AutoMLProblemTypeConfig": {
        "TabularJobConfig": {
            "TargetAttributeName": "churn",
            "ProblemType": "BinaryClassification",
            "CompletionCriteria": {"MaxCandidates": 10},
        }
    },
    "AutoMLJobObjective": {"MetricName": "F1"},
}
METRICS = ("Accuracy", "AUC", "BalancedAccuracy", "F1", "Precision", "Recall", "LogLoss", "InferenceLatency")
AUTHORIZATION = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sagemaker/aws4_request, "
    "SignedHeaders=host, Signature=" + "0" * 64
)


def request(url: str, operation: str, members: dict[str, object]) -> bytes:
    """One request as it goes over the wire."""
    body = json.dumps(members).encode()
    head = (
        f"POST / HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nX-Amz-Target: SageMaker.{operation}\r\n"
        f"Content-Type: application/x-amz-json-1.1\r\nAuthorization: {AUTHORIZATION}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def ask(url: str, message: bytes, until: float) -> int:
    """Send a message again and again on one connection.

    :return: how many were answered with 200.
    """
    parts = urlsplit(url)
    count = 0
    reader = writer = None
    while time.perf_counter() < until:
        if writer is None:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        assert reader is not None
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert b" 200 " in head.split(b"\r\n", 1)[0], head
        length = int(head.split(b"content-length:")[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
        count += 1
        if b"connection: close" in head:
            writer.close()
            writer = None
    return count


def rate(url: str, operation: str, members: dict[str, object], clients: int, seconds: float) -> float:
    """Answers per second."""

    async def all_clients() -> int:
        message = request(url, operation, members)
        until = time.perf_counter() + seconds
        return sum(await asyncio.gather(*(ask(url, message, until) for _ in range(clients))))

    return asyncio.run(all_clients()) / seconds


@contextmanager
def served(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A server in a process of its own."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def memory(process: subprocess.Popen[str]) -> float:
    """A process's proportional memory in MB."""
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024


def create(url: str, name: str) -> None:
    """Create the job."""
    message = json.dumps({**JOB, "AutoMLJobName": name}).encode()
    headers = {
        "X-Amz-Target": "SageMaker.CreateAutoMLJobV2",
        "Content-Type": "application/x-amz-json-1.1",
        "Authorization": AUTHORIZATION,
    }
    urllib.request.urlopen(urllib.request.Request(url, message, headers)).read()


def finished_job(data_dir: Path) -> None:
    """Put a job that has ended into the service's state, as a trainer's reports would have."""
    data_dir.mkdir()
    database = Database(data_dir / "state.db")
    jobs = JobStore(database)
    jobs.add("measured", "arn:aws:sagemaker:us-east-1:123456789012:automl-job/measured", "V2", JOB)
    jobs.begin_attempt("measured", time.time())
    jobs.set_resolved("measured", {"problem_type": "BinaryClassification", "objective": "F1"})
    candidate = {
        "CandidateName": "measured-LightGBM",
        "CandidateStatus": "Completed",
        "ObjectiveStatus": "Succeeded",
        "CandidateSteps": [
            {
                "CandidateStepType": "AWS::SageMaker::TrainingJob",
                "CandidateStepArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/measured-1",
                "CandidateStepName": "measured-1",
            }
        ],
        "CreationTime": time.time(),
        "LastModifiedTime": time.time(),
        "EndTime": time.time(),
        "FinalAutoMLJobObjectiveMetric": {"Type": "Maximize", "MetricName": "F1", "Value": 0.61},
        "InferenceContainers": [{"Image": "image", "ModelDataUrl": "s3://automl/output/model.tar.gz"}],
        "CandidateProperties": {
            "CandidateMetrics": [
                {"StandardMetricName": name, "Value": 0.5, "Set": part}
                for name in METRICS
                for part in ("Train", "Validation")
            ]
        },
    }
    jobs.put_candidate("measured", candidate, {}, 1)
    jobs.completed("measured", "Completed")
    database.close()


def wait_for(url: str) -> None:
    """Wait until a server listens."""
    parts = urlsplit(url)

    async def listening() -> None:
        while True:
            try:
                _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    asyncio.run(asyncio.wait_for(listening(), 60))


def main() -> int:
    """Measure and print.

    :return: 0 if the target is met.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="connections at once (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=100, help="jobs that are listed (default: %(default)s)")
    args = parser.parse_args()
    with listen("127.0.0.1", 0) as free:
        moto_url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", "0", "--data-dir", f"{folder}/data", "--max-jobs", "0"]
        finished_job(Path(folder, "data"))
        begun = time.perf_counter()
        with (
            served([sys.executable, "-m", "airflow_automl.cli", "local", *options]) as own,
            served([sys.executable, "-m", "moto.server", "-p", str(urlsplit(moto_url).port)]) as moto,
        ):
            assert own.stdout is not None
            url = own.stdout.readline().split()[1]
            print(f"ready after {time.perf_counter() - begun:.1f} s, {memory(own):.0f} MB idle (without the S3 store)")
            wait_for(moto_url)
            create(moto_url, "measured")
            for index in range(1, args.jobs):
                for target in (url, moto_url):
                    create(target, f"other-{index}")
            ratios = {}
            for operation, members in (
                ("DescribeAutoMLJobV2", {"AutoMLJobName": "measured"}),
                ("ListAutoMLJobs", {"MaxResults": 100}),
            ):
                rates: dict[str, list[float]] = {"service": [], "moto": []}
                for _ in range(args.rounds):
                    for name, target in (("service", url), ("moto", moto_url)):
                        rates[name].append(rate(target, operation, members, args.clients, args.seconds))
                middle = {name: statistics.median(values) for name, values in rates.items()}
                ratios[operation] = middle["service"] / middle["moto"]
                print(
                    f"{operation}: {middle['service']:.0f} requests/s, moto {middle['moto']:.0f}: "
                    f"{ratios[operation]:.1f} times"
                )
            print(f"{memory(own):.0f} MB after that, moto {memory(moto):.0f} MB")
    met = ratios["DescribeAutoMLJobV2"] >= TARGET
    print(f"target for Describe, {TARGET:.0f} times: {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
