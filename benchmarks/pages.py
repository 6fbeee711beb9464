"""How long the AutoML pages of Airflow's web interface take, with 1,000 jobs in the account and as many known to tasks.

The API server's application runs in this process, on a database of its own; a stand-in for SageMaker runs in another.
Run with ``python -m benchmarks.pages``.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

JOBS = 1000
LOADS = 20
TARGET = 0.3
DEAD_TARGET = 3.0


@contextmanager
def stand_in() -> Iterator[Any]:
    """A stand-in with the jobs, in a process of its own; yields a client for its control."""
    import httpx

    process = subprocess.Popen([sys.executable, "-m", "tests.standin"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        with httpx.Client(base_url=f"http://127.0.0.1:{process.stdout.readline().strip()}", timeout=60) as client:
            client.post("/control", json={"jobs": [[f"job-{number:04}", 10_000] for number in range(JOBS)]})
            yield client
    finally:
        process.terminate()
        process.wait()


def note_jobs(database: Path) -> None:
    """Write what a task notes of each job, as XComs; straight into the table, without a thousand runs."""
    document = {
        "schema_version": 1,
        "status": "InProgress",
        "problem_type": "BinaryClassification",
        "tags": {"airflow-automl:owner": "x", "airflow:dag_id": "churn", "airflow:run_id": "r", "airflow:task_id": "t"},
        "output": {"S3OutputPath": "s3://acme-ml/automl/"},
        "artifacts": {"DataExplorationNotebookLocation": "s3://acme-ml/automl/" + "x" * 200},
        "partial_failures": [],
    }
    rows = []
    for number in range(JOBS):
        name = f"job-{number:04}"
        job = document | {"name": name, "arn": f"arn:aws:sagemaker:us-east-1:123456789012:automl-job/{name}"}
        rows.append((number, "t", -1, "job", "churn", f"r{number}", json.dumps(job)))
    with sqlite3.connect(database) as connection:
        connection.executemany(
            "INSERT INTO xcom (dag_run_id, task_id, map_index, key, dag_id, run_id, value, timestamp)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, CURRENT_TIMESTAMP)",
            rows,
        )


def main() -> int:
    """Print what was measured, and whether it meets the targets."""
    with tempfile.TemporaryDirectory() as home, stand_in() as service, socket.create_server(("127.0.0.1", 0)) as dead:
        from tests.standin import connection

        os.environ.update(
            {
                "AIRFLOW_HOME": home,
                "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
                "AIRFLOW_CONN_AWS_DEFAULT": connection(str(service.base_url).rstrip("/")),
                "AIRFLOW_CONN_DEAD": connection(f"http://127.0.0.1:{dead.getsockname()[1]}"),
            }
        )
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        note_jobs(Path(home, "airflow.db"))
        return _measure(service)


def _measure(service: Any) -> int:
    from airflow import plugins_manager
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    from airflow_automl.plugin import AutoMLPlugin

    plugins_manager._get_plugins = lambda: ([AutoMLPlugin()], {})  # type: ignore[assignment]
    client = TestClient(create_app("core"), base_url="http://localhost:8080")
    user = SimpleAuthManagerUser(username="grace", role="admin")
    client.cookies.set("_token", get_auth_manager().generate_jwt(user))

    def load(address: str) -> float:
        began = time.perf_counter()
        answer = client.get(address)
        assert answer.status_code in (200, 503), answer.text
        return time.perf_counter() - began

    def calls() -> dict[str, int]:
        asked: dict[str, int] = service.post("/control", json={"reset_calls": True}).json()["calls"]
        return asked

    def loads(address: str) -> float:
        return statistics.median(load(address) for _ in range(LOADS))

    load("/automl/job?name=job-0001")  # what is imported at first is imported now
    calls()
    first = load("/automl/jobs")
    cold_calls = calls()
    again, page_20, job = loads("/automl/jobs"), loads("/automl/jobs?page=20"), loads("/automl/job?name=job-0500")
    dead = [load("/automl/jobs?connection=dead"), load("/automl/job?name=x&connection=dead")]
    print(f"pages with {JOBS} jobs in the account, each known to a task; median of {LOADS} loads:")
    print(f"  the list for the first time: {first * 1000:.0f} ms, calls: {cold_calls}")
    print(f"  the list again: {again * 1000:.0f} ms; its page 20: {page_20 * 1000:.0f} ms")
    print(f"  a job's page: {job * 1000:.0f} ms; calls of all these {3 * LOADS} loads: {calls()}")
    print(f"  an endpoint that does not answer: {', '.join(f'{each:.2f} s' for each in dead)} until the page says so")
    met = max(again, page_20, job) <= TARGET and max(dead) <= DEAD_TARGET
    print(f"  target {TARGET * 1000:.0f} ms, {DEAD_TARGET:g} s for a dead endpoint: {'met' if met else 'MISSED'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
