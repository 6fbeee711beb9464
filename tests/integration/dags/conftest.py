"""The example DAGs in a real Airflow of their own, against a real embedded Autopilot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from airflow_automl.demo import dataset
from airflow_automl.demo.stack import Stack

DAGS = Path(__file__).resolve().parents[3] / "dags"
ROWS = 1200


class Outcome(NamedTuple):
    """How a run of ``airflow dags test`` ended."""

    code: int
    log: str


class World:
    """One embedded Autopilot and one Airflow home, shared by the tests of this folder."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def client(self, service: str) -> Any:
        environment = self.stack.environment
        return boto3.client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL_S3" if service == "s3" else "AWS_ENDPOINT_URL"],
            region_name=environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    def dags_test(self, dag_id: str, conf: dict[str, Any], within: float = 600) -> Outcome:
        name = f"dags-test-{dag_id}"
        process = self.stack.airflow(name, "dags", "test", dag_id, "--conf", json.dumps(conf))
        code = process.popen.wait(timeout=within)
        self.stack.stop(name)
        return Outcome(code, process.log.read_text())

    def task_states(self, dag_id: str) -> dict[str, str]:
        """The states of the newest run's tasks, with one entry per mapped instance: ``train[1]``."""
        runs = json.loads(self._airflow("dags", "list-runs", dag_id, "--output", "json"))
        newest = max(runs, key=lambda run: run["start_date"] or "")
        states = json.loads(self._airflow("tasks", "states-for-dag-run", dag_id, newest["run_id"], "--output", "json"))
        return {
            f"{each['task_id']}[{each['map_index']}]" if each.get("map_index") else each["task_id"]: each["state"]
            for each in states
        }

    def newest_job(self) -> str:
        jobs = self.client("sagemaker").list_auto_ml_jobs(SortBy="CreationTime", SortOrder="Descending")
        return str(jobs["AutoMLJobSummaries"][0]["AutoMLJobName"])

    def _airflow(self, *arguments: str) -> str:
        completed = subprocess.run(
            ["airflow", *arguments], env=self.stack.environment, capture_output=True, text=True, check=True
        )
        return completed.stdout[completed.stdout.index("[") :]


@contextmanager
def started(folder: Path, **environment: str) -> Iterator[World]:
    """An Autopilot and an Airflow with small data, ready to run DAGs."""
    with Stack(folder) as stack:
        stack.use_airflow(DAGS, {})
        # A test that needs its own weights puts them there.
        stack.environment["AUTOML_MODEL_DIR"] = str(stack.folder / "models")
        stack.environment.update(environment)
        stack.airflow("db-migrate", "db", "migrate")
        stack.start_autopilot()
        world = World(stack)
        split = dataset.load()
        small = dataset.Split(split.train.head(ROWS), split.validation.head(ROWS // 2), split.test.head(50))
        dataset.upload(world.client("s3"), dataset.files(small))
        stack.finish("db-migrate")
        yield world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with started(tmp_path_factory.mktemp("world")) as world:
        yield world
