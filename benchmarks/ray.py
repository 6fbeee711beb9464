"""Ray against the local executor on one machine, and tuning trials on two nodes against one.

    PYTHONPATH=. python benchmarks/ray.py jobs      # 20 short tabular jobs, 4 at a time: two nodes against local
    PYTHONPATH=. python benchmarks/ray.py trials    # one job of 40 trials: two nodes of one core against one

Targets: at most 3 s and 10 % more wall time a job; 1.7 times as many trials a minute.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer, load_digits

from airflow_automl.contract import tabular
from tests.ray_cluster import cluster
from tests.service.running import ROLE, RunningService, real_service, until

TABLES = {"cancer": (load_breast_cancer, "target"), "digits": (load_digits, "target")}
_ENDED = ("Completed", "Failed", "Stopped")


@contextmanager
def service(workers: int, cores: int, *options: str) -> Iterator[RunningService]:
    """A service on a Ray cluster, or on this machine if there are no workers."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        arguments = list(options)
        if workers:
            file = Path(name, "executor.toml")
            file.write_text('[executor]\ncores = 1\nmemory = "1G"\n')
            nodes = stack.enter_context(cluster(workers, cores=cores))
            arguments += ["--executor", "ray", "--ray-address", nodes.address, "--executor-file", str(file)]
        running = stack.enter_context(real_service(Path(name, "data"), *arguments))
        for key, (load, _) in TABLES.items():
            body = load(as_frame=True).frame.to_csv(index=False).encode()
            running.client("s3").put_object(Bucket="automl", Key=f"{key}/train.csv", Body=body)
        yield running


def submit(running: RunningService, name: str, table: str, **options: Any) -> None:
    """Create a tabular job."""
    request = tabular(f"s3://automl/{table}/", target=TABLES[table][1], **options)
    output = {"S3OutputPath": "s3://automl/out/"}
    running.client().create_auto_ml_job_v2(AutoMLJobName=name, OutputDataConfig=output, RoleArn=ROLE, **request)


def wait(running: RunningService, names: list[str], seconds: float) -> list[dict[str, Any]]:
    """Wait until jobs have ended well, and describe them."""
    client = running.client()
    found: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        for name in names:
            if name not in found:
                job = client.describe_auto_ml_job_v2(AutoMLJobName=name)
                if job["AutoMLJobStatus"] in _ENDED:
                    found[name] = job
        time.sleep(0.1)
        return len(found) == len(names)

    until(look, seconds)
    bad = [job for job in found.values() if job["AutoMLJobStatus"] != "Completed"]
    assert not bad, bad
    return list(found.values())


def jobs(count: int, at_once: int) -> None:
    """Measure what a Ray job costs more than a process."""
    walls = {}
    for name, workers, options in (
        ("local", 0, ("--max-jobs", str(at_once))),
        # Jobs without room wait in Ray's queue, as they do by default.
        ("ray", 2, ()),
    ):
        with service(workers, at_once // 2, *options) as running:
            names = [f"job-{number}" for number in range(count)]
            begun = time.monotonic()
            for each in names:
                submit(running, each, "cancer", mode="ENSEMBLING", algorithms=["lightgbm"], max_candidates=1)
            wait(running, names, 900)
            walls[name] = time.monotonic() - begun
        print(f"{name}: {count} jobs, {at_once} at a time, in {walls[name]:.1f} s", flush=True)
    more = walls["ray"] - walls["local"]
    print(f"Ray takes {more * at_once / count:.2f} s more a job, {more / walls['local']:.1%} of the wall time")


def trials(count: int) -> None:
    """Measure one tuning job on one node and on two."""
    rates = {}
    for workers in (1, 2):
        with service(workers, 1, "--trials-per-job", str(workers)) as running:
            # One algorithm: the trials of two searches differ, and an mlp may take ten times as long as a linear model.
            submit(
                running, "tuned", "digits", mode="HYPERPARAMETER_TUNING", algorithms=["xgboost"], max_candidates=count
            )
            wait(running, ["tuned"], 900)
            pages = running.client().get_paginator("list_candidates_for_auto_ml_job")
            found = [c for page in pages.paginate(AutoMLJobName="tuned") for c in page["Candidates"]]
        found.sort(key=lambda entry: entry["EndTime"])
        seconds = (found[-1]["EndTime"] - min(entry["CreationTime"] for entry in found)).total_seconds()
        # The first ones wait for processes that import what they need.
        later = (found[-1]["EndTime"] - found[workers - 1]["EndTime"]).total_seconds() / (len(found) - workers)
        rates[workers] = len(found) / seconds * 60
        print(
            f"{workers} nodes: {len(found)} trials in {seconds:.1f} s, {rates[workers]:.1f} a minute, one every "
            f"{later:.2f} s after the first {workers}",
            flush=True,
        )
    print(f"two nodes train {rates[2] / rates[1]:.2f} times as many trials a minute")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("jobs", "trials", "all"), default="all")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    if options.what != "trials":
        jobs(options.jobs, options.at_once)
    if options.what != "jobs":
        trials(options.trials)


if __name__ == "__main__":
    main()
