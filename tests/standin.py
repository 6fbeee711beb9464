"""SageMaker's AutoML operations on loopback, fast and faulty on demand: no training, only scripted time.

A job is a script of (seconds after its creation, status, secondary status). The stand-in speaks AWS JSON 1.1 to an
unmodified boto3 or aiobotocore, counts the calls of each operation, and can throttle, fail, lag, skew its clock and
deny. ``python -m tests.standin`` serves it in a process of its own, for benchmarks; ``POST /control`` sets its faults
and adds jobs there.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

ARN = "arn:aws:sagemaker:us-east-1:123456789012:automl-job/"
Step = tuple[float, str, str]

COMPLETED: tuple[Step, ...] = (
    (0.0, "InProgress", "Starting"),
    (0.05, "InProgress", "TrainingModels"),
    (0.1, "Completed", "Completed"),
)


def ends(status: str, secondary: str, after: float = 0.1) -> tuple[Step, ...]:
    """A script of a job that ends like this."""
    return ((0.0, "InProgress", "Starting"), (after / 2, "InProgress", "TrainingModels"), (after, status, secondary))


def running(seconds: float) -> tuple[Step, ...]:
    """A script of a job that completes after so many seconds."""
    return ends("Completed", "Completed", seconds)


#: A script of a job that runs until it is stopped.
ENDLESS: tuple[Step, ...] = ((0.0, "InProgress", "Starting"), (0.05, "InProgress", "TrainingModels"))


def candidate(name: str, value: float = 0.87) -> dict[str, Any]:
    """A best candidate as the service answers it."""
    return {
        "CandidateName": f"{name}-best",
        "CandidateStatus": "Completed",
        "ObjectiveStatus": "Succeeded",
        "CandidateSteps": [],
        "CreationTime": 1_700_000_000.0,
        "EndTime": 1_700_000_060.0,
        "LastModifiedTime": 1_700_000_060.0,
        "FinalAutoMLJobObjectiveMetric": {
            "Type": "Maximize",
            "MetricName": "AUC",
            "StandardMetricName": "AUC",
            "Value": value,
        },
        "InferenceContainers": [{"Image": "image", "ModelDataUrl": f"s3://out/{name}/model.tar.gz", "Environment": {}}],
    }


class Refused(Exception):
    """An error answer."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code, self.message, self.status = code, message, status


@dataclass
class Faults:
    """The faults of the stand-in.

    :param throttle_rate: List calls per second above which lists are throttled.
    :param throttle_next: number of next calls that are throttled.
    :param errors: share of the calls that are answered with HTTP 500.
    :param list_lag: seconds by which lists are behind.
    :param list_misses: share of the jobs that lists never show.
    :param skew: seconds by which the service's clock is ahead of the client's.
    :param deny: operations that are denied.
    :param expired_next: number of next calls that are refused as if their credentials had expired.
    :param valid_key: calls signed with another access key are refused as expired.
    :param quota: how many jobs may run at once.
    :param forbid_tags: jobs can't be tagged.
    """

    throttle_rate: float = math.inf
    throttle_next: int = 0
    errors: float = 0.0
    list_lag: float = 0.0
    list_misses: float = 0.0
    skew: float = 0.0
    deny: frozenset[str] = frozenset()
    expired_next: int = 0
    valid_key: str | None = None
    quota: int = sys.maxsize
    forbid_tags: bool = False


@dataclass
class Job:
    """One job and its script."""

    name: str
    api: str
    request: dict[str, Any]
    script: tuple[Step, ...]
    created: float
    extra: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    stopped: float | None = None
    candidates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def arn(self) -> str:
        return ARN + self.name.lower()

    def at(self, now: float) -> tuple[str, str, float]:
        """Return status, secondary status, and since when."""
        steps = [(self.created + offset, status, secondary) for offset, status, secondary in self.script]
        if self.stopped is not None:
            steps = [step for step in steps if step[0] <= self.stopped]
            steps += [(self.stopped, "Stopping", "Stopping"), (self.stopped + 0.05, "Stopped", "Stopped")]
        since, status, secondary = next((step for step in reversed(steps) if step[0] <= now), steps[0])
        return status, secondary, since

    def ended(self, now: float) -> bool:
        return self.at(now)[0] in {"Completed", "Failed", "Stopped"}


