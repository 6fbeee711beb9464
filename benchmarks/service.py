"""The embedded service against moto's server in the same run: requests per second, start, memory.

``python benchmarks/service.py`` makes the same AutoML job in both, then asks each for it over kept-alive connections
from one client process, in turns. The job that is described has ended, with a best candidate of 16 metrics.

Then it asks two services, one with few ended jobs and one with many, for pages of every list with several filters and
in every order, and for a Describe while another client asks for them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import random
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


def candidate(name: str) -> dict[str, object]:
    """A candidate as a trainer reports it, with 16 metrics."""
    return {
        "CandidateName": name,
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
        "FinalAutoMLJobObjectiveMetric": {"Type": "Maximize", "MetricName": "F1", "Value": random.random()},
        "InferenceContainers": [{"Image": "image", "ModelDataUrl": "s3://automl/output/model.tar.gz"}],
        "CandidateProperties": {
            "CandidateMetrics": [
                {"StandardMetricName": name, "Value": 0.5, "Set": part}
                for name in METRICS
                for part in ("Train", "Validation")
            ]
        },
    }


def ended_jobs(data_dir: Path, count: int = 1, candidates: int = 1) -> None:
    """Put jobs that have ended into a service's state, as trainers' reports would have.

    :param candidates: of the first job, ``measured``; the others have none.
    """
    data_dir.mkdir()
    database = Database(data_dir / "state.db")
    jobs = JobStore(database)
    arn = "arn:aws:sagemaker:us-east-1:123456789012:automl-job"
    with database.transaction():
        jobs.add("measured", f"{arn}/measured", "V2", JOB)
        jobs.begin_attempt("measured", time.time())
        jobs.set_resolved("measured", {"problem_type": "BinaryClassification", "objective": "F1"})
        for number in range(candidates):
            jobs.put_candidate("measured", candidate(f"measured-{number}"), {}, 1)
        jobs.completed("measured", "Completed")
        for number in range(1, count):
            name = f"team-{number % 7}-{random.getrandbits(24):06x}-{number:06d}"
            status = "Failed" if number % 20 == 0 else "Completed"
            database.execute(
                "INSERT INTO jobs"
                " (name, arn, api, request, status, secondary, stage, attempt, created, modified, ended)"
                " VALUES (?, ?, 'V2', ?, ?, ?, 'ended', 1, ?, ?, ?)",
                (name, f"{arn}/{name}", json.dumps(JOB), status, status, number, number + 60, number + 60),
            )
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


class Connection:
    """A kept-alive connection."""

    def __init__(self, url: str) -> None:
        self._http = http.client.HTTPConnection(urlsplit(url).netloc)

    def ask(self, target: str, members: dict[str, object]) -> float:
        """Send a request, and keep its answer in ``answer``.

        :return: milliseconds until its answer was read.
        """
        headers = {"X-Amz-Target": target, "Authorization": AUTHORIZATION}
        begun = time.perf_counter()
        self._http.request("POST", "/", json.dumps(members), headers)
        answer = self._http.getresponse()
        self.answer = answer.read()
        assert answer.status == 200, answer.status
        return (time.perf_counter() - begun) * 1000


def pages(count: int) -> dict[str, tuple[str, dict[str, object]]]:
    """Requests of pages from lists of ``count`` jobs: label → target and members."""
    filters: dict[str, dict[str, object]] = {
        "all": {},
        "name, many": {"NameContains": "team-3"},
        "name, few": {"NameContains": f"{count // 2:06d}"},
        "name, none": {"NameContains": "nobody"},
        "one letter, none": {"NameContains": "z"},
        "two letters, none": {"NameContains": "qx"},
        "two letters, many": {"NameContains": "a3"},
        "status, many": {"StatusEquals": "Completed"},
        "status, some": {"StatusEquals": "Failed"},
        "status, none": {"StatusEquals": "InProgress"},
        "newer half": {"CreationTimeAfter": count / 2},
        "newest": {"CreationTimeAfter": count - 10},
        "changed before": {"LastModifiedTimeBefore": count / 2},
        "three at once": {"NameContains": "team-5", "StatusEquals": "Failed", "CreationTimeAfter": count / 3},
    }
    found: dict[str, tuple[str, dict[str, object]]] = {}
    for label, members in filters.items():
        for sort_by in ("Name", "CreationTime", "Status"):
            for order in ("Ascending", "Descending"):
                request = {**members, "SortBy": sort_by, "SortOrder": order, "MaxResults": 100}
                found[f"ListAutoMLJobs, {label}, {sort_by} {order}"] = ("SageMaker.ListAutoMLJobs", request)
    group: dict[str, object] = {"logGroupName": "/aws/sagemaker/TrainingJobs"}
    streams = "Logs_20140328.DescribeLogStreams"
    found["DescribeLogStreams"] = (streams, group)
    found["DescribeLogStreams, prefix"] = (streams, {**group, "logStreamNamePrefix": "measured/"})
    found["DescribeLogStreams, newest"] = (streams, {**group, "orderBy": "LastEventTime", "descending": True})
    by_value: dict[str, object] = {"AutoMLJobName": "measured", "SortBy": "FinalObjectiveMetricValue"}
    found["ListCandidatesForAutoMLJob"] = ("SageMaker.ListCandidatesForAutoMLJob", {**by_value, "MaxResults": 100})
    return found


def page_times(url: str, count: int, rounds: int) -> dict[str, tuple[float, int]]:
    """Milliseconds of each page after a change of the state, the best of some rounds; and entries of the page."""
    connection = Connection(url)
    found: dict[str, tuple[float, int]] = {}
    arn = "arn:aws:sagemaker:us-east-1:123456789012:automl-job/measured"
    for label, (target, members) in pages(count).items():
        times = []
        for number in range(rounds):
            # Answers are remembered until the state changes.
            connection.ask("SageMaker.AddTags", {"ResourceArn": arn, "Tags": [{"Key": "k", "Value": str(number)}]})
            times.append(connection.ask(target, members))
        found[label] = min(times), max(map(len, json.loads(connection.answer).values()), default=0)
    return found


def describe_beside(url: str, count: int, heaviest: str, rounds: int) -> tuple[float, float]:
    """Median milliseconds of a Describe alone, and while another client asks for the heaviest page all the time."""
    connection, members = Connection(url), {"AutoMLJobName": "measured"}
    alone = statistics.median(connection.ask("SageMaker.DescribeAutoMLJobV2", members) for _ in range(rounds))
    target, request_ = pages(count)[heaviest]
    command = [sys.executable, __file__, "--ask", url, target, json.dumps(request_)]
    with served(command) as other:
        assert other.stdout is not None
        other.stdout.readline()
        times = [connection.ask("SageMaker.DescribeAutoMLJobV2", members) for _ in range(rounds)]
    return alone, statistics.median(times)


def keep_asking(url: str, target: str, members: dict[str, object]) -> int:
    """Ask for a page again and again, each after a change of the state, until the process is ended."""
    connection = Connection(url)
    arn = "arn:aws:sagemaker:us-east-1:123456789012:automl-job/measured"
    print("asking", flush=True)
    for number in itertools.count():
        connection.ask("SageMaker.AddTags", {"ResourceArn": arn, "Tags": [{"Key": "k", "Value": str(number)}]})
        connection.ask(target, members)
    return 0


def _comparable(times: dict[int, dict[str, tuple[float, int]]], few: int, many: int, label: str) -> float:
    """Milliseconds of the same page of the short list, or of its unfiltered page if that has fewer entries."""
    milliseconds, entries = times[few][label]
    if entries >= times[many][label][1]:
        return milliseconds
    return times[few][f"ListAutoMLJobs, all, {label.rpartition(', ')[2]}"][0]


def measure_lists(few: int, many: int, rounds: int) -> bool:
    """Measure pages of lists of few and of many jobs, in turns, and print the slowest.

    :return: whether all targets are met.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        urls: dict[int, str] = {}
        ready: dict[int, float] = {}
        for count in (few, many):
            data_dir = Path(folder, str(count))
            ended_jobs(data_dir, count, candidates=750)
            (data_dir / "jobs/measured").mkdir(parents=True)
            (data_dir / "jobs/measured/trainer.log").write_text("trained\n")
        for count in (few, many, few, many):
            options = ["--port", "0", "--data-dir", f"{folder}/{count}", "--max-jobs", "0"]
            begun = time.perf_counter()
            with served([sys.executable, "-m", "airflow_automl.cli", "local", *options]) as process:
                assert process.stdout is not None
                process.stdout.readline()
                ready[count] = time.perf_counter() - begun
        for count in (few, many):
            options = ["--port", "0", "--data-dir", f"{folder}/{count}", "--max-jobs", "0"]
            process = stack.enter_context(served([sys.executable, "-m", "airflow_automl.cli", "local", *options]))
            assert process.stdout is not None
            urls[count] = process.stdout.readline().split()[1]
        # The first requests load the service models.
        for count in (few, many):
            page_times(urls[count], count, 1)
        times = {count: page_times(urls[count], count, rounds) for count in (few, many)}
        print(f"ready after {ready[few]:.1f} s with {few} jobs, {ready[many]:.1f} s with {many}")
        slowest = sorted(times[many], key=times[many].__getitem__, reverse=True)
        for label in [*slowest[:5], *(label for label in slowest[5:] if not label.startswith("ListAutoMLJobs"))]:
            print(f"{label}: {times[many][label][0]:.1f} ms with {many} jobs, {times[few][label][0]:.1f} ms with {few}")
        jobs = [label for label in slowest if label.startswith("ListAutoMLJobs")]
        ratio, label = max((times[many][label][0] / _comparable(times, few, many, label), label) for label in jobs)
        print(f"most times as long as a page of as many entries with {few}: {label}, {ratio:.1f} times")
        alone, beside = describe_beside(urls[many], many, slowest[0], 50 * rounds)
        print(f"DescribeAutoMLJobV2: {alone:.1f} ms alone, {beside:.1f} ms beside {slowest[0]}")
        targets = {
            "each page of jobs at most 10 ms": times[many][jobs[0]][0] <= 10,
            f"each page of jobs at most twice as long as with {few}": ratio <= 2,
            "log streams and candidates at most 20 ms a page": max(times[many].values())[0] <= 20,
            "a Describe at most 5 ms later": beside - alone <= 5,
            "ready no later (within 0.5 s)": ready[many] <= ready[few] + 0.5,
        }
    for target, met in targets.items():
        print(f"{target}: {'met' if met else 'missed'}")
    return all(targets.values())


def main() -> int:
    """Measure and print.

    :return: 0 if all targets are met.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="connections at once (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=100, help="jobs that are listed (default: %(default)s)")
    parser.add_argument("--many", type=int, default=100_000, help="jobs of the long list (default: %(default)s)")
    parser.add_argument("--only", choices=("moto", "lists"), help="measure only the one or the other")
    parser.add_argument("--ask", nargs=3, metavar=("URL", "TARGET", "MEMBERS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        return keep_asking(args.ask[0], args.ask[1], json.loads(args.ask[2]))
    met = args.only == "moto" or measure_lists(args.jobs, args.many, args.rounds)
    if args.only != "lists":
        met = measure_moto(args) and met
    return 0 if met else 1


def measure_moto(args: argparse.Namespace) -> bool:
    """Measure both servers and print.

    :return: whether the target is met.
    """
    with listen("127.0.0.1", 0) as free:
        moto_url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        options = ["--port", "0", "--data-dir", f"{folder}/data", "--max-jobs", "0"]
        ended_jobs(Path(folder, "data"))
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
    return met


if __name__ == "__main__":
    sys.exit(main())