class StandIn:
    """The service's state and its answers."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.calls: Counter[str] = Counter()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.faults = Faults()
        self.plan: Callable[[dict[str, Any]], Sequence[Step]] = lambda request: COMPLETED
        #: What describe answers besides for a job that has ended, by the task that created it.
        self.extra_by_task: dict[str, dict[str, Any]] = {}
        self.most_running = 0
        #: How often a job was refused because the quota was used up.
        self.refused_creates = 0
        #: Names of the jobs that were described or listed.
        self.seen: set[str] = set()
        #: Regions that calls were signed for.
        self.regions: set[str] = set()
        self.url = ""
        self._random = random.Random(7)
        self._lists: list[float] = []

    def reset(self) -> None:
        """Forget everything."""
        url = self.url
        self.__init__()  # type: ignore[misc]
        self.url = url

    def add_job(
        self,
        name: str,
        script: Sequence[Step] = COMPLETED,
        *,
        api: str = "V2",
        age: float = 0.0,
        tags: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> Job:
        """Add a job that another user created ``age`` seconds ago."""
        request = {
            "AutoMLJobName": name,
            "OutputDataConfig": {"S3OutputPath": "s3://out/"},
            "RoleArn": "arn:aws:iam::123456789012:role/automl",
        }
        if api == "V1":
            request["InputDataConfig"] = [_channel()]
        else:
            request["AutoMLJobInputDataConfig"] = [_channel()]
            request["AutoMLProblemTypeConfig"] = {"TabularJobConfig": {"TargetAttributeName": "y"}}
        job = Job(name, api, request, tuple(script), time.time() - age, dict(extra), dict(tags or {}))
        self.jobs[name.lower()] = job
        return job

    # The wire

    def answer(self, operation: str, body: dict[str, Any], access_key: str = "") -> dict[str, Any]:
        """Answer one call."""
        self.calls[operation] += 1
        self.requests.append((operation, body))
        if len(self.requests) > 20_000:
            del self.requests[:10_000]
        faults = self.faults
        if faults.throttle_next > 0:
            faults.throttle_next -= 1
            raise Refused("ThrottlingException", "Rate exceeded")
        if faults.expired_next > 0 or faults.valid_key not in {None, access_key}:
            faults.expired_next = max(0, faults.expired_next - 1)
            raise Refused("ExpiredTokenException", "The security token included in the request is expired")
        if operation in faults.deny:
            raise Refused("AccessDeniedException", f"User: u is not authorized to perform: sagemaker:{operation}")
        if faults.errors and self._random.random() < faults.errors:
            raise Refused("InternalFailure", "internal error", 500)
        handler: Callable[[dict[str, Any]], dict[str, Any]] | None = getattr(self, f"_{operation}", None)
        if handler is None:
            raise Refused("UnknownOperationException", f"{operation} is not known here")
        return handler(body)

    def _create(self, api: str, body: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        name = body["AutoMLJobName"]
        if name.lower() in self.jobs:
            raise Refused("ResourceInUse", f"AutoML Job already exists: {name}")
        if self.faults.forbid_tags and body.get("Tags"):
            raise Refused("AccessDeniedException", "User: u is not authorized to perform: sagemaker:AddTags")
        running = sum(not job.ended(now) for job in self.jobs.values())
        if running >= self.faults.quota:
            self.refused_creates += 1
            raise Refused("ResourceLimitExceeded", "The account-level service limit for AutoML jobs is reached")
        tags = {tag["Key"]: tag["Value"] for tag in body.get("Tags", ())}
        extra = self.extra_by_task.get(tags.get("airflow:task_id", ""), {})
        job = Job(name, api, body, tuple(self.plan(body)), now, dict(extra), tags)
        self.jobs[name.lower()] = job
        self.most_running = max(self.most_running, running + 1)
        return {"AutoMLJobArn": job.arn}

    def _CreateAutoMLJob(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create("V1", body)

    def _CreateAutoMLJobV2(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._create("V2", body)

    def _job(self, body: dict[str, Any]) -> Job:
        name = body.get("AutoMLJobName", "")
        job = self.jobs.get(name.lower())
        if job is None:
            raise Refused("ResourceNotFound", f"AutoML job {name} does not exist.")
        self.seen.add(name.lower())
        return job

    def _DescribeAutoMLJob(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._job(body)
        if job.api != "V1":
            raise Refused("ResourceNotFound", f"AutoML job {job.name} is a V2 job; use DescribeAutoMLJobV2.")
        return self._described(job)

    def _DescribeAutoMLJobV2(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._job(body)
        answer = self._described(job)
        if job.api == "V1":
            answer["AutoMLJobInputDataConfig"] = answer.pop("InputDataConfig")
            answer["AutoMLProblemTypeConfig"] = {"TabularJobConfig": {"TargetAttributeName": "y"}}
        return answer

    def _described(self, job: Job) -> dict[str, Any]:
        now = time.time()
        status, secondary, since = job.at(now)
        answer = {key: value for key, value in job.request.items() if key != "Tags"}
        answer |= {
            "AutoMLJobName": job.name,
            "AutoMLJobArn": job.arn,
            "AutoMLJobStatus": status,
            "AutoMLJobSecondaryStatus": secondary,
            "CreationTime": job.created + self.faults.skew,
            "LastModifiedTime": since + self.faults.skew,
        }
        if job.ended(now):
            answer["EndTime"] = since + self.faults.skew
            if status == "Completed" and secondary != "CandidateDefinitionsGenerated":
                answer["BestCandidate"] = candidate(job.name)
            answer |= job.extra
        return {key: value for key, value in answer.items() if value is not None}

    def _ListAutoMLJobs(self, body: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        faults = self.faults
        self._lists = [at for at in self._lists if at > now - 1.0]
        if len(self._lists) >= faults.throttle_rate:
            raise Refused("ThrottlingException", "Rate exceeded")
        self._lists.append(now)
        seen_at = now - faults.list_lag
        after = body.get("LastModifiedTimeAfter")
        rows = []
        for job in self.jobs.values():
            if job.created > seen_at or (faults.list_misses and random.Random(job.name).random() < faults.list_misses):
                continue
            status, secondary, since = job.at(seen_at)
            if after is not None and since + faults.skew <= after:
                continue
            if body.get("StatusEquals", status) != status or body.get("NameContains", "") not in job.name:
                continue
            row = {
                "AutoMLJobName": job.name,
                "AutoMLJobArn": job.arn,
                "AutoMLJobStatus": status,
                "AutoMLJobSecondaryStatus": secondary,
                "CreationTime": job.created + faults.skew,
                "LastModifiedTime": since + faults.skew,
            }
            if status in {"Completed", "Failed", "Stopped"}:
                row["EndTime"] = since + faults.skew
            rows.append(row)
        key = "CreationTime" if body.get("SortBy") == "CreationTime" else "AutoMLJobName"
        rows.sort(key=lambda row: row[key], reverse=body.get("SortOrder", "Descending") == "Descending")
        start, size = int(body.get("NextToken") or 0), int(body.get("MaxResults") or 10)
        answer: dict[str, Any] = {"AutoMLJobSummaries": rows[start : start + size]}
        self.seen |= {row["AutoMLJobName"].lower() for row in answer["AutoMLJobSummaries"]}
        if start + size < len(rows):
            answer["NextToken"] = str(start + size)
        return answer

    def _StopAutoMLJob(self, body: dict[str, Any]) -> dict[str, Any]:
        job, now = self._job(body), time.time()
        if not job.ended(now) and job.stopped is None:
            job.stopped = now
        return {}

    def _ListCandidatesForAutoMLJob(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._job(body)
        begun = job.at(time.time())[1] != "Starting"
        return {"Candidates": job.candidates or [candidate(job.name)] * begun}

    def _DescribeTrainingJob(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["TrainingJobName"]
        return {"TrainingJobName": name, "HyperParameters": {"eta": "0.3", "name": name}}

    def _DescribeEndpoint(self, body: dict[str, Any]) -> dict[str, Any]:
        variants = [{"VariantName": "AllTraffic", "CurrentInstanceCount": 2, "CurrentWeight": 1.0}]
        return {"EndpointName": body["EndpointName"], "EndpointStatus": "InService", "ProductionVariants": variants}

    def _tagged(self, body: dict[str, Any]) -> Job:
        if self.faults.forbid_tags:
            raise Refused("AccessDeniedException", "User: u is not authorized to perform: sagemaker:ListTags")
        return self._job({"AutoMLJobName": body["ResourceArn"].rpartition("/")[2]})

    def _ListTags(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"Tags": [{"Key": key, "Value": value} for key, value in self._tagged(body).tags.items()]}

    def _AddTags(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._tagged(body)
        job.tags |= {tag["Key"]: tag["Value"] for tag in body["Tags"]}
        return {"Tags": [{"Key": key, "Value": value} for key, value in job.tags.items()]}

    # For benchmarks in another process

    def control(self, command: dict[str, Any]) -> dict[str, Any]:
        """Set faults, add jobs ``[name, seconds]``, set when jobs end, and return the calls so far."""
        if "faults" in command:
            known = {**command["faults"]}
            known["deny"] = frozenset(known.get("deny", ()))
            self.faults = Faults(**known)
        for name, seconds in command.get("jobs", ()):
            self.add_job(name, running(seconds))
        for name, at in command.get("end_at", {}).items():
            job = self.jobs[name.lower()]
            job.script = (*job.script[:-1], (at - job.created, *job.script[-1][1:]))
        answer = {"calls": dict(self.calls), "all_seen": self.jobs.keys() <= self.seen}
        if command.get("reset_calls"):
            self.calls.clear()
        return answer


def _channel() -> dict[str, Any]:
    return {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}},
        "TargetAttributeName": "y",
    }


class _Server:
    """HTTP/1.1 with keep-alive, only what AWS's clients need."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self.connections: set[asyncio.Task[Any]] = set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                line, *lines = head.split("\r\n")
                headers = {
                    name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length") or 0))
                writer.write(self._respond(line, headers, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.connections.discard(asyncio.current_task())  # type: ignore[arg-type]
            writer.close()

    def _respond(self, line: str, headers: dict[str, str], body: bytes) -> bytes:
        status, extra = 200, ""
        try:
            document = json.loads(body or b"{}")
            if line.startswith("POST /control"):
                answer = self._stand_in.control(document)
            else:
                operation = headers.get("x-amz-target", "").rpartition(".")[2]
                access_key, _, region, *_ = [
                    *headers.get("authorization", "").partition("Credential=")[2].split("/"),
                    "",
                    "",
                ]
                self._stand_in.regions.add(region)
                answer = self._stand_in.answer(operation, document, access_key)
        except Refused as refused:
            status = refused.status
            extra = f"x-amzn-errortype: {refused.code}\r\n"
            answer = {"__type": refused.code, "message": refused.message}
        content = json.dumps(answer).encode()
        date = formatdate(time.time() + self._stand_in.faults.skew, usegmt=True)
        head = (
            f"HTTP/1.1 {status} -\r\ncontent-type: application/x-amz-json-1.1\r\ndate: {date}\r\n"
            f"content-length: {len(content)}\r\n{extra}\r\n"
        )
        return head.encode() + content


async def _serve(stand_in: StandIn, ready: Callable[[int], None], stop: asyncio.Event) -> None:
    handler = _Server(stand_in)
    server = await asyncio.start_server(handler, "127.0.0.1", 0, backlog=2048)
    port = server.sockets[0].getsockname()[1]
    stand_in.url = f"http://127.0.0.1:{port}"
    ready(port)
    await stop.wait()
    server.close()
    connections = list(handler.connections)
    for connection_task in connections:
        connection_task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


@contextmanager
def serve() -> Iterator[StandIn]:
    """Serve a stand-in from a thread of this process."""
    stand_in = StandIn()
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_serve(stand_in, lambda _: started.set(), stop)), daemon=True
    )
    thread.start()
    started.wait(10)
    try:
        yield stand_in
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def connection(stand_in_url: str, **extra: Any) -> str:
    """An Airflow connection to a stand-in, as JSON."""
    return json.dumps(
        {
            "conn_type": "aws",
            "login": "test",
            "password": "test",
            "extra": {"endpoint_url": stand_in_url, "region_name": "us-east-1", **extra},
        }
    )


def main() -> None:
    """Serve until SIGTERM; print the port."""

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await _serve(StandIn(), lambda port: print(port, flush=True), stop)

    asyncio.run(run())


if __name__ == "__main__":
    main()
